#!/usr/bin/env python3
"""Makes tests/golden/gguf/iq4_nl.gguf and its expected values.

Random blocks, dequantised by the package gguf.

usage: make_gguf_blocks.py FOLDER        needs: pip install gguf numpy safetensors
"""

import sys
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import dequantize
from safetensors.numpy import save_file

KIND = GGMLQuantizationType.IQ4_NL
BLOCK_ITEMS, BLOCK_BYTES = 32, 18


def blocks(shape, random):
    """Random quants with scales of both signs, subnormal and zero ones among them."""
    n = int(np.prod(shape)) // BLOCK_ITEMS
    data = random.integers(0, 256, (n, BLOCK_BYTES), dtype=np.uint8)
    scales = random.normal(0, 0.1, n).astype(np.float16)
    scales[0], scales[1] = 0, np.float16(3e-7)
    data[:, :2] = scales.view(np.uint8).reshape(n, 2)
    return data.reshape(*shape[:-1], shape[-1] // BLOCK_ITEMS * BLOCK_BYTES)


def main():
    folder, random = Path(sys.argv[1]), np.random.default_rng(0)
    writer, expected = GGUFWriter(folder / "iq4_nl.gguf", "none"), {}
    for name, shape in (("rows.weight", (5, 512)), ("cube.weight", (2, 3, 256))):
        data = blocks(shape, random)
        writer.add_tensor(name, data, raw_dtype=KIND)
        expected[f"iq4_nl.{name}"] = dequantize(data, KIND)
        assert expected[f"iq4_nl.{name}"].shape == shape
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(expected, folder / "expected-iq4_nl.safetensors")


main()
