"""``tinygrad-relu experiment`` and ``report``: the claims of the literature, checked on networks that are trained on the spot."""
from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .options import DEFAULT, Command, check_files, check_name, whole

if TYPE_CHECKING:
    from ..lab.experiments import Result
    from ..text import Table


def _shared(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("--seed", type=whole, default=0, metavar="N", help="random seed" + DEFAULT)
    option("--fast", action="store_true", help="smaller networks and fewer draws: all experiments in 90 seconds")
    option("--jobs", type=whole, metavar="N", help="processes (default: one per core)")
    option("--json", metavar="FILE", help="write claims, findings and the numbers of the figures to this file")
    option("--quiet", action="store_true", help="print only errors; the exit status is 1 if a claim does not hold")


def _experiment_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("NAMES", nargs="+", metavar="NAME", help="names of experiments or chapters, or: list, all")
    parser.add_argument("--figure", metavar="FILE", help="draw the figure (PNG, SVG or PDF); of several experiments: a folder")
    _shared(parser)


def _report_options(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("--out", metavar="FILE", default="report.html", help="the page, one file that needs no network" + DEFAULT)
    option("--only", nargs="+", metavar="NAME", default=["all"], help="names of experiments or chapters (default: all)")
    option("--claims", metavar="FILE", help="run nothing: write the table of all claims, as in docs/claims.md")
    _shared(parser)


def _experiment(arguments: argparse.Namespace) -> int:
    from ..lab.experiments import chosen as chosen_of
    from ..text import print_parts

    chosen = chosen_of(arguments.NAMES, "list")
    if "list" in arguments.NAMES:
        print_parts(*_listed())
        return 0
    check_files(arguments, "json", *["figure"] * (len(chosen) == 1))
    folder = Path(arguments.figure) if arguments.figure and len(chosen) > 1 else None
    if folder is not None:
        if not folder.is_dir() and (folder.suffix or folder.exists()):
            raise ValueError(f"--figure is {folder}, expected a folder for {len(chosen)} figures")
        folder.mkdir(parents=True, exist_ok=True)
    results = _run(arguments, chosen, folder)
    if arguments.figure and len(chosen) == 1:
        results[0].plot(arguments.figure)
    if not arguments.quiet:
        for result in results if len(results) == 1 else [one for one in results if one.verdict == "does not hold"]:
            print_parts(*result.experiment.parts(), "", result.table(), "", result.parts()[-1])
        if len(results) > 1:
            print_parts(summary(results))
    return int(any(result.verdict == "does not hold" for result in results))


def _report(arguments: argparse.Namespace) -> int:
    from tempfile import TemporaryDirectory

    from ..files import write_through
    from ..lab.drawing import check_format
    from ..lab.experiments import chosen
    from ..lab.experiments.page import html, template
    from ..lab.experiments.running import claims_page
    from ..text import print_parts

    if arguments.claims:
        check_files(arguments, "claims")
        write_through(arguments.claims, lambda file: file.write(claims_page().encode()))
        return 0
    check_files(arguments, "json", "out")
    check_name(Path(arguments.out).suffix, (".html", ".htm"), "--out: the ending of the report")
    check_format("report.svg")
    template()                      # these two raise an error before the work starts if their packages are missing
    with TemporaryDirectory() as folder:
        results = _run(arguments, chosen(arguments.only), Path(folder))
        page = html(results, Path(folder))
    write_through(arguments.out, lambda file: file.write(page.encode()))
    if not arguments.quiet:
        print_parts(summary(results), "", f"The report is {arguments.out}.")
    return int(any(result.verdict == "does not hold" for result in results))


def _run(arguments: argparse.Namespace, chosen: list[str], figures: Path | None) -> list[Result]:
    """Run them, with a progress bar, and write the JSON."""
    from ..checks import check_count
    from ..files import write_json
    from ..lab.experiments.running import run_all

    check_count(arguments.seed, "--seed", least=0)
    jobs = None if arguments.jobs is None else check_count(arguments.jobs, "--jobs")
    results = run_all(chosen, seed=arguments.seed, fast=arguments.fast, figures=figures, jobs=jobs, quiet=arguments.quiet)
    if arguments.json:
        found = [result.to_dict() for result in results]
        write_json(arguments.json, found[0] if len(found) == 1 else {"experiments": found})
    return results


def summary(results: list[Result]) -> Table:
    """One row per experiment."""
    from ..text import Table

    held = sum(result.verdict != "does not hold" for result in results)
    return Table(f"{held} of {len(results)} experiments hold", ["experiment", "claims", "findings", "seconds", "verdict"], [
        (result.experiment.name, " ".join(claim.key for claim in result.experiment.claims) or "-",
         f"{sum(finding.holds for finding in result.findings)}/{len(result.findings)}", f"{result.seconds:.1f}", result.verdict)
        for result in results])


def _listed() -> Iterator[Table | str]:
    """A table for each chapter."""
    from ..lab.experiments import CHAPTERS, find, names
    from ..text import Table

    for chapter, title in CHAPTERS.items():
        yield Table(f"{title} (`tinygrad-relu experiment {chapter.replace('_', '-')}` runs all of these)",
                    ["experiment", "claims", "title"], [(one.name, " ".join(claim.key for claim in one.claims) or "-", one.title)
                                                        for one in map(find, names()) if one.chapter == chapter])
        yield ""


COMMANDS = [Command("experiment", "check claims of the literature on networks that are trained on the spot", _experiment_options,
                    _experiment),
            Command("report", "run all experiments, and write one page with every claim, figure, number and verdict",
                    _report_options, _report)]
