"""The laboratory's instruments on a saved model and data: ``tinygrad-relu census FILE``, ``autopsy FILE`` and others."""
from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

from .models import NORMS, Setup, begin, read, read_options
from .options import Command, add_data, check_files, one_of, whole

Look = Callable[[argparse.Namespace, dict[str, Any]], Any]      # from the arguments and the changed options to a reading


def _add_options(own: Callable[[argparse.ArgumentParser], object], parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("FILE", help="a file of `tinygrad-relu train --out`, or of `tg.save`")
    add_data(parser, default=None, regression=True)
    option("--model", metavar="FILE.py:NAME", help="what makes the model: a class or function in a Python file, if it is no "
           "multi-layer perceptron")
    option("--activation", type=one_of("nn.activations.NAMES", "activation"), metavar="NAME",
           help="activation, if the file does not tell")
    option("--norm", choices=NORMS, help="norm before each activation, if the file does not tell")
    option("--json", metavar="FILE", help="write the results to this file")
    option("--figure", metavar="FILE", help="draw the results (PNG, SVG or PDF)")
    option("--quiet", action="store_true", help="print only errors")
    own(parser)


def _run(look: Look, arguments: argparse.Namespace) -> int:
    """Look at the saved model; print, write and draw what was found."""
    from ..data.named import OPTIONS
    from ..files import write_json
    from ..lab.drawing import DPI, save
    from ..text import print_parts

    check_files(arguments, "json", "figure")
    given, from_data = vars(arguments), ("data", "standardise", *OPTIONS)
    changes = {name: given[name] for name in ("activation", "norm", "model") if given[name] is not None}
    if arguments.data is None and any(given[name] is not None for name in from_data):
        raise ValueError("the options of a data set need --data, expected it beside them")
    if arguments.data is not None:
        changes |= {"held_out": 0.0, **{name: given[name] for name in from_data}}
    found = look(arguments, changes)
    if not arguments.quiet:
        print_parts(*[line for part in found.parts() for line in (part, "")][:-1])
    if arguments.json:
        write_json(arguments.json, found.to_dict())
    if arguments.figure:
        save(found.plot(), arguments.figure, DPI)
    return 0


def _on_saved(name: str, more: Callable[[Setup, argparse.Namespace], dict[str, Any]] = lambda setup, arguments: {}) -> Look:
    """An instrument of the laboratory, with the saved model, its data and its loss, and `more` arguments."""
    def look(arguments: argparse.Namespace, changes: dict[str, Any]) -> Any:
        from .. import lab

        setup = read(arguments.FILE, changes)
        return getattr(lab, name)(setup.model, setup.train.x, setup.train.y, loss=setup.loss, **more(setup, arguments))

    return look


def _asked(setup: Setup, arguments: argparse.Namespace) -> dict[str, Any]:
    """Of which gradients `why_zero` is asked."""
    if arguments.parameter and arguments.unit:
        raise ValueError("got --parameter and --unit, expected one of them, or none for all parameters")
    return {"parameter": tuple(arguments.unit) if arguments.unit else arguments.parameter}


def _autopsy(arguments: argparse.Namespace, changes: dict[str, Any]) -> Any:
    """Train the run in the file once more, from its beginning or from its end, and examine every unit that dies."""
    import numpy as np

    from ..checkpoint import load
    from ..checks import check_count
    from ..data.dataset import Batches
    from ..lab import Autopsy

    held = load(arguments.FILE)
    setup = read(arguments.FILE, changes) if arguments.on else begin(
        argparse.Namespace(**{**vars(read_options(arguments.FILE, of_train=True)), **changes}))
    x, y, size = setup.train.x, setup.train.y, setup.given.batch_size
    rng, skipped = np.random.default_rng(setup.given.seed), 0
    if arguments.on and "fit" in held:
        rng.bit_generator.state, skipped = held["rng"], held["fit"]["batch"]
    steps = arguments.steps if arguments.steps is not None else -(-len(x) // size) if arguments.on else held["fit"]["steps"]
    if not held.get("fit", {}).get("steps", 1) and not arguments.on:
        raise ValueError(f"the run in {arguments.FILE} went back to its beginning, expected one with steps; or --on, to train on")
    left, autopsy = check_count(steps, "--steps"), Autopsy(setup.model, x, setup.optimizer)
    while left:
        setup.model.train()
        for batch, labels in Batches(x, y, size, rng).refilled(skipped):
            setup.optimizer.zero_grad()
            setup.loss(setup.model(batch), labels).backward()
            autopsy.step()
            left -= 1
            if not left:
                break
        else:
            skipped = 0
            if setup.schedule is not None:
                setup.schedule.step()
    return autopsy


def _autopsy_options(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("--on", action="store_true", help="train on from the end of the run (default: once more from its beginning)")
    option("--steps", type=whole, metavar="N", help="number of steps (default: all of the run; with --on: one epoch)")


def _why_zero_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--parameter", metavar="NAME", help="one parameter, such as 0.weight (default: all)")
    parser.add_argument("--unit", type=whole, nargs=2, metavar=("LAYER", "UNIT"), help="one unit; hidden layers count from 0")


def _command(name: str, help: str, look: Look, own: Callable[[argparse.ArgumentParser], object] = lambda parser: None) -> Command:
    return Command(name, help, partial(_add_options, own), partial(_run, look))


COMMANDS = [
    _command("census", "the state of every unit of a saved model on its data", _on_saved("census")),
    _command("autopsy", "which step killed each unit of a saved run, and which part of that step", _autopsy, _autopsy_options),
    _command("why-zero", "why gradients of a saved model are exactly zero", _on_saved("why_zero", _asked), _why_zero_options),
    _command("lethal-lr", "at which learning rates the next step kills units of a saved model", _on_saved(
        "lethal_lr", lambda setup, arguments: {"optimizer": setup.optimizer if arguments.with_optimizer else None}),
        lambda parser: parser.add_argument("--with-optimizer", action="store_true", help="the step of the saved optimizer, with "
                                           "its buffers and decay (default: of plain SGD)")),
    _command("gradient-profile", "how well each layer of a saved model learns: norms, and the rank of its activations", _on_saved(
        "gradient_profile", lambda setup, _: {"optimizer": setup.optimizer})),
    _command("advise", "what the literature recommends for a saved model, with reasons", _on_saved(
        "advise", lambda setup, _: {"optimizer": setup.optimizer, "batch_size": setup.given.batch_size}))]
