"""Parameters, and the flat buffers that hold their values and gradients side by side.

An optimizer moves its parameters into such buffers, so that one kernel launch updates, or clips, a whole model::

    values     [ w0 w1 w2 w3 | b0 b1 | ... ]      p.array is a view of p's part
    gradients  [ g0 g1 g2 g3 | h0 h1 | ... ]      p.home is a view of p's part

`backward` writes the gradient of a parameter into its `home`, and then ``p.grad is p.home``. Any other array in ``.grad`` was put
there by the user and is not in the buffer.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, NamedTuple
from weakref import WeakSet, ref

import numpy as np

from .autodiff.guard import structure_changed
from .autodiff.node import Array, value
from .checks import as_floats, check_count, check_name
from .kernels.machine.door import copy, launch
from .kernels.machine.host import zeros
from .tensor import Tensor

WATCHERS: WeakSet[Any] = WeakSet()      # all optimizers: see `announce`, and `watchers`


class Place(NamedTuple):
    """The part of two flat buffers that belongs to a parameter: it begins at `start` in both."""

    values: Array
    gradients: Array
    start: int


class Parameter(Tensor):
    """A Tensor that training changes, of the `kind` "weight", "bias", or "slope" (of PReLU, without decay by default).

    In a population (see `nn.population`), `members` is the number of networks, and axis 0 has an entry for each.

    >>> nn.Parameter([0.25], kind="slope")
    Parameter([0.25], kind='slope')
    """

    __slots__ = ("kind", "members", "place", "views")
    KINDS = ("weight", "bias", "slope")

    def __init__(self, array: Any, kind: str = "weight", dtype: Any = None) -> None:
        check_name(kind, self.KINDS, "Parameter: kind")
        super().__init__(array, requires_grad=True, dtype=dtype)
        self.kind = kind
        self.members: int | None = None
        self.place: Any = None      # a Place, once an optimizer or a view of a member has moved it into flat buffers
        self.views: dict[int, Parameter] = {}

    def _state(self) -> dict[str, Any]:
        return {**super()._state(), "kind": self.kind, "members": self.members}

    def member(self, k: int) -> Parameter:
        """The part of one member of a population: a Parameter over the same memory, always the same object."""
        view = self.views.get(k)
        if view is None:
            if self.members is None or not 0 <= check_count(k, "member: k", least=0) < self.members:
                raise IndexError(f"member: k is {k}, expected one of {self.members or 'no'} members, counted from 0")
            settle([self])              # so that it does not move any more
            self.views[k] = view = Parameter.leaf(self.array[k, ...], self.requires_grad)
            values, gradients, start = self.place
            view.kind, view.members, view.views = self.kind, None, {}
            view.place = Place(values, gradients, start + k * view.size)
            view.home = None if self.home is None else self.home[k, ...]
        view.requires_grad = self.requires_grad
        view.grad = None if self.grad is None else view.home if self.grad is self.home else self.checked_grad()[k, ...]
        return view

    def move_to(self, place: Place) -> None:
        """Move value and gradient into their part of two flat buffers."""
        part = slice(place.start, place.start + self.size)
        values, home = place.values[part].reshape(self.shape), place.gradients[part].reshape(self.shape)
        values[...] = self.array
        if self.grad is not None:
            home[...] = self.checked_grad()
            self.grad = home
        self.array, self.home, self.place = values, home, place

    def checked_grad(self) -> Array:
        """``.grad`` as an array of this dtype and shape: the user may have assigned anything."""
        grad = as_floats(value(self.grad), self.dtype, f"the .grad of a parameter of shape {self.shape}")
        if grad.shape != self.shape:
            raise ValueError(f"a parameter of shape {self.shape} has a gradient of shape {grad.shape}; expected the same")
        return grad

    def set_grad_to_zeros(self) -> None:
        """In its home, if it has one: where an optimizer reads it."""
        self.grad = np.zeros_like(self.array) if self.home is None else self.home
        launch(copy, 0.0, self.grad)

    def __repr__(self) -> str:
        text = super().__repr__()
        return f"Parameter{text[len('Tensor'):].replace(', requires_grad=True', '')[:-1]}, kind={self.kind!r})"


def settle(parameters: Iterable[Parameter]) -> None:
    """Move every parameter that has no place yet into flat buffers, one pair for each dtype, in the order given.

    A parameter keeps the place it has, so a second optimizer over the same parameters shares the buffers of the first.
    """
    homeless = sorted((p for p in parameters if p.place is None), key=lambda p: str(p.dtype))
    if homeless:
        structure_changed()
    for dtype, group in groupby(homeless, key=lambda p: p.dtype):
        members = list(group)
        (values, gradients), start = (zeros(sum(p.size for p in members), dtype) for _ in range(2)), 0
        for parameter in members:
            parameter.move_to(Place(values, gradients, start))
            start += parameter.size


def watchers() -> list[Any]:
    """All optimizers; other threads may make some meanwhile, which would end a loop over a WeakSet."""
    return [watcher for one in list(WATCHERS.data) if (watcher := one()) is not None]       # type: ignore[attr-defined]


def announce(module: Any) -> None:
    """Tell the optimizers of a module's parameters that the module is about to change."""
    if WATCHERS:
        known = module.parameters()
        for watcher in watchers():
            if any(watcher.holds(p) for p in known if p.place is not None):
                watcher.altered.append((ref(module), {id(p) for p in known}))


def runs(parameters: Iterable[Parameter]) -> Iterator[tuple[list[Parameter], Array, Array]]:
    """Neighbours in a flat buffer, in the order given, with their values and their gradients, each as one 1-d view."""
    found: list[list[Parameter]] = []
    buffer, stop = None, 0          # the buffer that holds the previous parameter, and the end of that parameter in it
    for parameter in parameters:
        values, _, start = parameter.place
        if values is buffer and start == stop:
            found[-1].append(parameter)
        else:
            found.append([parameter])
        buffer, stop = values, start + parameter.array.size
    for members in found:
        values, gradients, start = members[0].place
        part = slice(start, members[-1].place.start + members[-1].array.size)
        yield members, values[part], gradients[part]
