"""Time of one step of turbulence as src/dataset/generate/spectral/turbulence.rs makes it, with scipy.fft.

    python scripts/reference/turbulence_step.py [points] [workers]

Four evaluations of three backward and five forward transforms, integrating factor, projection, in double precision.
"""

import sys
import time

import numpy as np
import scipy.fft as fft

from generators import Box

points = int(sys.argv[1]) if len(sys.argv) > 1 else 128
workers = int(sys.argv[2]) if len(sys.argv) > 2 else 2
dt, nu = 2 / points, 1 / 1600
box = Box(points)
keep, k, scale = box.keep, box.k, box.n**3
inverse = np.where(box.k2 == 0, 0, 1 / np.where(box.k2 == 0, 1, box.k2))


def waves(u):
    return fft.rfftn(u, workers=workers) / scale * keep


def rate(a):
    u, v, w = (fft.irfftn(x * scale, s=(points,) * 3, workers=workers) for x in a)
    ww = w * w
    xx, yy, xy, xz, yz = waves(u * u - ww), waves(v * v - ww), waves(u * v), waves(u * w), waves(v * w)
    n = -1j * np.array([k[0] * xx + k[1] * xy + k[2] * xz, k[0] * xy + k[1] * yy + k[2] * yz, k[0] * xz + k[1] * yz])
    return n - k * ((k * n).sum(0) * inverse)


def step(a, e):
    q = rate(a)
    total = e * e * (a + dt / 6 * q)
    q = rate(e * (a + dt / 2 * q))
    total += dt / 3 * e * q
    q = rate(e * a + dt / 2 * q)
    total += dt / 3 * e * q
    return total + dt / 6 * rate(e * e * a + dt * e * q)


a = np.array([waves(u) for u in box.taylor_green])
e = np.exp(-0.5 * nu * dt * box.k2)
a = step(a, e)
times = []
for _ in range(3):
    start = time.perf_counter()
    a = step(a, e)
    times.append(time.perf_counter() - start)
print(f"{points}^3, {workers} workers: {min(times):.3f} s a step (best of 3, median {sorted(times)[1]:.3f})")
