"""Hooks on modules: functions that see, and may replace, inputs and outputs, and their gradients.

Names, arguments and the order of calls are PyTorch's. A module without hooks pays for one attribute lookup.
"""
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from ..autodiff.hooks import Hook, RemovableHandle, check_hook, replaced, shown
from ..autodiff.node import Node, Op, is_grad_enabled

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

        A `Sequential` runs an affine layer and its activation as one operation; as two, with the same bits, if one has a hook.

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

        Both are tuples with one gradient per input (output), or None. The hook returns None, or a tuple that replaces
        `grad_input`, in which None leaves a gradient as it is. If no input requires a gradient, the hook is called when those of
        the outputs are known. The gradients are as in `Tensor.register_hook`.

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
        raise ValueError(f"{who}: the hook returned {len(new)} gradients for {len(old)} inputs; expected one each")
    return tuple(None if g is None else replaced(g, n, who) for g, n in zip(old, new))


def _meeting(tensors: Sequence[Any], meet: Callable[[Gradients], Gradients]) -> tuple[Any, ...]:
    """`tensors` unchanged. In backward, ``meet(gradients)`` is called once all their gradients are known, and replaces them.

    Each tensor passes through two identities. The walk back visits all the younger ones first, which note the gradients; so all
    are known when it reaches the first of the older ones.
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
