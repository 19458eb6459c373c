// double only
// Lattice-Boltzmann steps on the D3Q19 lattice (src/backend/lattice): the operations of collide.rs in their order, so its bits.
//
// `advance`: a thread per column of a row, x fastest, so that the 19 loads and 22 stores of a warp are each one run of memory.
// The ghost columns of a row have threads too, which compute the same as those of their periodic images (5 % of a row of 91).
// 19 populations are read and written, three components of the velocity written: 328 bytes and about 260 operations per cell,
// so the memory is the limit. The walls of buildings are in `now` beforehand (`bounce`), the halos too (`unpack`).
#include "common.cuh"

// Mirrors `Layout` of src/backend/lattice/gpu.rs. Populations are (y, q, z, column) with one ghost plane on each side, `block`
// values from one q to the next; scalars (y, z, column) with two.
struct Slab {
    u64 block;  // values of a population of a plane, rounded up
    u32 nx, nz; // cells
    u32 stride; // columns of a row
    u32 wall;   // whether the ground has no slip; else it is a plane of symmetry
};

// `Collision` of src/backend/lattice/collide.rs.
struct Collision {
    double tau, eddy, force[2];
};

constexpr u32 Q = 19, LEFT = 2, GHOST = 1, GHOSTS = 2;
constexpr double REST = 1.0 / 3.0, AXIS = 1.0 / 18.0, DIAGONAL = 1.0 / 36.0;

// Velocity q along x, y and z: rest, then pairs of opposites.
__device__ constexpr int along_x(u32 q) {
    constexpr int c[Q] = {0, 1, -1, 0, 0, 0, 0, 1, -1, 1, -1, 1, -1, 1, -1, 0, 0, 0, 0};
    return c[q];
}
__device__ constexpr int along_y(u32 q) {
    constexpr int c[Q] = {0, 0, 0, 1, -1, 0, 0, 1, -1, -1, 1, 0, 0, 0, 0, 1, -1, 1, -1};
    return c[q];
}
__device__ constexpr int along_z(u32 q) {
    constexpr int c[Q] = {0, 0, 0, 0, 0, 1, -1, 0, 0, 0, 0, 1, -1, -1, 1, 1, -1, -1, 1};
    return c[q];
}
__device__ constexpr u32 opposite(u32 q) { return q == 0 ? 0 : ((q - 1) ^ 1) + 1; }
__device__ constexpr u32 mirror_z(u32 q) {
    constexpr u32 mirrored[Q] = {0, 1, 2, 3, 4, 6, 5, 7, 8, 9, 10, 13, 14, 11, 12, 17, 18, 15, 16};
    return mirrored[q];
}
__device__ constexpr double weight(u32 q) { return q == 0 ? REST : q <= 6 ? AXIS : DIAGONAL; }

// Symmetric moments of second order, and those of third order that the lattice carries.
struct Second {
    double xx, yy, zz, xy, xz, yz;
};
struct Third {
    double xxy, xxz, xyy, yyz, xzz, yzz;
};

struct Moments {
    double density, u, v, w;
    Second stress;
};

// From the population `q` of this cell to the one that arrives with velocity q at level z: that of the cell upwind; from below
// a ground without slip the cell's own opposite one; from beyond a plane of symmetry the mirrored one.
__device__ __forceinline__ i64 arriving(u32 q, const Slab &s, u32 z) {
    const i64 block = (i64)s.block, level = along_z(q) * (i64)s.stride;
    const i64 beside = along_y(q) * (i64)Q * block + along_x(q);
    const bool below = along_z(q) > 0 && z == 0, above = along_z(q) < 0 && z + 1 == s.nz;
    if (below && s.wall) return opposite(q) * block;
    return below || above ? mirror_z(q) * block - beside : q * block - beside - level;
}

// Density, velocity (with half the force) and non-equilibrium stress.
__device__ __forceinline__ Moments moments(const double *f, double fx, double fy) {
    const auto sum = [&](u32 a) { return f[a] + f[a + 1]; };
    const auto difference = [&](u32 a) { return f[a] - f[a + 1]; };
    const double x2 = sum(1), y2 = sum(3), z2 = sum(5);
    const double xy_even = sum(7) + sum(9), xz_even = sum(11) + sum(13), yz_even = sum(15) + sum(17);
    Moments m;
    m.density = f[0] + (x2 + y2 + z2) + (xy_even + xz_even + yz_even);
    const double jx = difference(1) + (difference(7) + difference(9)) + (difference(11) + difference(13)) + 0.5 * fx;
    const double jy = difference(3) + (difference(7) - difference(9)) + (difference(15) + difference(17)) + 0.5 * fy;
    const double jz = difference(5) + (difference(11) - difference(13)) + (difference(15) - difference(17));
    const double per_density = 1.0 / m.density;
    m.u = jx * per_density, m.v = jy * per_density, m.w = jz * per_density;
    const double third = m.density * (1.0 / 3.0);
    m.stress.xx = x2 + xy_even + xz_even - third - jx * m.u + m.u * fx;
    m.stress.yy = y2 + xy_even + yz_even - third - jy * m.v + m.v * fy;
    m.stress.zz = z2 + xz_even + yz_even - third - jz * m.w;
    m.stress.xy = sum(7) - sum(9) - jx * m.v + (m.u * fy + m.v * fx) * 0.5;
    m.stress.xz = sum(11) - sum(13) - jx * m.w + m.w * (0.5 * fx);
    m.stress.yz = sum(15) - sum(17) - jy * m.w + m.w * (0.5 * fy);
    return m;
}

// 1 - 1 / tau, tau by the stress: what is kept of it.
__device__ __forceinline__ double kept(const Moments &m, const Collision &with) {
    const Second &s = m.stress;
    const double diagonal = s.xx * s.xx + s.yy * s.yy + s.zz * s.zz;
    const double cross = s.xy * s.xy + s.xz * s.xz + s.yz * s.yz;
    const double norm = sqrt(diagonal + cross * 2.0);
    const double per_density = 1.0 / m.density;
    const double tau = (sqrt(norm * per_density * with.eddy + with.tau * with.tau) + with.tau) * 0.5;
    return 1.0 - 1.0 / tau;
}

// a_aab = rho u_a^2 u_b + 2 u_a n_ab + u_b n_aa
__device__ __forceinline__ Third third_of(const Moments &m, const Second &n) {
    const auto moment = [&](double a, double b, double n_aa, double n_ab) {
        return (m.density * a * a + n_aa) * b + a * n_ab * 2.0;
    };
    Third t;
    t.xxy = moment(m.u, m.v, n.xx, n.xy), t.xxz = moment(m.u, m.w, n.xx, n.xz);
    t.xyy = moment(m.v, m.u, n.yy, n.xy), t.yyz = moment(m.v, m.w, n.yy, n.yz);
    t.xzz = moment(m.w, m.u, n.zz, n.xz), t.yzz = moment(m.w, m.v, n.zz, n.yz);
    return t;
}

// Calls put(q, population) for the populations of given moments of order 0 to 3, in pairs of opposites.
template <class Put>
__device__ __forceinline__ void populations(double density, const double *a1, const Second &a2, const Third &a3, Put put) {
    const double base = density - (a2.xx + a2.yy + a2.zz) * 1.5;
    put(0, base * REST);
    const auto pair = [&](u32 q, double weight, double even, double odd) {
        put(q, (even + odd) * weight);
        put(q + 1, (even - odd) * weight);
    };
    const double x = a1[0] * 3.0, y = a1[1] * 3.0, z = a1[2] * 3.0;
    pair(1, AXIS, base + a2.xx * 4.5, x - (a3.xyy + a3.xzz) * 9.0);
    pair(3, AXIS, base + a2.yy * 4.5, y - (a3.xxy + a3.yzz) * 9.0);
    pair(5, AXIS, base + a2.zz * 4.5, z - (a3.xxz + a3.yyz) * 9.0);
    double even = base + (a2.xx + a2.yy) * 4.5, cross = a2.xy * 9.0;
    double first = x + a3.xyy * 9.0, second = y + a3.xxy * 9.0;
    pair(7, DIAGONAL, even + cross, first + second);
    pair(9, DIAGONAL, even - cross, first - second);
    even = base + (a2.xx + a2.zz) * 4.5, cross = a2.xz * 9.0;
    first = x + a3.xzz * 9.0, second = z + a3.xxz * 9.0;
    pair(11, DIAGONAL, even + cross, first + second);
    pair(13, DIAGONAL, even - cross, first - second);
    even = base + (a2.yy + a2.zz) * 4.5, cross = a2.yz * 9.0;
    first = y + a3.yzz * 9.0, second = z + a3.yyz * 9.0;
    pair(15, DIAGONAL, even + cross, first + second);
    pair(17, DIAGONAL, even - cross, first - second);
}

// One collision of the populations f: put(q, population) for those after it.
template <class Put>
__device__ __forceinline__ void collide(const Moments &m, const Collision &with, Put put) {
    const double keep = kept(m, with), fx = with.force[0], fy = with.force[1];
    const Second &s = m.stress;
    const Second n = {s.xx * keep, s.yy * keep, s.zz * keep, s.xy * keep, s.xz * keep, s.yz * keep};
    const double jx = m.density * m.u, jy = m.density * m.v, jz = m.density * m.w;
    Second second;
    second.xx = jx * m.u + n.xx + m.u * fx;
    second.yy = jy * m.v + n.yy + m.v * fy;
    second.zz = jz * m.w + n.zz;
    second.xy = jx * m.v + n.xy + (m.u * fy + m.v * fx) * 0.5;
    second.xz = jx * m.w + n.xz + m.w * (0.5 * fx);
    second.yz = jy * m.w + n.yz + m.w * (0.5 * fy);
    const double first[3] = {jx + 0.5 * fx, jy + 0.5 * fy, jz};
    populations(m.density, first, second, third_of(m, n), put);
}

// Streams and collides all columns of all rows (y, z) of the slab; `len` of them.
KERNEL(128, advance)(In<double> now, In<u32> heights, Slab s, Collision with, Out<double> next, Out<double> velocity, u64 len) {
    const u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= len) return;
    const u64 plane = (u64)s.nz * s.stride, y = quotient(i, plane);
    const u32 at = (u32)(i - y * plane), z = at / s.stride, column = at - z * s.stride;
    const u32 x = (column + 2 * s.nx - LEFT) % s.nx;
    const u64 row = (y + GHOST) * Q * s.block + (u64)z * s.stride;
    const u64 wind = (y + GHOSTS) * plane + at, scalar = (quotient(len, plane) + 2 * GHOSTS) * plane;
    const auto put = [&](u32 q, double f) { next[row + q * s.block + column] = f; };
    if (z < heights[y * s.nx + x]) {
#pragma unroll
        for (u32 q = 0; q < Q; q++) put(q, weight(q));
        velocity[wind] = velocity[wind + scalar] = velocity[wind + 2 * scalar] = 0.0;
        return;
    }
    double f[Q];
#pragma unroll
    for (u32 q = 0; q < Q; q++) f[q] = now[(i64)(row + LEFT + x) + arriving(q, s, z)];
    const Moments m = moments(f, with.force[0], with.force[1]);
    velocity[wind] = m.u;
    velocity[wind + scalar] = m.v;
    velocity[wind + 2 * scalar] = m.w;
    collide(m, with, put);
}

// `Carrying` of src/backend/lattice/mod.rs.
struct Carrying {
    double diffusivity, emission;
    u64 sources[9];
};

// Van Leer's slope: the harmonic mean of two differences of one sign, else 0.
__device__ __forceinline__ double limited(double a, double b) {
    const double product = a * b;
    return product > 0.0 ? 2.0 * product / (a + b) : 0.0;
}

// Carries a scalar through all columns of all rows (y, z) of the slab; `len` of them. What passes a face is computed by both of
// its cells, the same bits; 48 bytes per cell where neighbours are found in the caches.
KERNEL(128, carry)(In<double> now, In<double> air, In<double> velocity, Slab s, Carrying with, Out<double> next, u64 len) {
    const u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= len) return;
    const i64 plane = (i64)s.nz * s.stride;
    const u64 y = quotient(i, plane), scalar = len + 2 * GHOSTS * plane;
    const u32 at = (u32)(i - y * plane), z = at / s.stride, column = at - z * s.stride;
    // Beyond the last cell is what is in it, before the first clean air.
    const u32 x = column < LEFT ? 0 : column - LEFT < s.nx ? column - LEFT : s.nx - 1;
    const i64 cell = (y + GHOSTS) * plane + (i64)z * s.stride + LEFT + x;
    // Through the face between the second and the third of four cells in line, towards the third; `level` is that of the
    // second, and rises so much from one to the next: beyond ground and top there is nothing.
    const auto flux = [&](u64 wind, i64 second, i64 step, i64 level, i64 rise) {
        double c[4], there[4], u[4];
#pragma unroll
        for (int k = 0; k < 4; k++) {
            const bool inside = (u64)(level + (k - 1) * rise) < s.nz;
            const i64 place = inside ? second + (k - 1) * step : cell;
            c[k] = inside ? now[place] : 0.0;
            there[k] = inside ? air[place] : 0.0;
            u[k] = inside && (k == 1 || k == 2) ? velocity[wind + place] : 0.0;
        }
        const double open = there[1] * there[2], speed = 0.5 * (u[1] + u[2]) * open, rises = (c[2] - c[1]) * open;
        const double before = limited((c[1] - c[0]) * (there[0] * there[1]), rises);
        const double after = limited(rises, (c[3] - c[2]) * (there[2] * there[3]));
        // Value at the face, half a step later.
        const double from_left = c[1] + 0.5 * (1.0 - speed) * before, from_right = c[2] - 0.5 * (1.0 + speed) * after;
        return speed * (speed > 0.0 ? from_left : from_right) - with.diffusivity * rises;
    };
    const i64 row = s.stride;
    const double west = flux(0, cell - 1, 1, z, 0), east = flux(0, cell, 1, z, 0);
    const double south = flux(scalar, cell - plane, plane, z, 0), north = flux(scalar, cell, plane, z, 0);
    const double below = z == 0 ? 0.0 : flux(2 * scalar, cell - row, row, (i64)z - 1, 1);
    const double above = flux(2 * scalar, cell, row, z, 1);
    double after = now[cell] + ((west - east) + (south - north) + (below - above));
#pragma unroll
    for (u32 k = 0; k < 9; k++)
        if (with.sources[k] == (u64)cell) after += with.emission;
    next[(y + GHOSTS) * plane + at] = column < LEFT ? 0.0 : after;
}

// Sums of two components of the velocity over the cells of every row (y, z), `len` of them, from the first cell to the last.
KERNEL(256, row_sums)(In<double> velocity, Slab s, Out<double> sums, u64 len) {
    double u[PER_THREAD], v[PER_THREAD];
    const u64 scalar = (len + 2 * GHOSTS * s.nz) * s.stride;
    for_elements(
        len,
        [&](u32 j, u64 i) {
            const u64 start = (i + GHOSTS * s.nz) * s.stride + LEFT;
            u[j] = v[j] = -0.0;
            for (u32 x = 0; x < s.nx; x++) u[j] += velocity[start + x], v[j] += velocity[scalar + start + x];
        },
        [&](u32 j, u64 i) { sums[i] = u[j], sums[len + i] = v[j]; });
}

// A place in a building and the population that its wall sends back there.
struct Link {
    u64 to, from;
};

// Walls of buildings. What is written is in buildings and what is read in the air, so the order does not matter.
KERNEL(256, bounce)(In<Link> links, InOut<double> now, u64 len) {
    double f[PER_THREAD];
    u64 to[PER_THREAD];
    for_elements(
        len, [&](u32 j, u64 i) { to[j] = links[i].to, f[j] = now[links[i].from]; },
        [&](u32 j, u64) { now[to[j]] = f[j]; });
}

// Density of every cell, (y, z, x); 1 in buildings. 160 bytes per cell.
KERNEL(256, density)(In<double> now, In<u32> heights, Slab s, Out<double> density, u64 len) {
    double sums[PER_THREAD];
    for_elements(
        len,
        [&](u32 j, u64 i) {
            const u64 row = quotient(i, s.nx), x = i - row * s.nx, y = quotient(row, s.nz), z = row - y * s.nz;
            const u64 start = (y + GHOST) * Q * s.block + z * s.stride + LEFT + x;
            sums[j] = 0.0;
#pragma unroll
            for (u32 q = 0; q < Q; q++) sums[j] += now[start + q * s.block];
            if (z < heights[y * s.nx + x]) sums[j] = 1.0;
        },
        [&](u32 j, u64 i) { density[i] = sums[j]; });
}

// Mirrors `Runs` of src/backend/lattice/gpu.rs: where the runs of a message start, five of populations and one of the velocity.
struct Halo {
    u64 populations[5], velocity, run;
};

// Whether element i of the message is a population, and where it lies in its array. Starts are compared, not indexed: the
// record stays in registers.
__device__ inline bool is_population(const Halo &halo, u64 i, u64 &place) {
    const u64 number = quotient(i, halo.run);
    u64 start = halo.velocity;
#pragma unroll
    for (u32 q = 0; q < 5; q++)
        if (q == number) start = halo.populations[q];
    place = start + i - number * halo.run;
    return number < 5;
}

// What goes to a neighbour, and what comes from one: each value is read and written once.
KERNEL(256, pack)(In<double> now, In<double> velocity, Halo halo, Out<double> message, u64 len) {
    double v[PER_THREAD];
    for_elements(
        len,
        [&](u32 j, u64 i) {
            u64 place;
            v[j] = is_population(halo, i, place) ? now[place] : velocity[place];
        },
        [&](u32 j, u64 i) { message[i] = v[j]; });
}

KERNEL(256, unpack)(In<double> message, Halo halo, Out<double> now, Out<double> velocity, u64 len) {
    double v[PER_THREAD];
    for_elements(
        len, [&](u32 j, u64 i) { v[j] = message[i]; },
        [&](u32 j, u64 i) {
            u64 place;
            (is_population(halo, i, place) ? now : velocity)[place] = v[j];
        });
}
