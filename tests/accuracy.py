"""The errors of the activations and their pullbacks over all float32 numbers. Writes the table of docs/accuracy.md.

    python tests/accuracy.py                    all 2^32 inputs of every activation: about a minute each
    python tests/accuracy.py gelu tanh          only these two
    python tests/accuracy.py --thousandth       only the thousandth of the inputs that the test suite checks

The row of an activation is replaced as soon as it has been measured.
"""
from __future__ import annotations

import argparse
import math
import re
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import exact
import numpy as np
from reference import special_points

from tinygrad_relu.kernels.formulas import ACTIVATIONS
from tinygrad_relu.kernels.formulas.bits import bits_of, float_of
from tinygrad_relu.kernels.loops.pointwise import loops
from tinygrad_relu.kernels.machine.policy import Doubles, Vector, kernel

PAGE = Path(__file__).parents[1] / "docs" / "accuracy.md"
BOUND = 4.0                     # ulps, for values and pullbacks
EVERYTHING = range(1 << 32)     # the bit patterns of float32
THOUSANDTH = EVERYTHING[::997]  # both signs, all exponents, and NaN; the stride is prime, so that the last bits vary too
BLOCK = 1 << 15                 # few enough that the arrays of a block stay in the cache
BIAS = 1023                     # of the exponents of float64
LOWEST, HIGHEST = BIAS - 126, BIAS + 127        # the exponents of float32; below them the spacing stays
TOP, NAN, INFINITY = 2.0**128, math.nan, math.inf       # infinity counts as the number after the largest one


class Worst(NamedTuple):
    """The largest error, in ulps, and the input at which it was found."""

    ulps: float
    x: float


# -- inputs ------------------------------------------------------------------------------------------------------------

def numbers(patterns: range) -> np.ndarray:
    """The float32 numbers with these bit patterns."""
    return np.arange(patterns.start, patterns.stop, patterns.step, dtype=np.uint32).view(np.float32)


def cut(patterns: range, size: int) -> Iterator[range]:
    return (patterns[start:start + size] for start in range(0, len(patterns), size))


def neighbourhood(x: float) -> np.ndarray:
    """x and the ten float32 numbers on each side of it (around 0 the subnormal ones)."""
    steps, x = np.arange(-10, 11, dtype=np.int32), np.float32(x)
    return (x.view(np.int32) + steps).view(np.float32) if x else (steps * np.float32(1e-45)).astype(np.float32)


def special_inputs(name: str) -> np.ndarray:
    """NaN, infinities, zeros, ends and powers of two, seams of our formulas; and numbers near 0, 1, kinks and zero crossings."""
    record = ACTIVATIONS[name]
    places = [0.0, 1.0, -1.0, exact.CROSSINGS.get(name, 0.0), *(kink for kink, _ in record.kinks(*record.parameters.values()))]
    ends = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0], np.float32)
    return np.concatenate([special_points(np.float32), ends, *map(neighbourhood, places)])


# -- measuring ---------------------------------------------------------------------------------------------------------

@partial(kernel, name="accuracy_distance")
def distance(x: Vector, got: Vector, exact: Doubles, larger: Doubles, out: Doubles):
    """`reference.ulps` of a block: x and results in float32, the truth in float64. NaN in must give NaN out.

    Ulps are those of the exact value. If its terms cancel to less than half of the larger term, they are ulps of that term.
    """
    for i in range(out.size):
        g, e, s = np.float64(got[i]), exact[i] if x[i] == x[i] else NAN, abs(larger[i])
        exponent = bits_of(s if abs(e) < 0.5 * s else abs(e)) >> 52
        exponent = LOWEST if exponent < LOWEST else HIGHEST if exponent > HIGHEST else exponent
        g, e = TOP if g > TOP else -TOP if g < -TOP else g, TOP if e > TOP else -TOP if e < -TOP else e
        off = abs(g - e) * float_of((2 * BIAS + 23 - exponent) << 52)
        out[i] = off if off == off else 0.0 if (g != g) & (e != e) else INFINITY


def errors(name: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The errors of value and slope at each input, in ulps."""
    kernels, p = loops(ACTIVATIONS[name]), tuple(ACTIVATIONS[name].parameters.values())
    (y, slope), off = np.empty((2, x.size), np.float32), np.empty((2, x.size))
    kernels.forward(x, p, y)
    kernels.pullback(np.ones_like(x), x, y, p, slope)
    with np.errstate(all="ignore"):
        truth = exact.on_arrays(name, x.astype(np.float64), dtype=np.float32)
    distance(x, y, truth.value, truth.value, off[0])
    distance(x, slope, truth.slope, truth.larger, off[1])
    return off[0], off[1]


def worst_of(name: str, x: np.ndarray) -> tuple[Worst, Worst]:
    value, slope = (Worst(float(off[i]), float(x[i])) for off in errors(name, x) for i in [off.argmax()])
    return value, slope


def measure(name: str, patterns: range, more: Iterable[float] = (), threads: int = 2) -> tuple[Worst, Worst]:
    """The largest errors of value and slope over these bit patterns, the special inputs, and `more`."""
    def work(part: range) -> tuple[Worst, Worst]:
        values, slopes = zip(*(worst_of(name, numbers(block)) for block in cut(part, BLOCK)))
        return max(values), max(slopes)

    special = worst_of(name, np.concatenate([special_inputs(name), np.array(list(more), np.float32)]))
    with ThreadPoolExecutor(threads) as pool:
        values, slopes = zip(special, *pool.map(work, cut(patterns, 64 * BLOCK)))
    return max(values), max(slopes)


# -- the table ---------------------------------------------------------------------------------------------------------

HEAD = """\
| activation | value: ulp, at most | at x = | slope: ulp, at most | at x = | inputs |
|---|---|---|---|---|---|
"""
LINES = re.compile(re.escape(HEAD) + r"(?:\|.*\n)*")
LINE = re.compile(r"^\| (\w+) \| ([\d.]+) \| (\S+) \| ([\d.]+) \| (\S+) \| (all|a thousandth) \|$", re.M)


class Row(NamedTuple):
    """One line of the table: the figures are rounded up to hundredths."""

    value: Worst
    slope: Worst
    inputs: str

    def line(self, name: str) -> str:
        cells = (f"{worst.ulps:.2f} | {np.float32(worst.x)!s}" if worst.ulps else "0 | any" for worst in self[:2])
        return f"| {name} | {' | '.join(cells)} | {self.inputs} |\n"


def row(value: Worst, slope: Worst, inputs: str) -> Row:
    return Row(*(Worst(math.ceil(worst.ulps * 100) / 100, worst.x) for worst in (value, slope)), inputs)


def read_table(text: str) -> dict[str, Row]:
    """The rows of the table of a page."""
    def worst(ulps: str, x: str) -> Worst:
        return Worst(float(ulps), 0.0 if x == "any" else float(x))

    return {name: Row(worst(*value), worst(*slope), inputs) for name, *value_slope, inputs in LINE.findall(text)
            for value, slope in [(value_slope[:2], value_slope[2:])]}


def with_table(text: str, rows: dict[str, Row]) -> str:
    """The page with its rows replaced by these, in the order of the registry."""
    before, after = LINES.split(text)
    return before + HEAD + "".join(rows[name].line(name) for name in ACTIVATIONS if name in rows) + after


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measure the activations in ulps, and rewrite the table of docs/accuracy.md.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(ACTIVATIONS)} (default: all)")
    parser.add_argument("--thousandth", action="store_true", help="a thousandth of the inputs instead of all")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(ACTIVATIONS):
        parser.error(f"no such activation: {', '.join(sorted(unknown))}")
    patterns, inputs = (THOUSANDTH, "a thousandth") if options.thousandth else (EVERYTHING, "all")
    for name in options.names or ACTIVATIONS:
        start = time.perf_counter()
        found = row(*measure(name, patterns), inputs)
        text = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(with_table(text, read_table(text) | {name: found}), encoding="utf-8")
        print(f"{found.line(name).strip()}   {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
