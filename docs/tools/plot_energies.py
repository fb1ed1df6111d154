"""Draws the energies of a result by layer as an SVG: one line for each of the first vectors.

Usage: plot_energies.py RESULT/basis.json OUT.svg       needs only Python
"""
import json
import sys

run = json.load(open(sys.argv[1]))
layers = [(l["layer"], [v["energy"] for v in l["vectors"][:4]]) for l in run["layers"]]
count = min(len(e) for _, e in layers)
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 380, 60, 110, 46, 48
COLOURS = ["#1f5f99", "#d9822b", "#3a8f5c", "#8c5aa8"]
first, last = layers[0][0], layers[-1][0]
# The axis ends a little above the third-highest first energy: one or two layers may leave the picture.
top = max(1, sorted(e[0] for _, e in layers)[-3 if len(layers) > 8 else -1] * 1.1)


def x(layer):
    return LEFT + (WIDTH - LEFT - RIGHT) * (layer - first) / max(1, last - first)


def y(energy):
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(energy, top * 1.02) / top


out = [
    f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
    'font-family="sans-serif" font-size="13" fill="#333">',
    f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    f'<text x="{LEFT}" y="24" font-size="15" font-weight="bold">Energy of the first {count} causal directions, by layer</text>',
]
step = next(s for s in (0.5, 1, 2, 5, 10, 20, 50, 100) if top / s <= 8)
tick = 0
while tick * step <= top:
    v = tick * step
    out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(v):.1f}" y2="{y(v):.1f}" stroke="#ddd"/>')
    out.append(f'<text x="{LEFT - 8}" y="{y(v) + 4:.1f}" text-anchor="end">{v:g}</text>')
    tick += 1
for layer, _ in layers:
    if (layer - first) % 5 == 0 or layer == last:
        out.append(f'<text x="{x(layer):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{layer}</text>')
out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">layer</text>')
out.append(f'<text x="18" y="{(TOP + HEIGHT - BOTTOM) / 2}" text-anchor="middle" '
           f'transform="rotate(-90 18 {(TOP + HEIGHT - BOTTOM) / 2})">energy (nats per token)</text>')
above = []  # what leaves the picture is told in words
for j in range(count):
    points = " ".join(f"{x(l):.1f},{y(e[j]):.1f}" for l, e in layers)
    out.append(f'<polyline points="{points}" fill="none" stroke="{COLOURS[j]}" stroke-width="2"/>')
    for l, e in layers:
        if e[j] > top * 1.02:
            above.append((l, j, e[j]))
for row, (l, j, energy) in enumerate(sorted(above)):
    out.append(f'<text x="{x(max(a[0] for a in above)) + 16:.1f}" y="{TOP + 4 + 16 * row}" fill="{COLOURS[j]}">'
               f'layer {l}: {energy:.1f}</text>')
for rank, j in enumerate(range(count)):
    height = TOP + 20 + 20 * rank
    out.append(f'<line x1="{WIDTH - RIGHT + 14}" x2="{WIDTH - RIGHT + 34}" y1="{height}" y2="{height}" '
               f'stroke="{COLOURS[j]}" stroke-width="3"/>')
    out.append(f'<text x="{WIDTH - RIGHT + 40}" y="{height + 4}">vector {j + 1}</text>')
out.append("</svg>")
open(sys.argv[2], "w").write("\n".join(out) + "\n")
