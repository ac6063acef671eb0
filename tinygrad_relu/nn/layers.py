"""Layers with weights, Linear, Maxout and Embedding; and Sequential, which runs a Linear and its activation as one operation."""
from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, partial
from typing import Any

from numpy.random import Generator

from .. import functional as F
from ..checks import check_count, check_dtype, check_rng
from ..functional.layers import affine_layer, padding_row
from ..ops.affine import affine
from ..parameters import Parameter
from ..tensor import Tensor
from .activations import Activation
from .init import Initialiser, initialiser, normal, pytorch, start
from .module import Module


class Linear(Module):
    """``y = x @ weight.T + bias``, with a weight (out_features, in_features) and a bias (out_features,), or None.

    Parameters
    ----------
    bias : bool
        Without one, "pytorch" draws none, as PyTorch does; other initialisers draw it and drop it.
    init : str, number or callable
        How the weight starts: a name of `nn.init`, a constant, or an initialiser. The bias starts at 0, except with
        "pytorch" and "rai", which draw it too.
    rng : int or Generator
        Required: randomness is an argument.

    Examples
    --------
    >>> layer = nn.Linear(3, 2, rng=0)
    >>> layer(np.ones((5, 3))).shape
    (5, 2)
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True, *,
                 init: str | float | Initialiser = "pytorch", dtype: Any = "float32", rng: int | Generator | None = None) -> None:
        check_count(in_features, "Linear: in_features"), check_count(out_features, "Linear: out_features")
        self.in_features, self.out_features = in_features, out_features
        make = initialiser(init)
        if make is pytorch and not bias:
            make = partial(pytorch, bias=False)
        weight, start_of_bias = start(make, out_features, in_features, check_rng(rng, "Linear"), check_dtype(dtype))
        self.weight = Parameter(weight, dtype=dtype)
        self.bias = Parameter(start_of_bias, kind="bias", dtype=dtype) if bias else None

    def forward(self, x: Any) -> Any:
        return F.linear(x, self.weight, self.bias)


class Maxout(Module):
    """The largest of `pieces` affine maps: ``y_j = max_k (w_jk . x + b_jk)`` (Goodfellow et al. 2013, arXiv 1302.4389).

    With two pieces it can be ReLU, leaky ReLU or the absolute value exactly. A piece that never wins is dead. The weight is
    (out_features * pieces, in_features), with the pieces of a unit as neighbours. `init`, `dtype` and `rng` as in `Linear`.

    >>> layer = nn.Maxout(3, 2, pieces=4, rng=0)
    >>> layer(np.ones((5, 3))).shape
    (5, 2)
    """

    def __init__(self, in_features: int, out_features: int, pieces: int = 2, *, init: str | float | Initialiser = "he",
                 dtype: Any = "float32", rng: int | Generator | None = None) -> None:
        for size, name in ((in_features, "in_features"), (out_features, "out_features"), (pieces, "pieces")):
            check_count(size, f"Maxout: {name}")
        self.in_features, self.out_features, self.pieces = in_features, out_features, pieces
        weight, bias = start(initialiser(init), out_features * pieces, in_features, check_rng(rng, "Maxout"), check_dtype(dtype))
        self.weight, self.bias = Parameter(weight, dtype=dtype), Parameter(bias, kind="bias", dtype=dtype)

    def forward(self, x: Any) -> Any:
        return F.maxout(F.linear(x, self.weight, self.bias), self.pieces)


class Embedding(Module):
    """``weight[indices]``: a table of vectors, (num_embeddings, embedding_dim), which start as N(0, 1).

    The row `padding_idx` starts at 0 and gets no gradient; a negative one counts from the end. PyTorch's max_norm (with
    norm_type), scale_grad_by_freq and sparse are not supported.

    >>> layer = nn.Embedding(10, 3, padding_idx=0, rng=0)
    >>> layer([[4, 7], [0, 0]]).shape
    (2, 2, 3)
    >>> layer(0)
    Tensor([0., 0., 0.], dtype=float32, requires_grad=True)
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None, *, dtype: Any = "float32",
                 rng: int | Generator | None = None) -> None:
        shape = (check_count(num_embeddings, "Embedding: num_embeddings"), check_count(embedding_dim, "Embedding: embedding_dim"))
        self.num_embeddings, self.embedding_dim = shape
        self.padding_idx = None if padding_idx is None else padding_row(padding_idx, num_embeddings, "Embedding")
        self.weight = Parameter(normal(shape, check_rng(rng, "Embedding"), check_dtype(dtype)))
        if self.padding_idx is not None:
            self.weight.array[self.padding_idx] = 0

    def forward(self, indices: Any) -> Any:
        return F.embedding(indices, self.weight, self.padding_idx)


class Sequential(Module):
    """Modules one after the other. A `Linear` followed by an elementwise activation runs with it as one operation.

    >>> net = nn.Sequential(nn.Linear(2, 3, rng=0), nn.ReLU())
    >>> len(net.parameters())
    2
    """

    def __init__(self, *layers: Module) -> None:
        for layer in layers:
            if not isinstance(layer, Module):
                raise TypeError(f"Sequential: got {layer!r}, expected modules")
        self.layers = layers

    @cached_property
    def _steps(self) -> list[tuple[Any, Any, Any]]:
        """(Linear, the activation after it, both as one operation), or (layer, None, None)."""
        steps: list[tuple[Any, Any, Any]] = []
        layer: Any
        for layer in self.layers:
            before, taken, _ = steps[-1] if steps else (None, None, None)
            if taken is None and _is(before, Linear) and _is(layer, Activation):
                steps[-1] = (before, layer, affine(layer.record, layer.p))
            else:
                steps.append((layer, None, None))
        return steps

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_steps"}      # an op cannot be pickled

    def forward(self, x: Any) -> Any:
        for layer, activation, op in self._steps:
            if op is None:
                x = layer(x)
            elif layer._hooks or activation._hooks:     # they see each layer by itself; the numbers are the same
                x = activation(layer(x))
            elif isinstance(x, Tensor) and layer.bias is not None and x.array.ndim == 2:       # the usual case, without a detour
                x = op(x, layer.weight, layer.bias)
            else:
                x = affine_layer(op, x, layer.weight, layer.bias)
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


def _is(module: Any, kind: type[Module]) -> bool:
    """Whether a module is of this kind, with the `forward` of that kind and not one of its own."""
    return isinstance(module, kind) and type(module).forward is kind.forward and "forward" not in vars(module)
