"""What a step finds outside: variables, modes of modules, gradients. A replay is right only where they are what they were."""
from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import partial
from operator import getitem
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType, NoneType, SimpleNamespace
from typing import Any

import numpy as np

from ..autodiff import guard
from ..nn.module import Module
from ..optim.optimizer import Optimizer
from ..tensor import Tensor

LEAVES = (NoneType, int, float, complex, str, bytes, np.generic, Tensor)        # hold no variables
METHODS = (FunctionType, property, staticmethod, classmethod)
Variable = tuple[Callable[[Any, Any], Any], Any, Any, Any]      # find, holder, name, value: find(holder, name) is value


class Surroundings:
    """The variables that a step finds outside, the modes of its modules, and the count of changes of the structure."""

    def __init__(self, step: Any) -> None:
        self.variables, self.all_found = variables_of(step)
        self.found = [value for *_, value in self.variables]
        self.modes = [(module, module.training) for top in [step, *self.found] if isinstance(top, Module)
                      for module in top.modules()]
        for module, _ in self.modes:
            guard.watched[module] = True
        self.version, self.checked = guard.version, guard.modes
        self.order = guard.note_recording()

    def are_same(self) -> bool:
        """Whether variables, modules (but for their modes) and optimizers are what they were."""
        if self.version != guard.version:
            version = guard.version
            if not self.all_found or guard.is_outdated(self.version, self.order):
                return False
            self.version = version
        return self.changed() is None

    def have_same_modes(self) -> bool:
        if self.checked != guard.modes:
            if not all([module.training is mode for module, mode in self.modes]):
                return False
            self.checked = guard.modes
        return True

    def changed(self) -> str | None:
        """The name of a variable that is no longer what it was."""
        for find, holder, name, value in self.variables:
            try:
                if find(holder, name) is value:
                    continue
            except (LookupError, ValueError):       # it no longer exists
                pass
            return "the length of a list or dict" if find is _has_length else str(name)
        return None


def _has_length(holder: Any, length: int) -> bool:
    return len(holder) == length


def variables_of(step: Any) -> tuple[list[Variable], bool]:
    """The variables that a step finds outside, and whether these are all.

    They are names of closures and globals, attributes of the user's objects, functions and classes, entries of lists and dicts;
    of our own objects those attributes that are modules or optimizers. (What changes inside these, `guard` notes.) They are not
    all if something may hold others that cannot be watched: a set, a deque, an object with slots, a cache.
    """
    found: list[Variable] = []
    all_found = True
    used: set[str] = set()              # all names in the code so far
    queue: list[Any] = []
    seen: set[int] = set()

    def look(*things: Any) -> None:
        for thing in things:
            if not isinstance(thing, LEAVES) and id(thing) not in seen:
                seen.add(id(thing))
                queue.append(thing)

    def add(holder: Any, names: Iterable[Any], find: Callable[[Any, Any], Any] = getitem) -> None:
        for name in names:
            try:
                value = find(holder, name)
            except (LookupError, ValueError):       # not yet defined
                continue
            found.append((find, holder, name, value))
            look(value)

    look(step)
    for thing in queue:
        kind = type(thing)
        if isinstance(thing, partial):
            add(thing, ["func"], getattr)
            add(thing.args, range(len(thing.args)))
            add(thing.keywords, thing.keywords)
        elif isinstance(thing, MethodType):
            look(thing.__self__, thing.__func__)
        elif isinstance(thing, BuiltinFunctionType):
            look(thing.__self__)
        elif isinstance(thing, FunctionType):
            if not _is_library(thing.__module__):
                names = _names(thing.__code__)
                used |= names
                look(*(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values())
                for cell in thing.__closure__ or ():
                    add(cell, ["cell_contents"], getattr)
                add(thing.__globals__, names & thing.__globals__.keys())
                add(vars(thing), vars(thing))
        elif isinstance(thing, ModuleType):
            if not _is_library(thing.__name__):
                add(vars(thing), used & vars(thing).keys())
                all_found = False               # functions that come later use other names
        elif isinstance(thing, Module):
            for module in thing.modules():
                users = not _is_library(type(module).__module__)        # ours replace their attributes, which `guard` notes
                look(type(module), *(held for name, held in vars(module).items() if name != "_hooks"
                                     and (isinstance(held, FunctionType) or (users and not isinstance(held, Module)))))
        elif isinstance(thing, tuple):
            look(*thing)
        elif isinstance(thing, (list, dict)):
            add(thing, [len(thing)], _has_length)
            add(thing, thing if isinstance(thing, dict) else range(len(thing)))
            all_found &= _is_library(kind.__module__)           # a class of the user's may hold more
        elif isinstance(thing, np.ndarray):
            all_found &= not thing.dtype.hasobject
        elif isinstance(thing, Optimizer) and kind.step is Optimizer.step:
            continue                        # a replay calls its `move`
        elif isinstance(thing, type):
            for cls in thing.__mro__:
                if not _is_library(cls.__module__):
                    look(*(each for each in vars(cls).values() if isinstance(each, METHODS)))
                    add(vars(cls), [name for name, held in vars(cls).items()
                                    if not (isinstance(held, METHODS) or name[:2] == name[-2:] == "__")])
        elif isinstance(thing, METHODS):
            look(*(getattr(thing, name, None) for name in ("__func__", "fget")))
        elif not _is_ours(kind):
            users = not _is_library(kind.__module__) or kind is SimpleNamespace
            look(kind)
            held = vars(thing) if type(getattr(thing, "__dict__", None)) is dict else {}
            add(held, [name for name, value in held.items() if users or isinstance(value, (Module, Optimizer))])
            all_found &= users and all("__slots__" not in vars(cls) and (cls in (object, SimpleNamespace) or _is_ours(cls)
                                                                         or not _is_library(cls.__module__))
                                       for cls in kind.__mro__)
        elif type(getattr(thing, "__dict__", None)) is dict:
            add(vars(thing), [name for name, held in vars(thing).items() if isinstance(held, (Module, Optimizer))])
    return found, all_found


def _is_ours(kind: type) -> bool:
    """Whether a class is ours, or NumPy's."""
    return kind.__module__.partition(".")[0] in (__package__.partition(".")[0], "numpy")


def _is_library(module: Any) -> bool:
    """Whether a module is ours, Python's, or that of an installed package: not code that uses these names."""
    package = str(module).partition(".")[0]
    return (package == __package__.partition(".")[0] or package in sys.stdlib_module_names
            or "-packages" in str(getattr(sys.modules.get(package), "__file__", "")))


def _names(code: CodeType) -> set[str]:
    return {*code.co_names}.union(*(_names(inner) for inner in code.co_consts if isinstance(inner, CodeType)))
