#!/usr/bin/env python3
"""Draws the samples of interleave.py as SVG: a row for every contender, a dot for every run, the median labeled.

The scale is logarithmic, as one contender may take a thousand times as long as another. There is no background,
and all colors can be told from white as from black.

usage: plot.py CSV SVG
"""

import csv
import html
import math
import random
import statistics
import sys

WIDTH = 860
LEFT, RIGHT, TOP, BOTTOM = 220, 90, 46, 44
ROW_HEIGHT = 44
JITTER = 10
TEXT = "#7d8590"
OURS = "#d9730d"
OTHERS = "#3b82c4"


def read(path):
    """Milliseconds of the good runs by contender, in the order of their first turn."""
    found = {}
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            if row["ok"] == "1":
                found.setdefault(row["contender"], []).append(float(row["wall_ms"]))
    return found


def ticks(low, high):
    """1, 2 and 5 times the powers of ten between two values."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [step * 10.0**power for power in powers for step in (1, 2, 5) if low <= step * 10.0**power <= high]


def scale(values):
    """A function from milliseconds to a place on the page, and the ends of what it covers."""
    low, high = min(values) * 0.8, max(values) * 1.25
    per_unit = (WIDTH - LEFT - RIGHT) / (math.log(high) - math.log(low))
    return lambda value: LEFT + (math.log(value) - math.log(low)) * per_unit, low, high


def text(x, y, words, anchor="start", extra=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {extra}>{html.escape(words)}</text>'


def grid(place, low, high, bottom):
    for value in ticks(low, high):
        x = place(value)
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}" stroke="{TEXT}" stroke-opacity="0.3"/>'
        yield text(x, bottom + 18, f"{value:,g}", "middle")


def row(number, name, values, place):
    middle = TOP + ROW_HEIGHT * (number + 0.5)
    color = OURS if name.startswith("pyro") else OTHERS
    # The same dots for the same samples every time.
    chance = random.Random(name)
    yield text(LEFT - 14, middle + 4, name, "end")
    yield f'<g fill="{color}" fill-opacity="0.45">'
    for value in values:
        yield f'<circle cx="{place(value):.1f}" cy="{middle + chance.uniform(-JITTER, JITTER):.1f}" r="2.6"/>'
    yield "</g>"
    median = statistics.median_low(values)
    x = place(median)
    ends = f'x1="{x:.1f}" x2="{x:.1f}" y1="{middle - 15:.1f}" y2="{middle + 15:.1f}"'
    yield f'<line {ends} stroke="{color}" stroke-width="3"/>'
    label = f"{median:,.0f} ms" if median >= 100 else f"{median:.1f} ms"
    yield text(place(max(values)) + 10, middle + 4, label, extra=f'font-weight="bold" style="fill:{color}"')


def draw(found):
    place, low, high = scale([value for values in found.values() for value in values])
    bottom = TOP + ROW_HEIGHT * len(found)
    height = bottom + BOTTOM
    lengths = [len(values) for values in found.values()]
    counts = "–".join(map(str, sorted({min(lengths), max(lengths)})))
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    yield f' font-family="system-ui, sans-serif" font-size="13" fill="{TEXT}">'
    yield text(LEFT, 22, f"true as a whole process, milliseconds (logarithmic): {counts} runs each, median labeled")
    yield from grid(place, low, high, bottom)
    for number, (name, values) in enumerate(found.items()):
        yield from row(number, name, values, place)
    yield "</svg>"


def main(source, target):
    found = read(source)
    if not found:
        sys.exit(f"plot.py: {source} has no sample that counts")
    with open(target, "w") as file:
        file.write("\n".join(draw(found)) + "\n")


main(*sys.argv[1:])
