"""One evaluation as PyTorch users run it: both log-softmaxes at full width, autograd, float32.

Energy (kl, mean ablation, all tokens, logit lens) and gradient of the first unit vector. Prints the
same line as bench_evaluation: energy E gradient G seconds S threads T.

usage: pytorch_evaluation.py HIDDEN.safetensors DECODER.safetensors LAYER [RUNS]
"""

import sys

import torch
from safetensors import safe_open
from torch.nn import functional

from pytorch_timing import time_gradient


class Decoder:
    """Final norm, unembedding and soft cap of a decoder file."""

    def __init__(self, path):
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
            metadata = file.metadata()

            def tensor(name):
                return file.get_tensor(name).float() if name in names else None

            self.gamma, self.beta = tensor("norm.weight"), tensor("norm.bias")
            self.unembedding, self.bias = tensor("unembedding.weight"), tensor("unembedding.bias")
        self.norm = metadata["norm"]
        self.eps, self.cap = float(metadata["norm_eps"]), float(metadata["logit_softcap"])

    def log_probs(self, hidden):
        if self.norm == "layernorm":
            normed = functional.layer_norm(
                hidden, self.gamma.shape, self.gamma, self.beta, self.eps
            )
        else:
            scale = torch.rsqrt(hidden.square().mean(dim=-1, keepdim=True) + self.eps)
            normed = hidden * scale * self.gamma
            if self.beta is not None:
                normed = normed + self.beta
        logits = functional.linear(normed, self.unembedding, self.bias)
        if self.cap:
            logits = self.cap * torch.tanh(logits / self.cap)
        return torch.log_softmax(logits, dim=-1)


def main():
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    hidden_path, decoder_path, layer = sys.argv[1:4]
    runs = int(sys.argv[4]) if len(sys.argv) > 4 else 5
    decoder = Decoder(decoder_path)
    with safe_open(hidden_path, framework="pt") as file:
        hidden = file.get_tensor(f"hidden_states.{layer}").float()
    hidden = hidden.reshape(-1, hidden.shape[-1])
    size = hidden.shape[1]

    with torch.no_grad():
        clean = decoder.log_probs(hidden)
        probs = clean.exp()
    eps = torch.finfo(torch.float32).eps
    complement = torch.eye(size)  # onto the complement of the vectors found before: there are none
    free = torch.nn.Parameter(torch.eye(size)[0])

    def negative_energy():
        direction = complement @ free
        direction = direction / (direction.norm() + eps)
        removed = hidden - hidden.mean(dim=0)
        ablated = hidden - (removed @ direction)[:, None] * direction
        return -(probs * (clean - decoder.log_probs(ablated))).sum(dim=-1).mean()

    time_gradient(negative_energy, free, runs)


if __name__ == "__main__":
    main()
