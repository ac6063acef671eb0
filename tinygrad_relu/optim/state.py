"""The state of an optimizer in PyTorch's form, out of flat segments and back into them.

::

    {"state": {0: {"step": 17, "exp_avg": ..., "exp_avg_sq": ...}, 1: ...},
     "param_groups": [{"lr": 0.001, ..., "params": [0, 1]}]}

The numbers count the parameters, group by group. One that has no buffers yet has no entry.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..nn.module import Parameter
from ..nn.state import as_array, fitted, shown
from .flat import Segment, segments

if TYPE_CHECKING:
    from .optimizer import Optimizer

Options = dict[str, Any]
Entry = dict[str, Any]          # the state of one parameter

# What groups of PyTorch have beside ours: other algorithms, or other ways to the same numbers, which must be off; and notes.
SWITCHES = ("amsgrad", "capturable", "differentiable", "foreach", "fused", "maximize")
NOTES = ("initial_lr", "param_names")
IMPLIED = {"decoupled": False}      # and what ours have beside PyTorch's: its value there


def state_dict(optimizer: Optimizer) -> dict[str, Any]:
    """Copies of the buffers and options of an optimizer."""
    number = {id(p): i for i, p in enumerate(p for group in optimizer.param_groups for p in group["params"])}
    state: dict[int, Entry] = {}
    for pieces in optimizer._segments:
        for part in (part for segment in pieces for part in segment.split()):
            (parameter,) = part.parameters
            if part.state:
                steps = {"step": part.steps} if "step" in optimizer.state_names else {}
                buffers = {name: buffer.reshape(parameter.shape).copy() for name, buffer in part.state.items()}
                state[number[id(parameter)]] = {**steps, **buffers}
    return {"state": dict(sorted(state.items())),
            "param_groups": [{**group, "params": [number[id(p)] for p in group["params"]]} for group in optimizer.param_groups]}


def fitting(optimizer: Optimizer, state: Mapping[str, Any]) -> list[tuple[Options, list[Segment]]]:
    """The options of each group, and its segments with their buffers, from a state dict that fits.

    Raises
    ------
    TypeError
        If it is no state dict.
    ValueError
        With everything that does not fit in one sentence.
    """
    who = type(optimizer).__name__
    if not isinstance(state, Mapping) or not {"state", "param_groups"} <= set(state):
        raise TypeError(f"{who}: the state is {type(state).__name__}, expected a dict with 'state' and 'param_groups'")
    entries, groups = state["state"], state["param_groups"]
    if not isinstance(entries, Mapping) or not isinstance(groups, (list, tuple)) or not all(map(_is_group, groups)):
        raise ValueError(f"{who}: the state does not fit: expected a dict under 'state', and under 'param_groups' a list of "
                         "dicts with 'params', lists of distinct whole numbers")
    sizes, expected = ([len(group["params"]) for group in several] for several in (groups, optimizer.param_groups))
    keys = [key for group in groups for key in group["params"]]
    if sizes != expected or len(set(keys)) != len(keys):
        raise ValueError(f"{who}: the state has groups of {sizes} parameters, expected {expected}, each parameter once")
    complaints = [f"unexpected state {shown(key)}" for key in entries if key not in set(keys)]
    plan = []
    numbers = iter(keys)
    for i, (group, ours) in enumerate(zip(groups, optimizer.param_groups)):
        options = _options(optimizer, group, ours, f"group {i}", complaints)
        fitted_entries = [_entry(entries.get(key, {}), parameter, optimizer.state_names, f"state {key}", complaints)
                          for parameter, key in zip(ours["params"], numbers)]
        plan.append((options, ours["params"], fitted_entries))
    if complaints:
        raise ValueError(f"{who}: the state does not fit: {'; '.join(complaints)}")
    return [(options, _filled(parameters, entries)) for options, parameters, entries in plan]


def _is_group(group: Any) -> bool:
    return (isinstance(group, Mapping) and isinstance(group.get("params"), (list, tuple))
            and all(isinstance(key, int) for key in group["params"]))


def _options(optimizer: Optimizer, group: Mapping[str, Any], ours: Options, where: str, complaints: list[str]) -> Options:
    """The options of a group, for one of ours."""
    given = {name: _number(value) for name, value in {**IMPLIED, **group}.items() if name in ours and name != "params"}
    must = {**dict.fromkeys(SWITCHES, False), "decoupled_weight_decay": getattr(optimizer, "decoupled", False)}
    foreign = {name: value for name, value in group.items() if name not in ours and name not in NOTES}
    complaints += [f"{where} has {name}={shown(value)}, expected {must[name]}"
                   for name, value in foreign.items() if name in must and value not in (None, must[name])]
    complaints += _names(where, "has the unexpected option", [name for name in foreign if name not in must])
    complaints += _names(where, "lacks the option", [name for name in ours if name not in (*given, *NOTES, "params")])
    try:
        optimizer.check({**ours, **given})
    except (TypeError, ValueError, OverflowError) as error:
        complaints.append(f"{where}: {' '.join(str(error).split())}")
    return given


def _names(where: str, what: str, names: list[Any]) -> list[str]:
    return [f"{where} {what} {', '.join(map(shown, names))}"] if names else []


def _number(value: Any) -> Any:
    """A rate as a number, where PyTorch keeps it in a tensor."""
    return value.item() if getattr(value, "shape", None) == () else value


def _entry(given: Any, parameter: Parameter, names: tuple[str, ...], where: str, complaints: list[str]) -> Entry:
    """The state of one parameter: all of its names, or none."""
    if not isinstance(given, Mapping):
        complaints.append(f"{where} is {type(given).__name__}, expected a dict")
        return {}
    given = {name: value for name, value in given.items() if value is not None}     # PyTorch: no buffer yet
    complaints += _names(where, "has the unexpected", [name for name in given if name not in names])
    complaints += _names(where, "lacks", [name for name in names if given and name not in given])
    entry = {}
    for name in (name for name in names if name in given):
        what = f"{where}, {name},"
        try:
            entry[name] = _count(given[name], what) if name == "step" else fitted(given[name], parameter.data, what)
        except (TypeError, ValueError) as error:
            complaints.append(str(error))
    return entry


def _count(value: Any, what: str) -> int:
    """A number of steps; PyTorch keeps it in a float32 tensor."""
    array = as_array(value, what)
    number = array.item() if array.shape == () and array.dtype.kind != "b" else -1
    if not (0 <= number < 2**63 and float(number).is_integer()):
        raise ValueError(f"{what} is {shown(value)}, expected a whole number")
    return int(number)


def _filled(parameters: Sequence[Parameter], entries: list[Entry]) -> list[Segment]:
    """Segments of those that have moved together: neighbours with the same names and the same count of steps."""
    known = {id(p): entry for p, entry in zip(parameters, entries)}
    found = []
    for segment in segments(parameters):
        histories = {(*known[id(p)], known[id(p)].get("step", 0)) for p in segment.parameters}
        for part in [segment] if len(histories) == 1 else segment.split():
            buffers = {name: np.concatenate([known[id(p)][name].ravel() for p in part.parameters])
                       for name in known[id(part.parameters[0])] if name != "step"}
            steps = known[id(part.parameters[0])].get("step", 0)
            found.append(Segment(part.parameters, part.data, part.grad, buffers, steps))
    return found
