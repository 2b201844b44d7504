"""Rows of the table of benchmarks: each benchmark reports its own, and run.py collects those of all.

A ratio above 1 says how many times as fast as the other way ours is; "times the least" compares with what the device's
arithmetic or memory would need at best.
"""

import json
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

ROWS = "BENCHMARK_ROWS"  # environment variable: the file to which rows are added
HEAD = "| what | ours | compared with | theirs | ratio |\n|---|---:|---|---:|---|\n"


class Row(NamedTuple):
    what: str
    ours: str
    peer: str
    theirs: str
    ratio: str


def report(row: Row) -> None:
    """Print a row, and add it to the table that is being written, if there is one."""
    print(f"{row.what:58} {row.ours:>10}   {row.peer:28} {row.theirs:>10}   {row.ratio}", flush=True)
    if ROWS in os.environ:
        with open(os.environ[ROWS], "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def against(what: str, seconds: float, peer: str, other: float) -> None:
    """Report our seconds next to those of another way to the same result."""
    report(Row(what, shown(seconds), peer, shown(other), f"{other / seconds:.1f}"))


def at_best(what: str, seconds: float, least: float, bound: str = "roofline") -> None:
    """Report our seconds next to the least that the device could take."""
    report(Row(what, shown(seconds), bound, shown(least), f"{seconds / least:.1f} times the least"))


def growth(what: str, with_: str, sizes: Sequence[float], seconds: Sequence[float]) -> None:
    """Report the exponent with which seconds grow: the slope of their logarithm on that of the sizes."""
    exponent = np.polyfit(np.log(sizes), np.log(seconds), 1)[0]
    grows = f"{with_}: {sizes[0]:,} to {sizes[-1]:,}"
    report(Row(what, shown(seconds[-1]), grows, "", f"grows with the power {exponent:.1f}"))


def shown(seconds: float) -> str:
    """1.2 s, 34 ms or 56 µs: two significant digits."""
    scale, unit = next((s, u) for s, u in ((1, "s"), (1e-3, "ms"), (1e-6, "µs")) if seconds >= s or s == 1e-6)
    value = seconds / scale
    return f"{value:.1f} {unit}" if value < 10 else f"{value:,.0f} {unit}"


def rendered(rows: Sequence[Row]) -> str:
    return HEAD + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def fastest(calls: int, clock: Callable[[], float], *functions: Callable[[], object]) -> list[tuple[float, object]]:
    """Seconds of the fastest call of each function, and what it returned. They are called in turn, so that other work
    on the machine meets all of them."""
    found = [(np.inf, None)] * len(functions)
    for _ in range(calls):
        for number, function in enumerate(functions):
            start = clock()
            result = function()
            found[number] = min(found[number][0], clock() - start), result
    return found
