"""The part of capture in the rest of the package: numbers that may not be read while a step is recorded, and notes of changes.

A recorded step replays launches of kernels. A number that Python reads on the way, to decide or to compute something, would be
that of the recorded call for ever. So while this thread records, arrays that users see are `Guarded`, and single numbers `Later`.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from typing import Any, NoReturn
from weakref import WeakSet, WeakValueDictionary

import numpy as np

from ..checks import on_copy, owner_of
from ..kernels.machine.door import copy, launch, watch
from .node import Array, Node

_recorder: ContextVar[Any] = ContextVar("recorder", default=None)
current_recorder = _recorder.get        # the Recorder of this thread, or None

_next_version = count(1).__next__
version = 0     # of the structure: modules, hooks, which parameters are where; not their numbers
modes = 0       # how often a module in `watched` has changed its mode
watched: WeakValueDictionary[int, Any] = WeakValueDictionary()      # modules, by id, whose modes recordings compare themselves
compared: WeakSet[type] = WeakSet()         # classes of modules; recordings compare the attributes that the step names


class CaptureError(RuntimeError):
    """A step that `tg.capture` cannot replay, and why."""


def structure_changed() -> None:
    """Declare that replays of earlier recordings may run the wrong operations, or on the wrong arrays."""
    global version
    version = _next_version()


def note_attribute(module: Any, name: str, value: Any, named: bool = False) -> None:
    """An attribute of a module is about to be set. A step may set the mode, and attributes of modules that it makes."""
    global modes
    if getattr(module, name, note_attribute) is value:      # note_attribute: a value that no attribute has
        return
    if (recorder := current_recorder()) is not None:
        if not vars(module):
            recorder.made.append(module)
        elif name != "training" and not any(module is one for one in recorder.made):
            refuse(f"sets the attribute {name} of a module, which a replay would not")
    if name == "training" and id(module) in watched:
        modes = _next_version()
    elif not (named and type(module) in compared):      # `named`: only code that names it reads it
        structure_changed()


def refuse(what: str) -> NoReturn:
    raise CaptureError(f"capture: the step {what}")


def refuse_while_recording(what: str) -> None:
    """Raise if this thread records."""
    if current_recorder() is not None:
        refuse(what)


@contextmanager
def recorded_by(recorder: Any) -> Iterator[None]:
    """Inside, a recorder gets the launches of this thread, and copies of arrays in another dtype or layout, as launches too."""
    token, note = _recorder.set(recorder), on_copy.set(lambda source, made: recorder(copy, (source, made)))
    try:
        with watch(recorder):
            yield
    finally:
        _recorder.reset(token)
        on_copy.reset(note)


# -- numbers that may not be read --------------------------------------------------------------------------------------------

_READ = ("reads numbers of {}, which a replay would not read again; compute with operations of the package (tg.where, "
         "tg.clip, ...), or do it outside of the step")


class Guarded(np.ndarray):
    """An array whose numbers only operations of the package may use while this thread records. Otherwise it is an ndarray."""

    def __array_finalize__(self, source: Any) -> None:
        if source is not None and owner_of(self) is not owner_of(source):       # a view reads nothing
            refuse_while_recording(_READ.format("an array (astype, copy, argmax, or an index that is an array)"))

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        if not all(isinstance(x, (np.ndarray, np.generic, int, float)) for x in inputs):
            return NotImplemented           # a Tensor takes over
        refuse_while_recording(_READ.format(f"an array (np.{ufunc.__name__})"))
        plain = {} if out is None else {"out": tuple(map(unguarded, out))}
        return getattr(ufunc, method)(*map(unguarded, inputs), **plain, **options)

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        if function not in (np.shape, np.ndim, np.size):
            refuse_while_recording(_READ.format(f"an array (np.{function.__name__})"))
        return super().__array_function__(function, types, arguments, options)

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        if not isinstance(found, np.ndarray):
            refuse_while_recording(_READ.format("an array (by an index)"))
        return found

    def __iter__(self) -> Iterator[Any]:
        return map(self.__getitem__, range(len(self)))


def _guard(name: str) -> Callable[..., Any]:
    usual = getattr(np.ndarray, name)

    def method(self: Guarded, *arguments: Any, **options: Any) -> Any:
        refuse_while_recording(_READ.format(f"an array ({name})"))
        return usual(self, *arguments, **options)

    return method


for _name in ("__bool__", "__complex__", "__contains__", "__dlpack__", "__float__", "__format__", "__index__", "__int__",
              "__reduce__", "__repr__", "__setitem__", "__str__", "fill", "item", "nonzero", "partition", "put", "searchsorted",
              "sort", "tobytes", "tolist"):
    setattr(Guarded, _name, _guard(_name))


def guarded(x: Array) -> Array:
    """The array as a user sees it: guarded while this thread records."""
    return x if current_recorder() is None else x.view(Guarded)


def unguarded(x: Any) -> Any:
    """An array as kernels and NumPy take it; anything else as it is."""
    return x.view(np.ndarray) if type(x) is Guarded else x


def takes_more(leaf: Node) -> bool:
    """Whether a kernel may add straight to the ``.grad`` of a leaf that has no home."""
    g = leaf.grad
    return (type(g) is np.ndarray and leaf.home is None and g.flags.carray and g.shape == leaf.shape and g.dtype == leaf.dtype
            and current_recorder() is None)


class Later:
    """A number that each replay computes, in an array. The step may return it, and nothing else."""

    def __init__(self, array: Array) -> None:
        self.array = array

    def _refuse(self, *_: Any) -> NoReturn:
        refuse(_READ.format("a result (item, float, bool, or the norm of clip_grad_norm_)"))

    for _name in ("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "pow", "rpow", "neg", "abs", "lt", "le",
                  "gt", "ge", "eq", "ne", "bool", "float", "int", "index", "round", "format", "str", "repr", "hash"):
        vars()[f"__{_name}__"] = _refuse


def read(array: Array) -> Any:
    """The one number of an array; a `Later` while this thread records."""
    if current_recorder() is None:
        return array.item()
    number = np.empty((), array.dtype)
    launch(copy, array.reshape(()), number)     # as it is now: a later launch may change the array
    return Later(number)
