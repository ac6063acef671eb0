"""Each public name is defined once, and what `help`, editors and type checkers say of it comes from there."""
from __future__ import annotations

import inspect
import sys
from types import FunctionType

import pytest
from public import CALLABLE

import tinygrad_relu as tg
from tinygrad_relu import functional as F

METHODS = {name: f for name, f in vars(tg.Tensor).items() if isinstance(f, FunctionType) and not name.startswith("_")}
BASES = {"nn.Activation", "nn.Loss"}        # their parameters are those of the record or the function of each subclass
ONE_BY_ONE = {"reshape", "transpose", "permute"}        # the methods take sizes and axes one by one, the functions a sequence


@pytest.mark.parametrize("name", CALLABLE)
def test_every_public_name_is_explained(name):
    """By an example, unless it is the result of a function that has one. (A docstring that a class inherits does not count.)"""
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
