"""Populations: independent networks of one shape that train side by side.

A population is an ordinary module whose parameters and buffers have one more axis, in front: the member. Linear layers run in
kernels over the members, elementwise activations as they are; any other module is called for each member.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import is_
from typing import Any

import numpy as np

from .. import functional as F
from ..checks import said
from ..functional.members import each
from ..parameters import Parameter, settle
from .module import Buffer, Module, assembled, in_dtype_of


def population(models: Iterable[Module]) -> Any:
    """One module that holds several networks of one shape, with copies of their parameters; training treats each as if alone.

    Its input is (samples, ...), shared by all members, or (members, samples, ...); its output is (members, samples, ...). If the
    first layer is no Linear or Maxout, each member needs its own. `F.per_member` gives the losses, the optimizers take a setting
    for each member, and ``.member(k)`` is member k as an ordinary module.

    >>> both = nn.population([nn.MLP([2, 3, 1], rng=0), nn.MLP([2, 3, 1], rng=1)])
    >>> both(np.ones((5, 2))).shape, both.member(1)(np.ones((5, 2))).shape
    ((2, 5, 1), (5, 1))
    """
    given = models
    models = list(models) if isinstance(models, Iterable) and not isinstance(models, Module) else []
    if not models or not all(isinstance(model, Module) for model in models):
        raise TypeError(f"population: got {said(given)}, expected a list of modules of one shape")
    for k, model in enumerate(models):
        if repr(model) != repr(models[0]):
            raise ValueError(f"population: module {k} is {said(model)}, module 0 {said(models[0])}; expected one shape")
        if model.members is not None or any(module._hooks or "forward" in vars(module) for module in model.modules()):
            what = "has hooks, or another forward than its class" if model.members is None else "is a population"
            raise ValueError(f"population: module {k} {what}, expected an ordinary module")
    known: dict[int, Any] = {}

    def join(parts: Sequence[Any]) -> Any:
        first = parts[0]
        if id(first) not in known:      # a shared part stays shared
            known[id(first)] = _join_arrays(parts) if isinstance(first, (Parameter, Buffer)) else _join_modules(parts, join)
        return known[id(first)]

    return join(models)


def _join_arrays(parts: Sequence[Any]) -> Any:
    first = parts[0]
    for k, part in enumerate(parts):
        if part.data.shape != first.data.shape or part.data.dtype != first.data.dtype:
            raise ValueError(f"population: module {k} has {said(part.data)} of {part.data.dtype} where module 0 has "
                             f"{said(first.data)} of {first.data.dtype}; expected modules of one shape and dtype")
    values = np.stack([part.data for part in parts])
    if isinstance(first, Buffer):
        return Buffer(values, first.optional)
    together = Parameter(values, first.kind)
    together.members, together.requires_grad = len(parts), first.requires_grad
    return together


def _join_modules(parts: Sequence[Module], join: Any) -> Module:
    module: Module = assembled(parts, join)
    definer = next(cls for cls in type(module).__mro__ if "forward" in vars(cls))
    if definer is not Module and not vars(definer).get("takes_members"):
        vars(module)["forward"] = Each(module, len(parts))
    return module


class Each:
    """The `forward` of a module of a population that has no kernels over members: it is called for each of them."""

    def __init__(self, module: Module, members: int) -> None:
        self.module, self.members = module, members
        self.views: dict[tuple[bool, ...], tuple[list[Any], list[Module]]] = {}     # for each mode: attributes and copies

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "views": {}}      # a copy has other parameters

    def __call__(self, x: Any) -> Any:
        module, x, parameters = self.module, F.as_tensor(x), self.module.parameters()
        if not x.ndim or len(x.array) != self.members:
            raise ValueError(f"{type(module).__name__}: x has shape {x.shape}, expected ({self.members}, samples, ...), as this "
                             "layer needs the samples of each member")
        attributes = [entry for one in module.modules() for entry in vars(one).values()]
        modes = tuple([one.training for one in module.modules()])
        known, views = self.views.get(modes, ([], []))
        if len(known) != len(attributes) or not all(map(is_, known, attributes)):       # a setting has changed since
            settle(parameters)
            views = [module._member(k) for k in range(self.members)]
            self.views[modes] = attributes, views
        for p in parameters:
            for view in p.views.values():
                view.requires_grad = p.requires_grad        # which may have been frozen or not since
        return each(views, in_dtype_of(x, parameters[0]) if parameters else x, parameters)
