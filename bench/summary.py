#!/usr/bin/env python3
"""Writes what the samples of interleave.py come to, as Markdown: figures of each contender, ratios between them.

usage: summary.py CSV RATIO...      RATIO: two contenders' names, parted by " / "
"""

import collections
import csv
import math
import random
import sys

PERCENTILES = (50, 95, 99)
RESAMPLES = 2000


def samples(path):
    """Good runs' rows by contender, in the order of their first turn, and how many runs failed."""
    good, failed = collections.OrderedDict(), collections.Counter()
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            runs = good.setdefault(row["contender"], [])
            if row["ok"] == "1":
                runs.append(row)
            else:
                failed[row["contender"]] += 1
    return {name: rows for name, rows in good.items() if rows}, failed


def percentile(values, percent):
    """Nearest rank, as pyro bench has it: a value that was really measured."""
    return sorted(values)[max(math.ceil(len(values) * percent / 100), 1) - 1]


def column(rows, name):
    return [float(row[name]) for row in rows]


def figures(good, failed):
    print("| ms | p50 | p95 | p99 | min | max | CPU p50 | samples |")
    print("|---|---|---|---|---|---|---|---|")
    for name, rows in good.items():
        wall = column(rows, "wall_ms")
        cells = [percentile(wall, percent) for percent in PERCENTILES] + [min(wall), max(wall)]
        cells.append(percentile(column(rows, "cpu_ms"), 50))
        count = f"{len(rows)}, {failed[name]} failed" if failed[name] else len(rows)
        print("| " + " | ".join([name, *(f"{cell:,.1f}" for cell in cells), str(count)]) + " |")


def ratio(above, below, percent):
    return percentile(above, percent) / percentile(below, percent)


def interval(above, below):
    """Where 95 of 100 ratios of medians lie when as many rounds are drawn again from those there were."""
    pairs = list(zip(above, below))
    chance = random.Random(1)
    drawn = [zip(*chance.choices(pairs, k=len(pairs))) for _ in range(RESAMPLES)]
    ratios = [ratio(*map(list, draw), 50) for draw in drawn]
    return percentile(ratios, 2.5), percentile(ratios, 97.5)


def ratios(good, wanted):
    print("| ratio | of p50 | 95 % interval | of p99 | of CPU p50 |")
    print("|---|---|---|---|---|")
    for names in wanted:
        above, _, below = names.partition(" / ")
        if above not in good or below not in good:
            print(f"| {names} | not measured | | | |")
            continue
        walls = [column(good[name], "wall_ms") for name in (above, below)]
        low, high = interval(*walls)
        cpu = ratio(*(column(good[name], "cpu_ms") for name in (above, below)), 50)
        print(f"| {names} | {ratio(*walls, 50):.2f} | {low:.2f}–{high:.2f} | {ratio(*walls, 99):.2f} | {cpu:.2f} |")


def main(path, *wanted):
    good, failed = samples(path)
    figures(good, failed)
    print()
    ratios(good, wanted)


main(*sys.argv[1:])
