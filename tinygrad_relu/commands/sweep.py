"""``tinygrad-relu sweep``: a grid of settings times seeds; and what has been found so far."""
from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .options import DEFAULT, Command, check_files, one_of, whole

if TYPE_CHECKING:
    from ..lab import Sweep


def options(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("WHAT", nargs="+", help="FILE.toml: run what it says and is not done yet; status FILE, table FILE or plot FILE: show "
           "what a database of results holds")
    option("--out", metavar="FILE", help="the database of the results (default: the name of the TOML file with .sqlite)")
    option("--executor", type=one_of("lab.sweep.executors.EXECUTORS", "executor"), default="local", metavar="NAME",
           help="one of local, joblib, dask" + DEFAULT)
    option("--scheduler", metavar="ADDRESS", help="for dask: the address of the scheduler, such as tcp://10.0.0.1:8786 (default: "
           "that of dask's own configuration, or else a cluster on this machine)")
    option("--jobs", type=whole, metavar="N", help="for local and joblib: processes (default: one per core)")
    option("--renew", action="store_true", help="run again what another version of the code has computed")
    option("--by", nargs="+", metavar="SETTING", help="of a table or a plot: a row or a line for each value of these settings "
           "(default: those of the grid)")
    option("--of", nargs="+", metavar="NUMBER", help="of a table or a plot: these numbers (default: of a table all, of a plot "
           "valid_accuracy)")
    option("--over", metavar="SETTING", help="of a plot: the horizontal axis (default: the first setting of the grid)")
    option("--figure", metavar="FILE", help="of a plot: the file (PNG, SVG or PDF; default: the name of the database with .png)")
    option("--parquet", metavar="FILE", help="write all runs to this Parquet file")
    option("--json", metavar="FILE", help="write all runs to this file")
    option("--quiet", action="store_true", help="print only errors")


def run(arguments: argparse.Namespace) -> int:
    """Exit status 1 if runs failed."""
    from ..files import write_json
    from ..text import print_parts

    check_files(arguments, "json", "parquet")
    first, *rest = arguments.WHAT
    if first in VIEWS and len(rest) == 1:
        from ..lab import Sweep

        found = Sweep(rest[0])
        parts = VIEWS[first](found, arguments)
    elif rest or first in VIEWS:
        raise ValueError(f"got {' '.join(arguments.WHAT)}, expected FILE.toml, or one of {', '.join(VIEWS)} with a database")
    else:
        found, parts = _swept(first, arguments)
    if arguments.parquet:
        found.to_parquet(arguments.parquet)
    if arguments.json:
        write_json(arguments.json, found.to_dict())
    if not arguments.quiet:
        print_parts(*parts)
    return int(found.failed > 0)


def _swept(file: str, arguments: argparse.Namespace) -> tuple[Sweep, list[Any]]:
    from time import perf_counter

    from .. import lab
    from ..checks import counted
    from ..lab.sweep.results import duration

    start = perf_counter()
    found = lab.sweep(file, out=arguments.out, executor=arguments.executor, jobs=arguments.jobs, scheduler=arguments.scheduler,
                      renew=arguments.renew, quiet=arguments.quiet)
    told = f"{counted(found.new, 'new run')} in {duration(perf_counter() - start)}. The results are in {found.store.path}."
    return found, [*_table(found, arguments), "", told]


def _table(found: Sweep, arguments: argparse.Namespace) -> list[Any]:
    return [found.table(arguments.by, arguments.of), *found.notes()]


def _plot(found: Sweep, arguments: argparse.Namespace) -> list[Any]:
    from pathlib import Path

    from ..lab.drawing import DPI, check_format, save

    file = arguments.figure or str(Path(str(found.store.path)).with_suffix(".png"))
    check_format(file)
    for name in ("by", "of"):
        if len(getattr(arguments, name) or ()) > 1:
            raise ValueError(f"--{name} is {' '.join(getattr(arguments, name))}, expected one for a plot")
    save(found.plot(arguments.over, *(given and given[0] for given in (arguments.of, arguments.by))), file, DPI)
    return [f"The plot is {file}."]


VIEWS: dict[str, Callable[[Sweep, argparse.Namespace], list[Any]]] = {
    "status": lambda found, arguments: [found.status(), *found.notes()], "table": _table, "plot": _plot}
COMMANDS = [Command("sweep", "run a grid of settings times seeds, on one machine or many; go on where it stopped", options, run)]
