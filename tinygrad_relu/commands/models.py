"""A model with its data and its optimizer: from the options of ``train``, or read back from the file that ``train`` has written.

The file is a checkpoint of `tg.fit`, whose notes hold the options. Of a file that another program has written (`tg.save`, or
PyTorch's safetensors), the widths of a multi-layer perceptron are found in the shapes of its weights, whatever their names; any
other model is made by a function in a Python file, ``--model net.py:Net``.
"""
from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .options import DEFAULT, add_data, check_held_out, load_data, number, one_of, standardises, whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..data import Dataset
    from ..nn import Module
    from ..optim import Optimizer
    from ..tensor import Tensor

NORMS = ("batch", "layer")
EPOCHS = 20             # if neither epochs nor steps are given


@dataclass(frozen=True)
class Setup:
    """What a training needs."""

    given: argparse.Namespace       # the options of ``train``
    train: Dataset
    held_out: Dataset | None
    model: Module
    optimizer: Optimizer
    schedule: Any                   # of the learning rate, with a step after each epoch; None for none

    @property
    def loss(self) -> Callable[..., Tensor]:
        from ..lab.sweep.training import loss_of

        return loss_of(self.train)


def add_model(parser: argparse.ArgumentParser) -> None:
    """The options of `begin`."""
    option = parser.add_argument
    add_data(parser, regression=True)
    option("--held-out", type=number, default=0.2, metavar="SHARE",
           help="share of the samples that is not trained on, but measured; 0 for none" + DEFAULT)
    option("--seed", type=whole, default=0, metavar="N", help="random seed of weights, batches and synthetic data" + DEFAULT)
    option("--widths", type=whole, nargs="+", default=[64, 64], metavar="N", help="widths of the hidden layers (default: 64 64)")
    option("--activation", type=one_of("nn.activations.NAMES", "activation"), default="relu", metavar="NAME",
           help="activation of the hidden layers" + DEFAULT)
    option("--model", metavar="FILE.py:NAME", help="a model of your own: a class or function in a Python file, called without "
           "arguments or with rng=SEED (default: a multi-layer perceptron)")
    option("--start", metavar="FILE", help="begin with the weights in this file, of any program (.npz, .safetensors)")
    option("--norm", choices=NORMS, help="a norm before each activation (default: none)")
    option("--dropout", type=number, default=0.0, metavar="P", help="share of the hidden activations that is dropped" + DEFAULT)
    option("--dtype", choices=("float32", "float64"), default="float32", help="type of all numbers" + DEFAULT)
    option("--optimizer", type=one_of("lab.treatments.RULES", "optimizer"), default="sgd", metavar="NAME",
           help="one of sgd, nesterov, sgdw, adam, adamw" + DEFAULT)
    option("--lr", type=number, default=0.1, metavar="RATE", help="learning rate" + DEFAULT)
    option("--momentum", type=number, metavar="MOMENTUM", help="momentum, from 0 to below 1 (default: 0; nesterov: 0.9)")
    option("--betas", type=number, nargs=2, metavar=("BETA1", "BETA2"), help="decay of the two running means of adam and adamw "
           "(default: 0.9 0.999)")
    option("--weight-decay", type=number, default=0.0, metavar="DECAY", help="weight decay" + DEFAULT)
    option("--schedule", type=one_of("lab.treatments.SCHEDULES", "schedule"), metavar="NAME",
           help="schedule of the learning rate, over the epochs: one of cosine, linear, step, warmup")
    option("--batch-size", type=whole, default=64, metavar="N", help="samples in a batch" + DEFAULT)
    option("--epochs", type=whole, metavar="N", help=f"passes over the data (default: {EPOCHS}, or those of a resumed run)")


def begin(given: argparse.Namespace) -> Setup:
    """Data, a fresh model and a fresh optimizer."""
    from ..checks import check_count, check_number
    from ..data.named import prepared
    from ..lab.treatments import SCHEDULES, yours
    from ..nn import MLP

    check_held_out(given)
    check_count(given.seed, "--seed", least=0)
    train, held_out = prepared(load_data(given), given.held_out, given.seed, standardises(given), given.dtype)
    outputs = train.classes or train.y[0].size
    model: Module = _made(given.model, given.seed).astype(given.dtype) if given.model else MLP(
        [train.features, *given.widths, outputs], given.activation, dtype=given.dtype, rng=given.seed, norm=given.norm,
        dropout=given.dropout)
    if given.start:
        load_weights(given.start, model)
    rule = replace(yours(given.optimizer, given.momentum, given.weight_decay, given.schedule or "",
                         given.betas and tuple(given.betas)), rate=1.0)
    optimizer = rule.optimizer(model, check_number(given.lr, "--lr"))
    schedule = SCHEDULES[given.schedule](optimizer, given.epochs) if given.schedule else None
    return Setup(given, train, held_out, model, optimizer, schedule)


def _made(path: str, seed: int) -> Module:
    """The model that a function or class in a Python file makes."""
    from inspect import signature
    from runpy import run_path

    from ..checks import check_name
    from ..nn import Module

    file, _, name = path.rpartition(":")
    if not file.endswith(".py"):
        raise ValueError(f"--model is {path!r}, expected FILE.py:NAME, such as net.py:Net")
    try:
        known = run_path(file)
    except (OSError, SyntaxError) as error:
        raise ValueError(f"--model: {file} cannot be run: {error.strerror if isinstance(error, OSError) else error}") from None
    make = known[check_name(name, [key for key in known if key[:1] != "_"], f"--model: a name in {file}")]
    if not callable(make):
        raise TypeError(f"--model: {name} in {file} is {make!r}, expected a class or a function")
    model = make(**({"rng": seed} if "rng" in signature(make).parameters else {}))
    if not isinstance(model, Module):
        raise TypeError(f"--model: {name} in {file} made {type(model).__name__}, expected a Module")
    return model


def load_weights(path: str, model: Module) -> None:
    """The weights in a file of any program. If no name is the model's, those of a plain stack of layers go by their order."""
    from ..checkpoint import load

    held = load(path)
    state = held["model"] if isinstance(held.get("model"), dict) else held
    mine = model.state_dict()
    arrays = [array for array in state.values() if hasattr(array, "shape")]
    if not mine.keys() & state.keys() and [array.shape for array in arrays] == [array.shape for array in mine.values()]:
        state = dict(zip(mine, arrays))
    try:
        model.load_state_dict(state)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_options(path: str, *, of_train: bool = False, model: str | None = None) -> argparse.Namespace:
    """The options of the training whose state is in a file; of a file of another program the defaults, with its widths and dtype.
    An error, if it has to be one `of_train`. `model`: the function that makes the model, if it is given."""
    from ..checkpoint import load

    parts = load(path)
    notes, state = (part if isinstance(part := parts.get(name), dict) else {} for name in ("notes", "model"))
    found = notes.get("train")
    if found is None and of_train:
        raise ValueError(f"{path} does not tell how it was trained, expected a file of `tinygrad-relu train --out`")
    if found is None:
        arrays = {name: array for name, array in (state or parts).items() if hasattr(array, "ndim")}
        weights = [array for name, array in arrays.items() if name.endswith("weight") and array.ndim == 2]
        if model and arrays:
            weights = [next(iter(arrays.values()))]         # for its dtype
        if not weights:
            raise ValueError(f"{path} holds no weights of linear layers, expected a file of `tinygrad-relu train` or `tg.save`")
        found = {"widths": [weight.shape[1] for weight in weights[1:]], "dtype": weights[0].dtype.name}
    parser = argparse.ArgumentParser()
    add_model(parser)
    return parser.parse_args([], argparse.Namespace(**found))


def read(path: str, changes: dict[str, Any]) -> Setup:
    """The training whose state is in a file, as it was saved; `changes` replace its options."""
    from ..checkpoint import load

    setup = begin(argparse.Namespace(**{**vars(read_options(path, model=changes.get("model"))), "start": None, **changes}))
    held = load(path)
    parts = {name: part for name in ("model", "optimizer", "schedule")
             if name in held and (part := getattr(setup, name)) is not None}
    if "train" not in (held.get("notes") or {}):
        parts.pop("model", None)
        load_weights(path, setup.model)
    if parts:
        load(path, **parts)
    return setup
