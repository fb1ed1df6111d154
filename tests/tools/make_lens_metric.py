"""Makes tests/golden/lens_metric/: energies through a lens in the covariance metric, and gradients.

usage: make_lens_metric.py FOLDER      needs torch, safetensors and numpy

PyTorch computes in float64, from inputs stored in float32.

golden.safetensors: the decoder as in a decoder file (RMSNorm, epsilon 1e-5), with its metadata
    hidden (n, d), A (d, d), b (d), labels, derangement (n), u (m, d) not of unit length
    kappa (m) of u as directions; strength []; ridge []
    ABLATION.LOSS.energy (m), .energy_per_token (m, n), .grad (m, d), for mean, resample and zero,
    kl and ce: c_n = D_n . S^-1/2 u, h' = h - strength c S^1/2 u, S = Sigma + ridge tr(Sigma) / d I
"""

import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

N, D, V, M = 90, 14, 80, 3
RIDGE, STRENGTH = 1e-3, 0.8


def logits(x, stored):
    x = x + x @ stored["A"].double().T + stored["b"].double()
    x = x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * stored["norm.weight"].double()
    return x @ stored["unembedding.weight"].double().T


def main():
    random = np.random.default_rng(22)

    def draw(*shape, scale=1.0):
        return torch.from_numpy((scale * random.standard_normal(shape)).astype(np.float32))

    spread = torch.from_numpy(np.geomspace(6, 0.2, D).astype(np.float32))
    stored = {
        "norm.weight": 1 + draw(D, scale=0.3),
        "unembedding.weight": draw(V, D, scale=0.7),
        "hidden": (draw(N, D) * spread) @ draw(D, D, scale=0.3) + draw(D),
        "A": draw(D, D, scale=0.2),
        "b": draw(D, scale=0.3),
        "u": draw(M, D, scale=0.4).double(),
        "labels": torch.from_numpy(random.integers(0, V, N)),
        "derangement": torch.from_numpy((np.arange(N) + 17) % N),
    }
    h = stored["hidden"].double()
    about = h - h.mean(0)
    sigma = about.T @ about / N
    s = sigma + RIDGE * sigma.trace() / D * torch.eye(D, dtype=torch.float64)
    values, vectors = torch.linalg.eigh(s)
    root = vectors @ torch.diag(values.sqrt()) @ vectors.T
    inverse = vectors @ torch.diag(1 / values.sqrt()) @ vectors.T
    u = stored["u"]
    out = {
        "kappa": torch.stack([(v @ sigma @ v) * (v @ torch.linalg.solve(s, v)) for v in u]),
        "ridge": torch.tensor(RIDGE, dtype=torch.float64),
        "strength": torch.tensor(STRENGTH, dtype=torch.float64),
    }
    log_p = torch.log_softmax(logits(h, stored), -1)
    deltas = {"mean": about, "resample": h - h[stored["derangement"]], "zero": h}
    for ablation, delta in deltas.items():
        for loss in ("kl", "ce"):
            energies, grads = [], []
            for direction in u:
                v = direction.clone().requires_grad_()
                ablated = h - STRENGTH * (delta @ (inverse @ v))[:, None] * (root @ v)
                log_q = torch.log_softmax(logits(ablated, stored), -1)
                if loss == "kl":
                    each = (log_p.exp() * (log_p - log_q)).sum(-1)
                else:
                    each = (log_p - log_q)[torch.arange(N), stored["labels"]]
                each.mean().backward()
                energies.append(each.detach())
                grads.append(v.grad)
            name = f"{ablation}.{loss}"
            out[f"{name}.energy_per_token"] = torch.stack(energies)
            out[f"{name}.energy"] = torch.stack(energies).mean(-1)
            out[f"{name}.grad"] = torch.stack(grads)
    metadata = {"norm": "rmsnorm", "norm_eps": "1e-05", "logit_softcap": "0"}
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {k: v.contiguous() for k, v in (stored | out).items()},
        folder / "golden.safetensors",
        metadata=metadata,
    )


if len(sys.argv) != 2:
    sys.exit(__doc__)
main()
