"""Coefficients of the polynomial for 2^f, f in [-1/(2 STEPS), 1/(2 STEPS)], in src/math/simd.h.

Minimises the largest relative error by Remez exchange, then rounds to float32 one coefficient at a
time, highest first, fitting the rest again. Prints C hexadecimal floats and the error that a
float64 evaluation of the rounded polynomial has.

Usage: exp2_coefficients.py [DEGREE [STEPS]]     6 and 1 without a table, 3 and 8 with one
Needs numpy.
"""

import sys

import numpy as np

degree = int(sys.argv[1]) if len(sys.argv) > 1 else 6
half = 0.5 / (int(sys.argv[2]) if len(sys.argv) > 2 else 1)
grid = half * np.cos(np.linspace(0, np.pi, 20001))


def remez(fixed):
    """Best coefficients (lowest power first) with those in `fixed` (power -> value) kept."""
    free = [k for k in range(degree + 1) if k not in fixed]
    count = len(free) + 1
    points = half * np.cos(np.linspace(0, np.pi, count))
    for _ in range(60):
        target = 1 - sum(v * points**k for k, v in fixed.items()) / 2**points
        rows = np.stack([points**k / 2**points for k in free] + [(-1.0) ** np.arange(count)], 1)
        solution = np.linalg.solve(rows, target)
        c = np.zeros(degree + 1)
        for k, v in fixed.items():
            c[k] = v
        c[free] = solution[:-1]
        error = np.polyval(c[::-1], grid) / 2**grid - 1
        pieces = np.split(np.arange(len(grid)), np.where(np.diff(np.sign(error)) != 0)[0] + 1)
        extremes = [p[np.abs(error[p]).argmax()] for p in pieces]
        if len(extremes) < count:
            break
        while len(extremes) > count:
            extremes.pop(0 if abs(error[extremes[0]]) < abs(error[extremes[-1]]) else -1)
        points = grid[extremes]
    return c


fixed = {}
for power in range(degree, -1, -1):
    c = remez(fixed)
    fixed[power] = float(np.float32(c[power]))
    if len(fixed) == degree + 1:
        break
c = np.array([fixed[k] for k in range(degree + 1)])
for power in range(degree, -1, -1):
    print(f"f^{power}: {float(np.float32(c[power])).hex()}f")
print(f"largest relative error {np.abs(np.polyval(c[::-1], grid) / 2**grid - 1).max():.3e}")
