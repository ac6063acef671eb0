"""Module: a function with parameters. Parameters are found by looking, not by registration."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from ..autodiff.node import Array, value
from ..autodiff.tape import changed
from ..checks import as_floats, check_name
from ..tensor import Tensor
from . import state as states
from .hooks import Hookable, call_with_hooks
from .summary import Summary, summarise


class Parameter(Tensor):
    """A Tensor that training changes.

    Parameters
    ----------
    array : array_like
    kind : {"weight", "bias", "slope"}
        What it is to an optimizer: decay can be kept to weights or to biases, and leaves slopes (of PReLU) out by default.

    Examples
    --------
    >>> Parameter([0.25], kind="slope")
    Parameter([0.25], kind='slope')
    """

    __slots__ = ("kind", "place")
    KINDS = ("weight", "bias", "slope")

    def __init__(self, array: Any, kind: str = "weight", dtype: Any = None) -> None:
        check_name(kind, self.KINDS, "Parameter: kind")
        super().__init__(array, requires_grad=True, dtype=dtype)
        self.kind = kind
        self.place: Any = None      # (flat buffer, offset), once an optimizer has given it one

    def _state(self) -> dict[str, Any]:
        return {**super()._state(), "kind": self.kind}

    def settle(self, array: Array, home: Array) -> None:
        """Move into a flat buffer: `array` for the values, `home` for the gradient. Values and gradient come along."""
        array[...] = self.array
        self.array = array
        if self.grad is not None:
            home[...] = self.checked_grad()
            self.grad = home
        self.home = home

    def checked_grad(self) -> Array:
        """The ``.grad``, which somebody may have put there by hand."""
        grad = as_floats(value(self.grad), self.dtype, f"the .grad of a parameter of shape {self.shape}")
        if grad.shape != self.shape:
            raise ValueError(f"a parameter of shape {self.shape} has a gradient of shape {grad.shape}; expected the same")
        return grad

    def __repr__(self) -> str:
        text = super().__repr__()
        return f"Parameter{text[len('Tensor'):].replace(', requires_grad=True', '')[:-1]}, kind={self.kind!r})"


class Buffer:
    """An array that belongs to the state of a module and is not trained: running statistics, the position of a generator.

    Parameters
    ----------
    data : ndarray
        Of any dtype. It is changed in place, and never replaced.
    optional : bool
        Whether a state that lacks it may be loaded: what PyTorch keeps elsewhere (the position of a generator) is not in its
        state dicts.

    Examples
    --------
    >>> import numpy as np
    >>> Buffer(np.zeros(2)).data
    array([0., 0.])
    """

    __slots__ = ("data", "optional")

    def __init__(self, data: Array, optional: bool = False) -> None:
        self.data = np.array(data)
        self.optional = optional

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.data, self.optional)

    def __repr__(self) -> str:
        return f"Buffer({self.data!r})"


class Module(Hookable):
    """The base of everything with parameters: a subclass sets them as attributes and defines `forward`.

    Parameters and modules, in attributes or in lists, are found in the order in which they were set.

    Attributes
    ----------
    training : bool
        Whether layers that behave differently in training (Dropout, BatchNorm1d, RReLU) do so.

    Examples
    --------
    >>> from tinygrad_relu import nn
    >>> class Scale(nn.Module):
    ...     def __init__(self):
    ...         self.factor = nn.Parameter([2.0])
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> [name for name, _ in Scale().named_parameters()]
    ['factor']
    """

    training: bool = True
    takes_activation: ClassVar[bool] = False    # has a method forward_activated(x, activation)
    is_activation: ClassVar[bool] = False       # is an elementwise function with a record

    def forward(self, *inputs: Any) -> Any:
        raise TypeError(f"{type(self).__name__} defines no forward(...)")

    def __call__(self, *inputs: Any) -> Any:
        if self._hooks:
            return call_with_hooks(self, inputs)
        return self.forward(*inputs)

    def fuses(self, flag: str) -> bool:
        """Whether the class flag `flag` holds: it does for the `forward` it was written for, not for one of a subclass."""
        owner: Any = next((cls for cls in type(self).__mro__ if flag in vars(cls)), Module)
        return bool(getattr(self, flag)) and type(self).forward is owner.forward and "forward" not in vars(self)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly inside, with their names."""
        for name, attribute in vars(self).items():
            if isinstance(attribute, Module):
                yield name, attribute
            elif isinstance(attribute, (list, tuple)):
                for i, entry in enumerate(attribute):
                    if isinstance(entry, Module):
                        yield f"{name}.{i}", entry

    def children(self) -> Iterator[Module]:
        """The modules directly inside."""
        return (child for _, child in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all inside it, outermost first."""
        yield prefix, self
        for name, child in self.named_children():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def modules(self) -> Iterator[Module]:
        """This module and all inside it, outermost first, each once."""
        return iter({id(module): module for _, module in self.named_modules()}.values())

    def apply(self, function: Callable[[Module], object]) -> Self:
        """Call ``function(module)`` on all modules inside, innermost first, and on this one; returns this module.

        Examples
        --------
        >>> from tinygrad_relu import nn
        >>> def no_bias(module):
        ...     if isinstance(module, nn.Linear):
        ...         module.bias.data = np.zeros(len(module.bias.data))
        >>> nn.MLP([2, 3, 1], rng=0).apply(no_bias)[2].bias
        Parameter([0.], dtype=float32, kind='bias')
        """
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """All parameters with their names; one that is shared comes once."""
        return self._named(Parameter)

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """All buffers with their names; one that is shared comes once."""
        return self._named(Buffer)

    def _named(self, kind: type[Any]) -> Iterator[tuple[str, Any]]:
        seen = set()
        for prefix, module in self.named_modules():
            for name, entry in module._own_entries(kind, prefix):
                if id(entry) not in seen:
                    seen.add(id(entry))
                    yield name, entry

    def _own_entries(self, kind: type[Any], prefix: str) -> Iterator[tuple[str, Any]]:
        """What is directly in this module, shared or not, with the prefix before its name."""
        for name, attribute in vars(self).items():
            several = isinstance(attribute, (list, tuple))
            for i, entry in enumerate(attribute if several else [attribute]):
                if isinstance(entry, kind):
                    own = f"{name}.{i}" if several else name
                    yield f"{prefix}.{own}" if prefix else own, entry

    def parameters(self) -> list[Parameter]:
        """All parameters: weight, bias, layer by layer."""
        return [parameter for _, parameter in self.named_parameters()]

    def buffers(self) -> list[Buffer]:
        """All buffers, such as running statistics."""
        return [buffer for _, buffer in self.named_buffers()]

    def state_dict(self) -> dict[str, Array]:
        """Copies of all parameters and buffers, by PyTorch's names.

        What is shared stands under each of its names, as in PyTorch.

        Examples
        --------
        >>> from tinygrad_relu import nn
        >>> {name: values.shape for name, values in nn.MLP([4, 3, 2], rng=0).state_dict().items()}
        {'0.weight': (3, 4), '0.bias': (3,), '2.weight': (2, 3), '2.bias': (2,)}
        """
        return {name: np.array(entry.data) for name, entry in self._state_entries()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> states.IncompatibleKeys:
        """Copy the values of a state dict into parameters and buffers, in place; or, if anything does not fit, nothing at all.

        Parameters
        ----------
        state : mapping of str to array_like
            From `state_dict`, here or in PyTorch: its tensors are taken as they are. Floats and integers go into floats,
            rounded to their type; floats do not go into integers. What is shared may come under one of its names or under all.
        strict : bool
            Whether the names must be the same. (Optional buffers may be missing in any case.) Otherwise what is missing stays
            as it is, and what is unexpected is passed over; shapes and types must still fit.

        Returns
        -------
        IncompatibleKeys
            ``(missing_keys, unexpected_keys)``.

        Raises
        ------
        TypeError
            If the state is no mapping.
        ValueError
            For missing and unexpected names, shapes, types, and numbers that a type cannot hold: all in one sentence.

        Examples
        --------
        >>> from tinygrad_relu import nn
        >>> model = nn.Linear(3, 2, rng=0)
        >>> model.load_state_dict(nn.Linear(3, 2, rng=1).state_dict())
        IncompatibleKeys(missing_keys=[], unexpected_keys=[])
        >>> model.load_state_dict({"weight": np.ones((2, 4)), "scale": 1.0})
        Traceback (most recent call last):
        ValueError: Linear: the state does not fit: missing bias; unexpected scale; weight has shape (2, 4), expected (2, 3)
        """
        passed_over = states.load(dict(self._state_entries()), state, strict, type(self).__name__)
        changed(self.parameters())
        return passed_over

    def _state_entries(self) -> Iterator[tuple[str, Any]]:
        """Parameters and buffers under all their names, module by module, parameters first: PyTorch's order."""
        for prefix, module in self.named_modules():
            for kind in (Parameter, Buffer):
                yield from module._own_entries(kind, prefix)

    def train(self, mode: bool = True) -> Module:
        """Switch to training (or, with False, to evaluation), here and in everything inside."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        """Switch to evaluation."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forget all gradients: every ``.grad`` becomes None."""
        for parameter in self.parameters():
            parameter.grad = None

    def summary(self, *inputs: Any) -> Summary:
        """A table of what runs on `inputs`, in that order: name, type, output shape, parameters, bytes, FLOPs; and totals.

        The model runs once, in evaluation mode and without gradients; its mode and its values stay as they are.

        Parameters
        ----------
        *inputs : array_like, Tensor, or tuple of int
            What `forward` takes. A tuple is a shape, and stands for zeros.

        Examples
        --------
        >>> from tinygrad_relu import nn
        >>> nn.MLP([2, 16, 1], rng=0).summary((32, 2))
        name  type    output    parameters  bytes  FLOPs
        0     Linear  (32, 16)          48    192  2,048
        1     ReLU    (32, 16)           0      0      -
        2     Linear  (32, 1)           17     68  1,024
              MLP     (32, 1)           65    260  3,072
        """
        return summarise(self, inputs)

    def extra_repr(self) -> str:
        """What stands between the brackets of the printed module."""
        return ""

    def __repr__(self) -> str:
        children = [f"  ({name}): " + repr(child).replace("\n", "\n  ") for name, child in self.named_children()]
        if not children:
            return f"{type(self).__name__}({self.extra_repr()})"
        return "\n".join([f"{type(self).__name__}(", *children, ")"])


class Sequential(Module):
    """Modules one after the other.

    An affine layer that is followed by an elementwise activation runs with it as one operation.

    Examples
    --------
    >>> from tinygrad_relu import nn
    >>> net = nn.Sequential(nn.Linear(2, 3, rng=0), nn.ReLU())
    >>> len(net.parameters())
    2
    """

    def __init__(self, *layers: Module) -> None:
        for layer in layers:
            if not isinstance(layer, Module):
                raise TypeError(f"Sequential: got {layer!r}, expected modules")
        self.layers = layers
        self._pairs = _with_activations(layers)

    def forward(self, x: Any) -> Any:
        for layer, activation in self._pairs:
            if activation is None:
                x = layer(x)
            elif layer._hooks or activation._hooks:         # they see each layer by itself
                x = activation(layer(x))
            else:
                x = layer.forward_activated(x, activation)
        return x

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The layers, named 0, 1, 2, ... (as in a PyTorch state dict)."""
        return ((str(i), layer) for i, layer in enumerate(self.layers))

    def __iter__(self) -> Iterator[Module]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, index: int) -> Module:
        return self.layers[index]


def _with_activations(layers: Sequence[Module]) -> list[tuple[Any, Module | None]]:
    """Each layer with the activation behind it, if it can take that along, else alone."""
    pairs: list[tuple[Module, Module | None]] = []
    for layer in layers:
        if pairs and pairs[-1][1] is None and pairs[-1][0].fuses("takes_activation") and layer.fuses("is_activation"):
            pairs[-1] = (pairs[-1][0], layer)
        else:
            pairs.append((layer, None))
    return pairs
