#!/usr/bin/env python3
"""How far PyTorch's own float64 results (tests/golden/extract) are from maxima.

For each vector: the largest component of the gradient along the sphere, orthogonal to the other
vectors of its basis, over the energy. docs/search.md quotes what this prints. Needs torch and
safetensors.

usage: golden_tangents.py
"""

import pathlib
import statistics

import torch
from safetensors import safe_open
from safetensors.torch import load_file

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "extract"
CHAOTIC = {"massive-logit", "sharp-logit"}  # left out by tests/search/test_golden_extract.c too


def log_probs(x, tensors, metadata):
    if metadata["norm"] == "layernorm":
        x = x - x.mean(-1, keepdim=True)
    x = (
        x
        / (x.square().mean(-1, keepdim=True) + float(metadata["norm_eps"])).sqrt()
        * tensors["norm.weight"]
    )
    x = x + tensors.get("norm.bias", 0)
    logits = x @ tensors["unembedding.weight"].T + tensors.get("unembedding.bias", 0)
    cap = float(metadata["logit_softcap"])
    return torch.log_softmax(cap * torch.tanh(logits / cap) if cap else logits, -1)


def tangents(case):
    """(layer, ablation, vector, energy, tangent / energy) of each vector of a case."""
    decoder = {k: t.double() for k, t in load_file(case / "decoder.safetensors").items()}
    with safe_open(case / "decoder.safetensors", "pt") as file:
        metadata = file.metadata()
    inputs, golden = load_file(case / "hidden.safetensors"), load_file(case / "golden.safetensors")
    lens = case / "lens" / "params.safetensors"
    lens = {k: t.double() for k, t in load_file(lens).items()} if lens.exists() else None
    layers = sorted({int(k.split(".")[1]) for k in golden if k.endswith(".basis")})
    for layer in layers:
        h = inputs[f"hidden_states.{layer}"].double().flatten(0, 1)

        def read(states, layer=layer):
            if lens:
                states = states + states @ lens[f"{layer}.weight"].T + lens[f"{layer}.bias"]
            return log_probs(states, decoder, metadata)

        clean = read(h)
        removed = {"mean": h - h.mean(0), "resample": h - h[inputs["derangement"]], "zero": h}
        for ablation, delta in removed.items():
            basis = golden[f"layers.{layer}.{ablation}.basis"].T.double()
            for j, vector in enumerate(basis):
                v = vector.clone().requires_grad_()
                energy = (
                    (clean.exp() * (clean - read(h - torch.outer(delta @ v, v)))).sum(-1).mean()
                )
                (gradient,) = torch.autograd.grad(energy, v)
                gradient = gradient - basis.T @ (basis @ gradient)
                yield layer, ablation, j, energy.item(), (gradient.abs().max() / energy).item()


def main():
    shares = []
    for case in sorted(p for p in GOLDEN.iterdir() if p.name not in CHAOTIC):
        for layer, ablation, j, energy, share in tangents(case):
            shares.append(share)
            if share > 2e-3:
                print(
                    f"{case.name} layer {layer} {ablation} vector {j}: energy {energy:.6f}, "
                    f"tangent gradient {share:.2g} of it"
                )
    shares.sort()
    above = sum(s > 1e-4 for s in shares)
    print(
        f"{len(shares)} vectors: smallest {shares[0]:.2g}, median {statistics.median(shares):.2g}, "
        f"largest {shares[-1]:.2g}; {above} above 1e-4"
    )


if __name__ == "__main__":
    main()
