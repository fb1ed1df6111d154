"""A model of transformers that runs in float64 throughout.

Also what transformers does in float32 of itself (norms, rotary angles) is float64 inside
in_float64(): torch.float32 is another name for torch.float64 meanwhile.
"""

import contextlib

import torch
import transformers


@contextlib.contextmanager
def in_float64():
    float32, to_float = torch.float32, torch.Tensor.float
    torch.float32 = torch.float = torch.float64
    torch.Tensor.float = torch.Tensor.double
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.float32 = torch.float = float32
        torch.Tensor.float = to_float
        torch.set_default_dtype(torch.float32)


def build(folder):
    """A model of the folder's configuration, whose weights are to be loaded; in in_float64()."""
    config = transformers.AutoConfig.from_pretrained(folder)
    config.dtype = torch.float64
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    return model.double().eval()


def blocks_of(model):
    return next(m for m in model.modules() if isinstance(m, torch.nn.ModuleList))
