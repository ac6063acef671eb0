"""Hooks on modules: functions that see, and may replace, inputs, outputs and their gradients. And the summary of a model.

Names, arguments and the order of calls are PyTorch's. A module without hooks pays for one attribute lookup.
"""
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..autodiff.guard import refuse_while_recording
from ..autodiff.hooks import Hook, RemovableHandle, check_hook, replaced, shown
from ..autodiff.node import Node, Op, is_grad_enabled, value
from ..checks import counted
from ..parameters import Parameter
from ..text import Shown, Table

PRE, FORWARD, BACKWARD = "forward_pre", "forward", "full_backward"
Gradients = tuple[Any, ...]


class Hooks(OrderedDict[int, tuple[str, Hook]]):
    """The hooks of one module, by number: when each is called, and the function."""

    def at(self, when: str) -> list[Hook]:
        return [hook for moment, hook in self.values() if moment == when]


class Hookable:
    """The base of `Module`: the registration of hooks. Every method returns a handle, whose ``remove()`` removes the hook.

    `prepend` puts a hook before those that are already registered.
    """

    _hooks: Hooks | None = None

    def register_forward_pre_hook(self, hook: Hook, *, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, inputs)`` before every `forward`, with a tuple of inputs.

        The hook returns None, or other inputs: a tuple, or a single one.

        >>> layer = nn.ReLU()
        >>> handle = layer.register_forward_pre_hook(lambda module, inputs: inputs[0] + 1)
        >>> layer(Tensor([-3.0, -0.5])).data
        array([0. , 0.5])
        """
        return self._register(PRE, hook, prepend)

    def register_forward_hook(self, hook: Hook, *, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, inputs, output)`` after every `forward`. The hook returns None, or another output.

        A `Sequential` runs an affine layer and its activation as one operation, or, if one has a hook, as two with the same bits.

        >>> model = nn.MLP([2, 3, 1], rng=0)
        >>> def show(module, inputs, output):
        ...     print(type(module).__name__, output.shape)
        >>> handles = [layer.register_forward_hook(show) for layer in model]
        >>> y = model([[1.0, 2.0]])
        Linear (1, 3)
        ReLU (1, 3)
        Linear (1, 1)
        """
        return self._register(FORWARD, hook, prepend)

    def register_full_backward_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_input, grad_output)`` once the gradients of the module's inputs are known.

        Both are tuples with a gradient or None for each input (output). The hook returns None, or a tuple that replaces
        `grad_input`, in which None leaves a gradient as it is. If no input requires a gradient, the hook is called when those of
        the outputs are known. The gradients are arrays or Tensors, as in `Tensor.register_hook`.

        >>> layer = nn.ReLU()
        >>> handle = layer.register_full_backward_hook(lambda module, grad_input, grad_output: print(grad_input, grad_output))
        >>> layer(Tensor([-1.0, 2.0], requires_grad=True)).sum().backward()
        (array([0., 1.]),) (array([1., 1.]),)
        """
        return self._register(BACKWARD, hook, prepend)

    def _register(self, when: str, hook: Any, prepend: bool) -> RemovableHandle:
        check_hook(hook, f"register_{when}_hook")
        if self._hooks is None:
            self._hooks = Hooks()
        return RemovableHandle(self._hooks, (when, hook), prepend)


def call_with_hooks(module: Any, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """``module.forward(*inputs, **options)`` with the hooks of the module, which see the inputs."""
    refuse_while_recording("calls a hook, which a replay would not")
    hooks: Hooks = module._hooks
    for hook in hooks.at(PRE):
        new = hook(module, inputs)
        if new is not None:
            inputs = new if isinstance(new, tuple) else (new,)
    backward = hooks.at(BACKWARD)
    if not backward:
        return _forward(module, inputs, options, hooks)

    grad_output: Gradients = ()
    flows_in = is_grad_enabled() and any(map(_wants_gradient, inputs))

    def arrive_at_inputs(grad_input: Gradients) -> Gradients:
        for hook in backward:
            new = hook(module, tuple(map(shown, grad_input)), tuple(map(shown, grad_output)))
            if new is not None:
                grad_input = _checked(new, grad_input)
        return grad_input

    def arrive_at_outputs(gradients: Gradients) -> Gradients:
        nonlocal grad_output
        grad_output = gradients
        if not flows_in:
            arrive_at_inputs((None,) * len(inputs))
        return gradients

    output = _forward(module, _meeting(inputs, arrive_at_inputs), options, hooks)
    several = isinstance(output, (tuple, list))
    met = _meeting(output if several else (output,), arrive_at_outputs)
    return type(output)(met) if several else met[0]


def _forward(module: Any, inputs: tuple[Any, ...], options: dict[str, Any], hooks: Hooks) -> Any:
    output = module.forward(*inputs, **options)
    for hook in hooks.at(FORWARD):
        new = hook(module, inputs, output)
        output = output if new is None else new
    return output


def _wants_gradient(x: Any) -> bool:
    return isinstance(x, Node) and x.requires_grad


def _checked(new: Any, old: Gradients) -> Gradients:
    """The gradients that a backward hook returned to replace `old`."""
    who, new = "register_full_backward_hook", new if isinstance(new, tuple) else (new,)
    if len(new) != len(old):
        raise ValueError(f"{who}: the hook returned {counted(len(new), 'gradient')} for {counted(len(old), 'input')}; "
                         "expected one each")
    return tuple(None if g is None else replaced(g, n, who) for g, n in zip(old, new))


def _meeting(tensors: Sequence[Any], meet: Callable[[Gradients], Gradients]) -> tuple[Any, ...]:
    """`tensors` unchanged. In backward, ``meet(gradients)`` is called once all their gradients are known, and replaces them.

    Each tensor passes through two identities. The backward pass first visits the second identity of every tensor, which notes
    the gradient. So all gradients are known when the pass reaches the first identity of any tensor.
    """
    if not is_grad_enabled() or not any(map(_wants_gradient, tensors)):
        return tuple(tensors)
    noted: dict[int, Any] = {}
    leaving: dict[int, Any] = {}

    def note(i: int, g: Any) -> Any:
        noted[i] = g
        return g

    def pass_on(i: int, g: Any) -> Any:
        if noted:
            gradients = tuple(noted.get(k) for k in range(len(tensors)))
            noted.clear()
            leaving.update(enumerate(meet(gradients)))
        return leaving.pop(i)

    older = [_identity(pass_on, i)(x) if _wants_gradient(x) else x for i, x in enumerate(tensors)]
    return tuple(_identity(note, i)(x) if _wants_gradient(x) else x for i, x in enumerate(older))


def _identity(then: Callable[[int, Any], Any], i: int) -> Op:
    """The identity, with the gradient ``then(i, gradient)``."""
    return Op("hook", lambda x: x[...], pull=(lambda g, y, x: then(i, g),), pure=False)


# -- the summary of a model: which modules run on an input, in which order, with which shapes and how many numbers ------------


@dataclass(frozen=True)
class SummaryRow:
    """One module, or the total."""

    name: str               # in the model; empty for the model itself
    type: str
    output: Any             # the shape of its result; a tuple of shapes, if there were several; None if it did not run
    parameters: int         # the numbers in its own parameters; a shared parameter counts once, in the first module that has it
    bytes: int
    flops: int | None       # of matrix products, two for each weight and each row (and step); None for other modules


@dataclass(frozen=True, repr=False)
class Summary(Shown):
    """The result of `Module.summary`, which prints as a table."""

    rows: list[SummaryRow]      # in the order in which the modules ran; those that did not run come last
    total: SummaryRow

    def to_dicts(self) -> list[dict[str, Any]]:
        """The rows as dicts, without the total."""
        return [asdict(row) for row in self.rows]

    def parts(self) -> list[Table]:
        cells = [[row.name, row.type, "not run" if row.output is None else str(row.output), f"{row.parameters:,}",
                  f"{row.bytes:,}", "-" if row.flops is None else f"{row.flops:,}"] for row in [*self.rows, self.total]]
        headings = ["name", "type", "output", "parameters", "bytes", "FLOPs"]
        return [Table("", headings, cells)]


def summarise(model: Any, inputs: tuple[Any, ...]) -> Summary:
    """Run the model once, with a hook on every module."""
    if not inputs:
        raise TypeError("summary: got no input; expected what the model takes, or its shape, such as (64, 784)")
    for x in inputs:
        wrong = isinstance(x, (int, str)) or (isinstance(x, tuple) and any(n is None or isinstance(n, float) for n in x))
        if wrong or (_is_shape(x) and min(x, default=0) < 0):
            raise ValueError(f"summary: got the shape {x!r}; expected a tuple of sizes of 0 or more, such as (64, 784)")
    dtype = next((p.dtype for p in model.parameters()), np.dtype(np.float32))
    ran: list[tuple[Any, Any, int | None]] = []

    def note(module: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ran.append((module, _shape_of(output), _flops(module, inputs[0]) if inputs else None))

    with ExitStack() as stack:
        for module in model.modules():
            stack.enter_context(module.register_forward_hook(note))
        model(*(np.zeros(x, dtype) if _is_shape(x) else x for x in inputs))

    names = {id(module): name for name, module in reversed(list(model.named_modules()))}     # the first name of a shared one
    left = {id(p): p for p in model.parameters()}       # not counted yet

    def row(module: Any, output: Any, flops: int | None) -> SummaryRow:
        own = [left.pop(id(p)) for p in _own_parameters(module) if id(p) in left]
        return _row(names[id(module)], module, output, own, flops)

    met = {id(module) for module, _, _ in ran}
    idle = [(module, None, None) for module in model.modules() if id(module) not in met]
    rows = [row(*one) for one in [*ran, *idle] if one[0] is not model
            and (_own_parameters(one[0]) or next(one[0].children(), None) is None)]      # leaves out mere containers
    _, output, _ = ran[-1]
    return Summary(rows, _row("", model, output, model.parameters(), sum(flops or 0 for _, _, flops in ran)))


def overview(model: Any) -> Table:
    """A table of the modules that have parameters of their own, or no modules inside them, without running the model."""
    left = {id(p): p for p in model.parameters()}       # not counted yet: a shared one counts where it comes first
    rows, met = [], set[int]()
    for name, module in model.named_modules():
        paths, own = {id(p): path for path, p in module.named_parameters()}, _own_parameters(module)
        if id(module) not in met and (own or next(module.children(), None) is None):
            shapes = ", ".join(f"{paths[id(p)]} {p.shape}" + " frozen" * (not p.requires_grad) for p in own)
            size = sum(left.pop(id(p)).size for p in own if id(p) in left)
            rows.append((name, repr(module).partition("(\n")[0], shapes, f"{size:,}"))
        met.add(id(module))
    total, mode = sum(p.size for p in model.parameters()), "training" if model.training else "evaluation"
    members = f" of {model.members} members" if model.members else ""
    return Table(f"{type(model).__name__}: {total:,} parameters{members}, in {mode} mode",
                 ["name", "module", "shapes", "parameters"], rows)


def _row(name: str, module: Any, output: Any, parameters: Sequence[Parameter], flops: int | None) -> SummaryRow:
    return SummaryRow(name, type(module).__name__, output, sum(p.size for p in parameters),
                      sum(p.array.nbytes for p in parameters), flops)


def _own_parameters(module: Any) -> list[Parameter]:
    """The parameters of a module that belong to none of the modules inside it."""
    inside = {id(p) for child in module.children() for p in child.parameters()}
    return [p for p in module.parameters() if id(p) not in inside]


def _flops(module: Any, x: Any) -> int | None:
    width = getattr(module, "in_features", getattr(module, "input_size", None))
    if width is None:
        return None
    return 2 * (np.size(value(x)) // width) * sum(p.size for p in _own_parameters(module) if p.kind == "weight")


def _is_shape(x: Any) -> bool:
    return isinstance(x, tuple) and all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in x)


def _shape_of(output: Any) -> Any:
    if isinstance(output, (tuple, list)):
        return tuple(_shape_of(part) for part in output)
    return tuple(np.shape(value(output)))
