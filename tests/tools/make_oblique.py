#!/usr/bin/env python3
"""Writes tests/golden/ablate/oblique.safetensors: what two vectors do together in models/llama,
taken out by the pairs that they were made with, in the covariance of the text itself, and as a
span, by PyTorch in float64.

Text: the tokens of truth/llama, the first of each sequence skipped; outputs of blocks 0 and 1.
`layers.<i>.basis` [d, 2] are directions of unit length at an angle, `.read` and `.write` their
pairs in the covariance of the first half of the sequences. `layers.<i>.<metric>.<scope>.<rank>` is
the mean divergence of h - W (R'W)^-1 R' (h - mean), R and W being the first `rank` columns of read
and write (`pairs`), of S^-1 V and V (`covariance`, V: basis), or both of V (`euclidean`).

usage: make_oblique.py          needs torch, transformers, safetensors
"""

import torch
from check_truth import MODELS, RIDGE, Model
from safetensors.torch import load_file, save_file

GOLDEN = MODELS.parent
RANKS = (1, 2)


def covariance_of(rows):
    about = rows - rows.mean(0)
    s = about.T @ about / len(rows)
    return s + RIDGE * s.trace() / len(s) * torch.eye(len(s), dtype=torch.float64)


def pairs_of(s, v):
    """Columns orthonormal in whitened coordinates, by the Cholesky factor of V' S^-1 V."""
    r = torch.linalg.solve(s, v)
    factor = torch.linalg.inv(torch.linalg.cholesky(v.T @ r)).T
    return r @ factor, v @ factor


def energy(model, ids, clean, block, states, scope, read, write):
    d, length = states.shape[-1], ids.shape[1]
    rows = states[:, 1:].reshape(-1, d)
    projector = write @ torch.linalg.solve(read.T @ write, read.T)
    left = (rows - (rows - rows.mean(0)) @ projector.T).reshape(len(ids), -1, d)
    changed = torch.cat([states[:, :1], left], 1)
    if scope == "all":
        logits = model.logits(ids, block, changed)
    else:
        at = torch.arange(length)
        parts = []
        for b in range(len(ids)):
            copies = torch.where((at[:, None] == at)[:, :, None], changed[b], states[b])
            parts.append(model.logits(ids[b].expand(length, -1), block, copies)[at, at])
        logits = torch.stack(parts)
    p, q = clean[:, 1:].log_softmax(-1), logits[:, 1:].log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1).mean()


def main():
    ids = load_file(GOLDEN / "truth" / "llama" / "golden.safetensors")["input_ids"]
    model = Model(MODELS / "llama")
    clean, states = model.states(ids)
    torch.manual_seed(5)
    out = {}
    for i in (0, 1):
        h = states[i]
        d = h.shape[-1]
        v = torch.randn(d, 2, dtype=torch.float64)
        v[:, 1] += v[:, 0]
        v = (v / v.norm(dim=0)).float()
        half = h[: len(ids) // 2, 1:].reshape(-1, d)
        read, write = (x.float() for x in pairs_of(covariance_of(half), v.double()))
        out |= {f"layers.{i}.basis": v, f"layers.{i}.read": read, f"layers.{i}.write": write}
        v = v.double()
        s = covariance_of(h[:, 1:].reshape(-1, d))
        metrics = {
            "pairs": (read.double(), write.double()),
            "covariance": (torch.linalg.solve(s, v), v),
            "euclidean": (v, v),
        }
        for name, (r, w) in metrics.items():
            for scope in ("all", "own"):
                for m in RANKS:
                    with torch.no_grad():
                        e = energy(model, ids, clean, i, h, scope, r[:, :m], w[:, :m])
                    out[f"layers.{i}.{name}.{scope}.{m}"] = e.reshape(1)
    path = GOLDEN / "ablate"
    path.mkdir(exist_ok=True)
    out = {k: v.contiguous() for k, v in out.items()}
    save_file(out, path / "oblique.safetensors")
    for k, v in out.items():
        if len(v) == 1:
            print(k, float(v))


if __name__ == "__main__":
    main()
