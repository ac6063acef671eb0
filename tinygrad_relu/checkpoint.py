"""Save and load: modules, optimizers, generators and plain values, in one file, from which a training run resumes.

In a file, nested dicts and lists become flat arrays by name and one JSON text. In the text an array is ``{"$array": name}``, and
a dict whose keys are not plain text is ``{"$items": [[key, value], ...]}``. A dict of arrays alone, such as the state of a
module, needs no text: its file holds plain names and arrays, as other programs read and write them.
"""
from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .checks import Array
from .files import FORMATS, AnyPath, reading, write_through
from .nn import Module
from .states import as_array, fit, shown

VERSION = 1         # of the text
POSITIONS = {"pos": 624, "buffer_pos": 4}       # the last position in the buffer of MT19937, and of Philox


def save(path: AnyPath, whole: Any = None, /, **parts: Any) -> None:
    """Write the state of one object, or of several under names, into a file that ends in .npz or .safetensors.

    `whole` is a module or its `state_dict`, saved as plain names and arrays, or a dict of parts. `parts` are modules (saved with
    their modes, `training`), optimizers, and everything else with a `state_dict`; numpy Generators; arrays, numbers, strings,
    None; lists and dicts of these. PyTorch's order, ``save(model, path)``, is accepted too.

    An old file is replaced only when the new one is complete and on the disk. Nothing is pickled. (.safetensors needs the
    package safetensors: ``pip install "tinygrad_relu[files]"``.)

    >>> import tempfile
    >>> model = nn.MLP([4, 3, 2], rng=0)
    >>> opt = optim.Adam(model.parameters())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tg.save(f"{folder}/run.npz", model=model, optimizer=opt, step=17)
    ...     tg.load(f"{folder}/run.npz", model=model, optimizer=opt)
    {'step': 17}
    """
    path, whole = _path_first(path, whole)
    if (whole is None) == (not parts):
        raise TypeError("save: expected one object, save(path, model), or several by name, save(path, model=model, step=17)")
    if isinstance(whole, Mapping) and not isinstance(whole, Module):
        whole, parts = None, dict(whole)
    write, _ = FORMATS[_suffix(path, "save")]
    tree = {name: state_of(part) for name, part in parts.items()} if whole is None else state_of(whole)
    if not isinstance(tree, Mapping):
        raise TypeError(f"save: got {type(whole).__name__}, expected a module or a dict; give other things a name: step=17")
    modes = {name: [inner for inner, module in part.named_modules() if not module.training]
             for name, part in parts.items() if isinstance(part, Module)}
    arrays, text = _flatten(tree, modes)
    write_through(path, lambda file: write(file, arrays, text))


def load(path: AnyPath, whole: Any = None, /, **parts: Any) -> dict[str, Any]:
    """Read a file that `save` wrote, or any file of named arrays, into the given objects; returns the other parts by name.

    The objects are one module (`whole`), or, under the names of their parts, modules, optimizers, Generators, and everything else
    with a `load_state_dict`. A module that was saved as a part gets its modes back (`training`). The result holds dicts of
    arrays and plain values; tuples have become lists.

    On an error nothing is changed. A file that is missing, truncated, damaged, compressed, or of another format than its suffix
    says raises an OSError. Contents that do not fit raise one ValueError that names every misfit.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tg.save(f"{folder}/notes.npz", rates=[0.1, 0.01], best=np.ones(2))
    ...     tg.load(f"{folder}/notes.npz")
    {'rates': [0.1, 0.01], 'best': array([1., 1.])}
    """
    path, whole = _path_first(path, whole)
    if whole is not None and parts:
        raise TypeError("load: expected one object, or several by name, not both")
    targets = parts if whole is None else {"the state": whole}
    for name, target in targets.items():
        if not isinstance(target, np.random.Generator) and not hasattr(target, "load_state_dict"):
            raise TypeError(f"load: {name} is {type(target).__name__}, expected a module, an optimizer or a Generator")
    tree, modes = _read(path)
    found = tree if whole is None else {"the state": tree}
    absent = [name for name in targets if name not in found]
    if absent:
        raise ValueError(f"{path} has no part {', '.join(absent)}; it holds {', '.join(map(shown, tree)) or 'nothing'}" + (
            "" if len(parts) > 1 else "; to load all of it into one module, pass the module without a name"))
    complaints = restore(targets, found)
    if complaints:
        raise ValueError(f"{path}: {'; '.join(complaints)}{'' if whole is None else _hint(whole, tree)}")
    for name, target in parts.items():
        for inner, module in target.named_modules() if isinstance(target, Module) and name in modes else ():
            module.training = inner not in modes[name]
    return {name: value for name, value in found.items() if name not in targets}


def _hint(whole: Any, tree: Mapping[str, Any]) -> str:
    """A hint for an error: the parts of the file that contain names of `whole`. (The file may hold a whole training run.)"""
    known = set(state_of(whole))
    parts = [name for name, part in tree.items() if isinstance(part, Mapping) and known & set(part)]
    if not parts:
        return ""
    return f"; such names are in the part {' and the part '.join(map(shown, parts))}: load(path, {shown(parts[0])}=...)"


def _path_first(path: Any, whole: Any) -> tuple[Any, Any]:
    return (whole, path) if isinstance(whole, (str, os.PathLike)) and not isinstance(path, (str, os.PathLike)) else (path, whole)


def _suffix(path: AnyPath, who: str) -> str:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"{who}: got {type(path).__name__} as the path, expected a string or a Path: {who}(path, ...)")
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise ValueError(f"{who}: {path} {f'ends in {suffix!r}' if suffix else 'has no ending'}, expected {' or '.join(FORMATS)}"
                         + "; with PyTorch: model.load_state_dict(torch.load(path))" * (who == "load" and suffix[:3] == ".pt"))
    return suffix


def _read(path: AnyPath) -> tuple[dict[str, Any], dict[str, list[str]]]:
    kind = _suffix(path, "load")
    _, read = FORMATS[kind]
    with reading(path, f"a {kind} file") as name:
        if name.exists() and not name.is_file() and not name.is_dir():      # a pipe may never end
            raise OSError(0, "it is not a regular file")
        with name.open("rb") as file:
            try:
                return _unflatten(*read(file))
            except ValueError as error:
                reason = str(error).replace("\n", " ")
    raise OSError(f"{path} is not a complete {kind} file: {reason}")


# -- states ----------------------------------------------------------------------------------------------------------


def state_of(part: Any) -> Any:
    """A copy of the state of an object that has one; anything else as it is."""
    if isinstance(part, np.random.Generator):
        return part.bit_generator.state
    if isinstance(part, type):
        raise TypeError(f"got the class {part.__name__}, expected an object of it, such as model = {part.__name__}(...)")
    return part.state_dict() if hasattr(part, "state_dict") else part


def restore(targets: Mapping[str, Any], states: Mapping[str, Any]) -> list[str]:
    """Load every state, or none; returns the complaints about those that do not fit."""
    before = {name: state_of(target) for name, target in targets.items()}
    complaints: list[str] = []
    whole = False
    try:
        fit({name: partial(_load, target, len(targets) > 1) for name, target in targets.items()},
            {name: states[name] for name in targets}, complaints)
        whole = not complaints
    finally:
        if not whole:
            for name, target in targets.items():
                _load(target, False, before[name], name)
    return complaints


def _load(target: Any, named: bool, state: Any, name: str) -> None:
    try:
        if not isinstance(target, np.random.Generator):
            target.load_state_dict(state)
        elif _alike(target.bit_generator.state, state):     # NumPy itself does not compare sizes
            target.bit_generator.state = state
        else:
            raise ValueError(f"this is not the state of a {type(target.bit_generator).__name__} generator")
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name}: {error}" if named else str(error)) from error


def _alike(own: Any, given: Any, name: str = "") -> bool:
    """Whether a part of the state of a generator can replace its own."""
    if isinstance(own, Mapping):
        return isinstance(given, Mapping) and own.keys() == given.keys() and all(_alike(own[k], given[k], k) for k in own)
    if isinstance(own, np.ndarray):
        return isinstance(given, np.ndarray) and (own.shape, own.dtype) == (given.shape, given.dtype)
    if isinstance(own, str):
        return bool(own == given)
    return isinstance(given, int) and 0 <= given <= POSITIONS.get(name, given)


# -- nested values as flat arrays and a text -------------------------------------------------------------------------


def _flatten(tree: Mapping[str, Any], modes: dict[str, list[str]]) -> tuple[dict[str, Array], str | None]:
    """The arrays of a tree by name, and the text, if it needs one. `modes`: by part, the modules in evaluation mode."""
    arrays: dict[str, Array] = {}
    encoded = _encode(tree, "", arrays)
    plain = list(arrays) == list(tree)
    return arrays, None if plain else json.dumps({"version": VERSION, "tree": encoded, "evaluating": modes})


def _unflatten(arrays: Mapping[str, Array], text: str | None) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """The inverse of `_flatten`: tree and modes. Raises a ValueError if the text does not describe the arrays."""
    if text is None:
        return dict(arrays), {}
    left = dict(arrays)
    try:
        record = json.loads(text)
        version = record["version"]
        tree = _decode(record["tree"], left) if version == VERSION else None
        modes = {str(name): [str(inner) for inner in names] for name, names in record.get("evaluating", {}).items()}
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError("its text does not describe its arrays") from error
    if version != VERSION:
        raise ValueError(f"its text is of version {shown(version)}, expected {VERSION}")
    if left or not isinstance(tree, dict):
        raise ValueError(f"its text leaves out {len(left)} of its {len(arrays)} arrays")
    return tree, modes


def _encode(value: Any, where: str, arrays: dict[str, Array]) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_encode(entry, f"{where}.{i}", arrays) for i, entry in enumerate(value)]
    if isinstance(value, Mapping):
        if not all(isinstance(key, (str, int)) for key in value):
            raise TypeError(f"save: the keys of {where or 'the state'} are {list(value)}, expected strings or whole numbers")
        encoded = {key: _encode(entry, f"{where}.{key}" if where else str(key), arrays) for key, entry in value.items()}
        plain = all(isinstance(key, str) and not key.startswith("$") for key in encoded)
        return encoded if plain else {"$items": list(encoded.items())}
    if not hasattr(value, "__array__"):
        raise TypeError(f"save: {where} is of type {type(value).__name__}, expected an array, a number, a string, or a list or "
                        "dict of these")
    if not where.isprintable():
        raise ValueError(f"save: an array is called {where!r}, expected a name that can be printed")
    array = as_array(value, f"save: {where}")
    if array.dtype.itemsize > 8:
        raise TypeError(f"save: {where} holds {array.dtype} numbers, expected at most 64 bits")
    while where in arrays:          # {"a": {"b": ...}, "a.b": ...}
        where += "_"
    arrays[where] = np.asarray(array, array.dtype.newbyteorder("<"), order="C")
    return {"$array": where}


def _decode(value: Any, left: dict[str, Array]) -> Any:
    """The value again; takes the arrays that it mentions out of `left`."""
    if isinstance(value, list):
        return [_decode(entry, left) for entry in value]
    if not isinstance(value, dict):
        return value
    if "$array" in value:
        return left.pop(value["$array"])
    items = value["$items"] if "$items" in value else value.items()
    return {key: _decode(entry, left) for key, entry in items}
