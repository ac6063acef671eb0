"""Nested dicts, lists, arrays and numbers as what a file can hold: flat arrays by name, and one text of JSON.

In the text an array is ``{"$array": name}``, and a dict whose keys are not plain text is ``{"$items": [[key, value], ...]}``. A
dict of arrays alone, such as the state of a module, needs no text: its file holds names and arrays, as those of others do.
"""
from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..autodiff.node import Array
from ..states import as_array, shown

VERSION = 1


def flatten(tree: Mapping[str, Any]) -> tuple[dict[str, Array], str | None]:
    """The arrays of a tree by name, and the text, if it takes one.

    Raises
    ------
    TypeError
        For what is neither a dict, a list, an array of real numbers, a number, a text, nor None.
    ValueError
        For an array whose name cannot be printed.

    Examples
    --------
    >>> flatten({"model": {"weight": np.zeros(2)}, "step": 17})
    ({'model.weight': array([0., 0.])}, \
'{"version": 1, "tree": {"model": {"weight": {"$array": "model.weight"}}, "step": 17}}')
    """
    arrays: dict[str, Array] = {}
    encoded = _encode(tree, "", arrays)
    plain = list(arrays) == list(tree)
    return arrays, None if plain else json.dumps({"version": VERSION, "tree": encoded})


def unflatten(arrays: Mapping[str, Array], text: str | None) -> dict[str, Any]:
    """The tree again (tuples have become lists).

    Raises
    ------
    ValueError
        If text and arrays do not belong together.
    """
    if text is None:
        return dict(arrays)
    left = dict(arrays)
    try:
        record = json.loads(text)
        version = record["version"]
        tree = _decode(record["tree"], left) if version == VERSION else None
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError("its text does not describe its arrays") from error
    if version != VERSION:
        raise ValueError(f"its text is of version {shown(version)}, expected {VERSION}")
    if left or not isinstance(tree, dict):
        raise ValueError(f"its text leaves out {len(left)} of its {len(arrays)} arrays")
    return tree


def _encode(value: Any, where: str, arrays: dict[str, Array]) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_encode(entry, f"{where}.{i}", arrays) for i, entry in enumerate(value)]
    if isinstance(value, Mapping):
        if not all(isinstance(key, (str, int)) for key in value):
            raise TypeError(f"save: the keys of {where or 'the state'} are {list(value)}, expected texts or whole numbers")
        encoded = {key: _encode(entry, f"{where}.{key}" if where else str(key), arrays) for key, entry in value.items()}
        plain = all(isinstance(key, str) and not key.startswith("$") for key in encoded)
        return encoded if plain else {"$items": list(encoded.items())}
    if not hasattr(value, "__array__"):
        raise TypeError(f"save: {where} is a {type(value).__name__}, expected an array, a number, a text, or a list or dict of "
                        "these")
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
    """Takes the arrays out of `left`, so that each is mentioned once."""
    if isinstance(value, list):
        return [_decode(entry, left) for entry in value]
    if not isinstance(value, dict):
        return value
    if "$array" in value:
        return left.pop(value["$array"])
    items = value["$items"] if "$items" in value else value.items()
    return {key: _decode(entry, left) for key, entry in items}
