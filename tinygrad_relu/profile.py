"""Where the time of a step goes: a table of its launches, each beside the limits of this machine, and a roofline picture.

A launch can take no less time than its operations do at the speed of the best matrix product on this machine, and no less than a
copy of as many bytes. The larger one of these two is its *limit*; its *share* of the limit is that time over its own.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from .checks import counted, owner_of
from .kernels.loops.strided import as_kernel
from .kernels.machine.cost import counting, fastest, gemm_limit, memory_limit, operations
from .kernels.machine.door import watch
from .kernels.machine.pool import get_num_threads
from .kernels.machine.program import Native
from .notebook import new_figure
from .text import Shown, Table

LABELS = 10             # lines that the picture names
SMALL, LARGE = 1 << 16, 1 << 26
FLOATS = "float32", "float64"
PRODUCTS, LOOPS, ROOFS = "#0072b2", "#d1495b", "#767676"


@dataclass
class Line:
    """A launch, or all launches of one kernel with arrays of the same shapes."""

    kernel: str
    shapes: str
    dtype: str
    bytes: int                  # of one launch: all its arrays, each once
    operations: int = 0         # of one launch: see kernels/machine/cost.py
    products: bool = False      # whether they are those of matrix products
    calls: int = 0
    seconds: float = 0.0        # of all launches

    def add(self, seconds: float, products: int) -> None:
        """One launch more; `products` are the operations of its matrix products."""
        self.calls += 1
        self.seconds += seconds
        if products:
            self.operations, self.products = products, True

    @property
    def limits(self) -> dict[str, float]:
        """The seconds that one launch would take at each limit of the machine."""
        floats = self.dtype if self.dtype in FLOATS else "float64"
        return {"gemm": self.operations / gemm_limit(floats), "memory": self.bytes / memory_limit(self.bytes)}

    @property
    def limit(self) -> str:
        return max(self.limits, key=self.limits.__getitem__)

    @property
    def share(self) -> float:
        """How close it comes to its limit: 1 is as fast as this machine can."""
        return self.calls * self.limits[self.limit] / self.seconds if self.seconds else 0.0


@dataclass(repr=False)
class Profile(Shown):
    """Launches and their times; printed, a table. `whole` is the time of the whole block or call, in seconds."""

    lines: list[Line] = field(default_factory=list)
    whole: float = 0.0

    @property
    def seconds(self) -> float:
        """The time in launches."""
        return sum(line.seconds for line in self.lines)

    def line_of(self, kernel: Any, arguments: tuple[Any, ...]) -> Line:
        """The line of a launch; a new one if it is the first of its kind."""
        new = _line(kernel, arguments)
        for line in self.lines:
            if (line.kernel, line.shapes, line.dtype) == (new.kernel, new.shapes, new.dtype):
                return line
        self.lines.append(new)
        return new

    def parts(self) -> list[str | Table]:
        if not self.lines:
            return ["no launches"]
        headings = ["", "kernel", "shapes", "dtype", "calls", "bytes", "FLOPs", "us", "time", "limit"]
        rows = [[str(i), line.kernel, line.shapes, line.dtype, str(line.calls or 1), _short((line.calls or 1) * line.bytes)]
                for i, line in enumerate(self.lines)]
        if not self.seconds:
            return [Table("", headings[:6], rows)]
        for row, line in zip(rows, self.lines):
            row += [_short(line.calls * line.operations), f"{1e6 * line.seconds:,.2f}",
                    f"{line.seconds / max(self.seconds, self.whole):.0%}", f"{line.share:.0%} of {line.limit}"]
        said = f"{self._calls()} in {1e6 * self.seconds:,.2f} us" + (
            f", and {1e6 * (self.whole - self.seconds):,.2f} us for everything else" * bool(self.whole))
        limits = ", ".join(f"{gemm_limit(dtype) / 1e9:,.0f} GFLOP/s in {dtype}" for dtype in self._dtypes())
        return [Table("", headings, rows), f"{said}.",
                f"This machine, with {counted(get_num_threads(), 'thread')}: matrix products {limits}; copies of 64 kB "
                f"{memory_limit(SMALL) / 1e9:,.0f} GB/s, of 64 MB {memory_limit(LARGE) / 1e9:,.0f} GB/s."]

    def _calls(self) -> str:
        return counted(sum(line.calls for line in self.lines), "launch", "es")

    def _dtypes(self) -> list[str]:
        return list(dict.fromkeys(line.dtype for line in self.lines if line.dtype in FLOATS)) or ["float64"]

    def plot(self) -> Any:
        """A roofline picture, as a matplotlib Figure (``figure.savefig("roofline.png")``).

        Each point is a line of the table: its operations for each byte, and a second. Its area is its part of the time. It can
        lie at most on the roof, which is the speed of the best matrix product on the right, and that of copies on the left.
        (Launches without operations, such as copies, are not drawn.)
        """
        drawn, total = [i for i, line in enumerate(self.lines) if line.operations and line.seconds], max(self.seconds, self.whole)
        if not drawn:
            raise ValueError("plot: no launch of this profile computes anything")
        figure = new_figure("drawing a profile", figsize=(11, 5.5), dpi=120, facecolor="white", layout="constrained")
        axes: Any = figure.add_subplot()
        x = {i: self.lines[i].operations / self.lines[i].bytes for i in drawn}
        y = {i: self.lines[i].calls * self.lines[i].operations / self.lines[i].seconds / 1e9 for i in drawn}
        low, high = min(*x.values(), 0.1) / 2, max(*x.values(), 100) * 2
        axis = np.geomspace(low, high, 200)
        for i, dtype in enumerate(self._dtypes()):
            top = gemm_limit(dtype) / 1e9
            for size, name, style in (SMALL, "64 kB", "--"), (LARGE, "64 MB", "-"):
                speed = memory_limit(size) / 1e9
                axes.plot(axis, np.minimum(axis * speed, top), style, color=ROOFS, linewidth=1,
                          label=f"copies of {name}, {speed:,.0f} GB/s" if i == 0 else None)
            axes.annotate(f"matrix products in {dtype}, {top:,.0f} GFLOP/s", (high, top), (-4, 4), textcoords="offset points",
                          color=ROOFS, fontsize=8, ha="right")
        for i in drawn:
            axes.scatter(x[i], y[i], 20 + 1500 * self.lines[i].seconds / total, alpha=0.6, linewidths=0,
                         color=PRODUCTS if self.lines[i].products else LOOPS)
        for colour, name in (PRODUCTS, "matrix products"), (LOOPS, "other loops"):
            axes.scatter([], [], 40, colour, label=name)
        named = sorted(drawn, key=lambda i: -self.lines[i].seconds)[:LABELS]
        for i in named:
            axes.annotate(str(i), (x[i], y[i]), ha="center", va="center", fontsize=8)
        axes.set(xscale="log", yscale="log", xlim=(low, high), xlabel="operations for each byte of the arrays",
                 ylabel="operations a second, in billions", title=f"{self._calls()} in {1e6 * self.seconds:,.1f} us")
        parts = {f"{i}  {self.lines[i].kernel}": self.lines[i].seconds for i in named}
        parts |= {"other launches": self.seconds - sum(parts.values()), "everything else": total - self.seconds}
        key = "\n".join(f"{name}  {seconds / total:.0%}" for name, seconds in parts.items() if seconds > 1e-9)
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, title=key, title_fontsize=8, fontsize=8,
                    alignment="left")
        return figure


def _line(kernel: Any, arguments: tuple[Any, ...]) -> Line:
    arrays = [x for x in _arrays(arguments) if x.size]
    shapes = " ".join("x".join(map(str, x.shape)) or "1" for x in arrays)
    floats = [x.dtype.name for x in arrays if x.dtype.kind == "f"]
    return Line(getattr(kernel, "__name__", str(kernel)), shapes, (floats or [str(x.dtype) for x in arrays] or [""])[0],
                sum(x.nbytes for x in arrays), operations(kernel) * max([x.size for x in arrays], default=0))


def _arrays(tree: Any) -> Iterator[Any]:
    if isinstance(tree, np.ndarray):
        yield tree
    elif isinstance(tree, (tuple, list)):
        for entry in tree:
            yield from _arrays(entry)


def _short(n: float) -> str:
    """
    >>> _short(999), _short(59392), _short(2.1e9)
    ('999', '59.4k', '2.1G')
    """
    for unit in ("", "k", "M", "G", "T"):
        if n < 999.5 or unit == "T":
            return f"{n:.3g}{unit}"
        n /= 1000
    return ""


@contextmanager
def profile() -> Iterator[Profile]:
    """Time every launch of this thread inside a with block. Kernels run as always, one call of Python each (about 0.2 us).

    A captured step runs its Python code here, as it does for every watcher; ``program.profile`` times its replay. Operations of
    matrix products are counted on all threads, so those of another thread meanwhile appear here, too.

    >>> x = tg.Tensor(np.ones((64, 64), "float32"))
    >>> with tg.profile() as found:
    ...     y = F.relu(x @ x)
    >>> [(line.shapes, line.bytes, line.operations) for line in found.lines]
    [('64x64 64x64 64x64', 49152, 524288), ('4096 4096', 32768, 0)]
    """
    found, inside, noting = Profile(), [0.0], 0.0
    with counting() as since:
        def note(kernel: Any, arguments: tuple[Any, ...]) -> None:
            nonlocal noting
            begin = perf_counter()
            line = found.line_of(kernel, arguments)
            since()
            inside.append(0.0)              # the time of launches inside this one, by functions of Python
            start = perf_counter()
            kernel(*arguments)
            seconds = perf_counter() - start
            line.add(seconds - inside.pop(), since())
            end = perf_counter() - begin
            inside[-1] += end
            noting += end - seconds

        with watch(note):
            start = perf_counter()
            try:
                yield found
            finally:
                found.whole = perf_counter() - start - noting


def of_launches(launches: Iterable[tuple[Any, tuple[Any, ...]]], repeat: int) -> Profile:
    """The least time of each launch in `repeat` runs of all of them, in order. All arrays get back their numbers of before.

    With ``repeat=0`` nothing is run, and the profile has no times and no operations of matrix products.
    """
    launches, found = list(launches), Profile()
    found.lines = [_line(*launch) for launch in launches]
    if repeat == 0:
        return found
    runs = [Native([known]).run if (known := as_kernel(*each)) else partial(each[0], *each[1]) for each in launches]
    held = list({id(x): x for _, arguments in launches for x in map(owner_of, _arrays(arguments))}.values())
    before = [x.copy() for x in held]
    (nothing,) = fastest([Native([]).run], 100)       # what calling a program costs
    try:
        with counting() as since:
            for run, line in zip(runs, found.lines):
                run()
                line.add(0.0, since())
        best = fastest(runs, repeat)
    finally:
        for x, numbers in zip(held, before):
            if x.flags.writeable:
                x[...] = numbers
    for line, least in zip(found.lines, best):
        line.seconds += max(least - nothing, 1e-9)
    return found
