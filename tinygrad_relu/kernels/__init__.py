"""Compiled loops, arrays in, arrays out: ``formulas`` (scalar math), ``loops`` (the kernels), ``machine`` (compiles and runs)."""
from __future__ import annotations

from importlib import import_module
from pkgutil import walk_packages

from .machine.policy import FACTORIES, Kernel


def every_kernel() -> dict[str, Kernel]:
    """Every kernel of the package by name: those defined in its files, and those made from its records.

    >>> "swap" in every_kernel(), "relu_forward" in every_kernel()
    (True, True)
    """
    files = [import_module(file.name) for file in walk_packages(__path__, f"{__name__}.")]
    found = [value for file in files for value in vars(file).values() if isinstance(value, Kernel)]
    for make, records in FACTORIES:
        for record in records:
            made = make(record)
            found += [made] if isinstance(made, Kernel) else [kernel for kernel in made if kernel is not None]
    return {kernel.__name__: kernel for kernel in found}
