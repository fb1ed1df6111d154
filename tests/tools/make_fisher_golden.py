#!/usr/bin/env python3
"""Writes tests/golden/fisher/NAME.safetensors from float64 reference values of each family.

usage: make_fisher_golden.py TRUTH OUTPUT

TRUTH/NAME/golden.safetensors has, for B sequences of which the first position is skipped,
input_ids, labels (R, B, S), v and u (d), and for layers i (block i's output) mean, covariance, M
and E2 of v (Euclidean) and u (whitened coordinates), made by PyTorch in float64. What oblique
ablation reads and writes is computed here: r = S^(-1/2) u, w = S^(1/2) u,
S = covariance + 1e-3 tr / d I.
"""

import pathlib
import sys

import numpy
from safetensors.numpy import load_file, save_file


def main():
    truth, output = (pathlib.Path(p) for p in sys.argv[1:])
    output.mkdir(parents=True, exist_ok=True)
    for path in sorted(truth.glob("*/golden.safetensors")):
        given = load_file(path)
        layers = sorted(int(name.split(".")[1]) for name in given if name.endswith(".M"))
        out = {name: given[name] for name in ("input_ids", "labels", "v")}
        out["layers"] = numpy.array([layers], dtype=numpy.int64)
        out["M"] = given[f"layers.{layers[0]}.M"].astype(numpy.float32)
        for i in layers:
            covariance = given[f"layers.{i}.covariance"]
            d = len(covariance)
            s = covariance + 1e-3 * numpy.trace(covariance) / d * numpy.eye(d)
            values, vectors = numpy.linalg.eigh(s)
            along = vectors.T @ given["u"]
            out[f"layers.{i}.read"] = vectors @ (along / numpy.sqrt(values))
            out[f"layers.{i}.write"] = vectors @ (along * numpy.sqrt(values))
            out[f"layers.{i}.mean"] = given[f"layers.{i}.mean"]
            e2 = [given[f"layers.{i}.{metric}.e2"] for metric in ("euclidean", "covariance")]
            out[f"layers.{i}.e2"] = numpy.array(e2)
        save_file(out, output / f"{path.parent.name}.safetensors")


main()
