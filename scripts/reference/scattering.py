"""Intensities of small-angle scattering by quadrature in 20 digits: the numbers of tests/data/scattering.json.

Formulas, as published (Guinier and Fournet 1955; Pedersen 1997; pages of sasmodels 1.0), written down again here with
functions of mpmath and adaptive quadrature over sizes (Schulz), orientation and direction; nothing is shared with the
program. Lengths in angstrom, contrast 1e-6 / angstrom^2, intensities in 1/cm.

    python scripts/reference/scattering.py > tests/data/scattering.json
"""

import json

from mpmath import besselj, cos, exp, gamma, legendre, log, mp, mpf, pi, quad, sin, sqrt

mp.dps = 20


def integral(of, cut):
    """Gauss-Legendre on every piece, doubled until its digits stay."""
    return quad(of, cut, method="gauss-legendre")


def ball(x):
    return mpf(1) if x == 0 else 3 * (sin(x) - x * cos(x)) / x**3


def sinc(x):
    return mpf(1) if x == 0 else sin(x) / x


def disk(x):
    return mpf(1) if x == 0 else 2 * besselj(1, x) / x


def volume(form, size, length):
    return {
        "sphere": 4 * pi / 3 * size**3,
        "core-shell": 4 * pi / 3 * (size + length) ** 3,
        "ellipsoid": 4 * pi / 3 * size**2 * length,
        "cylinder": pi * size**2 * length,
        "lamella": size,
    }[form]


def amplitude(form, size, length, core, q, mu):
    across = sqrt(1 - mu * mu)
    if form == "sphere":
        return volume(form, size, length) * ball(q * size)
    if form == "core-shell":
        inner, outer = 4 * pi / 3 * size**3, 4 * pi / 3 * (size + length) ** 3
        return (core - 1) * inner * ball(q * size) + outer * ball(q * (size + length))
    if form == "ellipsoid":
        return volume(form, size, length) * ball(q * sqrt((size * across) ** 2 + (length * mu) ** 2))
    if form == "cylinder":
        return volume(form, size, length) * sinc(q * length * mu / 2) * disk(q * size * across)
    return size * sinc(q * size / 2)


def pieces(low, high, phase):
    """Interval cut so that nothing turns by more than about a half period in a piece."""
    n = max(2, int(phase / 3) + 1)
    return [low + (high - low) * mpf(i) / n for i in range(n + 1)]


def averaged(form, size, length, core, q, order):
    """Integral over mu in 0..1 of F^2 P_order."""
    if form in ("sphere", "core-shell"):
        return amplitude(form, size, length, core, q, mpf(0)) ** 2 if order == 0 else mpf(0)
    if form == "lamella":
        return 2 * pi / q**2 * amplitude(form, size, length, core, q, mpf(1)) ** 2
    longest = sqrt(length**2 + (2 * size) ** 2) if form == "cylinder" else 2 * max(size, length)
    integrand = lambda mu: amplitude(form, size, length, core, q, mu) ** 2 * legendre(order, mu)
    return integral(integrand, pieces(mpf(0), mpf(1), q * longest + order))


def coefficient(case, q, order):
    form, size, length, core = case["form"], mpf(case["size"]), mpf(case["length"]), mpf(case["core"])
    width, q = mpf(case["width"]), mpf(q)
    if width == 0:
        top, bottom = averaged(form, size, length, core, q, order), volume(form, size, length)
    else:
        z = 1 / width**2 - 1
        density = lambda x: exp(z * log(x) - (z + 1) * x + (z + 1) * log(z + 1) - log(gamma(z + 1)))
        cut = pieces(mpf("1e-6"), 1 + 16 * width, 2 * q * size * (1 + 16 * width))
        top = integral(lambda x: density(x) * averaged(form, x * size, length, core, q, order), cut)
        bottom = integral(lambda x: density(x) * volume(form, x * size, length), cut)
    scale = mpf("1e-4") * mpf(case["volume_fraction"]) * mpf(case["contrast"]) ** 2
    return scale * top / bottom


def orientation(alignment, order):
    share = lambda mu: exp(mpf(alignment) * (mu * mu - 1))
    cut = pieces(mpf(0), mpf(1), order + alignment)
    return integral(lambda mu: share(mu) * legendre(order, mu), cut) / integral(share, cut)


def main():
    base = {"contrast": "3.5", "volume_fraction": "0.01", "core": "1"}
    mono = [
        {"form": "sphere", "size": "60", "length": "0", "width": "0"},
        {"form": "core-shell", "size": "50", "length": "25", "core": "-0.5", "width": "0"},
        {"form": "ellipsoid", "size": "40", "length": "110", "width": "0"},
        {"form": "ellipsoid", "size": "110", "length": "40", "width": "0"},
        {"form": "cylinder", "size": "30", "length": "400", "width": "0"},
        {"form": "cylinder", "size": "150", "length": "20", "width": "0"},
        {"form": "lamella", "size": "45", "length": "0", "width": "0"},
    ]
    spread = [
        {"form": "sphere", "size": "60", "length": "0", "width": "0.05"},
        {"form": "sphere", "size": "60", "length": "0", "width": "0.2"},
        {"form": "core-shell", "size": "50", "length": "25", "core": "-0.5", "width": "0.15"},
        {"form": "lamella", "size": "45", "length": "0", "width": "0.1"},
        {"form": "cylinder", "size": "30", "length": "120", "width": "0.12"},
    ]
    rows = []
    for case in mono + spread:
        case = base | case
        costly = case["width"] != "0" and case["form"] == "cylinder"
        for q in ["0.05"] if costly else ["0.0005", "0.005", "0.02", "0.0831", "0.25"]:
            for order in [0] if costly else [0, 2, 8]:
                if order > 0 and case["form"] in ("sphere", "core-shell"):
                    continue
                value = mp.nstr(coefficient(case, q, order), 17)
                rows.append(case | {"q": q, "order": order, "coefficient": value})
    axes = [
        {"alignment": a, "order": l, "mean": mp.nstr(orientation(a, l), 17)}
        for a in [0.5, 3.0, 15.0, 30.0]
        for l in [2, 4, 12, 30]
    ]
    print(json.dumps({"coefficients": rows, "orientation": axes}, indent=1))


main()
