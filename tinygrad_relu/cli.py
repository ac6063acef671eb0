"""The command line: ``tinygrad-relu revive | warmup | cache | doctor``."""
from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Collection, Sequence
from typing import Any, NoReturn, TypeVar

from . import __version__, doctor, warmup
from .checks import check_name
from .files import check_writable, write_through
from .text import progress

T = TypeVar("T")
DATA = ("digits", "spiral", "moons", "fashion-mnist", "mnist", "csv")
SAMPLES = 2000      # default for data sets of images: full-batch training on all samples would take an hour


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the defaults that exist."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None or isinstance(action.default, list) else super()._get_help_string(action)


class _Parser(argparse.ArgumentParser):
    """Prints an error as one sentence, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Exit status: 0 success, 1 a prediction failed, 2 bad input."""
    parsed = _parse(sys.argv[1:] if arguments is None else arguments)
    try:
        return int(parsed.run(parsed))
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"tinygrad-relu {parsed.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"tinygrad-relu {parsed.command}: interrupted", file=sys.stderr)
        return 130


def _parse(words: Sequence[str]) -> argparse.Namespace:
    """The arguments. An unknown command or option is an error that names the nearest one."""
    parser, commands = _parsers()
    try:
        if words and not words[0].startswith("-"):
            check_name(words[0], commands, "the command")
        parsed, unknown = parser.parse_known_args(words)
        if unknown and not unknown[0].startswith("-"):
            raise ValueError(f"got {unknown[0]!r}, expected an option")
        if unknown:
            options = ["--" + name.replace("_", "-") for name in vars(parsed) if name not in ("command", "run")]
            check_name(unknown[0].partition("=")[0], options, f"an option of {parsed.command}")
    except ValueError as error:
        parser.error(str(error))
    return parsed


def _parsers() -> tuple[argparse.ArgumentParser, Collection[str]]:
    """The parser of the whole command line, and the names of the commands."""
    parser = _Parser(prog="tinygrad-relu", description="An autodiff engine on Numba kernels, and a laboratory where dead ReLU "
                     "units come back to life at a predicted step.")
    parser.add_argument("--version", action="version", version=f"tinygrad-relu {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    revive = commands.add_parser("revive", help="bring a dead network back to life on real data, at a predicted step",
                                 formatter_class=_Help)
    _add_revive(revive)
    revive.set_defaults(run=_revive)
    for name, add_arguments, run, text in (
            ("warmup", warmup.add_arguments, warmup.main, "compile all kernels now, so that later runs start at once"),
            ("cache", warmup.add_cache_arguments, warmup.cache_main, "show and check the compiled kernels, or clear them"),
            ("doctor", doctor.add_arguments, doctor.main, "show which kernels, threads and caches are in use, and how fast")):
        command = commands.add_parser(name, help=text, formatter_class=_Help)
        add_arguments(command)
        command.set_defaults(run=run)
    return parser, commands.choices


def _add_revive(parser: argparse.ArgumentParser) -> None:
    from .lab.revive import TREATMENTS
    from .nn.activations import MODULES

    number = parser.add_argument
    number("--data", type=_one_of(DATA, "data"), default="digits", metavar="NAME", help=f"one of {', '.join(DATA)}")
    number("--path", metavar="PATH", help="the folder with the IDX files (fashion-mnist, mnist), or the CSV file (csv)")
    number("--target", metavar="COLUMN", help="name of the label column of a CSV file (default: the last column)")
    number("--samples", type=_whole, metavar="N",
           help=f"number of samples to use (default: {SAMPLES} of fashion-mnist or mnist, all of csv)")
    number("--seed", type=_whole, default=0, metavar="N", help="random seed of the weights and of synthetic data")
    number("--widths", type=_whole, nargs="+", default=[64, 64], metavar="N", help="widths of the hidden layers (default: 64 64)")
    number("--activation", type=_one_of([*MODULES, "maxout"], "activation"), default="relu", metavar="NAME",
           help="activation of the hidden layers")
    number("--kill-lr", type=_number, default=3.0, metavar="RATE", help="learning rate that makes the network sick")
    number("--kill-steps", type=_whole, default=250, metavar="N", help="number of steps at that rate")
    number("--lr", type=_number, default=0.1, metavar="RATE", help="learning rate of the treatments")
    number("--steps", type=_whole, default=1000, metavar="N", help="number of steps of each treatment")
    number("--treatments", type=_one_of([t.key for t in TREATMENTS], "treatment"), nargs="+", metavar="NAME",
           default=[t.key for t in TREATMENTS], help=f"some of {', '.join(t.key for t in TREATMENTS)} (default: all)")
    number("--json", metavar="FILE", help="write the results to this file")
    number("--figure", metavar="FILE", help="draw the life lines of all units (PNG, SVG or PDF)")


def _reader(read: Callable[[str], T], expected: str = "") -> Callable[[str], T]:
    """`read` as the type of an argument: its ValueError becomes one sentence."""
    def parse(text: str) -> T:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"got {text!r}, expected {expected}" if expected else str(error)) from None

    return parse


_number, _whole = _reader(float, "a number"), _reader(int, "a whole number")


def _one_of(names: Collection[str], what: str) -> Callable[[str], str]:
    return _reader(lambda text: check_name(text, names, what))


def _revive(arguments: argparse.Namespace) -> int:
    from .checks import check_count, check_number
    from .lab import report
    from .lab.revive import TREATMENTS, make_sick, revive

    for name in ("kill_lr", "lr"):
        check_number(getattr(arguments, name), f"--{name.replace('_', '-')}")
    for name in ("kill_steps", "steps"):
        check_count(getattr(arguments, name), f"--{name.replace('_', '-')}")
    check_count(arguments.seed, "--seed", least=0)
    for width in arguments.widths:
        check_count(width, "--widths")
    files = {option: path for option in ("json", "figure") if (path := getattr(arguments, option)) is not None}
    for option, path in files.items():
        check_writable(path, f"--{option}")
    if arguments.figure:
        report.check_format(arguments.figure)
    if len({os.path.realpath(path) for path in files.values()}) < len(files):
        raise ValueError(f"--json and --figure both name {arguments.figure}, expected two files")
    dataset = _dataset(arguments)
    treatments = [t for t in TREATMENTS if t.key in arguments.treatments]
    with progress(arguments.kill_steps + len(treatments) * arguments.steps, "compiling") as tick:
        sick = make_sick(dataset, hidden=arguments.widths, activation=arguments.activation, seed=arguments.seed,
                         kill_lr=arguments.kill_lr, kill_steps=arguments.kill_steps, tick=tick)
        outcomes = revive(sick, dataset, treatments, lr=arguments.lr, steps=arguments.steps, tick=tick)
    report.print_report(dataset, sick, outcomes, kill_lr=arguments.kill_lr)
    if arguments.json:
        text = json.dumps(report.to_dict(dataset, sick, outcomes), indent=1, allow_nan=False)
        write_through(arguments.json, lambda file: file.write(text.encode() + b"\n"))
    if arguments.figure:
        report.draw(sick, outcomes, arguments.figure, kill_lr=arguments.kill_lr, title="A dead network, and what brings it back: "
                    + report.described(dataset, sick))
    if len(outcomes) < len(treatments):
        print(f"tinygrad-relu revive: interrupted; {len(outcomes)} of {len(treatments)} treatments had finished", file=sys.stderr)
        return 130
    return 1 if any(outcome.disagreements for outcome in outcomes) else 0


def _dataset(arguments: argparse.Namespace) -> Any:
    """The chosen data set, in float64, where predictions are exact."""
    from . import data

    if arguments.target is not None and arguments.data != "csv":
        raise ValueError(f"--target is for csv; --data {arguments.data} takes none")
    if arguments.data in ("fashion-mnist", "mnist"):
        if not arguments.path:
            raise ValueError(f"--data {arguments.data} needs --path, the folder with its IDX files (nothing is downloaded)")
        load = data.mnist if arguments.data == "mnist" else data.fashion_mnist
        return load(arguments.path, dtype="float64").head(SAMPLES if arguments.samples is None else arguments.samples)
    if arguments.data == "csv":
        if not arguments.path:
            raise ValueError("--data csv needs --path, the CSV file")
        table = data.csv(arguments.path, -1 if arguments.target is None else arguments.target).standardise()
        return table if arguments.samples is None else table.head(arguments.samples)
    for option in ("path", "samples"):
        if getattr(arguments, option) is not None:
            raise ValueError(f"--{option} is for fashion-mnist, mnist and csv; --data {arguments.data} takes none")
    if arguments.data == "digits":
        return data.digits()
    return data.spirals(rng=arguments.seed) if arguments.data == "spiral" else data.moons(rng=arguments.seed)
