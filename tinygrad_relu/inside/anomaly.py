"""The search for the first NaN or infinity: which operation made it, in which module, at which step."""
from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from contextlib import ExitStack
from math import inf
from typing import Any, Literal, NamedTuple, NoReturn

import numpy as np

from ..autodiff.hooks import Arrive, observe, run_hooks
from ..autodiff.node import Node, next_order, value
from ..autodiff.tape import history, parts
from ..kernels.loops import update
from ..kernels.machine.door import watch
from ..nn.module import Module
from ..parameters import Parameter

REMEMBERED = 10_000         # calls of modules, to name the module in which a node was made

Phase = Literal["forward", "backward", "update"]


class AnomalyError(FloatingPointError):
    """The first NaN or infinity, and where it came from.

    - `op`: the operation that made or met it; the kernel of an update; the module, if no graph was recorded.
    - `module`: the name of the innermost module in which that happened; empty for the model itself, or if none is known.
    - `step`: the number of the backward pass, from 1; a forward pass counts to the next one.
    - `phase`: "forward", "backward" or "update".

    >>> try:
    ...     with tg.detect_anomaly():
    ...         tg.log(Tensor([-1.0], requires_grad=True)).sum().backward()
    ... except tg.AnomalyError as error:
    ...     print(error.op, error.step, error.phase)
    log 1 forward
    """

    def __init__(self, message: str, op: str = "", module: str = "", step: int = 0, phase: Phase = "forward") -> None:
        super().__init__(message)
        self.op, self.module, self.step, self.phase = op, module, step, phase


class _Bad(NamedTuple):
    """The numbers of an array that are not finite: "NaN" or "infinity", and "3 of 20 numbers"."""

    kind: str
    counted: str


class detect_anomaly:
    """Inside, the first NaN or infinity raises an `AnomalyError` that names the operation, the module and the step.

    Every result, gradient and update of this thread is checked, and every derivative computed twice, so use it only to search.
    Outside the block nothing is slower. Data, parameters and gradients that were bad before are named as the cause. `model` gives
    modules and parameters their names; and a bad result is then found as soon as its module returns it. Without it, bad results
    are found when `backward` begins, if they were recorded. With `model`, fused layers run one by one, to the same bits. An outer
    `door.watch` sees no launch in the block.

    >>> x = Tensor([4.0, 0.0], requires_grad=True)
    >>> with tg.detect_anomaly(), np.errstate(divide="ignore"):
    ...     (x ** 0.5).sum().backward()
    Traceback (most recent call last):
    tinygrad_relu.inside.anomaly.AnomalyError: power made the first infinity at step 1 (backward): 1 of 2 numbers in the
    gradient of its input 0; its inputs and the gradient that arrived were finite
    """

    def __init__(self, model: Module | None = None) -> None:
        if model is not None and not isinstance(model, Module):
            raise TypeError(f"detect_anomaly: got {type(model).__name__}; expected a Module, or nothing")
        self.model = model
        self.walks = 0                                      # backward passes that have begun
        # (start, stop, module) of each call: the nodes between these two orders were made in it
        self._calls: deque[tuple[float, float, Module]] = deque(maxlen=REMEMBERED)
        self._open: list[tuple[Module, int]] = []           # modules that have been entered, and when
        self._exit = ExitStack()

    def __enter__(self) -> detect_anomaly:
        modules = list(self.model.named_modules()) if self.model else []
        self._names: dict[int, str] = {id(module): name for name, module in reversed(modules)}
        self._names |= {id(p): name for name, p in self.model.named_parameters()} if self.model else {}
        self._exit.enter_context(observe(self._begin))
        self._exit.enter_context(watch(self._launched))
        for module in {id(module): module for _, module in modules}.values():
            self._exit.callback(module.register_forward_pre_hook(
                lambda module, inputs: self._open.append((module, next_order()))).remove)
            self._exit.callback(module.register_forward_hook(self._leave).remove)
        return self

    def __exit__(self, *error: object) -> None:
        self._exit.close()

    def _leave(self, module: Module, inputs: Any, output: Any) -> None:
        entered, start = self._open.pop()
        while entered is not module:            # it was left by an error
            entered, start = self._open.pop()
        self._calls.append((start, next_order(), module))
        for result in _tensors(output):
            if bad := _bad(result):
                if isinstance(result, Node) and result.op is not None:
                    self._check_results(_recorded(result), self.walks + 1)
                met = self._already_bad([(x, x) for x in (*_tensors(inputs), *module.parameters())])
                self._fail(self._label(module), module, "forward", bad, " (not recorded)", met,
                           "its inputs and parameters were finite", self.walks + 1)

    def _check_results(self, nodes: Iterable[Node], step: int) -> None:
        """Check the results of operations, oldest first."""
        for node in nodes:
            if bad := _bad(node.array):
                module = self._module_of(node)
                met = self._already_bad(zip(node.parents, node.values)) or self._bad_buffer(module)
                self._fail(node.op.name, module, "forward", bad, "", met, "its inputs were finite", step)

    def _begin(self, nodes: list[Node]) -> Arrive:
        self.walks += 1
        self._root = nodes[-1] if nodes else None
        self._check_results(nodes, self.walks)
        for leaf in (x for node in nodes for x in node.parents if x is not None and x.op is None):
            if bad := _bad(leaf.grad):
                self._fail("backward", None, "backward", bad, f" in the .grad of {self._what(leaf)}",
                           "they were there before this backward began (zero_grad() removes them)")
        return self._arrive

    def _arrive(self, node: Node, g: Any) -> Any:
        bad, why = _bad(g), "every part of it was finite: it is their sum, or the hook of a module returned it"
        if bad and node is self._root:
            why = "it was handed to backward"
        if not bad:
            g = run_hooks(node, g)
            bad, why = _bad(g), "a hook returned it"
        if bad:
            self._fail(node.op.name if node.op else self._what(node), self._module_of(node), "backward", bad,
                       " in the gradient that arrives", why)
        if node.op is None or not node.op.pure:
            return g
        with np.errstate(all="ignore"):
            given = parts(node, value(g))
        for i, x in enumerate(node.parents):
            if x is not None and (bad := _bad(given[x])):
                self._fail(node.op.name, self._module_of(node), "backward", bad, f" in the gradient of its input {i}", "",
                           self._already_bad(zip(node.parents, node.values)) or
                           "its inputs and the gradient that arrived were finite")
        return g

    def _launched(self, kernel: Any, arguments: tuple[Any, ...]) -> None:
        if getattr(kernel, "function", kernel).__module__ != update.__name__:
            kernel(*arguments)
            return
        moved, gradient = arguments[:2]
        before = [f"{what} held {bad.kind} already: {bad.counted}" for what, bad in
                  (("the parameters", _bad(moved)), ("the gradient", _bad(gradient))) if bad]
        kernel(*arguments)
        if bad := _bad(moved):
            first = int(np.flatnonzero(~np.isfinite(moved))[0])
            names = [name for name, p in (self.model.named_parameters() if self.model else ())
                     if np.may_share_memory(p.array, moved[first:first + 1])]
            self._fail(kernel.__name__, None, "update", bad, f", the first in {names[0]}" if names else "",
                       "; ".join(before), "the parameters and their gradients were finite before")

    def _fail(self, op: str, module: Module | None, phase: Phase, bad: _Bad, where: str, met: str, made: str = "",
              step: int | None = None) -> NoReturn:
        """The error: the operation met bad numbers that came from elsewhere (`met` says from where), or else made them."""
        step = max(self.walks, 1) if step is None else step
        place = f" in {self._label(module)}" if module is not None and op != self._label(module) else ""
        raise AnomalyError(f"{op}{place} {'met' if met else 'made'} the first {bad.kind} at step {step} ({phase}): "
                           f"{bad.counted}{where}; {met or made}", op, self._names.get(id(module), ""), step, phase)

    def _label(self, module: Module) -> str:
        return f"{self._names[id(module)] or 'the model'} ({type(module).__name__})"

    def _module_of(self, node: Node) -> Module | None:
        """The innermost module in which a node was made."""
        running = [(start, inf, module) for module, start in self._open]
        calls = [(start, module) for start, stop, module in (*self._calls, *running) if start < node.order < stop]
        return max(calls, key=lambda call: call[0])[1] if calls else None

    def _already_bad(self, inputs: Iterable[tuple[Any, Any]]) -> str:
        """The first of some inputs, each a node (or None) and its value, that is not finite; empty if there is none."""
        for i, (x, v) in enumerate(inputs):
            if bad := _bad(v):
                return f"its input {i}, {self._what(x)} of shape {np.shape(value(v))}, held {bad.kind} already: {bad.counted}"
        return ""

    def _bad_buffer(self, module: Module | None) -> str:
        """The first buffer of a module that is not finite, such as a running mean; empty if there is none."""
        for name, buffer in module.named_buffers() if module is not None else ():
            if bad := _bad(buffer.data):
                path = ".".join(filter(None, [self._names[id(module)], name]))
                return f"the buffer {path} of shape {buffer.data.shape} held {bad.kind} already: {bad.counted}"
        return ""

    def _what(self, x: Any) -> str:
        if isinstance(x, Parameter):
            return f"the parameter {self._names[id(x)]}" if id(x) in self._names else f"a parameter ({x.kind})"
        if isinstance(x, Node) and x.op is not None:
            return f"the result of {x.op.name}"
        return "data"


def _bad(x: Any) -> _Bad | None:
    """The bad numbers of a number, an array or a Tensor; None if there are none."""
    x = value(x)
    if not isinstance(x, (np.ndarray, float)) or np.asarray(x).dtype.kind != "f" or np.isfinite(x).all():
        return None
    nan, infinite = int(np.isnan(x).sum()), int(np.isinf(x).sum())
    mixed = f"{nan} NaN and {infinite} infinite" if nan and infinite else str(nan or infinite)
    return _Bad("NaN" if nan else "infinity", f"{mixed} of {np.size(x)} numbers")


def _tensors(x: Any) -> list[Any]:
    """The inputs or outputs of a module, flat."""
    return [y for part in x for y in _tensors(part)] if isinstance(x, (tuple, list)) else [x]


def _recorded(node: Node) -> list[Node]:
    """The history of a result; only itself, if an earlier backward has freed its graph."""
    try:
        return history(node)
    except RuntimeError:
        return [node]
