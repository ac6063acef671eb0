"""Each public name is defined once, and `help`, editors and type checkers take their information from this definition."""
from __future__ import annotations

import inspect
import pydoc
import re
import subprocess
import sys
from pathlib import Path
from types import FunctionType

import pytest
from public import CALLABLE, PUBLIC

import tinygrad_relu as tg
from tinygrad_relu import functional as F

ROOT = Path(__file__).parents[1]
METHODS = {name: f for name, f in vars(tg.Tensor).items() if isinstance(f, FunctionType) and not name.startswith("_")}
BASES = {"nn.Activation", "nn.Loss"}        # their parameters are those of the record or the function of each subclass
ONE_BY_ONE = {"reshape", "transpose", "permute"}        # the methods take sizes and axes one by one, the functions a sequence


@pytest.mark.parametrize("name", CALLABLE)
def test_every_public_name_is_explained(name):
    """Its docstring has an example, unless a function that returns it has one. (An inherited docstring does not count.)"""
    text = CALLABLE[name].__doc__ or ""
    assert ">>> " in text or (text and is_result(name))


def is_result(name: str) -> bool:
    thing, room = CALLABLE[name], name.split(".")[0]
    return isinstance(thing, type) and (issubclass(thing, Exception) or room in ("lab", "inside"))


@pytest.mark.parametrize("name", [name for name in CALLABLE if not is_result(name) and name not in BASES])
def test_every_public_name_has_a_signature(name):
    """Of named parameters, so that an editor can complete them."""
    parameters = inspect.signature(CALLABLE[name]).parameters.values()
    assert not {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD} <= {p.kind for p in parameters}


@pytest.mark.parametrize("name", sorted(METHODS.keys() & vars(F).keys() - ONE_BY_ONE))
def test_a_method_and_its_function_are_one_definition(name):
    function, method = getattr(F, name), METHODS[name]
    assert inspect.unwrap(function) is method
    assert inspect.signature(function) == inspect.signature(method) and function.__doc__ is method.__doc__
    assert next(iter(inspect.signature(function).parameters)) == "x" and getattr(sys.modules[function.__module__], name) is function


def test_a_lifted_function_takes_its_first_argument_by_name_and_anything_array_like():
    assert F.sum(x=[[1, 2], [3, 4]], axis=0).data.tolist() == [4, 6] == F.sum(tg.Tensor([[1, 2], [3, 4]]), 0).data.tolist()


def test_help_opens_with_the_first_things_that_a_user_does():
    text = pydoc.render_doc(tg, renderer=pydoc.plaintext).partition("PACKAGE CONTENTS")[0]
    assert 10 < text.count("\n") < 40
    assert all(step in text for step in ("tg.Tensor([", ".backward()", "nn.MLP(", "optim.", "opt.step()", "tg.save", "docs/"))


# -- the type checker -------------------------------------------------------------------------------------------------

OTHER_RESULTS = {"argmax", "argmin", "maxout_winners", "split"}     # integers, or several Tensors


def test_the_type_checker_sees_signatures_and_results(tmp_path):
    """The type of each name is revealed, and a call with an unknown argument must be an error. (Modules without parameters share
    the `__init__` of their base, which checks at run time.)"""
    lines = ["import tinygrad_relu as tg", "from tinygrad_relu import data, functional as F, inside, lab, nn, optim",
             "x = tg.Tensor(1.0)"]
    seen = {}
    for name in [*(name for name in CALLABLE if name not in BASES and (is_result(name) or inspect.signature(CALLABLE[name]).parameters)),
                 *(f"x.{name}" for name in METHODS)]:
        seen[len(lines) + 1] = name
        lines += [f"reveal_type({name})", f"{name}(no_such_argument=0)"]
    lines += ["from tinygrad_relu import " + ", ".join(name.removeprefix("tg.") for name in PUBLIC if name.startswith("tg."))]
    source = tmp_path / "names.py"
    source.write_text("\n".join(lines))
    done = subprocess.run([sys.executable, "-m", "mypy", "--no-error-summary", "--hide-error-context", str(source)], cwd=ROOT,
                          capture_output=True, text=True)
    said: dict[int, str] = {}
    for line in done.stdout.splitlines():
        number, text = line.partition("names.py:")[2].split(":", 1)
        said[int(number)] = said.get(int(number), "") + text
    assert max(said) < len(lines), said[len(lines)]         # all names can be imported
    wrong = {}
    for number, name in seen.items():
        revealed, called = said.get(number, ""), said.get(number + 1, "")
        if not re.search(r'type is "(def|Overload)', revealed) or re.search(r'type is "def \(\*\w*:? ?Any, \*\*', revealed):
            wrong[name] = revealed
        elif "[call-arg]" not in called and "[call-overload]" not in called:
            wrong[name] = called
        elif name.startswith("F.") and name[2:] not in OTHER_RESULTS and not revealed.rstrip('"').endswith("-> tinygrad_relu.tensor.Tensor"):
            wrong[name] = revealed
    assert not wrong, "\n".join(f"{name}: {text}" for name, text in wrong.items())
