"""Parameter groups, segments (runs of parameters that move together), and their state in PyTorch's form.

::

    {"state": {0: {"step": 17, "exp_avg": ..., "exp_avg_sq": ...}, 1: ...},
     "param_groups": [{"lr": 0.001, ..., "params": [0, 1]}]}

The numbers count the parameters, group by group. A parameter that has no buffers yet has no entry.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Self

import numpy as np

from ..autodiff.guard import refuse_while_recording
from ..autodiff.node import Array
from ..checks import check_name, said
from ..kernels.loops.update import GRAIN
from ..parameters import Parameter, runs
from ..states import as_array, fit, fitted, refuse, shown

Options = dict[str, Any]        # of a parameter group, or the state of one parameter

# SWITCHES, which only PyTorch has, select other algorithms or implementations, and must be off. NOTES may be missing or ignored.
SWITCHES = ("amsgrad", "capturable", "differentiable", "foreach", "fused", "maximize")
NOTES = ("initial_lr", "param_names")
IMPLIED = {"decoupled": False}      # options that only our groups have, with the value that PyTorch implies


class Group(dict[str, Any]):
    """The options of a group of parameters; an assignment to one of them is checked at once.

    In a population each number is an array with an entry for each of the `members`. An assignment writes into the array.
    """

    def __init__(self, check: Callable[[dict[str, Any]], None], options: dict[str, Any]) -> None:
        self._check, self.members = check, members_of(options["params"])
        super().__init__({"params": tuple(options["params"])})
        super().update(self.checked({key: value for key, value in options.items() if key != "params"}))

    def checked(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Some options in the form in which they are kept, if they are in range together with the others."""
        found = {key: tuple(value) if isinstance(value, list) and isinstance(self.get(key), tuple) else value
                 for key, value in options.items()}         # files have lists in place of tuples
        for key, value in found.items():
            found[key] = plain(value) if self.members is None else per_member(value, self.members, f"the option {key}")
        if self.members is None:
            self._check({**self, **options})        # as they were given: an error shows them so
        for k in range(self.members or 0):
            self._check(of_member({**self, **found}, k))
        return found

    def put(self, options: Mapping[str, Any]) -> None:
        """Replace some options by `checked` ones."""
        for key, value in options.items():
            old = self.get(key)
            if isinstance(old, np.ndarray):
                old[...] = value
            elif isinstance(old, tuple) and self.members is not None:
                for mine, new in zip(old, value):
                    mine[...] = new
            else:
                dict.__setitem__(self, key, value)      # faster than `super`

    def __setitem__(self, key: str, value: Any) -> None:
        refuse_while_recording(f"sets the option {key} of an optimizer, which a replay would not; do it outside of the step")
        if key == "params":
            raise ValueError("the params of a group were moved into flat buffers when the optimizer was made, and cannot be "
                             "changed; add more with add_param_group, or make a new optimizer for other parameters")
        if key not in self:
            check_name(key, [name for name in self if name != "params"], "an option of a parameter group")
        if not type(value) is type(self[key]) is float:
            self.put(self.checked({key: value}))
        elif value != self[key]:                    # the rate of a schedule: in half the time
            self._check({**self, key: value})
            dict.__setitem__(self, key, value)

    def update(self, *others: Any, **options: Any) -> None:
        for key, value in dict(*others, **options).items():
            self[key] = value

    def __ior__(self, others: Any) -> Self:      # type: ignore[override, misc]
        self.update(others)
        return self


def plain(value: Any) -> Any:
    """Numbers as Python floats, so that kernels are compiled for one type, whether a rate is 1, 1.0 or np.float32(1)."""
    if isinstance(value, (tuple, list)):
        return tuple(map(plain, value))
    return float(value) if type(value) is not float and isinstance(value, (int, np.number)) and type(value) is not bool else value


# -- populations: an option is an array with an entry for each member, or a tuple of such arrays -------------------------------


def members_of(parameters: Iterable[Parameter]) -> int | None:
    """The number of members that these parameters have in common; None for ordinary parameters."""
    found = {p.members for p in parameters}
    if len(found) > 1:
        raise ValueError("a group has parameters of a population and of other networks, expected those of one population, or of "
                         "ordinary networks")
    return found.pop() if found else None


def per_member(value: Any, members: int, what: str) -> Any:
    """A number, or a list or array with one for each member, as an array; a tuple (`betas`) as a tuple of arrays."""
    if isinstance(value, tuple):
        return tuple(per_member(entry, members, what) for entry in value)
    found = np.asarray(value)
    if found.dtype.kind not in "fiub" or found.shape not in ((), (members,)):
        raise ValueError(f"{what} is {said(value)}, expected a number, or {members} of them, one for each member")
    return np.array(np.broadcast_to(found, members), bool if found.dtype.kind == "b" else np.float64)


def of_member(options: Mapping[str, Any], k: int) -> Options:
    """The options of one member, as plain numbers."""
    def own(value: Any) -> Any:
        return tuple(map(own, value)) if isinstance(value, tuple) else value[k].item()

    return {key: value if key == "params" else own(value) for key, value in options.items()}


@dataclass
class Segment:
    """Parameters that are neighbours in a flat buffer and have always moved together."""

    parameters: list[Parameter]
    data: Array                                             # their values, as one 1-d view
    grad: Array                                             # their gradients, likewise
    state: dict[str, Array] = field(default_factory=dict)   # the optimizer's buffers for them, flat arrays of the same size
    steps: int = 0                                          # how often they have been moved

    @cached_property
    def sizes(self) -> Array:
        """Of a population: how many numbers each parameter has for each member."""
        return np.array([p.size // (p.members or 1) for p in self.parameters])

    @cached_property
    def cuts(self) -> Array:
        """Where parameters begin that are large enough to be shared, except the first (see `update.shared`)."""
        return np.cumsum([p.size for p in self.parameters])[:-1][[p.size > GRAIN for p in self.parameters[1:]]]

    def has_all_gradients(self) -> bool:
        """Whether all gradients have arrived, and are in `grad`."""
        for p in self.parameters:           # noqa: SIM110      # `all` takes three times as long
            if p.grad is not p.home:
                return False
        return True

    def split(self) -> list[Segment]:
        """One segment for each parameter, with its part of the state."""
        return share(self.state, self.steps, [piece for p in self.parameters for piece in segments([p])])

    def state_of(self, parameter: Parameter) -> dict[str, Array]:
        """The buffers of one of the parameters, as views in its shape."""
        (part,) = (part for part in self.split() if part.parameters[0] is parameter)
        return {name: buffer.reshape(parameter.shape) for name, buffer in part.state.items()}

    def member(self, parameter: Parameter, k: int) -> Segment:
        """That of one parameter of one member, with its part of the state. A buffer of NaN has not been used yet."""
        parts = {name: buffer[k] for name, buffer in self.state_of(parameter).items()}
        return alone(parameter.member(k), {name: part for name, part in parts.items() if not np.isnan(part).all()}, self.steps)


def segments(parameters: Iterable[Parameter]) -> list[Segment]:
    """The parameters in as few segments as their places allow."""
    return [Segment(*run) for run in runs(parameters)]


def alone(parameter: Parameter, state: Mapping[str, Array], steps: int) -> Segment:
    """The segment of one parameter, with these buffers."""
    (segment,) = segments([parameter])
    segment.state, segment.steps = {name: buffer.ravel() for name, buffer in state.items()}, steps
    return segment


def share(state: dict[str, Array], steps: int, pieces: list[Segment]) -> list[Segment]:
    """The pieces, each with its part of the state (views)."""
    start = 0
    for piece in pieces:
        part = slice(start, start + piece.data.size)
        start = part.stop
        piece.state, piece.steps = {name: buffer[part] for name, buffer in state.items()}, steps
    return pieces


def fitting(who: str, state: Any, groups: Sequence[Group], names: Sequence[str],
            decoupled: bool) -> list[tuple[Options, list[Segment]]]:
    """From a state dict, the options of each group and its segments with their buffers; one ValueError for all misfits."""
    if not isinstance(state, Mapping) or not {"state", "param_groups"} <= set(state):
        found = f"a dict of {', '.join(map(shown, state)) or 'nothing'}" if isinstance(state, Mapping) else type(state).__name__
        raise TypeError(f"{who}: the state is {found}, expected a dict with 'state' and 'param_groups'")
    entries, given = state["state"], state["param_groups"]
    if not isinstance(entries, Mapping) or not isinstance(given, (list, tuple)) or not all(map(_is_group, given)):
        refuse(who, ["expected a dict under 'state', and under 'param_groups' a list of dicts with 'params', lists of distinct "
                     "whole numbers"])
    sizes, expected = ([len(group["params"]) for group in several] for several in (given, groups))
    keys = [key for group in given for key in group["params"]]
    if sizes != expected or len(set(keys)) != len(keys):
        raise ValueError(f"{who}: the state has groups of {sizes} parameters, expected {expected}, each parameter once")
    complaints = [f"unexpected state {shown(key)}" for key in entries if key not in keys]
    options = [_options(group, ours, decoupled, complaints, f"group {i}: ") for i, (group, ours) in enumerate(zip(given, groups))]
    parameters = [p for ours in groups for p in ours["params"]]
    known = {p: _entry(entries.get(key, {}), p, names, complaints, f"state {key}: ") for p, key in zip(parameters, keys)}
    refuse(who, complaints)
    own = {p: alone(p, {name: buffer for name, buffer in entry.items() if isinstance(buffer, np.ndarray)},
                    int(np.max(entry.get("step", 0)))) for p, entry in known.items()}
    return [(found, joined([own[p] for p in ours["params"]])) for found, ours in zip(options, groups)]


def _is_group(group: Any) -> bool:
    return (isinstance(group, Mapping) and isinstance(group.get("params"), (list, tuple))
            and all(isinstance(key, int) for key in group["params"]))


def _options(group: Mapping[str, Any], ours: Group, decoupled: bool, complaints: list[str], where: str) -> Options:
    must = {**dict.fromkeys(SWITCHES, False), "decoupled_weight_decay": decoupled}
    complaints += [f"{where}{name} is {shown(group[name])}, expected {value}" for name, value in must.items()
                   if name not in ours and group.get(name) not in (None, value)]
    aside = {"params", *must, *NOTES} - set(ours) | {"params"}
    rules = {name: _number for name in ours if name != "params"}
    own = {name: value for name, value in group.items() if name not in aside}
    own |= {name: value for name, value in IMPLIED.items() if name in ours and name not in group}
    given = fit(rules, own, complaints, where, optional=NOTES)
    try:
        given = ours.checked(given)
    except (TypeError, ValueError, OverflowError) as error:
        complaints.append(where + " ".join(str(error).split()))
    return given


def _number(value: Any, name: str) -> Any:
    """PyTorch may keep a rate in a tensor."""
    return value.item() if getattr(value, "shape", None) == () else value


def _entry(given: Any, parameter: Parameter, names: Sequence[str], complaints: list[str], where: str) -> Options:
    """The state of one parameter, which has all names, or none."""
    if isinstance(given, Mapping):
        given = {name: value for name, value in given.items() if value is not None}     # None in PyTorch: no buffer yet
    rules = {name: partial(_steps if name == "step" else fitted, like=parameter.data) for name in names}
    return fit(rules, given, complaints, where, optional=() if given else names)


def _steps(value: Any, name: str, like: Array) -> int | Array:
    """A number of steps, which PyTorch keeps in a float32 tensor; or one for each entry, after `Optimizer.reset`."""
    array = as_array(value, name)
    if array.shape == like.shape != ():
        return fitted(value, name, like)
    number = array.item() if array.shape == () and array.dtype.kind != "b" else -1
    if not (0 <= number < 2**63 and float(number).is_integer()):
        raise ValueError(f"{name} is {shown(value)}, expected a whole number")
    return int(number)


def joined(singles: Sequence[Segment]) -> list[Segment]:
    """Segments of one parameter each, as few segments with copies of the buffers: those of neighbours that have the same buffers
    and the same count of steps, and so have moved together."""
    own = {single.parameters[0]: single for single in singles}
    found = []
    for segment in segments(own):
        histories = {(*own[p].state, own[p].steps) for p in segment.parameters}
        for part in [segment] if len(histories) == 1 else segment.split():
            first = own[part.parameters[0]]
            part.steps = first.steps
            part.state = {name: np.concatenate([own[p].state[name] for p in part.parameters]) for name in first.state}
            found.append(part)
    return found
