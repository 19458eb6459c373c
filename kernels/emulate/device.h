// The CUDA execution model on a CPU, for tests on machines without a GPU: what kernels see of it. Threads of a block are
// fibers that run one after the other between barriers (run.cpp), so every run has one order, forwards or backwards; a
// missing barrier gives other results in one of them. Stricter than a GPU: arguments know their bounds, memory that
// nothing has written reads as NaN, a barrier that not all threads reach ends the run with a message.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#define __device__
#define __forceinline__ inline
#define __noinline__
#define KERNEL(threads, name) static void name
#define SHARED(type, name, extents)                                                                                    \
    static thread_local type name extents;                                                                             \
    static thread_local emulate::Poisoned name##_poisoned(&name, sizeof name);                                         \
    name##_poisoned.touch()

namespace emulate {

struct Extents {
    unsigned x, y, z;
};

// The running thread; run.cpp sets them when it switches. (__thread: no initializer to be called at every access.)
extern __thread Extents thread_index, block_index, block_extents, grid_extents;

// Ends the launch with a message; does not return.
[[noreturn]] void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

// __syncthreads.
void block_barrier();

// Every lane of the warp hands in `size` bytes (at most 64) and gets those of all 32 lanes, one after the other.
const unsigned char *warp_exchange(const void *mine, unsigned size);

// An asynchronous copy of `bytes` bytes, or of zeros, that arrives when this thread waits and no earlier.
void copy_later(void *to, const void *from, unsigned bytes);
void wait_for_copies();

// Shared memory that reads as NaN at the start of every block.
class Poisoned {
  public:
    Poisoned(void *memory, unsigned long size) : memory(memory), size(size) {}
    void touch();

  private:
    void *memory;
    unsigned long size, block = 0;
};

// Memory of an argument, with its bounds.
template <class T> class Bounded {
  public:
    Bounded() = default;
    Bounded(T *at, T *begin, T *end) : at(at), begin(begin), end(end) {}

    T &operator[](long long i) const { return *range(i, 1); }
    Bounded operator+(long long i) const { return {at + i, begin, end}; }
    // The elements i .. i + n.
    T *range(long long i, long long n) const {
        if (at + i < begin || at + i + n > end)
            fail("elements %lld..%lld of an argument of %lld", (long long)(at - begin) + i,
                 (long long)(at - begin) + i + n, (long long)(end - begin));
        return at + i;
    }
    bool aligned(unsigned bytes) const { return (uintptr_t)at % bytes == 0; }

  private:
    T *at, *begin, *end;
};

// One argument of a launch as the launcher gives it.
struct Argument {
    const void *data;        // the value, or the address of the memory
    unsigned long long size; // bytes of the value or of the memory
    unsigned kind;           // 0 a value, 1 memory that is read, 2 memory that is written
};

template <class T> struct Take {
    static T from(const Argument &a, unsigned i) {
        if (a.kind != 0 || a.size != sizeof(T)) fail("argument %u: a value of %zu bytes is expected", i, sizeof(T));
        T value;
        memcpy(&value, a.data, sizeof value);
        return value;
    }
};
template <class T> struct Take<Bounded<T>> {
    static Bounded<T> from(const Argument &a, unsigned i) {
        const unsigned kind = std::is_const<T>::value ? 1 : 2;
        if (a.kind != kind) fail("argument %u: memory to be %s is expected", i, kind == 1 ? "read" : "written");
        T *begin = (T *)a.data;
        if (a.size % sizeof(T)) fail("argument %u: %llu bytes are no whole number of elements", i, a.size);
        return {begin, begin, begin + a.size / sizeof(T)};
    }
};

using Entry = void (*)(const Argument *, unsigned);

template <class... A, unsigned... I>
void call(void (*kernel)(A...), const Argument *arguments, std::integer_sequence<unsigned, I...>) {
    kernel(Take<A>::from(arguments[I], I)...);
}
template <class... A> void call(void (*kernel)(A...), const Argument *arguments, unsigned count) {
    if (count != sizeof...(A)) fail("%u arguments for %zu parameters", count, sizeof...(A));
    call(kernel, arguments, std::make_integer_sequence<unsigned, sizeof...(A)>());
}

struct Kernel {
    const char *file, *element, *name;
    Entry entry;
    unsigned threads_max;
};

} // namespace emulate

#define threadIdx emulate::thread_index
#define blockIdx emulate::block_index
#define blockDim emulate::block_extents
#define gridDim emulate::grid_extents

template <class T> using In = emulate::Bounded<const T>;
template <class T> using Out = emulate::Bounded<T>;
template <class T> using InOut = emulate::Bounded<T>;

template <class T> static inline T *span(emulate::Bounded<T> memory, long long i, long long n) {
    return memory.range(i, n);
}

static inline void __syncthreads() { emulate::block_barrier(); }
static inline void __syncwarp(unsigned = ~0u) { emulate::warp_exchange("", 1); }

template <class T> static inline T shuffled(T mine, unsigned lane) {
    T theirs;
    memcpy(&theirs, emulate::warp_exchange(&mine, sizeof mine) + sizeof mine * (lane % 32), sizeof theirs);
    return theirs;
}
static inline unsigned lane_index() {
    const auto &t = threadIdx;
    return (t.x + blockDim.x * (t.y + blockDim.y * t.z)) % 32;
}
template <class T> static inline T __shfl_sync(unsigned, T value, int lane) { return shuffled(value, lane); }
template <class T> static inline T __shfl_xor_sync(unsigned, T value, int mask) {
    return shuffled(value, lane_index() ^ mask);
}
template <class T> static inline T __shfl_down_sync(unsigned, T value, unsigned delta) {
    const unsigned lane = lane_index();
    return shuffled(value, lane + delta < 32 ? lane + delta : lane);
}
template <class T> static inline T __shfl_up_sync(unsigned, T value, unsigned delta) {
    const unsigned lane = lane_index();
    return shuffled(value, lane >= delta ? lane - delta : lane);
}
static inline unsigned __ballot_sync(unsigned, int predicate) {
    const unsigned char mine = predicate != 0, *all = emulate::warp_exchange(&mine, 1);
    unsigned ballot = 0;
    for (unsigned lane = 0; lane < 32; lane++) ballot |= (unsigned)all[lane] << lane;
    return ballot;
}

// Integers only, as on the GPU: the order of integer additions does not matter.
static inline unsigned atomicAdd(unsigned *at, unsigned value) {
    const unsigned old = *at;
    *at += value;
    return old;
}

static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __clz(unsigned x) { return x ? __builtin_clz(x) : 32; }
static inline int __ffs(unsigned x) { return __builtin_ffs((int)x); }
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((unsigned long long)a * b >> 32); }

template <class To, class From> static inline To same_bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "the same size");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
static inline unsigned __float_as_uint(float x) { return same_bits<unsigned>(x); }
static inline float __uint_as_float(unsigned x) { return same_bits<float>(x); }
static inline long long __double_as_longlong(double x) { return same_bits<long long>(x); }
static inline double __longlong_as_double(long long x) { return same_bits<double>(x); }
