"""Energies, evaluations and seconds of PyTorch's search and of cbe's, and cbe's kinds of starts.

A row for each layer. Evaluations are those of one direction with gradient, on all tokens + on the
sample. cbe's seconds are `search_seconds` of basis.json: setting the layer, the starts and the
search.

usage: compare_model_searches.py PYTORCH.txt CBE/basis.json
"""

import json
import sys


def read_pytorch(path):
    """Lists of dictionaries by layer: lines "layer I vector J energy E evaluations N seconds S"."""
    layers = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            words = line.split()
            if words[:1] == ["layer"]:
                row = dict(zip(words[::2], map(float, words[1::2]), strict=True))
                layers.setdefault(int(row["layer"]), []).append(row)
    return layers


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    theirs = read_pytorch(sys.argv[1])
    with open(sys.argv[2], encoding="utf-8") as file:
        ours = json.load(file)["layers"]
    sums = [0.0] * 4
    print(
        "layer  PyTorch: energies  evaluations  seconds"
        "    cbe: energies  evaluations  seconds   ratios"
    )
    for layer in ours:
        their, vectors = theirs[layer["layer"]], layer["vectors"]
        row = [sum(v["energy"] for v in their), sum(v["seconds"] for v in their)]
        row += [sum(v["energy"] for v in vectors), layer["search_seconds"]]
        sums = [a + b for a, b in zip(sums, row, strict=True)]
        counts = " ".join("{evaluations}+{sample_evaluations}".format(**v) for v in vectors)
        print(
            f"{layer['layer']:5}  {' '.join(format(v['energy'], '8.4f') for v in their)}"
            f"  {'+'.join(format(v['evaluations'], '.0f') for v in their):>11} {row[1]:8.1f}"
            f"  {' '.join(format(v['energy'], '8.4f') for v in vectors)}"
            f"  {counts:>11} {row[3]:8.1f}"
            f"   {row[2] / row[0]:.3f} {row[1] / row[3]:.2f}"
        )
    print(
        f"  all  sum {sums[0]:.4f} in {sums[1]:.1f} s, cbe {sums[2]:.4f} in {sums[3]:.1f} s: "
        f"{sums[2] / sums[0]:.3f} of the energy, {sums[1] / sums[3]:.2f} times faster"
    )
    print("what starts came to (on the sample), by kind; * the one that led to the vector")
    for layer in ours:
        for j, vector in enumerate(layer["vectors"]):
            kinds = (
                f"{kind}{'*' if kind == vector['start'] else ''} {found['energy']:.3f}"
                for kind, found in vector["starts_by_kind"].items()
            )
            print(f"  layer {layer['layer']} vector {j + 1}: {', '.join(kinds)}")


if __name__ == "__main__":
    main()
