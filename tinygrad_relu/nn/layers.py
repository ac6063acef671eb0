"""Linear, Maxout, Embedding, normalisation, Dropout; and functions as modules: Softmax, Flatten, Identity."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.random import Generator

from .. import functional as F
from ..autodiff.node import Node, Op, is_grad_enabled
from ..checks import as_floats, check_count, check_dtype, check_number, check_probability, check_rng
from ..functional.layers import affine_layer, as_input, batch_norm_of, padding_row, shape_of_layer
from ..ops.elementwise import advance, dropout, new_place
from ..ops.linalg import affine
from ..ops.members import affine_of_members
from ..ops.normalization import Running
from ..parameters import Parameter
from .init import Initialiser, normal, start
from .module import Buffer, Module, in_dtype_of


class Linear(Module):
    """``y = x @ weight.T + bias``, with a weight (out_features, in_features) and a bias (out_features,), or None.

    `init` is a name from `nn.init`, a constant, or an initialiser. The bias starts at 0, except with "pytorch" and "rai", which
    draw it too. With ``bias=False``, "pytorch" draws no bias, as in PyTorch, and "rai" discards it. `rng` is required.

    >>> layer = nn.Linear(3, 2, rng=0)
    >>> layer(np.ones((5, 3))).shape
    (5, 2)
    """

    takes_members = True

    def __init__(self, in_features: int, out_features: int, bias: bool = True, *,
                 init: str | float | Initialiser = "pytorch", dtype: Any = "float32", rng: int | Generator | None = None) -> None:
        self.in_features = check_count(in_features, "Linear: in_features")
        self.out_features = check_count(out_features, "Linear: out_features")
        weight, start_of_bias = start(init, out_features, in_features, check_rng(rng, "Linear"), check_dtype(dtype), bias)
        self.weight = Parameter(weight, dtype=dtype)
        self.bias = Parameter(start_of_bias, kind="bias", dtype=dtype) if bias else None

    def forward(self, x: Any) -> Any:
        return applied(op_of(self)(), self, x)


def op_of(layer: Linear | Maxout) -> Callable[..., Op]:
    """`ops.linalg.affine`, or its equal for populations."""
    return affine if layer.weight.ndim == 2 else affine_of_members      # `functional_call` may bring a Tensor without members


def applied(op: Op, layer: Linear | Maxout, x: Any) -> Any:
    """`op` of an affine layer, alone or with the activation after it, of x in the layer's dtype."""
    weight, bias = layer.weight, layer.bias
    try:
        known = isinstance(x, Node)
        array = x.array if known else as_floats(x, weight.array.dtype, "linear: x")
        if array.ndim == 2 and bias is not None and bias.requires_grad and weight.requires_grad and is_grad_enabled():
            values = array, weight.array, bias.array            # the usual case: as op(...), in 0.3 us less
            y, saved = op.forward(*values)
            return op.record(y, saved, (x if known and x.requires_grad else None, weight, bias), values, {})
        return affine_layer(op, x, weight, bias)
    except TypeError:               # x has another dtype; the usual case pays for no check
        if (converted := in_dtype_of(x, weight)) is x:
            raise
        return affine_layer(op, converted, weight, bias)


class Maxout(Module):
    """The largest of `pieces` affine maps: ``y_j = max_k (w_jk . x + b_jk)`` (Goodfellow et al. 2013, arXiv 1302.4389).

    Two pieces can be exactly ReLU, leaky ReLU or the absolute value. A piece that never wins is dead. The weight is
    (out_features * pieces, in_features), with the pieces of a unit in adjacent rows. `init` and `rng` as in `Linear`.

    >>> layer = nn.Maxout(3, 2, pieces=4, rng=0)
    >>> layer(np.ones((5, 3))).shape
    (5, 2)
    """

    takes_members = True

    def __init__(self, in_features: int, out_features: int, pieces: int = 2, *, init: str | float | Initialiser = "he",
                 dtype: Any = "float32", rng: int | Generator | None = None) -> None:
        for size, name in ((in_features, "in_features"), (out_features, "out_features"), (pieces, "pieces")):
            check_count(size, f"Maxout: {name}")
        self.in_features, self.out_features, self.pieces = in_features, out_features, pieces
        weight, bias = start(init, out_features * pieces, in_features, check_rng(rng, "Maxout"), check_dtype(dtype))
        self.weight, self.bias = Parameter(weight, dtype=dtype), Parameter(bias, kind="bias", dtype=dtype)

    def forward(self, x: Any) -> Any:
        return F.maxout(applied(op_of(self)(), self, x), self.pieces)


class Embedding(Module):
    """`F.embedding` with a weight (num_embeddings, embedding_dim) that starts as N(0, 1), the row `padding_idx` as 0.

    PyTorch's max_norm, norm_type, scale_grad_by_freq and sparse are not supported.

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


class BatchNorm1d(Module):
    """``(x - mean) / sqrt(var + eps) * weight + bias`` per channel (Ioffe & Szegedy 2015, arXiv 1502.03167).

    The `num_features` channels are axis 1 of x: (batch, channels) or (batch, channels, length). Mean and variance are those of
    the batch in training, and the buffers running_mean and running_var (unbiased) in evaluation; without `track_running_stats`,
    those of the batch in both. `momentum` is how far the running statistics move towards those of each batch; with None they are
    the mean over all batches. Without `affine` there is no weight and no bias.

    >>> layer = nn.BatchNorm1d(2, dtype="float64")
    >>> layer(np.array([[1.0, 5.0], [3.0, 5.0]])).data.round(3)
    array([[-1.,  0.],
           [ 1.,  0.]])
    >>> layer.running_mean, layer.num_batches_tracked
    (Buffer(array([0.2, 0.5])), Buffer(array(1)))
    """

    is_norm = True
    depends_on_mode = True

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
                 track_running_stats: bool = True, *, dtype: Any = "float32", bias: bool = True) -> None:
        n, dtype = check_count(num_features, "BatchNorm1d: num_features"), check_dtype(dtype)
        self.num_features, self.eps = n, check_number(eps, "BatchNorm1d: eps")
        self.momentum = None if momentum is None else check_number(momentum, "BatchNorm1d: momentum")
        self.affine, self.track_running_stats = affine, track_running_stats
        self.weight = Parameter(np.ones(n, dtype)) if affine else None
        self.bias = Parameter(np.zeros(n, dtype), kind="bias") if affine and bias else None
        self.running_mean = Buffer(np.zeros(n, dtype)) if track_running_stats else None
        self.running_var = Buffer(np.ones(n, dtype)) if track_running_stats else None
        self.num_batches_tracked = Buffer(np.array(0, np.int64)) if track_running_stats else None

    def forward(self, x: Any) -> Any:
        x = in_dtype_of(as_input("BatchNorm1d", x, self.weight, self.bias), self.weight)
        if x.ndim not in (2, 3) or x.shape[1] != self.num_features:
            raise ValueError(f"BatchNorm1d: x has shape {x.shape}, expected (batch, {self.num_features}) or (batch, "
                             f"{self.num_features}, length)")
        mean, var, batches = self.running_mean, self.running_var, self.num_batches_tracked
        running = None if mean is None or var is None or batches is None else Running(
            mean.data, var.data, batches.data.reshape(1), self.momentum)
        return batch_norm_of(x, running, self.weight, self.bias, self.training or running is None, self.eps)


class LayerNorm(Module):
    """`F.layer_norm` over the last axes of x: ``(x - mean) / sqrt(var + eps) * weight + bias``.

    `normalized_shape`, an int or several, are the lengths of these axes, and the shape of weight and bias.

    >>> nn.LayerNorm(2, dtype="float64")(np.array([[1.0, 3.0], [10.0, 30.0]])).data.round(3)
    array([[-1.,  1.],
           [-1.,  1.]])
    """

    is_norm = True

    def __init__(self, normalized_shape: int | Sequence[int], eps: float = 1e-5, elementwise_affine: bool = True,
                 bias: bool = True, *, dtype: Any = "float32") -> None:
        self.normalized_shape = shape_of_layer(normalized_shape, "LayerNorm")
        self.eps, dtype = check_number(eps, "LayerNorm: eps"), check_dtype(dtype)
        self.elementwise_affine = elementwise_affine
        self.weight = Parameter(np.ones(self.normalized_shape, dtype)) if elementwise_affine else None
        self.bias = Parameter(np.zeros(self.normalized_shape, dtype), kind="bias") if elementwise_affine and bias else None

    def forward(self, x: Any) -> Any:
        return F.layer_norm(in_dtype_of(x, self.weight), self.normalized_shape, self.weight, self.bias, self.eps)


class Softmax(Module):
    """`F.softmax` along the axis `dim`. Cross-entropy takes logits, so before it leave the softmax out.

    >>> nn.Softmax(dim=1)([[0.0, 0.0]])
    Tensor([[0.5, 0.5]])
    """

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def forward(self, x: Any) -> Any:
        return F.softmax(x, self.dim)


class Flatten(Module):
    """`F.flatten`: the axes from `start_dim` to `end_dim`, both included, as one; by default all but the first, the samples.

    >>> nn.Flatten()(np.ones((5, 3, 4))).shape
    (5, 12)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Any) -> Any:
        return F.flatten(x, self.start_dim, self.end_dim)


class Identity(Module):
    """x itself.

    >>> nn.Identity()(Tensor([1.0, 2.0]))
    Tensor([1., 2.])
    """

    takes_members = True

    def forward(self, x: Any) -> Any:
        return x


class Dropout(Module):
    """`F.dropout`: in training every element is 0 with probability p, and else ``x / (1 - p)``; in evaluation it is x.

    `rng` is required. The buffer `rng_state` (key and counter of the random numbers) is saved with the module, so that a resumed
    run draws the same numbers.

    >>> layer = nn.Dropout(0.5, rng=1)
    >>> layer(np.ones(4)), layer(np.ones(4))
    (Tensor([0., 2., 2., 0.]), Tensor([0., 0., 0., 2.]))
    >>> layer.eval()(np.ones(4))
    Tensor([1., 1., 1., 1.])
    """

    depends_on_mode = True

    def __init__(self, p: float = 0.5, *, rng: int | Generator | None = None) -> None:
        self.p = check_probability(p, "Dropout: p")
        self.rng_state = Buffer(new_place(rng, "Dropout"), optional=True)

    def forward(self, x: Any) -> Any:
        x = F.as_tensor(x)
        return dropout(x, advance(self.rng_state.data, x.size), p=self.p) if self.training and self.p else x

    def extra_repr(self) -> str:
        return f"p={self.p:g}"
