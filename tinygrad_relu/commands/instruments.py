"""``tinygrad-relu census``: the laboratory's instruments on a saved model and data."""
from __future__ import annotations

import argparse
from typing import Any

from .models import NORMS, Setup, read
from .options import Command, activations, add_data, check_files, one_of

FROM_DATA = "data", "path", "target", "delimiter", "standardise", "samples"


def _options(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("FILE", help="a file of `tinygrad-relu train --out`, or of `tg.save`")
    add_data(parser, default=None)
    option("--activation", type=one_of(activations, "activation"), metavar="NAME", help="activation, if the file does not tell")
    option("--norm", choices=NORMS, help="norm before each activation, if the file does not tell")
    option("--json", metavar="FILE", help="write the results to this file")
    option("--quiet", action="store_true", help="print only errors")


def _read(arguments: argparse.Namespace) -> Setup:
    """The saved model, its optimizer, and the samples of its training, or all samples of another data set."""
    check_files(arguments, "json")
    given = vars(arguments)
    changes = {name: given[name] for name in ("activation", "norm") if given[name] is not None}
    if arguments.data is None and any(given[name] is not None for name in FROM_DATA):
        raise ValueError("the options of a data set need --data, expected it beside them")
    if arguments.data is not None:
        changes |= {"held_out": 0.0, **{name: given[name] for name in FROM_DATA}}
    return read(arguments.FILE, changes)


def _show(arguments: argparse.Namespace, found: Any, *parts: Any) -> int:
    """Print the parts of what was found (by default, all of it in one), and write its JSON."""
    from ..files import write_through
    from ..text import print_parts

    if not arguments.quiet:
        print_parts(*parts or [str(found)])
    if arguments.json:
        write_through(arguments.json, lambda file: file.write(found.to_json().encode() + b"\n"))
    return 0


def _census(arguments: argparse.Namespace) -> int:
    from ..lab import census

    setup = _read(arguments)
    found = census(setup.model, setup.train.x, setup.train.y)
    return _show(arguments, found, found.summary(), "", found.table())


COMMANDS = [Command("census", "the state of every unit of a saved model on its data", _options, _census)]
