"""Makes tests/golden/lens_loss/: losses of lenses, their gradients, and steps of optimizers.

usage: make_lens_loss.py FOLDER      needs torch, safetensors and numpy

PyTorch computes in float64.

NAME.safetensors for rmsnorm, layernorm (offset, output bias) and softcap (cap 3, rmsnorm):
    the decoder as in a decoder file (norm.weight, ...), with its metadata
    hidden, last (n, d), labels (n), A (d, d), b (d)
    kl.loss, ce.loss []: sums over tokens
    kl.grad_A, .grad_b, .grad_x (d, d), (d), (n, d), and so for ce: of the sums
steps.safetensors: gradient.0 .. gradient.2 (d + 1, d), start (d + 1, d)
    sgd and adam (d + 1, d): after a step with each, rates 0.3, 0.2, 0.1
    (sgd: times 0.1, momentum 0.9, Nesterov; adam: betas 0.9 and 0.999)
"""

import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

D, V, N = 16, 60, 12


def decode(x, decoder, norm, cap):
    if norm == "layernorm":
        x = x - x.mean(-1, keepdim=True)
    x = x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * decoder["norm.weight"]
    if "norm.bias" in decoder:
        x = x + decoder["norm.bias"]
    logits = x @ decoder["unembedding.weight"].T
    if "unembedding.bias" in decoder:
        logits = logits + decoder["unembedding.bias"]
    return cap * torch.tanh(logits / cap) if cap else logits


def case(random, folder, name, norm, cap, offsets):
    def draw(*shape, scale=1.0):
        return torch.from_numpy((scale * random.standard_normal(shape)).astype(np.float32))

    stored = {"norm.weight": 1 + draw(D, scale=0.3), "unembedding.weight": draw(V, D, scale=0.7)}
    if offsets:
        stored["norm.bias"] = draw(D, scale=0.2)
        stored["unembedding.bias"] = draw(V, scale=0.3)
    inputs = {
        "hidden": draw(N, D, scale=2),
        "last": draw(N, D, scale=2),
        "A": draw(D, D, scale=0.2),
        "b": draw(D, scale=0.3),
    }
    labels = torch.from_numpy(random.integers(0, V, N))
    decoder = {key: value.double() for key, value in stored.items()}
    out = {}
    for kind in ("kl", "ce"):
        a, b = inputs["A"].double().requires_grad_(), inputs["b"].double().requires_grad_()
        hidden = inputs["hidden"].double()
        x = hidden + hidden @ a.T + b
        x.retain_grad()
        log_q = torch.log_softmax(decode(x, decoder, norm, cap), -1)
        log_p = torch.log_softmax(decode(inputs["last"].double(), decoder, norm, cap), -1)
        loss = (
            (log_p.exp() * (log_p - log_q)).sum()
            if kind == "kl"
            else -log_q[torch.arange(N), labels].sum()
        )
        loss.backward()
        out |= {
            f"{kind}.loss": loss.detach(),
            f"{kind}.grad_A": a.grad,
            f"{kind}.grad_b": b.grad,
            f"{kind}.grad_x": x.grad,
        }
    metadata = {"norm": norm, "norm_eps": "1e-05", "logit_softcap": str(cap)}
    save_file(stored | inputs | {"labels": labels} | out, folder / f"{name}.safetensors", metadata)


def steps(random, folder):
    start = torch.from_numpy(random.standard_normal((D + 1, D)).astype(np.float32))
    gradients = [
        torch.from_numpy(random.standard_normal((D + 1, D)).astype(np.float32)) for _ in range(3)
    ]
    out = {"start": start} | {f"gradient.{i}": g for i, g in enumerate(gradients)}
    for name in ("sgd", "adam"):
        parameter = start.double().clone().requires_grad_()
        if name == "sgd":
            optimizer = torch.optim.SGD([parameter], lr=1, momentum=0.9, nesterov=True)
        else:
            optimizer = torch.optim.Adam([parameter], betas=(0.9, 0.999))
        for rate, gradient in zip((0.3, 0.2, 0.1), gradients, strict=True):
            optimizer.param_groups[0]["lr"] = rate * (0.1 if name == "sgd" else 1)
            parameter.grad = gradient.double()
            optimizer.step()
        out[name] = parameter.detach()
    save_file(out, folder / "steps.safetensors")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(7)
    case(random, folder, "rmsnorm", "rmsnorm", 0, False)
    case(random, folder, "layernorm", "layernorm", 0, True)
    case(random, folder, "softcap", "rmsnorm", 3, True)
    steps(random, folder)


if __name__ == "__main__":
    main()
