"""What a step finds outside: variables, modes of modules, gradients. A replay is right only where they are what they were."""
from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Container, Iterable
from dis import get_instructions
from functools import partial, partialmethod
from gc import get_referents
from operator import getitem, is_
from sysconfig import get_path
from types import BuiltinFunctionType, CodeType, FunctionType, MappingProxyType, MethodType, ModuleType, NoneType
from typing import Any

import numpy as np

from ..autodiff import guard
from ..checks import owner_of
from ..nn.module import Module
from ..optim.optimizer import Optimizer
from ..tensor import Tensor

LEAVES = (NoneType, int, float, complex, str, bytes, np.generic, Tensor, CodeType)      # hold no variables
WRAPPERS = (tuple, frozenset, partial, partialmethod, MethodType, BuiltinFunctionType, MappingProxyType, property, staticmethod,
            classmethod)
CONTAINERS = (list, dict, set, deque)
HOLDERS = ("argparse", "collections", "types")      # modules of Python whose objects hold what users put there
DYNAMIC = {"getattr", "hasattr", "AttributeError", "vars", "__dict__", "__getattr__", "__getattribute__", "attrgetter",
           "methodcaller", "asdict", "astuple"}      # with these, code finds attributes that it does not name
CONSTRUCTORS = {"__init__", "__new__", "__post_init__"}
FEW = 512       # bytes of an array up to which a change of its numbers is noticed, if no launch uses it
STDLIB = get_path("stdlib")
UNDEFINED, END = object(), object()
MARK = [END]            # between holders: what one loses, the next one may gain
Variable = tuple[Callable[[Any, Any], Any], Any, Any, Any, str]     # find, holder, key, value, name: find(holder, key) is value


class Surroundings:
    """What a step finds outside, the modes of its modules, and the count of changes of the structure.

    It finds names of closures and globals, code and defaults of functions, numbers of small arrays, what containers hold, those
    attributes of modules, classes and the user's objects that the code names (so an object may count its steps), and attributes
    of other objects that are modules, optimizers or functions. What changes inside of modules and optimizers, and that new ones
    are made, `guard.version` counts.
    """

    def __init__(self, step: Any) -> None:
        self.variables: list[Variable] = []
        self.holders: list[Any] = []    # objects, of which everything is watched; `dicts` are those with keys
        self.held: list[Any] = []
        self.names: list[str] = []
        self.found: list[Any] = []      # all objects that the step reaches
        self._seen: set[int] = set()
        self._used: set[str] = set()    # all names in the code so far
        self._named: list[tuple[dict[str, Any], set[str], set[str], Any]] = []  # names that may come, known ones, whose
        self._look(step)
        visited = 0
        while visited < len(self.found) or self._find_named():
            self._visit(self.found[visited])
            visited += 1
        self.dicts = [thing for thing in self.holders if isinstance(thing, dict)]
        self.keys = [*map(list, self.dicts)]
        self.modes = [(module, module.training) for module in self.found if isinstance(module, Module)]
        for module, _ in self.modes:
            guard.watched[id(module)] = module
        self.version, self.checked = guard.version, guard.modes

    def without(self, used: Container[int]) -> Surroundings:
        """Forget arrays that launches use: a replay reads their numbers. `used` are the ids of their owners."""
        self.variables = [v for v in self.variables if not (v[0] is _has_bytes and id(owner_of(v[1])) in used)]
        return self

    def are_same(self) -> bool:
        """Whether variables, modules (but for their modes) and optimizers are what they were."""
        return self.version == guard.version and self.changed() is None

    def have_same_modes(self) -> bool:
        if self.checked != guard.modes:
            if not all([module.training is mode for module, mode in self.modes]):
                return False
            self.checked = guard.modes
        return True

    def changed(self) -> str | None:
        """The name of a variable that is no longer what it was."""
        for find, holder, key, value, name in self.variables:
            try:
                if find(holder, key) is value:
                    continue
            except (LookupError, ValueError):       # it does not exist
                if value is UNDEFINED:
                    continue
            return name
        if not self.holders:
            return None
        held = get_referents(*self.holders)
        if all(map(is_, held, self.held)) and len(held) == len(self.held) and [*map(list, self.dicts)] == self.keys:
            return None
        return next((name for x, y, name in zip(held, self.held, self.names) if x is not y), "the keys of a dict")

    def _visit(self, thing: Any) -> None:
        kind = type(thing)
        users = not _is_library(kind.__module__)
        if isinstance(thing, FunctionType):
            if not _is_library(thing.__module__):
                names, of_globals = _names(thing.__code__)
                self._used |= names
                self._watch(thing, [x for x in ("__code__", "__defaults__", "__kwdefaults__") if getattr(thing, x)], getattr)
                self._look(vars(thing) or None)
                for cell, name in zip(thing.__closure__ or (), thing.__code__.co_freevars):
                    self._watch(cell, ["cell_contents"], getattr, name)
                self._watch(thing.__globals__, of_globals & thing.__globals__.keys())
        elif isinstance(thing, ModuleType):
            if not _is_library(thing.__name__):
                self._named.append((vars(thing), set(), set(), None))
        elif isinstance(thing, type):
            dicts = [get_referents(vars(cls))[0] for cls in thing.__mro__ if not _is_library(cls.__module__)]
            inherited = {name for cls in thing.__mro__ if _is_library(cls.__module__) for name in vars(cls)}
            for own in dicts:       # Python and libraries call what has special or inherited names: __len__, forward
                known = {name for name in own if name.startswith("__") or name in inherited} - CONSTRUCTORS
                self._watch(own, known)
                self._named.append((own, set().union(*dicts), known, own))
        elif isinstance(thing, Module):         # `guard` notes what its attributes are, but not what changes inside of these
            by_name = _is_of_users({*kind.__mro__} - {*Module.__mro__})
            self._add(kind, *thing.children(), *(x for x in _inside(thing) if (users and not by_name) or type(x) is FunctionType))
            if users and by_name:
                self._named.append((vars(thing), set(), set(), thing))
        elif isinstance(thing, Optimizer) and kind.step is Optimizer.step:
            pass                                # a replay calls its `move`
        elif isinstance(thing, WRAPPERS):       # never change
            self._look(*get_referents(thing))
        elif type(getattr(thing, "__dict__", None)) is dict and _is_of_users({*kind.__mro__} - {object}):
            self._add(kind)
            self.variables.append((getattr, thing, "__class__", kind, "the class of an object"))
            self._named.append((vars(thing), {name for cls in kind.__mro__ for name in vars(cls)}, set(), thing))
        elif users or kind.__module__ in HOLDERS or isinstance(thing, CONTAINERS):
            self._hold(thing)
        elif isinstance(thing, np.ndarray):
            if thing.dtype.hasobject:
                objects = thing.ravel().tolist()
                self.variables.append((_has_objects, thing, objects, True, "an array of objects"))
                self._look(*objects)
            elif thing.nbytes <= FEW:
                self.variables.append((_has_bytes, thing, thing.tobytes(), True, "numbers of an array"))
        elif type(attributes := getattr(thing, "__dict__", None)) is dict:
            self._watch(attributes, [name for name, held in attributes.items()
                                     if isinstance(held, (Module, Optimizer, FunctionType))])

    def _find_named(self) -> bool:
        """Watch what the code names in dicts of attributes. Whether more was found: it may be code, with more names."""
        before = len(self.found)
        if not self._used.isdisjoint(DYNAMIC):
            wholes = [whole for *_, whole in self._named if whole is not None]
            self._named = [entry for entry in self._named if entry[3] is None]
            for whole in wholes:
                if isinstance(whole, Module):
                    self._look(*_inside(whole))
                else:
                    self._hold(whole)
        for attributes, coming, known, _ in self._named:
            names = self._used & (attributes.keys() | coming) - known
            known |= names
            self._watch(attributes, names)
        return len(self.found) > before

    def _look(self, *things: Any) -> None:
        for thing in things:
            if isinstance(thing, type):         # unlike the class of an object, it may be called
                self._add(*(getattr(thing, name, None) for name in CONSTRUCTORS))
            self._add(thing)

    def _add(self, *things: Any) -> None:
        for thing in things:
            if not isinstance(thing, LEAVES) and id(thing) not in self._seen:
                if callable(thing) and {type(thing).__name__, getattr(thing, "__name__", "")} & DYNAMIC:     # by another name
                    self._used.add("getattr")
                self._seen.add(id(thing))
                self.found.append(thing)

    def _watch(self, holder: Any, keys: Iterable[str], find: Callable[[Any, Any], Any] = getitem, name: str = "") -> None:
        for key in keys:
            try:
                value = find(holder, key)
            except (LookupError, ValueError):       # a variable of a closure, or an attribute, that has no value yet
                value = UNDEFINED
            self.variables.append((find, holder, key, value, name or key))
            self._look(value)

    def _hold(self, thing: Any) -> None:
        """Watch all that Python's garbage collector finds in an object. Attributes are in a dict, which is held by itself."""
        getattr(thing, "__dict__", None)            # if it is not asked for, there may be none
        held, name = get_referents(thing), f"what a {type(thing).__name__} holds"
        keys = isinstance(thing, dict) and len(held) == len(thing)          # keys of another type than str are held, too
        self.holders += [thing, MARK]
        self.held += [*held, END]
        self.names += [*(map(str, thing) if keys else [name] * len(held)), name]
        self._look(*held)


def _inside(module: Module) -> list[Any]:
    return [held for name, held in vars(module).items() if name not in ("_hooks", "_steps")]        # the last are of the package


def _is_of_users(classes: set[type]) -> bool:
    """Whether only code of the user reads the attributes of such an object, and all of them are in its ``__dict__``."""
    return not any(_is_library(cls.__module__) or "__slots__" in vars(cls) for cls in classes)


def _has_objects(array: Any, objects: list[Any]) -> bool:
    return all(map(is_, array.ravel().tolist(), objects))


def _has_bytes(array: Any, known: bytes) -> bool:
    return bool(array.tobytes() == known)


def _is_library(module: Any) -> bool:
    """Whether a module is ours, Python's, or that of an installed package: not code that uses these names."""
    package = str(module).partition(".")[0]
    path = getattr(sys.modules.get(package), "__file__", None) or STDLIB        # Python's own may have no file
    return (package == __package__.partition(".")[0] or "-packages" in path
            or (package in sys.stdlib_module_names and path.startswith(STDLIB)))      # not a user's code.py


def _names(code: CodeType) -> tuple[set[str], set[str]]:
    """All names in code, and those that are not names of attributes."""
    names, of_globals = {*code.co_names}, {x.argval for x in get_instructions(code) if x.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    inner = [_names(each) for each in code.co_consts if isinstance(each, CodeType)]
    return names.union(*(x for x, _ in inner)), of_globals.union(*(x for _, x in inner))
