#!/usr/bin/env python3
"""Prints the texts of src/formats/quantised_grids.c: which points are in the grids of GGUF's types
iq1 to iq3, as the package gguf has them.

A point of 8 (or 4) items of 3 (or 8) levels is a number whose digits, the first the least, are the
items' levels; grids list their points in rising order. So a grid is a set of numbers, and its text
has a bit for each number, the first in the lowest bit of a hexadecimal digit.

usage: make_quantised_grids.py        needs: pip install gguf numpy
"""

import numpy as np
from gguf import quants

GRIDS = {"iq2_xxs": 3, "iq2_xs": 3, "iq2_s": 3, "iq1": 3, "iq3_xxs": 8, "iq3_s": 8}
WIDTH = 88


def main():
    for name, base in GRIDS.items():
        kind = getattr(quants, {"iq1": "IQ1_S"}.get(name, name.upper()))
        kind.init_grid()
        levels = {value: digit for digit, value in enumerate(kind.grid_map)}
        points = [[levels[int(x)] for x in row] for row in kind.grid.reshape(kind.grid_shape)]
        items = len(points[0])
        numbers = np.array(points) @ base ** np.arange(items)
        assert (np.diff(numbers) > 0).all()
        bits = np.zeros((base**items + 3) // 4 * 4, dtype=int)
        bits[numbers] = 1
        text = "".join(f"{digit:x}" for digit in bits.reshape(-1, 4) @ [1, 2, 4, 8])
        print(f"static const char {name}[] =")
        lines = [text[i : i + WIDTH] for i in range(0, len(text), WIDTH)]
        print("\n".join(f'    "{line}"' for line in lines) + ";")


main()
