"""The public names: all that a package imports by ``from .file import name as name``."""
from __future__ import annotations

from types import ModuleType
from typing import Any

import tinygrad_relu as tg
from tinygrad_relu import data, functional, inside, lab, nn, optim

ROOMS = {"tg": tg, "F": functional, "nn": nn, "optim": optim, "lab": lab, "data": data, "inside": inside}


def names_of(room: ModuleType) -> dict[str, Any]:
    return {name: thing for name, thing in vars(room).items() if not name.startswith("_") and not isinstance(thing, ModuleType)}


PUBLIC = {f"{room}.{name}": thing for room, module in ROOMS.items() for name, thing in names_of(module).items()}
CALLABLE = {name: thing for name, thing in PUBLIC.items() if callable(thing)}
