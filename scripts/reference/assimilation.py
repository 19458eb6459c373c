#!/usr/bin/env python3
"""Numbers of SciPy's L-BFGS-B and dcsrch on small problems, for tests/assimilation and the line search.

Needs numpy and scipy (made with 2.4.6 and 1.17.1). Writes tests/data/assimilation/scipy.json:
  python3 scripts/reference/assimilation.py
"""
import json
import pathlib

import numpy as np
from scipy.optimize import minimize
from scipy.optimize._dcsrch import DCSRCH


def problem(m, s):
    """G (m x s) with columns of falling size and d (m), from formulas the test repeats."""
    i, j = np.arange(m)[:, None], np.arange(s)[None, :]
    g = np.sin(1.0 + 1.3 * i + 0.7 * i * j) / (1.0 + j)
    return g, np.cos(0.37 * np.arange(m)) + 0.2


def lbfgs(m, s, alpha, variance, tolerance):
    """The cost of seed 004 minimized as VarDACAE does: minimize(method='L-BFGS-B', jac, tol)."""
    g, d = problem(m, s)

    def cost(w):
        q = g @ w - d
        return 0.5 * alpha * w @ w + 0.5 * q @ q / variance

    def gradient(w):
        return alpha * w + g.T @ (g @ w - d) / variance

    costs = [cost(np.zeros(s))]
    result = minimize(cost, np.zeros(s), jac=gradient, method="L-BFGS-B", tol=tolerance,
                      callback=lambda w: costs.append(cost(w)))
    assert result.success, result.message
    return dict(m=m, s=s, alpha=alpha, variance=variance, tolerance=tolerance, costs=costs,
                evaluations=result.nfev, w=result.x.tolist())


FUNCTIONS = {  # More and Thuente 1994, functions 1 and 2, and a quartic whose slope changes its sign often
    "rational": (lambda a: -a / (a * a + 2.0), lambda a: (a * a - 2.0) / (a * a + 2.0) ** 2),
    "power": (lambda a: (a + 0.004) ** 5 - 2.0 * (a + 0.004) ** 4,
              lambda a: 5.0 * (a + 0.004) ** 4 - 8.0 * (a + 0.004) ** 3),
    "waves": (lambda a: -a + 0.9 * np.sin(3.0 * a) ** 2, lambda a: -1.0 + 2.7 * np.sin(6.0 * a)),
}


def searches():
    """Every trial step of dcsrch with the constants of L-BFGS-B, from several first steps."""
    out = []
    for name, (phi, slope) in FUNCTIONS.items():
        for first in (1e-3, 0.1, 1.0, 10.0, 1000.0):
            steps = []

            def value(a):
                steps.append(float(a))
                return phi(a)

            search = DCSRCH(value, slope, 1e-3, 0.9, 0.1, 0.0, 1e10)
            found = search(first, phi0=phi(0.0), derphi0=slope(0.0), maxiter=60)
            out.append(dict(function=name, first=first, steps=steps, accepted=found[3][:4] == b"CONV"))
    return out


def main():
    cases = [lbfgs(40, 12, 0.1, 0.005, t) for t in (1e-2, 1e-3, 1e-7)]
    cases.append(lbfgs(25, 30, 1.0, 0.005 ** 2, 1e-3))
    data = dict(lbfgs=cases, searches=searches())
    path = pathlib.Path(__file__).parents[2] / "tests/data/assimilation/scipy.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1) + "\n")
    for case in cases:
        print(case["tolerance"], len(case["costs"]) - 1, case["evaluations"], case["costs"][0], case["costs"][-1])
    for s in data["searches"]:
        print(s["function"], s["first"], len(s["steps"]), s["accepted"])


if __name__ == "__main__":
    main()
