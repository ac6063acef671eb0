"""Hooks on tensors, and the seat from which all gradients of a walk can be watched as they arrive.

Both cost nothing while nobody uses them: a walk asks once, before it begins.
"""
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from typing import Any

from ..checks import as_floats
from .node import Node

Hook = Callable[..., Any]
Arrive = Callable[[Node, Any], Any]                         # arrive(node, gradient) -> the gradient that goes on
Begin = Callable[[list[Node]], Arrive | None]               # begin(nodes, oldest first) -> arrive

_begin: ContextVar[Begin | None] = ContextVar("begin", default=None)
_next_number = count().__next__
_in_use = False             # whether any tensor of this process has ever had a hook


class RemovableHandle:
    """What registering a hook returns: `remove` takes the hook away again. As a context manager it does so at the end.

    Examples
    --------
    >>> import tinygrad_relu as tg
    >>> x = tg.Tensor([1.0, 2.0], requires_grad=True)
    >>> with x.register_hook(lambda g: -g):
    ...     x.sum().backward()
    >>> x.sum().backward()          # the hook has gone
    >>> x.grad
    array([0., 0.])
    """

    def __init__(self, hooks: OrderedDict[int, Any], hook: Any, prepend: bool = False) -> None:
        self._hooks, self.id = hooks, _next_number()
        hooks[self.id] = hook
        if prepend:
            hooks.move_to_end(self.id, last=False)

    def remove(self) -> None:
        """Take the hook away; a second time does nothing."""
        self._hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


def check_hook(hook: Any, who: str) -> Hook:
    """`hook`, if it can be called."""
    if not callable(hook):
        raise TypeError(f"{who}: got {type(hook).__name__}; expected a function")
    return hook


def register_hook(node: Node, hook: Hook) -> RemovableHandle:
    """See `Tensor.register_hook`."""
    global _in_use
    check_hook(hook, "register_hook")
    if not node.requires_grad:
        raise RuntimeError("register_hook: this Tensor requires no gradient, so none will ever arrive here")
    if not hasattr(node, "hooks"):
        node.hooks = OrderedDict()
    _in_use = True
    return RemovableHandle(node.hooks, hook)


def has_hooks(node: Node | None) -> bool:
    return node is not None and bool(getattr(node, "hooks", None))


def run_hooks(node: Node, g: Any) -> Any:
    """The gradient `g` of `node`, after what the hooks of the node make of it."""
    for hook in list(getattr(node, "hooks", {}).values()):
        g = replaced(g, hook(shown(g)), "register_hook")
    return g


def shown(g: Any) -> Any:
    """A gradient as hooks see it: an array that cannot be written to, for others use it too; a Tensor where it is recorded."""
    if g is None or isinstance(g, Node):
        return g
    g = g.view()
    g.flags.writeable = False
    return g


def replaced(g: Any, new: Any, who: str) -> Any:
    """What a hook returned in place of the gradient `g`, in the form that the walk relies on; None leaves `g`."""
    if new is None:
        return g
    array = as_floats(new.array if isinstance(new, Node) else new, g.dtype, f"{who}: what the hook returned")
    if array.shape != g.shape:
        raise ValueError(f"{who}: the hook returned shape {array.shape} for a gradient of shape {g.shape}; expected the same")
    if not isinstance(g, Node):
        return array
    return new if isinstance(new, Node) and new.dtype == g.dtype else g.result.leaf(array)


def begin_walk(root: Node, nodes: list[Node]) -> Arrive | None:
    """What a walk from `root` through `nodes` (oldest first) must show every gradient to: None, nearly always."""
    begin = _begin.get()
    if begin is not None:
        return begin(nodes)
    if _in_use and (has_hooks(root) or any(has_hooks(x) for node in nodes for x in node.parents)):
        return run_hooks
    return None


@contextmanager
def attend(begin: Begin) -> Iterator[None]:
    """Watch the walks of this thread: ``begin(nodes)`` is called before each, and returns ``arrive(node, gradient)``.

    That in turn is called with every gradient on its arrival, and returns what goes on. It must let hooks act: see
    `run_hooks`. (What a kernel adds straight into the ``.grad`` of a leaf does not pass by.)
    """
    token = _begin.set(begin)
    try:
        yield
    finally:
        _begin.reset(token)
