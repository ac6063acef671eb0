"""What a step finds outside: variables, modes of modules, gradients. A replay is right only where they are what they were."""
from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import partial
from operator import getitem
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from ..autodiff import guard
from ..autodiff.node import next_order
from ..nn.module import Module
from ..optim.optimizer import Optimizer

Variable = tuple[Callable[[Any, Any], Any], Any, Any, Any]      # find, holder, name, value: find(holder, name) is value


class Surroundings:
    """The variables that a step finds outside, the modes of its modules, and the count of changes of the structure."""

    def __init__(self, step: Any) -> None:
        self.variables = variables_of(step)
        self.found = [value for *_, value in self.variables]
        self.modes = [(module, module.training) for top in [step, *self.found] if isinstance(top, Module)
                      for module in top.modules()]
        guard.watched.update(module for module, _ in self.modes)
        self.version, self.checked = guard.version, guard.modes
        self.order = guard.newest = next_order()

    def are_same(self) -> bool:
        """Whether variables, modules (but for their modes) and optimizers are what they were."""
        if self.version != guard.version:
            version = guard.version
            if guard.is_outdated(self.version, self.order):
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


def variables_of(step: Any) -> list[Variable]:
    """The variables that a step finds outside: names of closures and globals, attributes of the user's objects, entries of lists
    and dicts; of other objects those attributes that are modules or optimizers. (What changes inside these, `guard` notes.)"""
    found: list[Variable] = []
    used: set[str] = set()              # all names in the code so far
    queue: list[Any] = [step]
    seen = {id(step)}

    def add(holder: Any, names: Iterable[Any], find: Callable[[Any, Any], Any] = getitem) -> None:
        for name in names:
            try:
                value = find(holder, name)
            except (LookupError, ValueError):       # not yet defined
                continue
            found.append((find, holder, name, value))
            if id(value) not in seen:
                seen.add(id(value))
                queue.append(value)

    for thing in queue:
        if isinstance(thing, partial):
            add(thing, ["func"], getattr)
            add(thing.args, range(len(thing.args)))
            add(thing.keywords, thing.keywords)
        elif isinstance(thing, MethodType):
            queue += [thing.__self__, thing.__func__]
        elif isinstance(thing, FunctionType) and not _is_library(thing.__module__):
            names = _names(thing.__code__)
            used |= names
            queue += [*(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values()]
            for cell in thing.__closure__ or ():
                add(cell, ["cell_contents"], getattr)
            add(thing.__globals__, names & thing.__globals__.keys())
        elif isinstance(thing, ModuleType) and not _is_library(thing.__name__):
            add(vars(thing), used & vars(thing).keys())
        elif isinstance(thing, Module):
            for module in thing.modules():
                if not _is_library(type(module).__module__):       # ours replace their attributes, which `guard` notes
                    queue += [type(module), *(held for held in vars(module).values() if type(held) in (list, dict))]
        elif type(thing) is tuple:
            queue += thing
        elif isinstance(thing, (list, dict)):
            add(thing, [len(thing)], _has_length)
            add(thing, thing if isinstance(thing, dict) else range(len(thing)))
        elif isinstance(thing, Optimizer) and type(thing).step is Optimizer.step:
            continue                        # a replay calls its `move`
        elif isinstance(thing, type):
            queue += [f for cls in thing.__mro__ if not _is_library(cls.__module__) for f in vars(cls).values()
                      if isinstance(f, FunctionType)]
        elif type(getattr(thing, "__dict__", None)) is dict and not isinstance(thing, ModuleType):
            users = not _is_library(type(thing).__module__)
            queue += [type(thing)] * users
            add(vars(thing), [name for name, held in vars(thing).items() if users or isinstance(held, (Module, Optimizer))])
    return found


def _is_library(module: Any) -> bool:
    """Whether a module is ours, Python's, or that of an installed package: not code that uses these names."""
    package = str(module).partition(".")[0]
    return (package == __package__.partition(".")[0] or package in sys.stdlib_module_names
            or "-packages" in str(getattr(sys.modules.get(package), "__file__", "")))


def _names(code: CodeType) -> set[str]:
    return {*code.co_names}.union(*(_names(inner) for inner in code.co_consts if isinstance(inner, CodeType)))
