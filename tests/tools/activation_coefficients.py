"""Coefficients of the polynomials in src/model/activation.c (gelu) and src/math/rows.c (tanh).

gelu(z) = z (1 - Q(z)) for z >= 0 and z Q(-z) below, Q the upper tail of the normal distribution.
-log Q is fitted on [0, 9] so that the largest error of t Q(t) is smallest. tanh(x) = x + x^3 R(x^2)
for |x| < 0.625; R is fitted so that the largest relative error is. Least squares, with weights
raised where the error is largest until it is level (Lawson's algorithm). Prints the coefficients,
lowest power first, rounded to float32, and the errors of a float32 evaluation.

Usage: activation_coefficients.py        needs numpy
"""

import math

import numpy as np


def level_fit(x, y, weight, degree):
    powers = np.vander(x / x.max(), degree + 1, increasing=True)
    lawson = np.ones_like(x)
    for _ in range(60):
        w = weight * np.sqrt(lawson)
        c = np.linalg.lstsq(powers * w[:, None], y * w, rcond=None)[0]
        error = np.abs(powers @ c - y) * weight
        lawson *= error / error.max() + 1e-3
        lawson /= lawson.mean()
    return (c / x.max() ** np.arange(degree + 1)).astype(np.float32)


def evaluate(c, x):
    p = np.full_like(x, c[-1])
    for value in c[-2::-1]:
        p = p * x + value
    return p


def show(name, c, error):
    print(f"{name}: largest error {error:.2g}")
    for power, value in enumerate(c):
        print(f"    x^{power:<2} {float(value)!r}")


nodes = np.cos(np.pi * (np.arange(4000) + 0.5) / 4000)


def minus_log_tail(t):
    return np.array([-math.log(0.5 * math.erfc(v / math.sqrt(2))) for v in t])


t = (nodes + 1) * 4.5
y = minus_log_tail(t)
c = level_fit(t, y, np.maximum(np.exp(-y) * np.maximum(t, 0.3), 1e-6), 10)
grid = np.linspace(0, 9, 100001).astype(np.float32)
show(
    "-log Q",
    c,
    np.abs(
        grid
        * (np.exp(-evaluate(c, grid).astype(float)) - np.exp(-minus_log_tail(grid.astype(float))))
    ).max(),
)

x = np.sqrt((nodes + 1) / 2) * 0.625
c = level_fit(x**2, (np.tanh(x) / x - 1) / x**2, x**2, 4)
grid = np.linspace(1e-3, 0.625, 100001).astype(np.float32)
show(
    "R",
    c,
    np.abs((grid + grid**3 * evaluate(c, grid * grid)) / np.tanh(grid.astype(float)) - 1).max(),
)
