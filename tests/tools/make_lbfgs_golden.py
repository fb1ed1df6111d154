"""Paths of torch.optim.LBFGS (strong_wolfe, float64) on Rosenbrock functions.

    python3 make_lbfgs_golden.py OUTPUT        tests/golden/lbfgs/golden.safetensors

Needs torch, numpy and safetensors; made with torch 2.15. The functions have a minimum of 1, so that
values near it can be compared relatively. Tensors, float64, in the order of evaluation:
<name>.x (n, dimension), <name>.f (n).
"""

import sys

import numpy
import torch
from safetensors.numpy import save_file


def rosenbrock(x):
    return 1 + (100 * (x[1::2] - x[::2] ** 2) ** 2 + (1 - x[::2]) ** 2).sum()


def chain(x):
    return 1 + (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def path(function, start):
    x = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [x],
        lr=1,
        max_iter=100,
        max_eval=125,
        history_size=100,
        tolerance_grad=1e-7,
        tolerance_change=float(numpy.finfo(numpy.float32).eps),
        line_search_fn="strong_wolfe",
    )
    points, values = [], []

    def closure():
        optimiser.zero_grad()
        f = function(x)
        f.backward()
        points.append(x.detach().numpy().copy())
        values.append(f.item())
        return f

    optimiser.step(closure)
    return numpy.array(points), numpy.array(values)


tensors = {}
for name, function, start in (
    ("pair", rosenbrock, [-1.2, 1.0]),
    ("far", rosenbrock, [-3.0, -4.0]),
    ("chain", chain, [-1.2, 1.0, -1.2, 1.0]),
):
    points, values = path(function, start)
    tensors[name + ".x"], tensors[name + ".f"] = points, values
    print(name, len(values), "evaluations, last value", values[-1], "lowest", values.min())
save_file(tensors, sys.argv[1])
