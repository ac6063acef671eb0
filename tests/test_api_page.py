"""docs/api.md names every public name, and no other."""
from __future__ import annotations

import re
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from public import CALLABLE, ROOMS

from tinygrad_relu import Tensor, data, nn, onnx, optim
from tinygrad_relu import functional as F
from tinygrad_relu.kernels.formulas import ACTIVATIONS

PAGE = (Path(__file__).parents[1] / "docs" / "api.md").read_text(encoding="utf-8")
CLASSES = {"Tensor": Tensor, "Module": nn.Module, "Optimizer": optim.Optimizer, "Dataset": data.Dataset}
# Names that the package itself uses, or that subclasses or readers of the graph need.
INSIDE = {"Tensor": {"array", "home", "hooks", "leaf", "op", "order", "params", "parents", "result", "saved", "values"},
          "Module": {"depends_on_mode", "is_norm", "takes_members", "training"}, "Dataset": {"image_shape"},
          "Optimizer": {"check", "counts_entries", "decoupled", "elementwise", "launch_of", "move", "population", "state_names", "takes_members", "term",
                        "twin"}, "nn.init": {"initialiser", "start"}}


def named() -> dict[str, Any]:
    """The names on the page, each with its object."""
    found = {}
    for name in re.findall(rf"`((?:{'|'.join([*ROOMS, *CLASSES])})\.[\w.]+)`", PAGE):
        first, *rest = name.split(".")
        thing = CLASSES[first] if first in CLASSES else ROOMS[first]
        for part in rest:
            thing = vars(thing)[part] if isinstance(thing, ModuleType) else getattr(thing, part)    # raises for an unknown name
        found[name] = thing
    return found


def public() -> dict[str, Any]:
    """The public names, all of which the page must have."""
    names = dict(CALLABLE)
    for room in (nn.init, nn.utils, onnx):
        short = room.__name__.removeprefix("tinygrad_relu.")
        names |= {f"{short}.{name}": f for name, f in vars(room).items()
                  if isinstance(f, FunctionType) and f.__module__ == room.__name__ and name not in INSIDE.get(short, ())}
    for short, cls in CLASSES.items():
        names |= {f"{short}.{name}": getattr(cls, name) for name in dir(cls)
                  if name not in INSIDE[short] and hasattr(cls, name)}
    return {name: thing for name, thing in names.items() if not name.rpartition(".")[2].startswith("_")}


def missing(names: dict[str, Any], page: dict[str, Any]) -> list[str]:
    """The names that the page lacks. One name of several is enough for an object; a function covers its method."""
    things = {id(thing) for thing in page.values()}
    return [name for name, thing in names.items()
            if not {name, name.replace("Tensor.", "tg."), name.replace("Tensor.", "F.")} & page.keys() and id(thing) not in things]


def test_every_public_name_is_on_the_page():
    assert not missing(public(), named())


def test_a_name_that_is_not_on_the_page_is_found_out():
    page = named()
    del page["F.linear"], page["Tensor.item"]
    assert missing(public(), page) == ["F.linear", "Tensor.item"]


def test_the_formulas_of_activations_are_those_of_their_records():
    shown = dict(re.findall(r"^\| `F\.(\w+)`.*\| (.+) \|$", PAGE, re.M))
    owed = {name: record.formula.replace("|", r"\|") for name, record in ACTIVATIONS.items() if f"`tg.{name}`" not in PAGE}
    assert owed == {name: shown.get(name) for name in owed} and all(hasattr(F, name) for name in owed)
