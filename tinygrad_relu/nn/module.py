"""Module: a function with parameters, which are found in its attributes; nothing is registered."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from inspect import Signature, signature
from types import NoneType
from typing import Any, ClassVar, NamedTuple, Self
from warnings import warn

import numpy as np

from ..autodiff.guard import note_attribute, structure_changed
from ..autodiff.node import Array, no_grad, value
from ..autodiff.tape import changed
from ..checks import check_bool, check_count, check_dtype, said
from ..missing import without
from ..parameters import Parameter, announce, settle
from ..states import fit, fitted, refuse, shown
from ..tensor import Tensor
from .hooks import Hookable, Summary, call_with_hooks, overview, summarise


class Buffer:
    """An array that belongs to the state of a module and is not trained: running statistics, the position of a generator.

    It has any dtype, and `forward` changes it in place. An `optional` one may be missing from a state that is loaded.

    >>> nn.Buffer(np.zeros(2)).data
    array([0., 0.])
    """

    __slots__ = ("data", "optional")

    def __init__(self, data: Array, optional: bool = False) -> None:
        self.data, self.optional = np.array(data), optional

    def member(self, k: int) -> Buffer:
        """The part of one member of a population, over the same memory."""
        view = Buffer(self.data[:0], self.optional)
        view.data = self.data[k, ...]
        return view

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.data, self.optional)

    def __repr__(self) -> str:
        return f"Buffer({self.data!r})"


class IncompatibleKeys(NamedTuple):
    """The names that `Module.load_state_dict` did not load: those that the state lacks, and those that the module lacks."""

    missing_keys: list[str]
    unexpected_keys: list[str]


@without("Module")
class Module(Hookable):
    """The base of everything with parameters: a subclass sets them as attributes and defines `forward`.

    Parameters, buffers and modules are found in attributes, and in lists, tuples and dicts there, in the order in which they were
    set. Such an attribute can be replaced only by one of its kind (a module also by None). `training` is for layers that behave
    differently in training (Dropout, BatchNorm1d, RReLU).

    >>> class Scale(nn.Module):
    ...     def __init__(self):
    ...         self.factor = nn.Parameter([2.0])
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> [name for name, _ in Scale().named_parameters()]
    ['factor']
    """

    training: bool = True
    is_norm: ClassVar[bool] = False             # normalises its input
    depends_on_mode: ClassVar[bool] = False     # behaves differently in training
    takes_members: ClassVar[bool] = False       # whether the `forward` of this class takes the axis of members of a population
    _members: ClassVar[str] = ""                # of a container: the attribute whose entries have no prefix in their names

    def forward(self, *inputs: Any, **options: Any) -> Any:
        raise TypeError(f"{type(self).__name__} defines no forward(...)")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        if self._hooks:
            return call_with_hooks(self, inputs, options)
        return self.forward(*inputs, **options) if options else self.forward(*inputs)     # faster than with an empty dict

    def __setattr__(self, name: str, value: Any) -> None:
        held = vars(self).get(name)
        for kind in (Parameter, Buffer, Module):
            if isinstance(held, kind) and not isinstance(value, kind) and not (kind is Module and value is None):
                remedy = "" if kind is Module else f"; to change its numbers, write {name}.data = values"
                raise TypeError(f"{type(self).__name__}: {name} is a {kind.__name__} and cannot be replaced by "
                                f"{type(value).__name__}{remedy}; to remove it, del the attribute")
        for entry in (found := [holder[key] for _, holder, key in _inside([value], (Tensor, Module), "")]):
            if isinstance(entry, Module) and any(inner is self for inner in entry.modules()):
                raise ValueError(f"{type(self).__name__}: {name} would put this module inside itself; keep a weakref.ref(module)")
            if isinstance(entry, Tensor) and not isinstance(entry, Parameter) and entry.requires_grad and entry.op is None:
                warn(f"{type(self).__name__}: {name} is a Tensor that requires a gradient, but not a Parameter: parameters() "
                     "leaves it out; write nn.Parameter(values)", stacklevel=2)
        if any(isinstance(entry, (Parameter, Module)) for entry in found):
            announce(self)      # `value` may bring parameters that no optimizer moves yet
        kinds = (Parameter, Buffer, *CONTAINERS)            # the package reads these, and what is callable, without their names
        named = name in vars(self) and not any(callable(x) or isinstance(x, kinds) for x in (held, value))
        note_attribute(self, name, value, named)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if name in vars(self):
            note_attribute(self, name, Module)      # as if replaced by another value
        super().__delattr__(name)

    # -- contents -----------------------------------------------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly inside, with their names."""
        return ((name, holder[key]) for name, holder, key in _inside(vars(self), Module, "", self))

    def children(self) -> Iterator[Module]:
        """The modules directly inside."""
        return (child for _, child in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all inside it, outermost first."""
        yield prefix, self
        for name, child in self.named_children():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def modules(self) -> Iterator[Module]:
        """This module and all inside it, outermost first, each once."""
        return iter({id(module): module for _, module in self.named_modules()}.values())

    def apply(self, function: Callable[[Module], object]) -> Self:
        """Call ``function(module)`` on all modules inside, innermost first, and on this one; returns this module.

        >>> _ = nn.MLP([2, 3, 1], rng=0).apply(lambda module: print(type(module).__name__, end=" "))
        Linear ReLU Linear MLP
        """
        if not callable(function):
            raise TypeError(f"apply: got {said(function)}, expected a function of a module")
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """All parameters with their names; a shared one is listed once."""
        return self._named(Parameter)

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """All buffers with their names; a shared one is listed once."""
        return self._named(Buffer)

    def parameters(self) -> list[Parameter]:
        """All parameters: weight, bias, layer by layer."""
        return self._found(Parameter)

    def buffers(self) -> list[Buffer]:
        """All buffers, such as running statistics."""
        return self._found(Buffer)

    def register_buffer(self, name: str, data: Any) -> None:
        """Set the attribute `name` to a `Buffer` of these numbers, or to None: ``self.name = nn.Buffer(data)``."""
        if not (isinstance(name, str) and name.isidentifier()):
            raise ValueError(f"register_buffer: name is {said(name)}, expected a Python name")
        if hasattr(type(self), name):
            raise ValueError(f"register_buffer: {name} is an attribute of {type(self).__name__}; expected another name")
        setattr(self, name, data if data is None or isinstance(data, Buffer) else Buffer(value(data)))

    def _found(self, kind: Any) -> list[Any]:
        """The entries of `_named` without their names, in 0.6 of the time."""
        found, left = dict[int, Any](), list[Any]([self])
        while left:
            module, inside = left.pop(), list[Module]()
            for _, holder, key in _inside(vars(module), (kind, Module), "", module):
                if isinstance(entry := holder[key], kind):
                    found[id(entry)] = entry
                else:
                    inside.append(entry)
            left += inside[::-1]
        return [*found.values()]

    def _named(self, kind: Any) -> Iterator[tuple[str, Any]]:
        first: dict[int, tuple[str, Any]] = {}
        for name, holder, key in self._places(kind):
            first.setdefault(id(holder[key]), (name, holder[key]))
        return iter(first.values())

    def _places(self, *kinds: Any) -> Iterator[tuple[str, Any, Any]]:
        """All parameters or buffers (`kinds`), module by module in PyTorch's order: each of their names, container and key."""
        for prefix, module in self.named_modules():
            for kind in kinds:
                yield from _inside(vars(module), kind, f"{prefix}." if prefix else "", module)

    # -- populations (see members.py) ---------------------------------------------------------------------------------

    @property
    def members(self) -> int | None:
        """The number of members of a population; None for an ordinary module."""
        return next((p.members for p in self.parameters()), getattr(vars(self).get("forward"), "members", None))

    def member(self, k: int) -> Self:
        """One member of a population (see `nn.population`), as an ordinary module over the same memory.

        What changes the member changes the population: a step of an optimizer, an assignment to ``.data``, `lab.kill`. Copies
        (`copy.deepcopy`) are independent.

        >>> model = nn.MLP([2, 3, 1], members=5, rng=0)
        >>> model[0].weight.shape, model.member(4)[0].weight.shape
        ((5, 3, 2), (3, 2))
        """
        if self.members is None:
            raise ValueError(f"member: this {type(self).__name__} is one network, expected a population")
        if not 0 <= check_count(k, "member: k", least=0) < self.members:
            raise IndexError(f"member: k is {k}, expected a member from 0 to {self.members - 1}")
        settle(self.parameters())
        return self._member(k)

    def _member(self, k: int) -> Any:
        return assembled([self], lambda parts: parts[0]._member(k) if isinstance(parts[0], Module) else parts[0].member(k))

    # -- state --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Array]:
        """Copies of all parameters and buffers, by PyTorch's names; a shared one is listed under each of its names.

        >>> {name: values.shape for name, values in nn.MLP([4, 3, 2], rng=0).state_dict().items()}
        {'0.weight': (3, 4), '0.bias': (3,), '2.weight': (2, 3), '2.bias': (2,)}
        """
        return {name: np.array(holder[key].data) for name, holder, key in self._places(Parameter, Buffer)}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Copy the values of a state dict, from here or from PyTorch, into parameters and buffers, in place.

        If anything does not fit, nothing changes, and one ValueError names every misfit. Numbers are rounded to the type of a
        parameter, but floats do not go into integers. The state may have a shared parameter under any of its names. Without
        `strict`, missing and unexpected names are ignored.

        >>> model = nn.Linear(3, 2, rng=0)
        >>> model.load_state_dict(nn.Linear(3, 2, rng=1).state_dict())
        IncompatibleKeys(missing_keys=[], unexpected_keys=[])
        >>> model.load_state_dict({"weight": np.ones((2, 4)), "scale": 1.0})
        Traceback (most recent call last):
        ValueError: Linear: the state does not fit: missing bias; unexpected scale; weight has shape (2, 4), expected (2, 3)
        """
        who, entries = type(self).__name__, {name: holder[key] for name, holder, key in self._places(Parameter, Buffer)}
        strict = check_bool(strict, "load_state_dict: strict")
        if not isinstance(state, Mapping):
            raise TypeError(f"{who}: the state is {type(state).__name__}, expected a dict of arrays by name")
        given = {id(entry) for name, entry in entries.items() if name in state}
        missing = [name for name, entry in entries.items() if id(entry) not in given]
        unexpected = [name for name in state if name not in entries]
        optional = [name for name, entry in entries.items()
                    if not strict or id(entry) in given or getattr(entry, "optional", False)]
        known = state if strict else {name: state[name] for name in entries if name in state}
        complaints: list[str] = []
        rules = {name: partial(fitted, like=entry.data) for name, entry in entries.items()}
        found = fit(rules, known, complaints, optional=optional)
        fitting: dict[int, str] = {}            # the first name of each parameter and buffer, which may be shared
        for name, source in found.items():
            other = fitting.setdefault(id(entries[name]), name)
            if not np.array_equal(found[other], source, equal_nan=source.dtype.kind == "f"):
                complaints.append(f"{shown(other)} and {shown(name)} hold different numbers, but share one array here")
        refuse(who, complaints)
        for name in fitting.values():
            entries[name].data[...] = found[name]       # in place: a parameter stays in its flat buffer
        changed(self.parameters())
        structure_changed()
        return IncompatibleKeys(missing, unexpected)

    # -- modes and dtypes ------------------------------------------------------------------------------------------------

    def astype(self, dtype: Any) -> Self:
        """Convert all parameters and floating buffers, in place, to "float32" or "float64". Layers cast inputs to this dtype.

        Convert a model before an optimizer is made and, in a population, before its first call; or convert a copy of it.

        >>> nn.Linear(3, 2, rng=0).astype("float64")(np.ones(3)).dtype
        dtype('float64')
        """
        dtype = check_dtype(dtype, "; the only device is 'cpu'")
        others = [p for p in self.parameters() if p.dtype != dtype]
        if any(p.place is not None for p in others):
            raise RuntimeError(f"astype: an optimizer or views of members share memory with this {type(self).__name__}; convert "
                               f"it before they are made, or convert a copy: copy.deepcopy(model).astype({dtype.name!r})")
        for p in others:
            p.array = p.array.astype(dtype)
            p.grad = None if p.grad is None else p.checked_grad()
        changed(others)
        structure_changed()
        for buffer in self.buffers():
            if buffer.data.dtype.kind == "f":
                buffer.data = buffer.data.astype(dtype)
        return self

    def to(self, *targets: Any, dtype: Any = None, device: Any = None) -> Self:
        """`astype`, as PyTorch writes it. The only device is "cpu", where everything already is."""
        for target in (*targets, dtype, device):
            if target is not None and str(target) != "cpu":
                self.astype(target)
        return self

    def float(self) -> Self:
        """``astype("float32")``"""
        return self.astype("float32")

    def double(self) -> Self:
        """``astype("float64")``"""
        return self.astype("float64")

    def train(self, mode: bool = True) -> Self:
        """Set training mode (or, with False, evaluation mode) for this module and all modules inside."""
        mode = check_bool(mode, "train: mode")
        for module in self.modules():
            if module.training is not mode:
                module.training = mode
        return self

    def eval(self) -> Self:
        """Set evaluation mode."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Set whether all parameters require a gradient. False freezes them: `backward` and optimizers leave them out."""
        requires_grad = check_bool(requires_grad, "requires_grad_: requires_grad")
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        structure_changed()
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set every ``.grad`` to None; with ``set_to_none=False``, those that are not None to zeros."""
        for p in self.parameters():
            if set_to_none:
                p.grad = None
            elif p.grad is not None:
                p.set_grad_to_zeros()

    # -- printing -----------------------------------------------------------------------------------------------------

    def summary(self, *inputs: Any) -> Summary:
        """A table of the modules, in the order in which they run on `inputs`.

        The model runs once, in evaluation mode and without gradients, and is not changed. A tuple of ints among the inputs is a
        shape: the model gets zeros of that shape.

        >>> nn.MLP([2, 16, 1], rng=0).summary((32, 2))
        name  type    output    parameters  bytes  FLOPs
        ────────────────────────────────────────────────
        0     Linear  (32, 16)          48    192  2,048
        1     ReLU    (32, 16)           0      0      -
        2     Linear  (32, 1)           17     68  1,024
              MLP     (32, 1)           65    260  3,072
        """
        with evaluating(self), no_grad():
            return summarise(self, inputs)

    def _repr_html_(self) -> str:
        """As a notebook shows it: a table of the modules and their parameters. `summary` adds the results and the operations."""
        return overview(self)._repr_html_()

    def extra_repr(self) -> str:
        """The arguments shown by `repr`: those kept in attributes of the same name, unless they equal their default."""
        shown = []
        for name, parameter in signature(type(self)).parameters.items():
            kept, default = getattr(self, name, parameter.default), parameter.default
            if isinstance(default, bool):
                kept = kept is not None and kept is not False       # `bias` becomes a Parameter, or None
            if isinstance(kept, (bool, int, float, str, tuple, NoneType)) and kept != default:
                text = f"{kept:g}" if isinstance(kept, float) else repr(kept)
                shown.append(text if default is Signature.empty else f"{name}={text}")
        return ", ".join(shown)

    def __repr__(self) -> str:
        children = [f"  ({name}): " + repr(child).replace("\n", "\n  ") for name, child in self.named_children()]
        if not children:
            return f"{type(self).__name__}({self.extra_repr()})"
        return "\n".join([f"{type(self).__name__}(", *children, ")"])


def in_dtype_of(x: Any, like: Any) -> Any:
    """A Tensor in the dtype of `like`; anything else as it is."""
    return x.astype(like.dtype) if isinstance(x, Tensor) and like is not None and x.array.dtype != like.array.dtype else x


CONTAINERS = (list, tuple, dict)
PLAIN = {int, float, str, bool, NoneType}       # types of entries that hold nothing


def _inside(held: Any, kind: Any, before: str, module: Module | None = None) -> Iterator[tuple[str, Any, Any]]:
    """The places in a list, tuple or dict, such as that of the attributes of a module, and in those there."""
    for key, entry in held.items() if isinstance(held, dict) else enumerate(held):
        if type(entry) in PLAIN:
            continue
        if isinstance(entry, kind):
            yield f"{before}{key}", held, key
        elif isinstance(entry, CONTAINERS) and (module is None or key not in ("_hooks", "_steps")):
            yield from _inside(entry, kind, before if module is not None and key == module._members else f"{before}{key}.")


def assembled(parts: Sequence[Any], join: Callable[[Sequence[Any]], Any]) -> Any:
    """A module like each of `parts`, without hooks, in which `join` makes each parameter, buffer and module from those of all."""
    new = object.__new__(type(parts[0]))
    vars(new).update({name: _joined([vars(part)[name] for part in parts], join) for name in vars(parts[0])
                      if name not in ("_hooks", "_steps", "forward")})
    return new


def _joined(values: Sequence[Any], join: Callable[[Sequence[Any]], Any]) -> Any:
    first = values[0]
    if isinstance(first, (Parameter, Buffer, Module)):
        return join(values)
    if isinstance(first, dict):
        return {key: _joined([value[key] for value in values], join) for key in first}
    return type(first)([_joined(several, join) for several in zip(*values)]) if type(first) in (list, tuple) else first


def mode_matters(model: Module) -> bool:
    """Whether a module of the model may act differently in training: code of a user's own may, and hooks."""
    ours = __name__.partition(".")[0]
    return any(m.depends_on_mode or m._hooks or type(m).__module__.partition(".")[0] != ours for m in model.modules())


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """A model in evaluation mode, if that matters; afterwards each module in it gets its former mode back."""
    modes = [(module, module.training) for module in model.modules()] if mode_matters(model) else []
    if modes:
        model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode

