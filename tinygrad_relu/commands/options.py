"""What commands share: the record of a command, types of arguments, the options for data sets and for the files of results."""
from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Collection
from importlib import import_module
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")
DEFAULT = " (default: %(default)s)"


class Command(NamedTuple):
    """A command: its name, a line of help, what adds its options to a parser, and what runs it and returns the exit status."""

    name: str
    help: str
    options: Callable[[argparse.ArgumentParser], object]
    run: Callable[[argparse.Namespace], int]


def later(run: str) -> Callable[[argparse.Namespace], int]:
    """The function of this name, such as "doctor.main", which is imported when it is called."""
    return lambda arguments: _imported(run)(arguments)


def _imported(place: str) -> Any:
    module, _, name = place.rpartition(".")
    return getattr(import_module(f"..{module}", __package__), name)


# -- types of arguments ----------------------------------------------------------------------------------------------------------


def check_name(name: str, known: Collection[str], what: str) -> str:
    """The same as `checks.check_name`, which is imported only to tell an error."""
    if name not in known:
        from ..checks import check_name

        check_name(name, known, what)
    return name


def reader(read: Callable[[str], T], expected: str = "") -> Callable[[str], T]:
    """`read` as the type of an argument: its ValueError becomes one sentence."""
    def parse(text: str) -> T:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"got {text!r}, expected {expected}" if expected else str(error)) from None

    return parse


number, whole = reader(float, "a number"), reader(int, "a whole number")


def one_of(registry: str, what: str) -> Callable[[str], str]:
    """A name of a registry, such as "lab.treatments.RULES", which is imported to check a name, and not for --help."""
    return reader(lambda text: check_name(text, [getattr(one, "key", one) for one in _imported(registry)], what))


# -- data and files --------------------------------------------------------------------------------------------------------------


def add_data(parser: argparse.ArgumentParser, samples: str = "all", default: str | None = "digits",
             regression: bool = False) -> None:
    """The options that choose a data set; the command adds --seed. `samples` says in words how many are used by default."""
    option = parser.add_argument
    option("--data", type=one_of("data.named.NAMED", "data"), default=default, metavar="NAME",
           help="one of digits, spiral, moons, fashion-mnist, mnist, csv" + (
               DEFAULT if default else " (default: those of the training)"))
    option("--path", metavar="PATH", help="the folder with the IDX files (fashion-mnist, mnist), or the CSV file (csv)")
    option("--target", metavar="COLUMN", help="name of the label column of a CSV file (default: the last column)")
    option("--delimiter", metavar="CHARACTER", help=r"separator of the columns of a CSV file, \t for tabs (default: a comma)")
    if regression:
        option("--regression", action="store_true", default=None, help="the target of a CSV file is a number: squared loss")
    option("--standardise", action=argparse.BooleanOptionalAction,
           help="shift and scale each feature to mean 0 and deviation 1 (default: only for csv)")
    option("--samples", type=whole, metavar="N", help=f"number of samples to use (default: {samples})")


def load_data(arguments: argparse.Namespace, seed: int | None = None, images: int | None = None) -> Any:
    """The chosen data set, in float64; by default at most so many `images`."""
    from ..checks import check_count
    from ..data.named import OPTIONS, named

    if arguments.samples is not None:
        check_count(arguments.samples, "--samples")
    given = {option: getattr(arguments, option, None) for option in OPTIONS}
    given["samples"] = arguments.samples or (images if arguments.data.endswith("mnist") else None)
    return named(arguments.data, arguments.seed if seed is None else seed, given, dash="--")


def standardises(arguments: argparse.Namespace) -> bool:
    return arguments.standardise or (arguments.data == "csv" and arguments.standardise is None)


def check_held_out(arguments: argparse.Namespace) -> None:
    if not 0 <= arguments.held_out < 1:
        raise ValueError(f"--held-out is {arguments.held_out}, expected a share from 0 to below 1")


def check_files(arguments: argparse.Namespace, *options: str) -> None:
    """Raise an error if a file of one of these options, such as "json", cannot be written, or no figure has this ending, or
    if two are the same file."""
    from ..files import check_writable

    files = {option: path for option in options if (path := getattr(arguments, option)) is not None}
    for option, path in files.items():
        check_writable(path, f"--{option}")
        if option == "figure":
            from ..lab.drawing import check_format

            check_format(path)
    if len({os.path.realpath(path) for path in files.values()}) < len(files):
        raise ValueError(f"--{' and --'.join(files)} both name {path}, expected two files")
