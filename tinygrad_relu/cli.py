"""The command line: ``tinygrad-relu revive | map | warmup | cache | doctor``.

This file imports nothing heavy. The package imports it first, so that `begin` can answer --help and --version at once, and let
Ctrl-C end the other imports of the command with one line.
"""
from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

if TYPE_CHECKING:       # imported where it is used: an import of the package does not need it
    import argparse

T = TypeVar("T")
VERSION = "0.1.0"
DATA: dict[str, Callable[[Any, argparse.Namespace], Any]] = {       # from the module `data` and the arguments, in float64
    "digits": lambda data, given: data.digits(),
    "spiral": lambda data, given: data.spirals(rng=given.seed),
    "moons": lambda data, given: data.moons(rng=given.seed),
    "fashion-mnist": lambda data, given: data.fashion_mnist(given.path, dtype="float64"),
    "mnist": lambda data, given: data.mnist(given.path, dtype="float64"),
    "csv": lambda data, given: data.csv(given.path, -1 if given.target is None else given.target,
                                        delimiter=(given.delimiter or ",").replace(r"\t", "\t"))}
SAMPLES = 2000      # default for data sets of images: full-batch training on all samples would take an hour
TREATMENTS = ("sgd", "sgd-l2", "momentum", "momentum-l2-below", "momentum-l2-inside", "heavy-l2", "heavy-decoupled",
              "nesterov-l2", "bias-decay", "weight-decay", "adam", "adam-l2", "leaky", "mirror", "coast", "coast-emptied",
              "own-steps")      # keys of lab.treatments
RULES = ("sgd", "nesterov", "sgdw", "adam", "adamw")
SCHEDULES = ("cosine", "linear", "step", "warmup")
OPTIONS = ("weight-decay", "lr", "momentum")


def begin() -> None:
    """If this process runs the command: answer --help and --version, and let Ctrl-C stop the imports that follow."""
    script, *words = sys.argv or [""]
    module = script == "-m" and sys.orig_argv[-len(sys.argv)].endswith("tinygrad_relu")
    if module or Path(script).stem == "tinygrad-relu":
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:       # and not ignored, as in the background
            signal.signal(signal.SIGINT, _end)
        if not {"-h", "--help", "--version"}.isdisjoint(words):
            _parse(words)


def _end(*interrupt: object) -> NoReturn:
    print("tinygrad-relu: interrupted", file=sys.stderr)
    sys.exit(130)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Exit status: 0 success, 1 a prediction failed, 2 bad input, 130 interrupted."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)        # from here on Ctrl-C can be caught
    parsed = _parse(sys.argv[1:] if arguments is None else arguments)
    try:
        status = _run(parsed)
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except BrokenPipeError:         # the reader of the output, such as `head`, has ended; Python would print an error at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, TypeError, OSError, ImportError, MemoryError, OverflowError) as error:
        print(f"tinygrad-relu {parsed.command}: {error or type(error).__name__}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"tinygrad-relu {parsed.command}: interrupted", file=sys.stderr)
        return 130


def _parse(words: Sequence[str]) -> argparse.Namespace:
    """The arguments. An unknown command or option is an error that names the nearest one."""
    parser, commands = _parsers()
    try:
        if words and not words[0].startswith("-"):
            _check_name(words[0], commands, "the command")
        elif words and not any(known.startswith(words[0]) for known in ("-h", "--help", "--version")):
            _check_name(words[0], ["--help", "--version"], "the option before the command")
        parsed, unknown = parser.parse_known_args(words)
        if unknown and not unknown[0].startswith("-"):
            raise ValueError(f"got {unknown[0]!r}, expected an option")
        if unknown:
            options = ["--" + name.replace("_", "-") for name in vars(parsed) if name != "command"]
            _check_name(unknown[0].partition("=")[0], options, f"an option of {parsed.command}")
    except ValueError as error:
        parser.error(str(error))
    return parsed


def _check_name(name: str, known: Collection[str], what: str) -> str:
    if name not in known:
        from .checks import check_name

        check_name(name, known, what)
    return name


def _parsers() -> tuple[argparse.ArgumentParser, Collection[str]]:
    """The parser of the whole command line, and the names of the commands."""
    import argparse

    class Parser(argparse.ArgumentParser):
        """Prints an error as one sentence, without the usage."""

        def error(self, message: str) -> NoReturn:
            self.exit(2, f"{self.prog}: {message}\n")

    parser = Parser(prog="tinygrad-relu", description="An autodiff engine on Numba kernels, and a laboratory where dead ReLU "
                     "units come back to life at a predicted step.")
    parser.add_argument("--version", action="version", version=f"tinygrad-relu {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_revive(commands.add_parser("revive", help="bring a dead network back to life on real data, at a predicted step"))
    _add_map(commands.add_parser("map", help="draw at which step a dead unit returns, by momentum and rate times decay"))
    warmup = commands.add_parser("warmup", help="compile all kernels now, so that later runs start at once")
    warmup.add_argument("--dtype", choices=("float32", "float64", "both"), default="both", help="which kernels (default: both)")
    warmup.add_argument("--jobs", type=_whole, metavar="N", help="compiling processes (default: one per core, at most 4)")
    cache = commands.add_parser("cache", help="show and check the compiled kernels, or clear them")
    cache.add_argument("--clear", action="store_true", help="remove all compiled kernels, those of other versions too")
    doctor = commands.add_parser("doctor", help="show which kernels, threads and caches are in use, and how fast")
    doctor.add_argument("--json", metavar="FILE", help="write the report to this file too")
    return parser, commands.choices


def _add_revive(parser: argparse.ArgumentParser) -> None:
    import argparse

    option, default = parser.add_argument, " (default: %(default)s)"
    option("--data", type=_one_of(lambda: DATA, "data"), default="digits", metavar="NAME",
           help=f"one of {', '.join(DATA)}" + default)
    option("--path", metavar="PATH", help="the folder with the IDX files (fashion-mnist, mnist), or the CSV file (csv)")
    option("--target", metavar="COLUMN", help="name of the label column of a CSV file (default: the last column)")
    option("--delimiter", metavar="CHARACTER", help=r"separator of the columns of a CSV file, \t for tabs (default: a comma)")
    option("--standardise", action=argparse.BooleanOptionalAction,
           help="shift and scale each feature to mean 0 and deviation 1 (default: only for csv)")
    option("--samples", type=_whole, metavar="N",
           help=f"number of samples to use (default: {SAMPLES} of fashion-mnist or mnist, all of csv)")
    option("--seed", type=_whole, default=0, metavar="N", help="random seed of the weights and of synthetic data" + default)
    option("--widths", type=_whole, nargs="+", default=[64, 64], metavar="N", help="widths of the hidden layers (default: 64 64)")
    option("--activation", type=_one_of(_activations, "activation"), default="relu", metavar="NAME",
           help="activation of the hidden layers" + default)
    option("--kill-lr", type=_number, default=3.0, metavar="RATE", help="learning rate that makes the network sick" + default)
    option("--kill-steps", type=_whole, default=250, metavar="N", help="number of steps at that rate" + default)
    option("--lr", type=_number, default=0.1, metavar="RATE", help="learning rate of the treatments" + default)
    option("--steps", type=_whole, default=1000, metavar="N", help="number of steps of each treatment" + default)
    option("--held-out", type=_number, default=0.5, metavar="SHARE",
           help="share of the samples that is not trained on, for a second accuracy; 0 for none" + default)
    option("--seeds", type=_whole, default=1, metavar="N", help="repeat everything with N seeds, from --seed on" + default)
    option("--treatments", type=_one_of(lambda: TREATMENTS, "treatment"), nargs="+", metavar="NAME",
           help=f"some of {', '.join(TREATMENTS)} (default: all)")
    option("--optimizer", type=_one_of(lambda: RULES, "optimizer"), metavar="NAME",
           help=f"add a treatment of your own, with one of {', '.join(RULES)} (default: sgd)")
    option("--momentum", type=_number, metavar="MOMENTUM", help="momentum of your treatment, from 0 to below 1")
    option("--weight-decay", type=_number, metavar="DECAY", help="weight decay of your treatment")
    option("--schedule", type=_one_of(lambda: SCHEDULES, "schedule"), metavar="NAME",
           help=f"schedule of the learning rate of your treatment: one of {', '.join(SCHEDULES)}")
    option("--at", type=_whole, metavar="STEP", help="instead of the treatments: find the values of one option for which the "
           "first unit returns at this step, train at both ends of the interval and just outside, and compare (the other options "
           "are those of momentum .99 + L2, of the one treatment that is named, or yours)")
    option("--option", type=_one_of(lambda: OPTIONS, "option"), metavar="NAME", default="weight-decay",
           help=f"for --at: one of {', '.join(OPTIONS)}" + default)
    option("--json", metavar="FILE", help="write the results to this file")
    option("--figure", metavar="FILE", help="draw the life lines of all units (PNG, SVG or PDF)")
    option("--quiet", action="store_true", help="print only errors; the exit status is 1 if a prediction fails")


def _add_map(parser: argparse.ArgumentParser) -> None:
    option, default = parser.add_argument, " (default: %(default)s)"
    option("--figure", metavar="FILE", default="map.png", help="the picture (PNG, SVG or PDF)" + default)
    option("--steps", type=_whole, default=10_000, metavar="N", help="number of steps to simulate in each pixel" + default)
    option("--nesterov", action="store_true", help="draw the map for Nesterov momentum")
    option("--momentum", type=_number, metavar="MOMENTUM", help="momentum of a point of your own on the map (default: 0)")
    option("--weight-decay", type=_number, metavar="DECAY", help="weight decay of your point (default: 0)")
    option("--lr", type=_number, metavar="RATE", help="learning rate of your point (default: 0.1)")
    option("--json", metavar="FILE", help="write the numbers to this file")
    option("--quiet", action="store_true", help="print only errors; the exit status is 1 if formula and simulation differ")


def _run(parsed: argparse.Namespace) -> int:
    if parsed.command in ("revive", "map"):
        return _revive(parsed) if parsed.command == "revive" else _map(parsed)
    from . import doctor, warmup

    return {"warmup": warmup.main, "cache": warmup.cache_main, "doctor": doctor.main}[parsed.command](parsed)


def _activations() -> Collection[str]:
    from .nn.activations import MODULES

    return [*MODULES, "maxout"]


def _reader(read: Callable[[str], T], expected: str = "") -> Callable[[str], T]:
    """`read` as the type of an argument: its ValueError becomes one sentence."""
    def parse(text: str) -> T:
        import argparse

        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"got {text!r}, expected {expected}" if expected else str(error)) from None

    return parse


_number, _whole = _reader(float, "a number"), _reader(int, "a whole number")


def _one_of(names: Callable[[], Collection[str]], what: str) -> Callable[[str], str]:
    return _reader(lambda text: _check_name(text, names(), what))


def _revive(arguments: argparse.Namespace) -> int:
    from .checks import check_count, check_number
    from .files import write_through
    from .lab import figure, report
    from .lab.revive import fill, main_job
    from .text import progress

    check_number(arguments.kill_lr, "--kill-lr")
    check_number(arguments.lr, "--lr")
    check_count(arguments.kill_steps, "--kill-steps")
    check_count(arguments.steps, "--steps")
    check_count(arguments.seed, "--seed", least=0)
    check_count(arguments.seeds, "--seeds")
    check_count(1 if arguments.samples is None else arguments.samples, "--samples")
    if not 0 <= arguments.held_out < 1:
        raise ValueError(f"--held-out is {arguments.held_out}, expected a share from 0 to below 1")
    for width in arguments.widths:
        check_count(width, "--widths")
    _check_files(arguments)
    if arguments.figure:
        figure.check_format(arguments.figure)
    treatments = _treatments(arguments)
    at = 0 if arguments.at is None else check_count(arguments.at, "--at")
    seeds = range(arguments.seed, arguments.seed + arguments.seeds)
    dataset, runs = _dataset(arguments), []
    trained = 4 * (at + 1) if at else sum(min(t.steps or arguments.steps, arguments.steps) for t in treatments)
    steps = len(seeds) * (arguments.kill_steps + trained)
    _check_memory(dataset, arguments.widths, steps)
    with progress(steps, "compiling", quiet=arguments.quiet) as tick:
        options = {"hidden": arguments.widths, "held_out": arguments.held_out, "activation": arguments.activation,
                   "kill_lr": arguments.kill_lr, "kill_steps": arguments.kill_steps, "lr": arguments.lr,
                   "standardise": _standardises(arguments), "tick": tick}
        for seed in seeds:
            found = dataset if seed == arguments.seed else _dataset(arguments, seed)
            try:
                runs.append(fill(found, treatments[-1], at, arguments.option.replace("-", "_"), seed=seed, **options) if at else
                            main_job(found, treatments, steps=arguments.steps, seed=seed, **options))
            except KeyboardInterrupt:
                if not runs:
                    raise
            expected = [len(treatments) if run.prescription is None else len(run.prescription.ends) for run in runs]
            if len(runs[-1].outcomes) < expected[-1] or len(runs) <= seed - arguments.seed:
                break                                   # interrupted
    if not arguments.quiet:
        report.print_report(runs, kill_lr=arguments.kill_lr)
    if arguments.json:
        text = json.dumps(report.to_dict(runs), indent=1, allow_nan=False)
        write_through(arguments.json, lambda file: file.write(text.encode() + b"\n"))
    first = runs[0]
    if arguments.figure and first.of("sick", "shocked", "own steps"):
        figure.draw(runs, arguments.figure, kill_lr=arguments.kill_lr)
    done, asked = sum(len(run.outcomes) for run in runs), len(seeds) * expected[0]
    if done < asked:
        print(f"tinygrad-relu revive: interrupted; {done} of {asked} treatments had finished", file=sys.stderr)
        return 130
    return 1 if any(run.failed for run in runs) else 0


def _check_files(arguments: argparse.Namespace) -> None:
    """Raise an error if a file of --json or --figure cannot be written."""
    from .files import check_writable

    files = {option: path for option in ("json", "figure") if (path := getattr(arguments, option)) is not None}
    for option, path in files.items():
        check_writable(path, f"--{option}")
    if len({os.path.realpath(path) for path in files.values()}) < len(files):
        raise ValueError(f"--json and --figure both name {arguments.figure}, expected two files")


def _map(arguments: argparse.Namespace) -> int:
    from .checks import check_count
    from .files import write_through
    from .lab import map as atlas
    from .lab.figure import check_format
    from .lab.recurrence import Settings

    _check_files(arguments)
    check_format(arguments.figure)
    check_count(arguments.steps, "--steps")
    recipes = [*atlas.RECIPES]
    own = {name: value for name in ("lr", "momentum", "weight_decay") if (value := getattr(arguments, name)) is not None}
    if own:
        recipes.append(atlas.Recipe(atlas.YOURS, Settings(**{"lr": 0.1, **own}, nesterov=arguments.nesterov)))
    found = atlas.compute(arguments.steps, nesterov=arguments.nesterov)
    atlas.draw(found, recipes, arguments.figure)
    if arguments.json:
        numbers = {**found.to_dict(), "recipes": [recipe.to_dict() for recipe in recipes]}
        write_through(arguments.json, lambda file: file.write(json.dumps(numbers).encode() + b"\n"))
    if not arguments.quiet:
        atlas.print_report(found, recipes)
        print(f"- The picture is {arguments.figure}.")
    return 1 if found.different.any() else 0


def _treatments(arguments: argparse.Namespace) -> list[Any]:
    """The treatments that were chosen, and that of the user's own settings."""
    from .lab.treatments import TREATMENTS, yours

    chosen = [t for t in TREATMENTS if (t.key in arguments.treatments if arguments.treatments else t.suits(arguments.activation))]
    own = {option: value for option in ("optimizer", "momentum", "weight_decay", "schedule")
           if (value := getattr(arguments, option)) is not None}
    if arguments.at is not None and arguments.schedule:
        raise ValueError("--at needs a constant rate, expected no --schedule beside it")
    if arguments.at is None:
        return [*chosen, *([yours(**own)] if own else [])]
    if arguments.treatments and (own or len(chosen) > 1):
        raise ValueError("--at changes one treatment, expected one name after --treatments, or settings of your own")
    return [yours(**own)] if own else chosen if arguments.treatments else [t for t in TREATMENTS if t.key == "heavy-l2"]


def _check_memory(dataset: Any, widths: list[int], steps: int) -> None:
    """Raise an error if the memory will not suffice: a system without free memory may kill this process without a message."""
    layers = [dataset.features, *widths, dataset.classes or 1]
    needed = 32 * (sum(n * m for n, m in zip(layers, layers[1:])) + len(dataset) * sum(widths))     # four float64 arrays of each
    needed += steps * (sum(widths) + 100)       # a byte for the state of each unit, and two curves
    present = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else needed
    if needed > present:
        raise ValueError(f"--widths {' '.join(map(str, widths))}, over {steps} steps, needs about {needed / 1e9:.2g} GB of "
                         f"memory, and this machine has {present / 1e9:.2g}")


def _standardises(arguments: argparse.Namespace) -> bool:
    return arguments.standardise or (arguments.data == "csv" and arguments.standardise is None)


def _dataset(arguments: argparse.Namespace, seed: int | None = None) -> Any:
    """The chosen data set, in float64."""
    from . import data

    name, options = arguments.data, ("path", "samples", "target", "delimiter")
    takes = {"fashion-mnist": options[:2], "mnist": options[:2], "csv": options}
    for option in options:
        if getattr(arguments, option) is not None and option not in takes.get(name, ()):
            users = [user for user, taken in takes.items() if option in taken]
            raise ValueError(f"--{option} is for {', '.join(users)}; --data {name} takes none")
    if name in takes and not arguments.path:
        what = "the CSV file" if name == "csv" else "the folder with its IDX files (nothing is downloaded)"
        raise ValueError(f"--data {name} needs --path, {what}")
    if seed is not None:
        arguments = type(arguments)(**{**vars(arguments), "seed": seed})
    found = DATA[name](data, arguments)
    samples = arguments.samples or (SAMPLES if name.endswith("mnist") else None)
    return found if samples is None else found.head(samples)
