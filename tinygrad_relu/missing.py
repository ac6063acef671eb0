"""Names that people type first, out of habit from PyTorch or NumPy, and that do not exist here: the way instead, in one table.

A name that is in no table of `WAYS` is an ordinary AttributeError, with Python's own suggestion.
"""
from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

_CPU = "this library runs on the CPU: leave it out"


def _ways(*rows: tuple[str, str]) -> dict[str, str]:
    """A table of one entry per name, from rows of several names with one way, in which {} is the name."""
    return {name: way.format(name) for names, way in rows for name in names.split()}


WAYS: dict[str, dict[str, str]] = {
    "tinygrad_relu": _ways(
        ("tensor array asarray as_tensor", "tg.Tensor(values) copies them, tg.from_dlpack(array) shares memory"),
        ("from_numpy", "tg.from_dlpack(array) shares the memory of an array, tg.Tensor(array) copies it"),
        ("zeros ones full empty arange linspace eye tril triu zeros_like ones_like full_like empty_like",
         "make arrays with NumPy: tg.Tensor(np.{}(...))"),
        ("rand randn randint randperm normal",
         "make random arrays with NumPy: tg.Tensor(np.random.default_rng(0).standard_normal((2, 3)))"),
        ("manual_seed seed", "there is no global state: pass rng=0, or a numpy Generator, to what draws random numbers"),
        ("cat concat hstack vstack", "tg.concatenate(tensors, axis=0)"),
        ("relu leaky_relu sigmoid tanh softmax log_softmax softplus erf erfc gelu dropout one_hot",
         "F.{}(x), after `from tinygrad_relu import functional as F`"),
        ("clamp", "tg.clip(x, min, max)"),
        ("pow", "x ** y"),
        ("dot mm bmm mv", "a @ b, or tg.matmul(a, b)"),
        ("add sub mul div neg", "use the operators +, -, *, /"),
        ("outer", 'tg.einsum("i,j->ij", a, b)'),
        ("norm linalg", "tg.sqrt(tg.square(x).sum()) is the norm; derivatives of decompositions are not known here"),
        ("view", "tg.reshape(x, shape)"),
        ("unbind chunk", "tg.split(x, sections, axis), or list(x) for the parts along the first axis"),
        ("allclose equal isnan isfinite sort argsort unique sign round floor ceil", "use NumPy on the numbers: np.{}(x.data)"),
        ("float32 float64 float double set_default_dtype", 'dtypes are given by name: tg.Tensor([1.0], dtype="float32")'),
        ("enable_grad set_grad_enabled inference_mode", "operations are recorded unless they are inside `with tg.no_grad():`"),
        ("device cuda", _CPU),
        ("is_tensor", "isinstance(x, tg.Tensor)"),
        ("autograd func", "tg.grad, tg.jvp, tg.vjp, tg.jacobian, tg.hessian, tg.hvp, tg.gradcheck"),
        ("Module Linear Sequential MLP", "nn.{}, after `from tinygrad_relu import nn`"),
        ("SGD Adam AdamW", "optim.{}, after `from tinygrad_relu import optim`")),
    "functional": _ways(
        ("binary_cross_entropy", "F.binary_cross_entropy_with_logits takes the logits, from before the sigmoid"),
        ("clamp", "tg.clip(x, min, max)"),
        ("normalize", "x / tg.sqrt(tg.square(x).sum(axis=1, keepdims=True))")),
    "nn": _ways(
        ("Conv1d Conv2d MaxPool2d AvgPool2d", "there are no convolutions here"),
        ("BCELoss", "nn.BCEWithLogitsLoss takes the logits, from before the sigmoid"),
        ("BatchNorm2d BatchNorm3d", "nn.BatchNorm1d takes x (batch, channels, length): reshape the other axes into one")),
    "optim": _ways(
        ("RMSprop Adagrad LBFGS", "there are SGD, Adam and AdamW; docs/extending.md adds an optimizer")),
    "init": {},
    "Tensor": _ways(
        ("view view_as", "x.reshape(shape) shares memory, too"),
        ("ravel", "x.flatten()"),
        ("t mT", "x.T, or x.swapaxes(-1, -2)"),
        ("numel", "x.size"),
        ("dim", "x.ndim"),
        ("tolist", "x.data.tolist()"),
        ("cpu cuda", _CPU),
        ("to type float", 'x.astype("float32")'),
        ("double", 'x.astype("float64")'),
        ("half int long bool", 'a Tensor is float32 or float64; x.data.astype("int64") is an array of integers'),
        ("is_leaf", "x.op is None"),
        ("grad_fn", "x.op"),
        ("retain_grad", "tg.grad(y, x) returns the gradient, x.register_hook(print) shows it"),
        ("dot mm bmm mv matmul", "x @ y"),
        ("pow", "x ** y"),
        ("add sub mul div neg", "use the operators +, -, *, /"),
        ("norm", "(x * x).sum().sqrt()"),
        ("clamp", "x.clip(min, max)"),
        ("expand", "tg.broadcast_to(x, shape)"),
        ("repeat tile", "tg.concatenate, or an index: x[[0, 0, 1, 1]]"),
        ("gather", "tg.gather(x, axis, index)"),
        ("split chunk unbind", "tg.split(x, sections, axis), or list(x) for the parts along the first axis"),
        ("masked_fill where", "tg.where(condition, x, y)"),
        ("eq ne lt le gt ge", "use the operators ==, !=, <, <=, >, >=, which return arrays of booleans"),
        ("any all", "compare first: (x > 0).{}() is that of an array"),
        ("maximum minimum", "tg.{}(x, y)"),
        ("sort argsort unique sign round floor ceil isnan isfinite", "use NumPy on the numbers: np.{}(x.data)"),
        ("zero_ fill_ copy_ normal_ uniform_", "assign to the numbers: x.data = np.zeros(x.shape)"),
        ("add_ sub_ mul_ div_ clamp_", "a Tensor in a graph is not changed in place: write x = x + y, or assign to x.data"),
        ("detach_", "x = x.detach()"),
        ("contiguous", "every Tensor is: leave it out"),
        ("zero_grad", "x.grad = None")),
}


def elsewhere(module: str) -> Callable[[str], NoReturn]:
    """A `__getattr__` for a module (its ``__name__``), which raises an AttributeError that names the way."""
    ways = WAYS[module.rpartition(".")[2]]

    def missing(name: str) -> NoReturn:
        way = f"; {ways[name]}" if name in ways else ""
        raise AttributeError(f"{module} has no {name}{way}", name=name, obj=sys.modules[module])

    return missing


class Missing:
    """A name that a class does not have: reading it raises an AttributeError that names the way, so ``hasattr`` is False."""

    def __init__(self, owner: str, name: str) -> None:
        self.owner, self.name = owner, name

    def __get__(self, instance: object, owner: type) -> NoReturn:
        raise AttributeError(f"{self.owner} has no {self.name}; {WAYS[self.owner][self.name]}")
