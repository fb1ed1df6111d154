"""Sums of energies and seconds of two searches of the same layers, a row for each layer.

The last column is how long the default search took for its first vectors, in the order of their
energies, until their sum is that of all vectors of the seed preset.

usage: compare_searches.py SKIP_POSITIONS SEED/basis.json DEFAULT/basis.json
"""

import json
import sys


def layers(path):
    with open(path, encoding="utf-8") as file:
        return {layer["layer"]: layer["vectors"] for layer in json.load(file)["layers"]}


def total(vectors, key):
    return sum(vector[key] for vector in vectors)


def seconds_to(vectors, energy):
    """Seconds of the first vectors whose sum is at least energy; None: all of them have less."""
    for count in range(1, len(vectors) + 1):
        if total(vectors[:count], "energy") >= energy:
            return total(vectors[:count], "seconds")
    return None


def print_row(name, row, reached):
    energy, our_energy, seconds, our_seconds = row
    print(
        f"  {name:>5} {energy:8.3f} {our_energy:8.3f} {our_energy / energy:6.3f} {seconds:8.1f}"
        f" {our_seconds:10.1f} {our_seconds / seconds:6.2f}"
        f" {'never' if reached is None else f'{reached:.1f}':>13}"
    )


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    seed, default = layers(sys.argv[2]), layers(sys.argv[3])
    print(f"  skip-positions {sys.argv[1]}: sums of energies in nats, seconds of search")
    print("  layer     seed  default  ratio  seed, s default, s  ratio to seed sum, s")
    rows, reached = [], []
    for layer, ours in default.items():
        theirs = seed[layer]
        rows.append(
            [
                total(theirs, "energy"),
                total(ours, "energy"),
                total(theirs, "seconds"),
                total(ours, "seconds"),
            ]
        )
        reached.append(seconds_to(ours, rows[-1][0]))
        print_row(layer, rows[-1], reached[-1])
    sums = [sum(column) for column in zip(*rows, strict=True)]
    print_row("all", sums, None if None in reached else sum(reached))


if __name__ == "__main__":
    main()
