"""One evaluation in the whole model as PyTorch runs it: the blocks behind the layer, log-softmax at full width, gradient by autograd, float32.

Energy (kl, mean ablation of the output of block LAYER, all tokens) and gradient of the first unit vector. Hidden states of the layer
and clean log-probabilities are made once, before the clock starts, and weights take no gradient: the least that PyTorch has to do.
Prints the same line as bench_model_objective: energy E gradient G seconds S threads T.

With `whole` as the last argument all blocks run in every evaluation, the ablation being a hook on the layer's output: the usual way to
write it.

usage: pytorch_model_objective.py MODEL TOKENS.safetensors LAYER [RUNS [whole]]
MODEL: a .gguf file or a Hugging Face folder, Llama family
"""

import pathlib
import sys

import torch
import transformers
from safetensors import safe_open

from pytorch_timing import time_gradient


def load(path):
    path = pathlib.Path(path)
    where = {"gguf_file": path.name} if path.is_file() else {}
    folder = path.parent if path.is_file() else path
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa", **where)
    return model.eval().requires_grad_(False)


def main():
    if len(sys.argv) not in (4, 5, 6):
        sys.exit(__doc__)
    model_path, tokens_path, layer = sys.argv[1], sys.argv[2], int(sys.argv[3])
    runs = int(sys.argv[4]) if len(sys.argv) > 4 else 3
    whole = sys.argv[5:] == ["whole"]
    transformers.logging.set_verbosity_error()
    model = load(model_path)
    with safe_open(tokens_path, framework="pt") as file:
        ids = file.get_tensor("input_ids")
    body, size = model.model, model.config.hidden_size
    positions = torch.arange(ids.shape[1])[None]

    def decode(hidden):
        """Log-probabilities behind the last block."""
        return torch.log_softmax(model.lm_head(body.norm(hidden)), dim=-1)

    def suffix(hidden):
        rotary = body.rotary_emb(hidden, positions)
        for block in body.layers[layer + 1 :]:
            out = block(hidden, attention_mask=None, position_ids=positions, position_embeddings=rotary)
            hidden = out[0] if isinstance(out, tuple) else out
        return hidden

    with torch.no_grad():
        hidden = body(ids, output_hidden_states=True, use_cache=False).hidden_states[layer + 1]
        if layer + 1 == len(body.layers):
            sys.exit("LAYER must have a block behind it")
        clean = decode(suffix(hidden))
        probs = clean.exp()
        removed = hidden - hidden.flatten(0, 1).mean(dim=0)
    eps = torch.finfo(torch.float32).eps
    free = torch.nn.Parameter(torch.eye(size)[0])

    def ablated():
        direction = free / (free.norm() + eps)
        return hidden - (removed @ direction)[..., None] * direction

    def hook(module, inputs, output):
        return (ablated(), *output[1:]) if isinstance(output, tuple) else ablated()

    if whole:
        body.layers[layer].register_forward_hook(hook)

    def negative_energy():
        behind = model(ids, use_cache=False).logits.log_softmax(dim=-1) if whole else decode(suffix(ablated()))
        return -(probs * (clean - behind)).sum(dim=-1).mean()

    time_gradient(negative_energy, free, runs)


if __name__ == "__main__":
    main()
