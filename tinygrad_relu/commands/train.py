"""``tinygrad-relu train``: train a network, watch its units live, stop and resume with the same bits."""
from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from shutil import get_terminal_size
from tempfile import TemporaryDirectory
from textwrap import fill
from typing import TYPE_CHECKING, Any

from .models import EPOCHS, Setup, add_model, begin, read_options
from .options import Command, check_files, whole

if TYPE_CHECKING:
    from ..training import History

WHERE = "command", "epochs", "out", "resume", "watch", "every", "json", "quiet", "words"    # what a resumed run may change
NOT_GIVEN = object()


def options(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    option = parser.add_argument
    option("--out", metavar="FILE", help="save the whole run here (.npz or .safetensors), every ten seconds and at the end")
    option("--resume", metavar="FILE", help="go on with the run in this file, with its options; --epochs N trains longer")
    option("--watch", action="store_true", help="show loss, accuracy, dead, dying and revived units after each epoch")
    option("--every", type=whole, metavar="N", help="with --watch: after every N steps too, on a live line")
    option("--json", metavar="FILE", help="write the numbers of all epochs and looks to this file")
    option("--quiet", action="store_true", help="print only errors")


def run(arguments: argparse.Namespace) -> int:
    """Exit status 1 if the training diverged, 130 if it was interrupted."""
    from ..checks import check_count, counted
    from ..files import write_json
    from ..lab import census
    from ..lab.readings import plain
    from ..text import print_parts
    from ..training import History, evaluate

    check_files(arguments, "json", "out")
    if arguments.every is not None and check_count(arguments.every, "--every") and not arguments.watch:
        raise ValueError("--every is an option of --watch, expected both")
    if arguments.resume and arguments.out:
        raise ValueError("got --resume and --out, expected one of them: a resumed run is saved in its own file")
    given = _resumed(arguments) if arguments.resume else arguments
    if given.epochs is None:
        given.epochs = EPOCHS
    epochs = check_count(given.epochs if arguments.epochs is None else arguments.epochs, "--epochs")
    setup = begin(given)
    if epochs > given.epochs and setup.schedule is not None and setup.schedule.at(given.epochs) == 0:
        raise ValueError(f"--epochs is {epochs}, but the {given.schedule} schedule of this run ends at rate 0 after "
                         f"{counted(given.epochs, 'epoch')}; expected no more")
    watch = Watch(setup, quiet=arguments.quiet) if arguments.watch else None
    with TemporaryDirectory() as folder:
        path = arguments.resume or arguments.out or str(Path(folder) / "run.npz")
        plan = {"epochs": epochs, "checkpoint": path, "callbacks": [watch] if watch else [], "every": arguments.every}
        start = evaluate(setup.model, setup.loss, setup.train)["loss"]
        if watch and not arguments.resume:
            watch(History())
        history = _fit(setup, plan, resume=bool(arguments.resume), quiet=arguments.quiet or arguments.watch)
        end, units = evaluate(setup.model, setup.loss, setup.train)["loss"], census(setup.model, setup.train.x)
        why = _went_first(setup, plan, history) if history.diverged else ""     # which trains the model on
    if arguments.json:
        write_json(arguments.json, plain({"options": _kept(given), "epochs": history.columns, "stopped": history.stopped,
                                          "looks": watch.rows if watch else [], "went_first": why}))
    if not arguments.quiet:
        print_parts(*([] if watch else [str(history)]), "", units.summary(), "",
                    *_told(setup, start, end, arguments.resume or arguments.out))
    if history.stopped:
        print(f"tinygrad-relu train: {history.stopped}" + f". {why}" * bool(why), file=sys.stderr)
    return 1 if history.diverged else 130 if history.stopped else 0


def _told(setup: Setup, start: float, end: float, saved: str | None) -> list[str]:
    """What a student should know at the end."""
    return [f"The training overshot: the loss is {end:.4g}, and was {start:.4g} at the start. A lower --lr than "
            f"{setup.given.lr:g} may help."] * (end > start) + [
            f"The run is saved in {saved}: `tinygrad-relu advise {saved}` says what to do about its units."] * bool(saved)


def _kept(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options that decide the bits of a training, and its number of epochs."""
    return {name: value for name, value in vars(arguments).items() if name == "epochs" or name not in WHERE}


def _resumed(arguments: argparse.Namespace) -> argparse.Namespace:
    """The options in the file; a ValueError if others are given."""
    parser, begun = argparse.ArgumentParser(), read_options(arguments.resume, of_train=True)
    options(parser)
    parser.set_defaults(**dict.fromkeys(vars(arguments), NOT_GIVEN))
    for name, value in vars(parser.parse_args(arguments.words)).items():
        if name not in WHERE and value is not NOT_GIVEN and value != getattr(begun, name):
            raise ValueError(f"--{name.replace('_', '-')} is {value}, but the run in {arguments.resume} was begun with "
                             f"{getattr(begun, name)}; expected no option that changes it")
    return begun


def _fit(setup: Setup, plan: dict[str, Any], *, resume: bool, quiet: bool) -> History:
    from ..training import fit

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "fit:")       # `history.stopped` says the same
        return fit(setup.model, setup.optimizer, setup.loss, setup.train, batch_size=setup.given.batch_size,
                   rng=setup.given.seed, validation=setup.held_out, schedule=setup.schedule, resume=resume, quiet=quiet,
                   notes={"train": _kept(setup.given)}, **plan)


def _went_first(setup: Setup, plan: dict[str, Any], history: History) -> str:
    """In which layer the first number that is not finite appeared: the steps since the last good state once more, checked one
    operation at a time."""
    from ..inside import AnomalyError, detect_anomaly

    done = history.steps
    try:
        with detect_anomaly(setup.model), warnings.catch_warnings(action="ignore"):
            _fit(setup, {**plan, "callbacks": []}, resume=True, quiet=True)
    except AnomalyError as error:
        layer = f"Layer {error.module}" if error.module else "The loss" if error.phase == "forward" else "The update"
        return f"{layer} went first: {error}".replace(f"at step {error.step} ", f"at step {done + error.step} ")
    return ""


class Watch:
    """A callback of `fit`: after each epoch, and between them as often as it is called, how the network and its units are.

    A unit is *dying* if it is alive and more than half of the batches give it no gradient: with a slope of exactly zero on a
    share f of the samples, a batch of m gives none with probability f^m. *Revived* counts returns from death.
    """

    def __init__(self, setup: Setup, *, quiet: bool) -> None:
        from ..lab import Units

        self.setup, self.units, self.quiet = setup, Units(setup.model, setup.train.x), quiet
        self.rows: list[dict[str, Any]] = []
        self.gone: list[Any] = []
        self.revived = [0] * len(self.units.layers)

    def __call__(self, history: History) -> None:
        new = not self.rows or self.rows[-1]["step"] != history.steps
        if new:
            self.rows.append(self.look(history))
        live, batches = sys.stdout.isatty(), -(-len(self.setup.train.x) // self.setup.given.batch_size)
        if not self.quiet and (new or live):
            lines = self.lines()[0 if len(self.rows) == 1 else -1:]
            print("\r\x1b[2K" * live + "\n".join(lines), end="" if live and history.steps % batches else "\n", flush=True)

    def look(self, history: History) -> dict[str, Any]:
        """The numbers of one line."""
        from ..lab import census
        from ..lab.layers import GONE
        from ..training import evaluate

        train, size = self.setup.train, self.setup.given.batch_size
        found = census(self.units, train.x).layers
        gone = [GONE[layer.state] for layer in found]
        self.revived = [n + int((before & ~now).sum()) for n, before, now in zip(self.revived, self.gone or gone, gone)]
        self.gone = gone
        return {"epoch": round(history.steps / -(-len(train.x) // size), 2), "step": history.steps,
                **evaluate(self.setup.model, self.setup.loss, train), "dead": [int(now.sum()) for now in gone],
                "dying": [int((~now & (layer.flat ** size > 0.5)).sum()) for layer, now in zip(found, gone)],
                "revived": self.revived}

    def lines(self) -> list[str]:
        """The headings, and a line for each look."""
        widths = [len(str(layer.units)) for layer in self.units.layers]
        columns = {"epoch": [f"{row['epoch']:5.4g}" for row in self.rows], "  step": [f"{row['step']:6}" for row in self.rows],
                   "    loss": [f"{row['loss']:8.4g}" for row in self.rows],
                   "accuracy": [f"{row['accuracy']:8.4f}" if "accuracy" in row else "       -" for row in self.rows],
                   **{name: [" ".join(str(n).rjust(w) for n, w in zip(row[name], widths)) for row in self.rows]
                      for name in ("dead", "dying", "revived")}}
        padded = {name: [cell.ljust(max(len(name), len(cells[0]))) for cell in (name, *cells)] for name, cells in columns.items()}
        limit = get_terminal_size((1000, 0)).columns           # an output that is no terminal has no width
        for name in ("  step", "accuracy", "revived", "dying"):         # the first to go in a narrow terminal
            if sum(len(cells[0]) + 2 for cells in padded.values()) - 2 > limit:
                del padded[name]
        named = ", ".join(f"{layer.name} ({layer.units} units)" for layer in self.units.layers)
        return [fill(f"Units of layers {named}, on {len(self.setup.train):,} samples. Dying: alive, but most batches give no "
                     "gradient.", limit), *("  ".join(row).rstrip() for row in zip(*padded.values()))]


COMMANDS = [Command("train", "train a network, watch its units live, stop and resume with the same bits", options, run)]
