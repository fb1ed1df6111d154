"""Trains translators as the tuned-lens package does by default, beside cbe lens train.

Zero start, KL(final || lens), SGD with Nesterov momentum 0.9, learning rate 1.0 (PyTorch's scaled
by 1 - momentum), weight decay 1e-3, gradient norm clipped at 1, linear decay to 0; one pass over
the same tokens, `batch` sequences a step. Each layer is trained by itself (in the package layers
share only the clipped norm).

usage: pytorch_lens_training.py TRAIN.safetensors HELD_OUT.safetensors DECODER.safetensors LAYER...
       [--batch B] [--lr LR] [--save OUT.safetensors]
Files of hidden states are of cbe capture, with each LAYER and the last one; the decoder's of cbe
decoder.
"""

import argparse
import time

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from pytorch_evaluation import Decoder


def translate(hidden, weight, bias):
    return hidden + hidden @ weight.T + bias


def kl(final, lens):
    return (final.exp() * (final - lens)).sum(-1).mean()


def held_out_kl(decoder, hidden, last, weight, bias):
    total = 0.0
    with torch.no_grad():
        for states, final in zip(hidden.split(256), last.split(256), strict=True):
            lens = decoder.log_probs(translate(states, weight, bias))
            total += kl(decoder.log_probs(final), lens).item() * len(states)
    return total / len(hidden)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs=3)
    parser.add_argument("layers", nargs="+", type=int)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--lr", type=float, default=1.0)
    parser.add_argument("--save")
    args = parser.parse_args()
    decoder = Decoder(args.files[2])
    train, held = (safe_open(path, framework="pt") for path in args.files[:2])
    final = max(
        int(name.split(".")[1]) for name in train.keys() if name.startswith("hidden_states.")
    )
    last = train.get_tensor(f"hidden_states.{final}")
    held_last = held.get_tensor(f"hidden_states.{final}").flatten(0, 1)
    size = last.shape[-1]
    steps = len(last) // args.batch
    order = torch.randperm(len(last), generator=torch.Generator().manual_seed(42))
    hidden = {i: train.get_tensor(f"hidden_states.{i}") for i in args.layers}
    weights = {i: torch.zeros(size, size, requires_grad=True) for i in args.layers}
    biases = {i: torch.zeros(size, requires_grad=True) for i in args.layers}
    optimizers = {
        i: torch.optim.SGD(
            [weights[i], biases[i]],
            lr=args.lr * 0.1,
            momentum=0.9,
            nesterov=True,
            weight_decay=1e-3,
        )
        for i in args.layers
    }
    began = time.perf_counter()
    for step in range(steps):
        rows = order[step * args.batch : (step + 1) * args.batch]
        with torch.no_grad():
            target = decoder.log_probs(last[rows].flatten(0, 1))
        losses = []
        for i in args.layers:
            for group in optimizers[i].param_groups:
                group["lr"] = args.lr * 0.1 * (1 - step / steps)
            optimizers[i].zero_grad()
            loss = kl(
                target,
                decoder.log_probs(translate(hidden[i][rows].flatten(0, 1), weights[i], biases[i])),
            )
            loss.backward()
            torch.nn.utils.clip_grad_norm_([weights[i], biases[i]], 1.0)
            optimizers[i].step()
            losses.append(f"{loss.item():.3f}")
        if step % 20 == 0:
            print(
                f"step {step} of {steps}  {time.perf_counter() - began:.0f} s  " + " ".join(losses),
                flush=True,
            )
    for i in args.layers:
        zero = torch.zeros(size, size), torch.zeros(size)
        h = held.get_tensor(f"hidden_states.{i}").flatten(0, 1)
        print(
            f"layer {i}  held-out KL: logit lens {held_out_kl(decoder, h, held_last, *zero):.4f}"
            f"  trained {held_out_kl(decoder, h, held_last, weights[i], biases[i]):.4f}",
            flush=True,
        )
    if args.save:
        tensors = {f"{i}.weight": weights[i].detach() for i in args.layers}
        tensors |= {f"{i}.bias": biases[i].detach() for i in args.layers}
        save_file(tensors, args.save)


if __name__ == "__main__":
    main()
