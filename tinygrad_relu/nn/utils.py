"""Clipping the gradients of a model, in place, before the step of the optimizer; and a model called with other parameters."""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import inf, isfinite
from typing import Any

import numpy as np

from ..autodiff.guard import read
from ..autodiff.node import Array, value
from ..checks import as_floats, check_name, check_real
from ..kernels.loops.reduce import power_sum
from ..kernels.machine.door import launch
from ..parameters import Parameter, runs
from ..states import fitted
from ..tensor import Tensor
from .module import Buffer, Module


def clip_grad_norm_(parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0,
                    error_if_nonfinite: bool = False) -> float:
    """Scale all gradients by one factor, so that the norm of all of them, as one long vector, is at most `max_norm`.

    The factor is ``min(1, max_norm / (norm + 1e-6))``, as in PyTorch (Pascanu et al. 2013, arXiv 1211.5063). Returns the norm
    before clipping, ``(sum |g|^p)^(1/p)`` with p = `norm_type` (infinity: the largest entry), summed in float64 without overflow
    or underflow; 0 without gradients.

    The networks of a population (see `nn.population`) have a norm each: theirs are refused, as one norm would couple them.
    A `max_norm` of infinity only measures. If the norm is NaN, all gradients become NaN; if it is infinite, infinite ones become
    NaN and finite ones 0 (all NaN, if `max_norm` is infinite too). With `error_if_nonfinite`, such a norm raises a RuntimeError,
    before anything is changed.

    >>> p = nn.Parameter([0.0, 0.0])
    >>> p.grad = np.array([3.0, 4.0])
    >>> nn.utils.clip_grad_norm_([p], max_norm=1.0)
    5.0
    >>> p.grad.round(5)
    array([0.6, 0.8])
    """
    max_norm = check_real(max_norm, "clip_grad_norm_: max_norm", lambda bound: bound >= 0, "a number, 0 or more")
    norm_type = check_real(norm_type, "clip_grad_norm_: norm_type", lambda p: p > 0, "a number above 0")
    norm = np.empty(())
    launch(_clip, _gradients("clip_grad_norm_", parameters, of_members=False), max_norm, norm_type, error_if_nonfinite, norm)
    return read(norm)


def _clip(pieces: list[Array], max_norm: float, norm_type: float, error_if_nonfinite: bool, out: Array) -> None:
    out[...] = norm = _norm(pieces, norm_type)
    if error_if_nonfinite and not isfinite(norm):
        raise RuntimeError(f"clip_grad_norm_: the norm of the gradients is {norm}; nothing has been changed")
    factor = max_norm / (norm + 1e-6)
    if not factor >= 1:             # true for NaN too
        scale = np.multiply if isfinite(norm) else np.errstate(invalid="ignore")(np.multiply)       # 1 us more
        for piece in pieces:
            launch(scale, piece, factor, piece)


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Clip every entry of every gradient to ``[-clip_value, clip_value]``; NaN stays NaN.

    >>> p = nn.Parameter([0.0, 0.0])
    >>> p.grad = np.array([3.0, -0.5])
    >>> nn.utils.clip_grad_value_([p], 1.0)
    >>> p.grad
    array([ 1. , -0.5])
    """
    clip_value = check_real(clip_value, "clip_grad_value_: clip_value", lambda bound: bound >= 0, "a number, 0 or more")
    for piece in _gradients("clip_grad_value_", parameters):
        launch(np.clip, piece, -clip_value, clip_value, piece)


def functional_call(module: Module, parameters: Mapping[str, Any] | Sequence[Any], *inputs: Any) -> Any:
    """``module(*inputs)``, with Tensors in place of its parameters: by name, or all of them in the order of `Module.parameters`.

    A dict may name buffers, too. Other parameters keep their values, and the module is not changed. So a model is a
    function of its parameters for `tg.hvp`, `tg.jacobian` and the like. Several inputs may come as one tuple, as in PyTorch.

    >>> model, x, y = nn.MLP([2, 3, 1], activation="tanh", rng=0, dtype="float64"), np.ones((4, 2)), np.ones((4, 1))
    >>> loss = lambda *parameters: F.mse_loss(tg.functional_call(model, parameters, x), y)
    >>> [h.shape for h in tg.hvp(loss, model.parameters(), model.parameters())]
    [(3, 2), (3,), (1, 3), (1,)]
    """
    if not isinstance(module, Module):
        raise TypeError(f"functional_call: got {type(module).__name__}, expected a Module")
    places = list(module._places(Parameter, Buffer))
    if not isinstance(parameters, Mapping):
        names = [name for name, _ in module.named_parameters()]
        if not isinstance(parameters, Sequence) or len(parameters) != len(names):
            got = f"{len(parameters)} parameters" if isinstance(parameters, Sequence) else type(parameters).__name__
            raise TypeError(f"functional_call: got {got}, expected a dict by name, or a sequence of {len(names)} Tensors")
        parameters = dict(zip(names, parameters))
    found = {name: holder[key] for name, holder, key in places}
    new: dict[Any, Any] = {}
    for name, given in parameters.items():
        old = found[check_name(name, found, "functional_call: a parameter")]
        new[old] = (Buffer(fitted(value(given), f"functional_call: {name}", old.data)) if isinstance(old, Buffer) else
                    given if isinstance(given, Tensor) else Tensor(given, dtype=old.dtype))
        if new[old].data.shape != old.data.shape:
            raise ValueError(f"functional_call: {name} has shape {new[old].data.shape}, expected {old.data.shape}")
    swapped = [(holder, key, holder[key]) for _, holder, key in places if holder[key] in new]
    if any(isinstance(holder, tuple) for holder, _, _ in swapped):
        raise TypeError("functional_call: a parameter is in a tuple, where it cannot be replaced; expected a list")
    try:
        for holder, key, old in swapped:
            holder[key] = new[old]
        return module(*(inputs[0] if len(inputs) == 1 and isinstance(inputs[0], tuple) else inputs))
    finally:
        for holder, key, old in swapped:
            holder[key] = old


def _gradients(name: str, parameters: Tensor | Iterable[Tensor], of_members: bool = True) -> list[Array]:
    """The gradients, in as few arrays as flat buffers allow; with `of_members`, also those of a population."""
    several = isinstance(parameters, Iterable) and not isinstance(parameters, Tensor)
    given: list[Any] = [*parameters] if several else [parameters]
    for parameter in given:
        if not isinstance(parameter, Tensor):
            raise TypeError(f"{name}: got {type(parameter).__name__} among the parameters; expected Tensors, such as "
                            "model.parameters()")
        if not of_members and (members := getattr(parameter, "members", None)) is not None:
            raise ValueError(f"{name}: got parameters of a population of {members}; expected those of one network: one "
                             "norm over all of them would couple them (clip_grad_value_ clips each entry)")
    others = [(p, p.grad) for p in given if p.grad is not None and p.grad is not p.home]
    for p, g in others:
        if not (isinstance(g, np.ndarray) and g.dtype.kind == "f" and g.flags.writeable):
            raise ValueError(f"{name}: the gradient of a parameter of shape {p.shape} is not a writable array of floats")
        if g.shape != p.shape:
            raise ValueError(f"{name}: the gradient of a parameter of shape {p.shape} has shape {g.shape}; expected the same")
    return [g for _, _, g in runs([p for p in given if p.grad is not None and p.grad is p.home])] + [g for _, g in others]


def _norm(pieces: list[Array], p: float) -> float:
    """The p-norm, by the textbook formula; if its powers overflow or underflow, entries are divided by the largest first."""
    if p != inf:
        total = sum([_power_sum(as_floats(piece), p) for piece in pieces])
        if 1e-280 < total < 1e280:
            return total ** (1 / p) if p >= 1 else _root(total, p)      # the first cannot overflow
    ends = [end for piece in pieces for end in (piece.max(initial=0), piece.min(initial=0))]
    largest = float(np.max(np.abs(ends), initial=0))        # NaN where there is a NaN
    if p == inf or not 0 < largest < inf:
        return largest
    return largest * _root(sum(_power_sum(np.divide(piece, largest, dtype=float), p) for piece in pieces), p)


def _power_sum(piece: Array, p: float) -> float:
    out = np.empty(1)
    launch(power_sum, piece.ravel(), p, out)
    return float(out[0])


def _root(total: float, p: float) -> float:
    with np.errstate(over="ignore"):
        return float(np.float64(total) ** (1 / p))
