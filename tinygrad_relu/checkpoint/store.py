"""Save and load: modules, optimizers, generators and plain values, in one file, whole or not at all."""
from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..files import reading, write_through
from ..states import shown
from .formats import FORMATS, Format
from .tree import flatten, unflatten

Path_ = str | os.PathLike[str]


def save(path: Path_, whole: Any = None, /, **parts: Any) -> None:
    """Write the state of one thing, or of several under names, into a file that ends in .npz or .safetensors.

    The file takes its name only once it is whole and on the disk: a process that is killed while it saves leaves the old one.

    Parameters
    ----------
    path : path_like
        The suffix decides the format. Neither holds pickles; .safetensors needs the package safetensors
        (``pip install "tinygrad_relu[files]"``).
    whole : Module or mapping, optional
        What the file shall hold, and nothing beside it: a module (or its `state_dict`) makes a file of plain names and arrays, as
        PyTorch's users exchange them.
    **parts
        Modules, optimizers, and whatever else has a `state_dict`; numpy Generators, as `numpy.random.default_rng` makes them;
        arrays, numbers, texts, None, and lists and dicts of these.

    Raises
    ------
    TypeError
        For parts of other kinds.
    ValueError
        For another suffix.
    OSError
        If the file cannot be written.
    ImportError
        If the package safetensors is missing.

    Examples
    --------
    >>> import tempfile
    >>> from tinygrad_relu import nn, optim
    >>> model = nn.MLP([4, 3, 2], rng=0)
    >>> opt = optim.Adam(model.parameters())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(f"{folder}/run.npz", model=model, optimizer=opt, step=17)
    ...     load(f"{folder}/run.npz", model=model, optimizer=opt)
    {'step': 17}
    """
    if (whole is None) == (not parts):
        raise TypeError("save: expected one thing, save(path, model), or several under names, save(path, model=model, step=17)")
    write = _format(path, "save").write
    tree = {name: _state(part, name) for name, part in parts.items()} if whole is None else _state(whole, "the state")
    if not isinstance(tree, Mapping):
        raise TypeError(f"save: got {type(whole).__name__}, expected a module or a dict; give other things a name: step=17")
    arrays, text = flatten(tree)
    write_through(path, lambda file: write(file, arrays, text))


def load(path: Path_, whole: Any = None, /, **parts: Any) -> dict[str, Any]:
    """Read a file of `save`, or one of plain names and arrays, and put what is in it back where it came from.

    Either everything that is asked for fits and is loaded, or nothing is changed.

    Parameters
    ----------
    path : path_like
        A file that ends in .npz or .safetensors, by whomever. Compressed .npz files are refused.
    whole : Module, optional
        What takes over the whole file.
    **parts
        Modules, optimizers, Generators and other things with a `load_state_dict`, under the names that they were saved by.

    Returns
    -------
    dict
        The rest, by name: states as dicts of arrays, and plain values (of which tuples have become lists). Without anything to
        load into, that is all there is.

    Raises
    ------
    OSError
        If there is no such file, or if it breaks off, is damaged, or is something else than its suffix says.
    ValueError
        If what is in it does not fit: all that does not, in one sentence. And for another suffix.
    TypeError
        If something cannot be loaded into.
    ImportError
        If the package safetensors is missing.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(f"{folder}/notes.npz", rates=[0.1, 0.01], best=np.ones(2))
    ...     load(f"{folder}/notes.npz")
    {'rates': [0.1, 0.01], 'best': array([1., 1.])}
    """
    if whole is not None and parts:
        raise TypeError("load: expected one thing, or several under names, not both")
    targets = parts if whole is None else {"the state": whole}
    for name, target in targets.items():
        if not isinstance(target, np.random.Generator) and not hasattr(target, "load_state_dict"):
            raise TypeError(f"load: {name} is {type(target).__name__}, expected a module, an optimizer or a Generator")
    tree = _read(path)
    found = tree if whole is None else {"the state": tree}
    absent = [name for name in targets if name not in found]
    if absent:
        held = ", ".join(map(shown, tree)) or "nothing"
        raise ValueError(f"{path} has no part {', '.join(absent)}; it holds {held}" + (
            "" if len(parts) > 1 else "; to load all of it into one module, give that no name"))
    try:
        _restore(targets, found, str(path))
    except ValueError as error:
        hint = "" if whole is None else _hint(whole, tree)
        if not hint:
            raise
        raise ValueError(f"{error}{hint}") from None
    return {name: value for name, value in found.items() if name not in targets}


def _hint(whole: Any, tree: Mapping[str, Any]) -> str:
    """Which parts of a file have the names that `whole` has: it may be a whole training run, and one of them what is meant."""
    known = set(_state(whole, "the state"))
    parts = [name for name, part in tree.items() if isinstance(part, Mapping) and known & set(part)]
    if not parts:
        return ""
    return f"; such names are in the part {' and the part '.join(map(shown, parts))}: load(path, {shown(parts[0])}=...)"


def _format(path: Path_, who: str) -> Format:
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise ValueError(f"{who}: {path} ends in {suffix!r}, expected {' or '.join(FORMATS)}")
    return FORMATS[suffix]


def _read(path: Path_) -> dict[str, Any]:
    form, kind = _format(path, "load"), Path(path).suffix.lower()
    with reading(path, f"a {kind} file") as name:
        if name.exists() and not name.is_file() and not name.is_dir():      # a pipe would wait for ever, a device never end
            raise OSError(0, "it is no regular file")
        with name.open("rb") as file:
            try:
                return unflatten(*form.read(file))
            except ValueError as error:
                reason = str(error).replace("\n", " ")
    raise OSError(f"{path} is no whole {kind} file: {reason}")


def _state(part: Any, name: str) -> Any:
    """What has a state_dict, or is a generator, as its state; anything else as it is."""
    if isinstance(part, np.random.Generator):
        _check_generator(part, name)
        return part.bit_generator.state
    return part.state_dict() if hasattr(part, "state_dict") else part


def _check_generator(generator: np.random.Generator, name: str) -> None:
    if not isinstance(generator.bit_generator, (np.random.PCG64, np.random.PCG64DXSM)):
        raise TypeError(f"{name} is a Generator of {type(generator.bit_generator).__name__}, expected one of PCG64, as "
                        "numpy.random.default_rng makes it")


def _restore(targets: Mapping[str, Any], states: Mapping[str, Any], path: str) -> None:
    """Load every state, or none: what does not fit in one of them puts all of them back."""
    before = {name: _state(target, name) for name, target in targets.items()}
    complaints = []
    try:
        for name, target in targets.items():
            try:
                _load(target, states[name])
            except (TypeError, ValueError) as error:
                complaints.append(f"{name}: {error}" if len(targets) > 1 else str(error))
        if complaints:
            raise ValueError(f"{path}: {'; '.join(complaints)}")
    except BaseException:
        for name, target in targets.items():
            _load(target, before[name])
        raise


def _load(target: Any, state: Any) -> None:
    if not isinstance(target, np.random.Generator):
        target.load_state_dict(state)
        return
    try:
        target.bit_generator.state = state
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"this is no state of a {type(target.bit_generator).__name__} generator ({error})") from error
