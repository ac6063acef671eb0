"""Functions of populations: arrays whose axis 0 has an entry for each of several independent networks, the members."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..autodiff.node import Array, Op, value
from ..autodiff.tape import grad
from ..checks import LABELS, as_numbers, copied, said
from ..kernels.machine.door import copy, launch
from ..ops import members as ops
from ..tensor import Tensor
from .array import Input, as_tensor
from .class_loss import cross_entropy


def each(calls: Sequence[Callable[[Tensor], Tensor]], x: Tensor, parameters: Sequence[Any] = ()) -> Tensor:
    """``calls[k](x[k])`` for each member k, side by side in one result; `parameters` are all those that the calls use.

    The derivatives are those of the calls, so each member has the bits that it has alone. It takes Python for each member.
    Second derivatives are refused. A parameter that no call uses gets a gradient of zeros, not None.
    """
    def forward(x: Array, *_: Array) -> tuple[Array, Any]:
        inputs = [Tensor.leaf(part, requires_grad=True) for part in x]
        outputs = [call(part) for call, part in zip(calls, inputs)]
        if not isinstance(outputs[0], Tensor):
            raise TypeError(f"a layer or loss of a population returned {type(outputs[0]).__name__}, expected a Tensor; put what "
                            "returns several into a module that returns one of them")
        out = np.empty((len(outputs), *outputs[0].shape), outputs[0].dtype)
        for k, output in enumerate(outputs):
            launch(copy, output.array, out[k, ...])
        return out, (inputs, outputs)

    def fused(g: Array, y: Array, saved: Any, into: list[Array], add: int, x: Array, *_: Array) -> None:
        needed = [i for i, part in enumerate(into) if part.size]
        for k, (own, output) in enumerate(zip(*saved)):
            nodes = [own, *(p.member(k) for p in parameters)]
            for i, found in zip(needed, grad(output, [nodes[i] for i in needed], g[k, ...], retain_graph=True)):
                launch(copy, found.array, into[i][k, ...])

    return Op("each", forward, fused=fused, saves=True, pull=_refuse)(x, *parameters)


def _refuse(i: int) -> Any:
    raise TypeError("each: second derivatives of this layer or loss of a population are not known; differentiate a member alone, "
                    "model.member(k)")


def per_member(loss: Callable[..., Tensor], x: Input, target: Any, **options: Any) -> Tensor:
    """``loss(x[k], target[k], **options)`` for each member k of a population: a Tensor of K losses.

    `x` is the output of a population, (members, samples, ...). A `target` for the samples is shared by all members, unless it
    begins with the axes (members, samples), too. Differentiate the sum of the losses: then each has the gradient it has alone.

    >>> model = nn.MLP([2, 3, 2], members=4, rng=0)
    >>> losses = F.per_member(F.cross_entropy, model(np.ones((5, 2))), np.zeros(5, int))
    >>> losses.shape
    (4,)
    >>> losses.sum().backward()
    """
    x = as_tensor(x)
    if not callable(loss):
        raise TypeError(f"per_member: loss is {said(loss)}, expected a function such as F.cross_entropy")
    if x.ndim < 2:
        raise ValueError(f"per_member: x has shape {x.shape}, expected (members, samples, ...)")
    given = value(target) if isinstance(target, Tensor) else as_numbers(target, "per_member: target", LABELS)
    own = given.shape[:2] == x.shape[:2] and (given.ndim == x.ndim or given.dtype.kind != "f")
    if loss is cross_entropy and not options and x.ndim == 3 and given.dtype.kind in "iu":
        try:
            return ops.cross_entropy(x, copied(given, given.astype(np.int64, copy=False)))
        except ValueError:          # a label that is not a class: an error, unless it is the one to ignore
            pass
    targets: Any = given if own else [given] * len(x.array)
    return each([partial(lambda target, x: loss(x, target, **options), target) for target in targets], x)
