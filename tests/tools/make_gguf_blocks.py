#!/usr/bin/env python3
"""Makes the files TYPE.gguf of tests/golden/gguf whose types the package gguf can only read, and
their expected values, expected-blocks.safetensors.

Random blocks, dequantised by the package gguf.

usage: make_gguf_blocks.py FOLDER        needs: pip install gguf numpy safetensors
"""

import sys
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter
from gguf.quants import dequantize
from safetensors.numpy import save_file

# Types, and the byte of a block at which its f16 scale lies; None: the scale has another form.
KINDS = {
    "IQ4_NL": 0, "IQ4_XS": 0, "IQ2_XXS": 0, "IQ2_XS": 0, "IQ2_S": 0, "IQ3_XXS": 0, "IQ3_S": 0,
    "IQ1_S": 0, "IQ1_M": None, "TQ1_0": 52, "TQ2_0": 64, "MXFP4": None, "NVFP4": None,
}  # fmt: skip
# Shapes of IQ4_NL, the first of these files; the others are smaller.
SHAPES = {"IQ4_NL": ((5, 512), (2, 3, 256))}


def blocks(name, kind, shape, random):
    """Random quants with scales of both signs, subnormal and zero ones among them."""
    items, size = GGML_QUANT_SIZES[kind]
    n = int(np.prod(shape)) // items
    data = random.integers(0, 256, (n, size), dtype=np.uint8)
    scales = random.normal(0, 0.1, n).astype(np.float16)
    scales[0], scales[1] = 0, np.float16(3e-7)
    if KINDS[name] is not None:
        at = KINDS[name]
        data[:, at : at + 2] = scales.view(np.uint8).reshape(n, 2)
    if name == "IQ1_M":  # four bits each in the upper halves of four numbers
        data[:, 55] &= 0xBF
    if name == "MXFP4":
        data[:, 0] = random.integers(100, 150, n)
        data[:3, 0] = 0, 1, 2
    return data.reshape(*shape[:-1], shape[-1] // items * size)


def main():
    folder, expected = Path(sys.argv[1]), {}
    for name in KINDS:
        random, kind = np.random.default_rng(0), GGMLQuantizationType[name]
        writer = GGUFWriter(folder / f"{name.lower()}.gguf", "none")
        shapes = SHAPES.get(name, ((3, 512), (2, 1, 256)))
        for tensor, shape in zip(("rows.weight", "cube.weight"), shapes, strict=True):
            data = blocks(name, kind, shape, random)
            writer.add_tensor(tensor, data, raw_dtype=kind)
            values = dequantize(data, kind)
            assert values.shape == shape and np.isfinite(values).all()
            expected[f"{name.lower()}.{tensor}"] = values
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    save_file(expected, folder / "expected-blocks.safetensors")


main()
