#!/usr/bin/env python3
"""Draws the energies of a result as a picture: one line for each of the first vectors, by layer.

usage: plot_energies.py basis.json energies.svg [NUMBER OF VECTORS]      (4)

The energy axis is logarithmic, since the first layers are often several times above the others.
Needs nothing but Python.
"""

import json
import math
import sys
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 800, 430
LEFT, RIGHT, TOP, BOTTOM = 70, 702, 70, 376  # of the frame
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#a04f86", "#7a6a00", "#56727f"]
INK, GREY, GRID = "#222222", "#5a5a5a", "#dddddd"


def read(path, n_vectors):
    """Layers, and for each vector its energies by layer: None where a layer has fewer vectors."""
    with open(path, encoding="utf-8") as file:
        run = json.load(file)
    layers = [layer["layer"] for layer in run["layers"]]
    found = max(len(layer["vectors"]) for layer in run["layers"])
    lines = []
    for j in range(min(n_vectors, found, len(COLOURS))):
        lines.append(
            [
                layer["vectors"][j]["energy"] if j < len(layer["vectors"]) else None
                for layer in run["layers"]
            ]
        )
    # A logarithm needs positive numbers; ce energies may be others, and are left out.
    lines = [[e if e is not None and e > 0 else None for e in line] for line in lines]
    return run, layers, lines


def ticks(low, high):
    """1, 2 and 5 times powers of ten from low to high."""
    return [m * 10.0**e for e in range(-9, 6) for m in (1, 2, 5) if low <= m * 10.0**e <= high]


def spread(heights, gap):
    """Moves labels apart, in their order, by as little as a gap between them asks."""
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    placed = [0.0] * len(heights)
    for rank, i in enumerate(order):
        placed[i] = heights[i]
        if rank:
            placed[i] = max(placed[i], placed[order[rank - 1]] + gap)
    return placed


def draw(run, layers, lines):
    energies = [e for line in lines for e in line if e is not None]
    if not energies:
        sys.exit("plot_energies: no positive energy to draw")
    least, most = min(energies) / 1.25, max(energies) * 1.25
    low, high = math.log(least), math.log(most)
    span = max(1, layers[-1] - layers[0])

    def x(layer):
        return LEFT + 14 + (RIGHT - LEFT - 28) * (layer - layers[0]) / span

    def y(energy):
        return BOTTOM - (BOTTOM - TOP) * (math.log(energy) - low) / (high - low)

    title = f"Energies of the first {len(lines)} vectors of each layer"
    subtitle = (
        f"{run['options'].get('lens', 'logit')} lens, "
        f"{run['options'].get('ablation', 'mean')} ablation, {run['n_tokens']:,} tokens"
    )
    if run["skip_positions"]:
        subtitle += ", first position of each sequence left out"
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" font-family="Helvetica, Arial, sans-serif" font-size="13" '
        f'fill="{INK}" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="6" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="30" font-size="17" font-weight="bold">{escape(title)}</text>',
        f'<text x="{LEFT}" y="51" fill="{GREY}">{escape(subtitle)}</text>',
    ]
    for mark in ticks(least, most):
        at = f"{y(mark):.1f}"
        out.append(f'<path d="M{LEFT} {at}H{RIGHT}" stroke="{GRID}"/>')
        out.append(
            f'<text x="{LEFT - 9}" y="{y(mark) + 4.5:.1f}" text-anchor="end">{mark:g}</text>'
        )
    out.append(f'<path d="M{LEFT} {BOTTOM}H{RIGHT}" stroke="{INK}"/>')
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 1000) if span / s <= 12)
    for layer in layers:
        out.append(f'<path d="M{x(layer):.1f} {BOTTOM}v4" stroke="{INK}"/>')
        end_is_near = layer != layers[-1] and layers[-1] - layer < 0.6 * step
        if (layer % step == 0 and not end_is_near) or layer in (layers[0], layers[-1]):
            out.append(
                f'<text x="{x(layer):.1f}" y="{BOTTOM + 20}" text-anchor="middle">{layer}</text>'
            )
    middle = (TOP + BOTTOM) / 2
    out.append(
        f'<text x="{(LEFT + RIGHT) / 2}" y="{HEIGHT - 14}" text-anchor="middle">layer</text>'
    )
    out.append(
        f'<text x="22" y="{middle}" text-anchor="middle" transform="rotate(-90 22 {middle})">'
        "energy, nats per token</text>"
    )
    ends = []
    for j, line in reversed(list(enumerate(lines))):  # the first vector lies on top
        points = [(x(layer), y(e)) for layer, e in zip(layers, line, strict=True) if e is not None]
        if not points:
            continue
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        out.append(
            f'<polyline points="{path}" fill="none" stroke="{COLOURS[j]}" stroke-linejoin="round" '
            f'stroke-width="{2.6 if j == 0 else 1.8}"/>'
        )
        for a, b in points:
            out.append(
                f'<circle cx="{a:.1f}" cy="{b:.1f}" r="{3.4 if j == 0 else 2.6}" '
                f'fill="{COLOURS[j]}"/>'
            )
        ends.append((j, points[-1][1]))
    for (j, _), at in zip(ends, spread([end for _, end in ends], 17), strict=True):
        weight = ' font-weight="bold"' if j == 0 else ""
        out.append(
            f'<text x="{RIGHT + 8}" y="{at + 4.5:.1f}" fill="{COLOURS[j]}"{weight}>'
            f"vector {j + 1}</text>"
        )
    out.append("</svg>")
    return "\n".join(out) + "\n"


def main():
    if len(sys.argv) not in (3, 4) or sys.argv[1] in ("-h", "--help"):
        print(__doc__.strip(), file=sys.stderr)
        sys.exit(2)
    picture = draw(*read(sys.argv[1], int(sys.argv[3]) if len(sys.argv) == 4 else 4))
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        file.write(picture)


if __name__ == "__main__":
    main()
