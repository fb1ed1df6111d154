"""Writes FOLDER/unembed_hash.safetensors (tests/golden/lens): matrices and their hashes.

Matrices of all kinds, and as metadata their hashes as tuned-lens computes them. Needs NumPy 2 and
safetensors.

    python3 tests/tools/make_unembed_hashes.py FOLDER
"""

import hashlib
import sys

import numpy as np
from safetensors.numpy import save_file


def matrices():
    random = np.random.default_rng(7)

    def normal(*shape):
        return random.standard_normal(shape)

    yield "large", normal(60, 40)
    yield "large_small_values", normal(60, 40) * 0.02
    yield "large_tiny_values", normal(60, 40) * 1e-5
    yield "large_corner_zero", np.where(normal(60, 40) > 0, 0.0, 0.3)
    yield "narrow", normal(400, 5)
    yield "six_columns", normal(400, 6)
    yield "seven_columns", normal(200, 7)
    yield "wide", normal(5, 400)
    yield "one_row", normal(1, 1200)
    yield "one_column", normal(1200, 1)
    yield "one_row_whole", normal(1, 900)
    yield "one", normal(1, 1)
    yield "threshold", normal(25, 40)
    yield "above_threshold", normal(7, 143)
    yield "whole_wrapped", normal(30, 30)
    yield "whole_wrapped_scientific", normal(30, 30) * 10.0 ** random.integers(-3, 3, (30, 30))
    yield "whole_short", normal(4, 5)
    yield "integers", random.integers(-9, 10, (12, 20))
    yield "integers_large", random.integers(-90000, 90000, (12, 20)) + 30000
    yield "zeros", np.zeros((8, 9))
    yield "negative_zeros", -np.zeros((8, 9))
    yield "zeros_of_both_signs", np.where(normal(8, 9) > 0, 0.0, -0.0)
    yield "below_a_digit", normal(8, 9) * 0.01 + 0.02
    yield "rounds_up", np.full((3, 4), 9.96)
    yield "rounds_to_even", np.array([[0.25, 0.75, 1.25, 0.5], [2.25, -0.25, -0.75, 3.5]])
    yield "ratio_1000", np.array([[1.0, 1000.0], [-2.0, 30.0]])
    yield "ratio_above_1000", np.array([[1.0, 1001.0], [-2.0, 30.0]])
    yield (
        "least_fixed",
        np.array([[1e-4, 2e-4], [3e-3, -4e-4]]).astype(np.float32) + np.float32(1e-8),
    )
    yield "million", np.array([[1e6, 2e5], [-3e5, 1e6]])
    yield "below_million", np.array([[999999.0, 2e5], [-3e5, 9e5]])
    yield "huge", normal(5, 6) * 1e37
    yield "subnormal", np.array([[1e-45, 3e-45], [1e-44, -1e-43]])
    yield "subnormal_and_more", np.array([[1e-45, 3e-45], [1e-44, -1.5]])
    for i in range(40):
        rows, columns = random.integers(1, 45, 2)
        scale = 10.0 ** random.uniform(-6, 6)
        spread = 10.0 ** random.uniform(-1.5, 1.5, (rows, columns)) if i % 2 else 1
        yield f"random_{i}", normal(rows, columns) * scale * spread


def main():
    tensors = {name: np.ascontiguousarray(matrix, dtype=np.float32) for name, matrix in matrices()}
    hashes = {
        name: hashlib.sha256(np.array_str(t, precision=1).encode()).hexdigest()
        for name, t in tensors.items()
    }
    save_file(tensors, f"{sys.argv[1]}/unembed_hash.safetensors", metadata=hashes)


main()
