"""One evaluation in the whole model as PyTorch runs it, in float32.

The blocks behind the layer, log-softmax at full width, gradient by autograd: energy (kl, mean
ablation of the output of block LAYER, all tokens) and gradient of the first unit vector. Hidden
states of the layer and clean log-probabilities are made once, before the clock starts, and weights
take no gradient: the least that PyTorch has to do. Prints the same line as bench_model_objective:
energy E gradient G seconds S threads T.

With `whole` as the last argument all blocks run in every evaluation, the ablation being a hook on
the layer's output: the usual way to write it.

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
    transformers.logging.set_verbosity_error()
    path = pathlib.Path(path)
    where = {"gguf_file": path.name} if path.is_file() else {}
    folder = path.parent if path.is_file() else path
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="sdpa", **where
    )
    return model.eval().requires_grad_(False)


class Objective:
    """Energy of directions at the output of block `layer`: kl, mean ablation.

    All tokens but the first `skip` of each sequence are ablated. The hidden states of the layer and
    the clean log-probabilities are made here, once. In every evaluation only the blocks behind the
    layer run, or with `whole` all blocks, the ablation being a hook on the layer's output.
    """

    def __init__(self, model, ids, layer, skip=0, whole=False):
        self.model, self.body, self.ids, self.layer, self.skip, self.whole = (
            model,
            model.model,
            ids,
            layer,
            skip,
            whole,
        )
        self.positions = torch.arange(ids.shape[1])[None]
        if layer + 1 >= len(self.body.layers):
            raise SystemExit("LAYER must have a block behind it")
        with torch.no_grad():
            self.hidden = self.body(ids, output_hidden_states=True, use_cache=False).hidden_states[
                layer + 1
            ]
            self.clean = self.decode(self.suffix(self.hidden))
            self.probs = self.clean.exp()
            self.removed = self.hidden - self.hidden[:, skip:].flatten(0, 1).mean(dim=0)
            self.removed[:, :skip] = 0
        self.handle = self.body.layers[layer].register_forward_hook(self.hook) if whole else None

    def close(self):
        """To be called before another layer's objective is made: the model is shared."""
        if self.handle:
            self.handle.remove()

    def decode(self, hidden):
        """Log-probabilities behind the last block, of the positions that count."""
        return torch.log_softmax(self.model.lm_head(self.body.norm(hidden[:, self.skip :])), dim=-1)

    def suffix(self, hidden):
        rotary = self.body.rotary_emb(hidden, self.positions)
        for block in self.body.layers[self.layer + 1 :]:
            out = block(
                hidden, attention_mask=None, position_ids=self.positions, position_embeddings=rotary
            )
            hidden = out[0] if isinstance(out, tuple) else out
        return hidden

    def ablated(self, direction):
        return self.hidden - (self.removed @ direction)[..., None] * direction

    def hook(self, module, inputs, output):
        hidden = self.ablated(self.direction)
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    def negative_energy(self, direction):
        if self.whole:
            self.direction = direction
            behind = (
                self.model(self.ids, use_cache=False).logits[:, self.skip :].log_softmax(dim=-1)
            )
        else:
            behind = self.decode(self.suffix(self.ablated(direction)))
        return -(self.probs * (self.clean - behind)).sum(dim=-1).mean()


def read_ids(path):
    with safe_open(path, framework="pt") as file:
        return file.get_tensor("input_ids")


def main():
    if len(sys.argv) not in (4, 5, 6):
        sys.exit(__doc__)
    model_path, tokens_path, layer = sys.argv[1], sys.argv[2], int(sys.argv[3])
    runs = int(sys.argv[4]) if len(sys.argv) > 4 else 3
    model = load(model_path)
    objective = Objective(model, read_ids(tokens_path), layer, whole=sys.argv[5:] == ["whole"])
    eps = torch.finfo(torch.float32).eps
    free = torch.nn.Parameter(torch.eye(model.config.hidden_size)[0])
    time_gradient(lambda: objective.negative_energy(free / (free.norm() + eps)), free, runs)


if __name__ == "__main__":
    main()
