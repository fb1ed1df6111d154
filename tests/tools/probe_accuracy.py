#!/usr/bin/env python3
"""Largest differences between `cbe probe` and PyTorch's float64.

The cases of tests/golden/extract without a tuned lens. docs/maths.md quotes what this prints. Needs
numpy and safetensors.

usage: probe_accuracy.py PROGRAM
"""

import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from safetensors.numpy import load_file, save_file

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "extract"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.strip())
    print(
        f"{'case':16} {'energy':>10} {'relative':>10} {'gradient':>10}"
        "   (gradient: share of its largest component)"
    )
    with tempfile.TemporaryDirectory() as folder:
        vectors, out = f"{folder}/v.safetensors", f"{folder}/out.safetensors"
        for case in sorted(p for p in GOLDEN.iterdir() if not (p / "lens").exists()):
            golden = load_file(case / "golden.safetensors")
            worst = np.zeros(3)
            for layer in sorted({int(k.split(".")[1]) for k in golden}):
                save_file({"v": golden[f"layers.{layer}.v"]}, vectors)
                for ablation in ("mean", "resample", "zero"):
                    for objective in ("kl", "ce"):
                        command = [sys.argv[1], "probe", "-q", "-o", out, "--vectors-file", vectors]
                        command += ["--hidden-states", case / "hidden.safetensors"]
                        command += ["--decoder", case / "decoder.safetensors"]
                        command += ["--layers", str(layer), "--ablation", ablation]
                        command += ["--objective", objective]
                        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                        got = load_file(out)
                        want = f"layers.{layer}.{ablation}.{objective}"
                        energy, gradient = golden[f"{want}.energy"], golden[f"{want}.grad"]
                        difference = abs(got[f"layers.{layer}.energy"][0] - energy)
                        share = (
                            abs(got[f"layers.{layer}.grad"][0] - gradient).max()
                            / abs(gradient).max()
                        )
                        worst = np.maximum(worst, [difference, difference / abs(energy), share])
            print(f"{case.name:16} " + " ".join(f"{x:10.1e}" for x in worst))


if __name__ == "__main__":
    main()
