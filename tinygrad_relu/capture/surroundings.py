"""What a step finds outside: variables, attributes, containers, modes. A replay is right only while they are what they were.

`Search` finds them when the step is recorded, and `Surroundings` compares them before each replay.
"""
from __future__ import annotations

import builtins
import sys
from collections import deque
from collections.abc import Callable, Container, Iterable
from dis import get_instructions
from functools import partial
from gc import get_referents
from operator import contains, getitem, is_
from sysconfig import get_path
from types import BuiltinFunctionType, CodeType, FunctionType, MappingProxyType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

import numpy as np

from ..autodiff import guard
from ..checks import owner_of
from ..nn.module import Module
from ..optim.optimizer import Optimizer
from ..optim.state import Group
from ..tensor import Tensor

LEAVES = (type(None), int, float, complex, str, bytes, np.generic, Tensor, CodeType)      # hold no variables
WRAPPERS = (tuple, frozenset, partial, MethodType, BuiltinFunctionType, MappingProxyType, property, staticmethod, classmethod)
CONTAINERS = (list, dict, set, deque)
HOLDERS = ("argparse", "collections", "types")      # modules of Python whose objects hold what users put there
CALLED = (Module, Optimizer, FunctionType)          # libraries call them in attributes that the step does not name
DYNAMIC = {"getattr", "setattr", "hasattr", "AttributeError", "vars", "__dict__", "__getattr__", "attrgetter", "asdict",
           "astuple"}
CONSTRUCTORS = {"__init__", "__new__", "__post_init__"}     # have run: what they name, the step does not read
FEW = 512       # bytes of an array up to which a change of its numbers is noticed, if no launch uses it
STDLIB = get_path("stdlib")
UNDEFINED, END = object(), object()
MARK = [END]            # between holders: what one loses, the next one may gain
Find = Callable[[Any, Any], Any]
Variable = tuple[Find, Any, Any, Any, str]          # find, holder, key, value, name: find(holder, key) is value


class Surroundings:
    """What a step finds outside, as it is now.

    `guard.version` counts changes of modules and optimizers, and new ones: of these, little has to be compared.
    """

    def __init__(self, *reached: Any) -> None:
        search = Search(reached)
        self.found, self.variables = search.found, search.variables
        self.holders, self.held, self.names = search.holders, search.held, search.names
        self.modes = [(module, module.training) for module in self.found if isinstance(module, Module)]
        guard.watched.update((id(module), module) for module, _ in self.modes)
        self.version, self.checked = guard.version, guard.modes

    def without(self, used: Container[int]) -> Surroundings:
        """Forget `found`, and numbers of arrays that launches use: a replay reads them. `used` are the ids of their owners."""
        self.found = []
        self.variables = [v for v in self.variables if not (v[0] is _has_bytes and id(owner_of(v[1])) in used)]
        return self

    def are_same(self) -> bool:
        """Whether variables, modules (but for their modes) and optimizers are what they were."""
        return self.version == guard.version and self.changed() is None

    def have_same_modes(self) -> bool:
        if self.checked != guard.modes and all([module.training is mode for module, mode in self.modes]):
            self.checked = guard.modes
        return self.checked == guard.modes

    def changed(self) -> str | None:
        """The name of a variable that is no longer what it was."""
        for find, holder, key, value, name in self.variables:
            try:
                if find(holder, key) is value:
                    continue
            except (LookupError, ValueError, AttributeError):       # it does not exist
                pass
            if not _equal(_found(find, holder, key), value):
                return name
        if not self.holders:
            return None
        held = get_referents(*self.holders)
        if len(held) == len(self.held) and (all(map(is_, held, self.held)) or all(map(_equal, held, self.held))):
            return None
        same = next(i for i, (x, y) in enumerate(zip(held, self.held)) if not _equal(x, y))
        return f"what {self.names[held[:same].count(END)]} holds"


class Search:
    """Goes through all that code can reach from a step, and notes as variables what may become another thing.

    Variables of closures and globals are watched; of attributes those that any code of the user names, so an object may count its
    steps beside the step; of containers all that they hold; of small arrays the numbers. The code of libraries is not read: of
    their objects, attributes that are modules, optimizers or functions are watched too.
    """

    def __init__(self, reached: Iterable[Any]) -> None:
        self.variables: list[Variable] = []
        self.holders: list[Any] = []    # containers, and objects of which everything is watched; after each, MARK
        self.held: list[Any] = []       # what they hold; after each, END
        self.names: list[str] = []      # of the holders
        self.found: list[Any] = []      # all objects that the step reaches
        self._seen: dict[int, str] = {}     # their names, by id
        self._used: set[str] = set()    # names in the code so far
        self._called: set[str] = set()  # those of methods: a number with such a name is not what is called
        self._strings: set[str] = set()     # constants in the code, by which it may get options
        self._attributes: list[tuple[Find, Any, Any, Iterable[str], set[str], Any]] = []    # see `_by_name`
        self._add(*reached)
        visited = 0
        while visited < len(self.found) or self._find_named():
            self._visit(self.found[visited])
            visited += 1

    def _visit(self, thing: Any) -> None:
        kind = type(thing)
        moves = isinstance(thing, Optimizer) and kind.step is Optimizer.step        # a replay calls its `move`
        if users := not (moves or _is_library(kind.__module__)):
            self._add(kind)
        if isinstance(thing, FunctionType):
            if not _is_library(thing.__module__):
                self._visit_function(thing)
        elif isinstance(thing, ModuleType):
            if not _is_library(thing.__name__):
                self._by_name(getitem, vars(thing), always={"__getattr__"})
        elif isinstance(thing, type):
            self._visit_class(thing)
        elif isinstance(thing, np.ndarray) and thing.nbytes <= FEW:
            self.variables.append((_has_bytes, thing, thing.tobytes(), True, f"numbers of {self._seen[id(thing)]}"))
        elif isinstance(thing, Group):          # of options, which code gets by strings
            self._by_name(getitem, thing, always=self._strings)
        elif isinstance(thing, WRAPPERS):       # never change
            self._add(*get_referents(thing))
        elif isinstance(thing, CONTAINERS) or any(cls.__module__ in HOLDERS for cls in kind.__mro__):
            self._hold(thing)
        else:
            self._visit_object(thing, users)

    def _visit_function(self, function: FunctionType) -> None:
        uses, kept = _uses(function.__code__), vars(function)
        called = {name for way, name in uses if way == "LOAD_METHOD"}
        of_globals = {name for way, name in uses if way in ("LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL")}
        self._called |= called
        self._used |= {name for way, name in uses if way.endswith(("_ATTR", "_NAME", "_GLOBAL"))} | (called & DYNAMIC)
        self._strings |= {text for way, text in uses if way == "LOAD_CONST" and isinstance(text, str)}
        self._watch(function, [x for x in ("__code__", "__defaults__", "__kwdefaults__") if getattr(function, x)], getattr)
        self._watch(function.__globals__, [x for x in of_globals if x in function.__globals__ or not hasattr(builtins, x)])
        for cell, name in zip(function.__closure__ or (), function.__code__.co_freevars):
            self._watch(cell, ["cell_contents"], getattr, name)
        if kept:                                # by decorators, for the code of libraries
            self._by_name(getitem, kept, always={name for name, x in kept.items() if not isinstance(x, LEAVES)}, whole=kept)

    def _visit_class(self, cls: type) -> None:
        dicts = [get_referents(vars(each))[0] for each in cls.__mro__ if not _is_library(each.__module__)]
        inherited = {name for each in cls.__mro__ if _is_library(each.__module__) for name in vars(each)}
        for own in dicts:       # Python and libraries call what has special or inherited names: __len__, forward
            called = {name for name, held in own.items() if (callable(held) if name.startswith("__") else name in inherited)}
            self._by_name(getitem, own, set().union(*dicts), called - CONSTRUCTORS, own)

    def _visit_object(self, thing: Any, users: bool) -> None:
        classes, attributes = type(thing).__mro__, getattr(thing, "__dict__", None)
        of_classes = {name: x for cls in classes for name, x in vars(cls).items()} if users else {}
        if isinstance(thing, Module):           # `guard` notes what its attributes are, but not what changes inside of these
            self._add(*thing.children(), *(x for x in vars(thing).values() if type(x) is FunctionType))
            if users and all(cls in Module.__mro__ or not _is_library(cls.__module__) for cls in classes):
                guard.compared.add(type(thing))
        if type(attributes) is dict and (users or not isinstance(thing, Module)):
            called = () if users or isinstance(thing, Optimizer) else CALLED
            read = {name for name, x in attributes.items() if isinstance(x, called)} | {"_last_lr"}     # get_last_lr() reads it
            self._by_name(getitem, attributes, () if isinstance(thing, Module) else of_classes, read, thing if users else None)
        if slots := {name for name, x in of_classes.items() if type(x) is MemberDescriptorType}:
            self._by_name(getattr, thing, slots, whole=thing)

    def _by_name(self, find: Find, holder: Any, coming: Any = (), always: Iterable[str] = (), whole: Any = None) -> None:
        """Watch those attributes in `holder` that any code of the user names, and those that are read `always`.

        They may be `coming`: not there yet. Code with one of the names in DYNAMIC reads all that is in `whole`.
        """
        known = {"training", "_hooks", "_steps"} if isinstance(whole, Module) else set()        # `guard` notes these
        self._attributes.append((find, holder, coming, always, known, whole))

    def _find_named(self) -> bool:
        """Watch what the code so far names. Returns whether more was found: it may be code, with more names."""
        before, dynamic = len(self.found), not self._used.isdisjoint(DYNAMIC)
        entries, self._attributes = self._attributes, []
        for find, holder, coming, always, known, whole in entries:
            everything = dynamic and whole is not None
            if everything and not isinstance(whole, Module):
                self._hold(whole)
                continue
            self._attributes.append((find, holder, coming, always, known, whole))
            there = {*coming, *holder} if find is getitem else {*coming}
            names = (there if everything else there & self._used.union(always)) - known
            names |= {name for name in there & self._called - known if not isinstance(_found(find, holder, name), LEAVES)}
            known |= names
            self._watch(holder, names, find)
        return len(self.found) > before

    def _add(self, *things: Any, name: str = "") -> None:
        for thing in things:
            if not isinstance(thing, LEAVES) and id(thing) not in self._seen:
                self._seen[id(thing)] = name or f"a {type(thing).__name__}"
                self.found.append(thing)

    def _watch(self, holder: Any, keys: Iterable[str], find: Find = getitem, name: str = "") -> None:
        for key in keys:
            value = _found(find, holder, key)
            absent = value is UNDEFINED and find is getitem         # an exception in each replay would take 0.2 us
            self.variables.append((contains, holder, key, False, key) if absent else (find, holder, key, value, name or key))
            self._add(value, name=name or key)

    def _hold(self, thing: Any) -> None:
        """Watch all that Python's garbage collector finds in an object. Attributes are in a dict, which is held by itself."""
        getattr(thing, "__dict__", None)            # if it is not asked for, there may be none
        held, name = get_referents(thing), self._seen.get(id(thing), f"a {type(thing).__name__}")
        self.holders += [thing, MARK]
        self.held += [*held, END]
        self.names.append(name)
        self._add(*held, name=name)


def _found(find: Find, holder: Any, key: str) -> Any:
    try:
        return find(holder, key)
    except (LookupError, ValueError, AttributeError):       # a variable of a closure, or an attribute, that has no value yet
        return UNDEFINED


def _equal(x: Any, y: Any) -> bool:
    """Whether two things are one, or numbers that have been computed twice. (-0.0 is not 0.0, but equal to it.)"""
    return x is y or (type(x) is type(y) and type(x) in (int, float, str) and repr(x) == repr(y))


def _has_bytes(array: Any, known: bytes) -> bool:
    return bool(array.tobytes() == known)


def _is_library(module: Any) -> bool:
    """Whether a module is ours, Python's, or that of an installed package: not code that uses these names."""
    package = str(module).partition(".")[0]
    path = getattr(sys.modules.get(package), "__file__", None) or STDLIB        # Python's own may have no file
    return (package == __package__.partition(".")[0] or "-packages" in path
            or (package in sys.stdlib_module_names and path.startswith(STDLIB)))      # not a user's code.py


def _uses(code: CodeType) -> list[tuple[str, Any]]:
    """The instructions of code and what they name. The name of a method that is called is of LOAD_METHOD in all Pythons."""
    own = [("LOAD_METHOD" if "NULL|self" in x.argrepr else x.opname, x.argval) for x in get_instructions(code)]
    return own + [use for each in code.co_consts if isinstance(each, CodeType) for use in _uses(each)]
