"""Hooks on tensors, and observers of every gradient of a backward pass. Both are called when the gradient of a node is known."""
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from typing import Any

from ..checks import as_floats
from .guard import refuse_while_recording, structure_changed
from .node import Node

Hook = Callable[..., Any]
Arrive = Callable[[Node, Any], Any]                         # arrive(node, gradient) -> the gradient to pass on
Begin = Callable[[list[Node]], Arrive]                      # begin(nodes, oldest first) -> arrive

_observer: ContextVar[Begin | None] = ContextVar("observer", default=None)
current_observer = _observer.get
_next_number = count().__next__


class RemovableHandle:
    """Returned by the functions that register a hook: `remove` removes the hook, and so does the end of a with block.

    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> with x.register_hook(lambda g: -g):
    ...     x.sum().backward()
    >>> x.sum().backward()          # the hook is gone
    >>> x.grad
    array([0., 0.])
    """

    def __init__(self, hooks: OrderedDict[int, Any], hook: Any, prepend: bool = False) -> None:
        self._hooks, self.id = hooks, _next_number()
        hooks[self.id] = hook
        structure_changed()
        if prepend:
            hooks.move_to_end(self.id, last=False)

    def remove(self) -> None:
        """Remove the hook; a second call does nothing."""
        self._hooks.pop(self.id, None)
        structure_changed()

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
    """Call ``hook(gradient)`` when the gradient of this Tensor is known, in every backward.

    The hook gets an array that it must not write to (with ``create_graph=True`` a Tensor, which can be differentiated
    further). It returns None, or another gradient of the same shape, to be used instead. Several hooks run one after the other.
    ``handle.remove()`` removes a hook. A copied or pickled Tensor has no hooks, as in PyTorch.

    >>> x = Tensor([1.0, -2.0], requires_grad=True)
    >>> h = x * 3
    >>> handle = h.register_hook(lambda g: g.clip(-1, 1))
    >>> (h * h).sum().backward()        # 6 and -12 arrive at h, and are clipped
    >>> x.grad
    array([ 3., -3.])
    """
    check_hook(hook, "register_hook")
    if not node.requires_grad:
        raise RuntimeError("register_hook: this Tensor requires no gradient, so none will ever arrive here")
    if node.hooks is None:
        node.hooks = OrderedDict()
    return RemovableHandle(node.hooks, hook)


def run_hooks(node: Node, g: Any) -> Any:
    """The gradient `g` of `node`, after its hooks have run."""
    for hook in list((node.hooks or {}).values()):
        refuse_while_recording("calls a hook, which a replay would not")
        g = replaced(g, hook(shown(g)), "register_hook")
    return g


def shown(g: Any) -> Any:
    """A gradient as hooks see it: a read-only array, since memory may be shared; a Tensor if the backward pass is recorded."""
    if g is None or isinstance(g, Node):
        return g
    g = g.view()
    g.flags.writeable = False
    return g


def replaced(g: Any, new: Any, who: str) -> Any:
    """The result `new` of a hook, checked and converted to the dtype of the gradient `g` that it replaces; None keeps `g`."""
    if new is None:
        return g
    array = as_floats(new.array if isinstance(new, Node) else new, g.dtype, f"{who}: the result of the hook")
    if array.shape != g.shape:
        raise ValueError(f"{who}: the hook returned shape {array.shape} for a gradient of shape {g.shape}; expected the same")
    if not isinstance(g, Node):
        return array
    return new if isinstance(new, Node) and new.dtype == g.dtype else g.result.leaf(array)


@contextmanager
def observe(begin: Begin) -> Iterator[None]:
    """Observe the backward passes of this thread: each begins with ``begin(nodes)``, which returns ``arrive(node, gradient)``.

    ``arrive`` is called with the gradient of each node, and returns the gradient to pass on. It replaces the hooks, so it must
    call `run_hooks`. A gradient that a kernel adds straight into the ``.grad`` of a leaf is not shown.
    """
    token = _observer.set(begin)
    try:
        yield
    finally:
        _observer.reset(token)
