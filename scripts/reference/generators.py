"""Numbers that tests/generators compares with: other methods for the same equations, NumPy and SciPy only.

    python scripts/reference/generators.py > tests/data/generators.json

- Taylor-Green vortex, Re = 100: energy and dissipation at t = 0.5 by a Taylor series in time (the recursion over the
  derivatives of the velocity at t = 0, on a grid where no product is aliased), and at later times by a spectral method
  in rotational form with a third-order Runge-Kutta scheme (Williamson) and the viscous term inside it.
- Kolmogorov flow: growth rates of waves along x on the laminar flow, from the eigenvalues of the linearized equation.
- Kuramoto-Sivashinsky: the example of Kassam and Trefethen (2005), with Radau IIA of SciPy at tolerance 1e-12, and with
  their scheme and time step in NumPy.
- Lorenz 96: DOP853 of SciPy at tolerance 1e-13, and the classical Runge-Kutta scheme in NumPy.
"""

import json

import numpy as np
import scipy.fft as fft
from scipy.integrate import solve_ivp


class Box:
    """A periodic box of n^3 points; fields of wavenumbers with 3 |k| < n."""

    def __init__(self, n):
        k = np.fft.fftfreq(n, 1 / n)
        self.k = np.array(np.meshgrid(k, k, np.arange(n // 2 + 1.0), indexing="ij"))[::-1]  # kx, ky, kz
        self.k2 = (self.k**2).sum(0)
        self.keep = (np.abs(self.k) <= (n - 1) // 3).all(0)
        self.n = n
        x = 2 * np.pi * np.arange(n) / n
        z, y, x = np.meshgrid(x, x, x, indexing="ij")
        zero = 0 * x
        self.taylor_green = np.array([np.sin(x) * np.cos(y) * np.cos(z), -np.cos(x) * np.sin(y) * np.cos(z), zero])

    def waves(self, u):
        return fft.rfftn(u, axes=(-3, -2, -1), workers=2) / self.n**3 * self.keep

    def space(self, a):
        return fft.irfftn(a * self.n**3, s=(self.n,) * 3, axes=(-3, -2, -1), workers=2)

    def project(self, a):
        return a - self.k * (self.k * a).sum(0) / np.where(self.k2 == 0, 1, self.k2)

    def mean(self, a, b):
        weight = np.where(self.k[0] > 0, 2.0, 1.0)
        return (weight * (a * b.conj()).real).sum()

    def budget(self, a, nu):
        return [0.5 * self.mean(a, a), nu * self.mean(a, self.k2 * a)]


def taylor_green_series(nu, t, order=16, n=54):
    """Derivative d^(m+1) u / dt^(m+1) / (m+1)! from the lower ones."""
    box = Box(n)
    waves = [box.waves(box.taylor_green)]
    fields, gradients = [], []
    for m in range(order):
        fields.append(box.space(waves[m]))
        gradients.append(box.space(1j * box.k[None, :] * waves[m][:, None]))  # d u_i / d x_j
        advection = sum(np.einsum("jzyx,ijzyx->izyx", fields[l], gradients[m - l]) for l in range(m + 1))
        waves.append((-box.project(box.waves(advection)) - nu * box.k2 * waves[m]) / (m + 1))
    at = sum(a * t**m for m, a in enumerate(waves))
    return box.budget(at, nu)


def taylor_green_rotational(n, nu, times, dt):
    box = Box(n)
    a = box.waves(box.taylor_green)

    def rate(a):
        u, w = box.space(a), box.space(1j * np.cross(box.k, a, axis=0))
        return box.project(box.waves(np.cross(u, w, axis=0))) - nu * box.k2 * a

    out, t = [], 0.0
    for end in times:
        steps = round((end - t) / dt)
        for _ in range(steps):
            q = dt * rate(a)
            a = a + q / 3
            q = dt * rate(a) - 5 / 9 * q
            a = a + 15 / 16 * q
            q = dt * rate(a) - 153 / 128 * q
            a = a + 8 / 15 * q
        t = end
        out.append([t] + box.budget(a, nu))
    return out


def kolmogorov_growth(nu, k_f, kx, modes=40):
    """Largest growth rate of psi = exp(i kx x) sum_m a_m exp(i m k_f y) on u = U sin(k_f y), U = 1 / (nu k_f^2).

    d/dt lap(psi) + U sin(k_f y) d/dx (lap + k_f^2) psi = nu lap^2 psi
    """
    amplitude = 1 / (nu * k_f**2)
    m = np.arange(-modes, modes + 1)
    k2 = kx**2 + (m * k_f) ** 2
    matrix = np.diag(-nu * k2).astype(complex)
    for i in range(len(m)):
        # sin = (e^(+) - e^(-)) / 2i couples m with m - 1 and m + 1; in terms of the vorticity -k2 psi.
        for j, sign in [(i - 1, 1), (i + 1, -1)]:
            if 0 <= j < len(m):
                matrix[i, j] = -amplitude * sign / 2j * 1j * kx * (1 - k_f**2 / k2[j])
    return float(np.linalg.eigvals(matrix).real.max())


def kuramoto_sivashinsky(n=128, length=32 * np.pi, t=10.0):
    x = length * np.arange(n) / n
    kept = (n - 1) // 3
    q = 2 * np.pi * np.arange(kept + 1) / length

    def rate(_, y):
        a = y[: kept + 1] + 1j * y[kept + 1 :]
        u = np.fft.irfft(np.pad(a, (0, n // 2 - kept)) * n, n)
        square = np.fft.rfft(u * u)[: kept + 1] / n
        da = (q**2 - q**4) * a - 0.5j * q * square
        return np.concatenate([da.real, da.imag])

    a = np.fft.rfft(np.cos(x / 16) * (1 + np.sin(x / 16)))[: kept + 1] / n
    found = solve_ivp(rate, (0, t), np.concatenate([a.real, a.imag]), "Radau", rtol=1e-12, atol=1e-13)
    a = found.y[: kept + 1, -1] + 1j * found.y[kept + 1 :, -1]
    return np.fft.irfft(np.pad(a, (0, n // 2 - kept)) * n, n).tolist()


def kassam_trefethen(h=0.25, n=128, length=32 * np.pi, t=10.0):
    """ETDRK4 as in their figure 3.1, with the wavenumbers of the 2/3 rule."""
    kept = (n - 1) // 3
    q = 2 * np.pi * np.arange(kept + 1) / length
    linear = q**2 - q**4
    x = length * np.arange(n) / n
    v = np.fft.rfft(np.cos(x / 16) * (1 + np.sin(x / 16)))[: kept + 1] / n
    z = h * linear[:, None] + np.exp(1j * np.pi * (np.arange(1, 33) - 0.5) / 32)
    e = np.exp(z)
    whole, half = np.exp(h * linear), np.exp(h * linear / 2)
    mean = lambda f: h * f.mean(1).real
    weight = mean((np.exp(z / 2) - 1) / z)
    f1 = mean((-4 - z + e * (4 - 3 * z + z**2)) / z**3)
    f2 = mean((2 + z + e * (z - 2)) / z**3)
    f3 = mean((-4 - 3 * z - z**2 + e * (4 - z)) / z**3)
    space = lambda a: np.fft.irfft(np.pad(a, (0, n // 2 - kept)) * n, n)
    product = lambda a: -0.5j * q * np.fft.rfft(space(a) ** 2)[: kept + 1] / n
    for _ in range(round(t / h)):
        n_v = product(v)
        a = half * v + weight * n_v
        n_a = product(a)
        n_b = product(half * v + weight * n_a)
        n_c = product(half * a + weight * (2 * n_b - n_v))
        v = whole * v + n_v * f1 + 2 * (n_a + n_b) * f2 + n_c * f3
    return space(v).tolist()


def lorenz96(n=40, force=8.0, t=1.0, dt=None):
    x = force + np.sin(np.arange(n) ** 2 * 0.37)

    def rate(_, x):
        return (np.roll(x, -1) - np.roll(x, 2)) * np.roll(x, 1) - x + force

    if dt is None:
        return solve_ivp(rate, (0, t), x, "DOP853", rtol=1e-13, atol=1e-13).y[:, -1].tolist()
    for _ in range(round(t / dt)):
        a = rate(0, x)
        b = rate(0, x + dt / 2 * a)
        c = rate(0, x + dt / 2 * b)
        x = x + dt / 6 * (a + 2 * b + 2 * c + rate(0, x + dt * c))
    return x.tolist()


if __name__ == "__main__":
    made = {
        "taylor_green_series": [0.5] + taylor_green_series(0.01, 0.5),
        "taylor_green_rotational": taylor_green_rotational(32, 0.01, [2.0, 5.0], 0.01),
        "kolmogorov_growth": [[nu, kolmogorov_growth(nu, 4, 1)] for nu in (0.05, 0.07, 0.09, 0.11)],
        "kuramoto_sivashinsky": kuramoto_sivashinsky(),
        "kassam_trefethen": kassam_trefethen(),
        "lorenz96": lorenz96(),
        "lorenz96_runge_kutta": lorenz96(dt=0.05),
    }
    print(json.dumps(made, indent=1))
