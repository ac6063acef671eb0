"""Flat buffers: parameters and their gradients lie side by side, so that an optimizer moves all of them in one launch."""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from ..autodiff.node import Array
from ..nn.module import Parameter
from ..nn.utils import runs


@dataclass
class Segment:
    """Neighbours in a flat buffer that have always moved together.

    Attributes
    ----------
    parameters : list of Parameter
    data, grad : ndarray, 1-d
        Their values and gradients, as one contiguous piece each.
    state : dict
        The optimizer's buffers for them, flat arrays of the same size.
    steps : int
        How often they have been moved.
    """

    parameters: list[Parameter]
    data: Array
    grad: Array
    state: dict[str, Array] = field(default_factory=dict)
    steps: int = 0

    def split(self) -> list[Segment]:
        """One segment per parameter, each with its part of the state: for when they no longer move together."""
        parts, start = [], 0
        for parameter in self.parameters:
            piece = slice(start, start + parameter.size)
            start = piece.stop
            parts.append(Segment([parameter], self.data[piece], self.grad[piece],
                                 {name: buffer[piece] for name, buffer in self.state.items()}, self.steps))
        return parts

    def state_of(self, parameter: Parameter) -> dict[str, Array]:
        """The buffers of one of the parameters, in its shape (views)."""
        start = 0
        for other in self.parameters:
            if other is parameter:
                return {name: buffer[start:start + parameter.size].reshape(parameter.shape)
                        for name, buffer in self.state.items()}
            start += other.size
        raise KeyError("this parameter is in another segment")


def settle(parameters: Iterable[Parameter]) -> None:
    """Give every parameter that has none a place in a flat buffer of its dtype, in the order given.

    One that has a place keeps it, so that a second optimizer over the same parameters finds them where they are.
    """
    for _, group in groupby(sorted((p for p in parameters if p.place is None), key=lambda p: str(p.dtype)),
                            key=lambda p: p.dtype):
        homeless = list(group)
        data = np.zeros(sum(p.size for p in homeless), homeless[0].dtype)
        grad = np.zeros_like(data)
        start = 0
        for parameter in homeless:
            piece = slice(start, start + parameter.size)
            parameter.settle(data[piece].reshape(parameter.shape), grad[piece].reshape(parameter.shape))
            parameter.place = (data, grad, start)
            start = piece.stop


def segments(parameters: Iterable[Parameter]) -> list[Segment]:
    """The parameters in as few contiguous pieces as their places allow."""
    pieces = []
    for run in runs(parameters):
        data, grad, start = run[0].place
        stop = start + sum(p.size for p in run)
        pieces.append(Segment(run, data[start:stop], grad[start:stop]))
    return pieces


def restored(parameters: list[Parameter], state: dict[str, Array], steps: int) -> list[Segment]:
    """The segment of a copied optimizer, laid over the places of its parameters; its state is copied."""
    pieces, start = segments(parameters), 0
    for piece in pieces:
        part = slice(start, start + piece.data.size)
        start = part.stop
        piece.state = {name: buffer[part].copy() for name, buffer in state.items()}
        piece.steps = steps
    return pieces
