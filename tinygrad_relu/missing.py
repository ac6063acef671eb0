"""Names of PyTorch and NumPy that people type out of habit and that do not exist here, each with what to write instead; and
packages that are not installed.

A name that is in no table of `WAYS` raises an ordinary AttributeError, with Python's own suggestion.
"""
from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import getattr_static
from types import ModuleType
from typing import NoReturn, TypeVar

C = TypeVar("C", bound=type)

_CPU = "leave it out: this library runs on the CPU"


def _ways(*rows: tuple[str, str]) -> dict[str, str]:
    """A table from name to way. A row holds several names and their way, in which {} stands for the name."""
    return {name: way.format(name) for names, way in rows for name in names.split()}


WAYS: dict[str, dict[str, str]] = {
    "tinygrad_relu": _ways(
        ("tensor array asarray as_tensor", "tg.Tensor(values) copies them, tg.from_dlpack(array) shares memory"),
        ("from_numpy", "tg.from_dlpack(array) shares the memory of an array, tg.Tensor(array) copies it"),
        ("zeros ones full empty arange linspace eye tril triu zeros_like ones_like full_like empty_like",
         "make arrays with NumPy: tg.Tensor(np.{}(...))"),
        ("rand randn randint randperm normal",
         "make random arrays with NumPy: tg.Tensor(np.random.default_rng(0).standard_normal((2, 3)))"),
        ("manual_seed seed", "there is no global state: pass rng=0, or a numpy Generator, to each function that draws"),
        ("cat concat hstack vstack", "write tg.concatenate(tensors, axis=0)"),
        ("relu leaky_relu sigmoid tanh softmax log_softmax softplus erf erfc gelu dropout one_hot",
         "write F.{}(x), after `from tinygrad_relu import functional as F`"),
        ("clamp", "write tg.clip(x, min, max)"),
        ("dot mm bmm mv", "write a @ b, or tg.matmul(a, b)"),
        ("add sub mul div neg pow subtract multiply divide negative power", "use the operators +, -, *, /, **"),
        ("tan sinh cosh arctan", "write it with tg.sin, tg.cos, tg.exp; or add an operation: docs/extending.md"),
        ("F", "write `from tinygrad_relu import functional as F`"),
        ("outer", 'write tg.einsum("i,j->ij", a, b)'),
        ("norm linalg", "tg.sqrt(tg.square(x).sum()) is the norm, and there are no decompositions here"),
        ("view", "write tg.reshape(x, shape)"),
        ("unbind chunk", "write tg.split(x, sections, axis), or list(x) for the parts along the first axis"),
        ("allclose equal isnan isfinite sort argsort unique sign round floor ceil", "use NumPy on the numbers: np.{}(x.data)"),
        ("float32 float64 float double set_default_dtype", 'dtypes are given by name: tg.Tensor([1.0], dtype="float32")'),
        ("enable_grad set_grad_enabled inference_mode", "operations are recorded unless they are inside `with tg.no_grad():`"),
        ("device cuda", _CPU),
        ("compile jit", "tg.capture(step) records a training step or any function of Tensors, and replays it"),
        ("int32 int64 long", "integers (labels, indices) are NumPy arrays"),
        ("is_tensor", "write isinstance(x, tg.Tensor)"),
        ("set_detect_anomaly", "write with tg.detect_anomaly(): ..."),
        ("autograd func", "see tg.grad, tg.jvp, tg.vjp, tg.jacobian, tg.hessian, tg.hvp, tg.gradcheck"),
        ("Module Linear Sequential MLP", "write nn.{}, after `from tinygrad_relu import nn`"),
        ("SGD Adam AdamW", "write optim.{}, after `from tinygrad_relu import optim`")),
    "functional": _ways(
        ("conv1d conv2d max_pool2d avg_pool2d", "there are no convolutions here"),
        ("binary_cross_entropy", "F.binary_cross_entropy_with_logits takes the logits, from before the sigmoid"),
        ("clamp", "write tg.clip(x, min, max)"),
        ("swish", "write F.silu(x)"),
        ("normalize", "write x / tg.sqrt(tg.square(x).sum(axis=1, keepdims=True))")),
    "nn": _ways(
        ("functional", "write `from tinygrad_relu import functional as F`"),
        ("Conv1d Conv2d Conv3d MaxPool1d MaxPool2d AvgPool2d AdaptiveAvgPool2d", "there are no convolutions here"),
        ("LogSoftmax", "F.log_softmax(x) is the function; nn.CrossEntropyLoss takes the logits"),
        ("ParameterList ParameterDict", "parameters are found in a plain list or dict, too"),
        ("MultiheadAttention Transformer GroupNorm RMSNorm", "there is none here; to add a layer, see docs/extending.md"),
        ("Dropout1d Dropout2d AlphaDropout", "there is nn.Dropout"),
        ("BCELoss", "nn.BCEWithLogitsLoss takes the logits, from before the sigmoid"),
        ("BatchNorm2d BatchNorm3d", "nn.BatchNorm1d takes x (batch, channels, length): reshape the other axes into one")),
    "optim": _ways(
        ("RMSprop Adagrad Adadelta Adamax NAdam RAdam Rprop LBFGS",
         "there are SGD, Adam, AdamW; to add one, see docs/extending.md")),
    "Optimizer": _ways(
        ("lr learning_rate", 'the rate of a group is opt.param_groups[0]["lr"], which may be set'),
        ("state", "use opt.state_of(parameter), or opt.state_dict()")),
    "lr_scheduler": _ways(
        ("OneCycleLR CyclicLR ConstantLR PolynomialLR MultiplicativeLR CosineAnnealingWarmRestarts",
         "optim.LambdaLR(opt, function) multiplies the rate by any function of the step, optim.SequentialLR joins schedules"),
        ("ChainedScheduler", "call step() on each schedule: their factors multiply")),
    "data": _ways(
        ("DataLoader", "data.batches(x, y, size, rng=0), or batches(size, rng=0) of a Dataset"),
        ("TensorDataset", "data.Dataset(name, x, y, classes), with classes=None for a regression"),
        ("random_split train_test_split", "write train, test = dataset.split(0.8, rng=0)"),
        ("Subset", "dataset[indices]")),
    "init": _ways(
        ("xavier_uniform_ xavier_normal_ kaiming_uniform_ kaiming_normal_ orthogonal_ normal_ constant_",
         "an initialiser is an argument of the layer: nn.Linear(3, 2, init=..., rng=0); for numbers of your own assign to "
         "layer.weight.data"),
        ("zeros_ ones_ uniform_ eye_ trunc_normal_", "assign to the numbers: layer.weight.data = np.zeros(layer.weight.shape)")),
    "utils": _ways(
        ("parameters_to_vector", "write np.concatenate([p.data.ravel() for p in model.parameters()])"),
        ("vector_to_parameters", "assign to p.data for each p of model.parameters()"),
        ("clip_grad_norm", "nn.utils.clip_grad_norm_ changes the gradients in place")),
    "Module": _ways(
        ("cpu cuda", _CPU),
        ("half bfloat16", 'a module is float32 or float64: write model.astype("float32")'),
        ("add_module register_module register_parameter", "assign it: model.name = module, or nn.Parameter(values)"),
        ("get_submodule get_parameter get_buffer", "write dict(model.named_modules())[name], and so on"),
        ("device dtype", "a module has none of its own: see model.parameters()[0].dtype"),
        ("compile", "leave it out: the kernels are compiled")),
    "Tensor": _ways(
        ("view view_as", "x.reshape(shape) shares memory, too"),
        ("ravel", "write x.flatten()"),
        ("t mT", "write x.T, or x.swapaxes(-1, -2)"),
        ("numel", "write x.size"),
        ("dim", "write x.ndim"),
        ("tolist", "write x.data.tolist()"),
        ("cpu cuda", _CPU),
        ("to type float", 'write x.astype("float32")'),
        ("double", 'write x.astype("float64")'),
        ("half int long bool", 'a Tensor is float32 or float64; x.data.astype("int64") is an array of integers'),
        ("is_leaf", "write x.op is None"),
        ("grad_fn", "write x.op"),
        ("retain_grad", "tg.grad(y, x) returns the gradient, x.register_hook(print) shows it"),
        ("dot mm bmm mv matmul", "write x @ y"),
        ("add sub mul div neg pow", "use the operators +, -, *, /, **"),
        ("norm", "write (x * x).sum().sqrt()"),
        ("clamp", "write x.clip(min, max)"),
        ("copy", "write x.clone(), through which gradients flow, or x.data.copy(), an array"),
        ("expand", "write tg.broadcast_to(x, shape)"),
        ("repeat tile", "use tg.concatenate, or an index: x[[0, 0, 1, 1]]"),
        ("gather", "write tg.gather(x, axis, index)"),
        ("split chunk unbind", "write tg.split(x, sections, axis), or list(x) for the parts along the first axis"),
        ("masked_fill where", "write tg.where(condition, x, y)"),
        ("eq ne lt le gt ge", "use the operators ==, !=, <, <=, >, >=, which return arrays of booleans"),
        ("any all", "compare first: x > 0 is an array, so write (x > 0).{}()"),
        ("maximum minimum", "write tg.{}(x, y)"),
        ("sort argsort unique sign round floor ceil isnan isfinite", "use NumPy on the numbers: np.{}(x.data)"),
        ("zero_ fill_ copy_ normal_ uniform_", "assign to the numbers: x.data = np.zeros(x.shape)"),
        ("add_ sub_ mul_ div_ clamp_", "a Tensor in a graph is not changed in place: write x = x + y, or assign to x.data"),
        ("detach_", "write x = x.detach()"),
        ("contiguous", "leave it out: every Tensor is contiguous"),
        ("zero_grad", "write x.grad = None")),
}
WAYS["optim"] |= WAYS["lr_scheduler"]


@contextmanager
def needing(what: str, extra: str) -> Iterator[None]:
    """Inside, an import that fails names the extra of the package that brings what is missing."""
    try:
        yield
    except ImportError as error:
        raise ImportError(f'{what} the extra "{extra}" ({error.name} is missing): '
                          f'python -m pip install "tinygrad_relu[{extra}]"') from error


def elsewhere(module: str) -> Callable[[str], NoReturn]:
    """A `__getattr__` for a module (its ``__name__``), which raises an AttributeError that says what to write instead."""
    ways = WAYS[module.rpartition(".")[2]]

    def missing(name: str) -> NoReturn:
        way = f"; {ways[name]}" if name in ways else ""
        raise AttributeError(f"{module} has no {name}{way}", name=name, obj=sys.modules[module])

    return missing


def present(module: str, *rooms: str, own: bool = False) -> Callable[[], list[str]]:
    """A `__dir__` for a module, which Tab lists: its names, of modules only `rooms`; with `own`, only what is defined in it."""

    def names() -> list[str]:
        return [name for name, thing in vars(sys.modules[module]).items() if name in rooms or name.startswith("__") or not (
            name.startswith("_") or isinstance(thing, ModuleType) or (own and getattr(thing, "__module__", "") != module))]

    return names


class Missing:
    """A name that a class does not have: reading it raises an AttributeError that says what to write instead."""

    def __init__(self, owner: str, name: str) -> None:
        self.owner, self.name, self.__doc__ = owner, name, f"Not here: {WAYS[owner][name]}."

    def __get__(self, instance: object, owner: type) -> NoReturn:
        # `obj` is None, so that Python adds no suggestion of its own
        raise AttributeError(f"{self.owner} has no {self.name}; {WAYS[self.owner][self.name]}", name=self.name, obj=None)


class Unsettable(Missing):
    """A missing name that cannot be assigned either. (Those of `Module` can: a user's may have a `device`.)"""

    def __set__(self, instance: object, value: object) -> NoReturn:
        self.__get__(instance, type(instance))


def without(owner: str, kind: type[Missing] = Missing) -> Callable[[C], C]:
    """A class decorator: the names of a table in `WAYS` are missing. ``dir`` does not list them; ``help`` does."""

    def decorated(cls: C) -> C:
        for name, attribute in [("__dir__", _existing), *((name, kind(owner, name)) for name in WAYS[owner])]:
            setattr(cls, name, attribute)
        return cls

    return decorated


def _existing(thing: object) -> list[str]:
    return [name for name in object.__dir__(thing) if not isinstance(getattr_static(thing, name, None), Missing)]
