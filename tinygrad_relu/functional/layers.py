"""The functions of layers: the affine map, normalisation, dropout, embedding, one-hot vectors."""
from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.random import Generator

from ..autodiff.broadcast import filled
from ..autodiff.guard import refuse_while_recording
from ..autodiff.node import Node, Op, absent, value
from ..checks import LABELS, as_floats, as_numbers, check_count, check_labels, check_number, check_probability, copied
from ..kernels.machine.door import launch
from ..ops import elementwise, indexing
from ..ops import normalization as norm_ops
from ..ops.elementwise import operand_array
from ..ops.linalg import affine
from ..ops.shape import reshape
from ..tensor import Tensor
from .array import Input, as_tensor, lift

Shape = int | Sequence[int]


def linear(x: Input, weight: Input, bias: Input | None = None) -> Tensor:
    """``x @ weight.T + bias``, with x (..., inputs), weight (outputs, inputs) and bias (outputs,).

    An array takes the dtype of the weight; Tensors must have one dtype.

    >>> F.linear([[1.0, 2.0]], Tensor([[3.0, 4.0]]), Tensor([0.5]))
    Tensor([[11.5]])
    """
    if not isinstance(weight, Node):        # the kernel relies on dtype and layout, so arrays are converted first
        weight = as_tensor(operand_array(weight, x, "linear: weight") if isinstance(x, Node) else weight)
    if bias is not None and not isinstance(bias, Node):
        bias = as_tensor(operand_array(bias, weight, "linear: bias"))
    return affine_layer(affine(), x, weight, bias)


def affine_layer(op: Op, x: Input, weight: Any, bias: Any) -> Tensor:
    """An `ops.linalg.affine` for the rows of x, whatever its shape; the weight is a Tensor, the bias a Tensor or None."""
    x = x if isinstance(x, Node) else as_floats(x, weight.array.dtype, "linear: x")
    bias = absent(weight.array.ravel()) if bias is None else bias
    shape = x.shape
    if len(shape) == weight.ndim == 2 or weight.ndim == 3:      # the last: of a population
        return op(x, weight, bias)
    if weight.ndim != 2 or not shape or shape[-1] != weight.shape[1]:
        raise ValueError(f"linear: x has shape {shape}, the weight {weight.shape}; expected x (..., inputs) and weight "
                         "(outputs, inputs)")
    y = op(reshape(x, (prod(shape[:-1]), shape[-1])), weight, bias)
    return reshape(y, (*shape[:-1], weight.shape[0]))


softmax = lift(norm_ops.softmax)
log_softmax = lift(norm_ops.log_softmax)


def batch_norm(x: Input, running_mean: Any, running_var: Any, weight: Input | None = None, bias: Input | None = None,
               training: bool = False, momentum: float = 0.1, eps: float = 1e-5) -> Tensor:
    """``(x - mean) / sqrt(var + eps) * weight + bias`` for each channel, axis 1 of x (Ioffe & Szegedy 2015, arXiv 1502.03167).

    The four arrays have shape (channels,). Evaluation uses the running statistics. Training uses the mean and the biased
    variance of the batch, both summed in float64, and updates the running statistics in place:
    ``running = (1 - momentum) * running + momentum * batch``, with the unbiased variance.

    >>> mean, var = np.zeros(2), np.ones(2)
    >>> F.batch_norm([[1.0, 5.0], [3.0, 5.0]], mean, var, training=True)
    Tensor([[-0.999995,  0.      ],
            [ 0.999995,  0.      ]])
    >>> mean, var
    (array([0.2, 0.5]), array([1.1, 0.9]))
    """
    if (running_mean is None) != (running_var is None):
        raise ValueError("batch_norm: got one running statistic, expected both, or neither")
    running = None if running_mean is None else norm_ops.Running(
        value(running_mean), value(running_var), np.zeros(1, np.int64), check_number(momentum, "batch_norm: momentum"))
    return batch_norm_of(x, running, weight, bias, training, eps)


def batch_norm_of(x: Input, running: norm_ops.Running | None, weight: Input | None, bias: Input | None, training: bool,
                  eps: float) -> Tensor:
    """`batch_norm`, with the running statistics in one record."""
    x = as_input("batch_norm", x, weight, bias)
    if x.ndim < 2:
        raise ValueError(f"batch_norm: x has shape {x.shape}, expected (batch, channels) or (batch, channels, ...)")
    channels = x.shape[1]
    weight, bias = _weight_and_bias("batch_norm", x, weight, bias, (channels,))
    if x.ndim > 2:          # so that they broadcast along axis 1
        along = (channels,) + (1,) * (x.ndim - 2)
        weight, bias = reshape(weight, along), reshape(bias, along)
    if training and x.size <= channels:
        raise ValueError(f"batch_norm: x has shape {x.shape}; expected more than one value per channel in training, as one value "
                         "has no variance; if the last batch is one sample, take another size, or drop_last=True")
    if not training and running is None:
        raise ValueError("batch_norm: there are no running statistics; expected both in evaluation")
    moments = [] if running is None else [
        m if training else as_floats(m, np.float64, "batch_norm: a running statistic") for m in running[:2]]
    for moment in moments:
        if type(moment) is not np.ndarray or not moment.flags.carray or moment.dtype not in (np.float32, np.float64):
            raise TypeError("batch_norm: a running statistic cannot be changed in place; expected a contiguous, writable ndarray "
                            "of float32 or float64")
        if moment.shape != (channels,):
            raise ValueError(f"batch_norm: x has shape {x.shape}, a running statistic {moment.shape}; expected ({channels},)")
    eps = check_number(eps, "batch_norm: eps")
    if training:
        return norm_ops.batch_norm(x, weight, bias, eps=eps, running=running)
    return norm_ops.batch_norm_by(x, weight, bias, moments=tuple(moments), eps=eps)


def layer_norm(x: Input, normalized_shape: Shape, weight: Input | None = None, bias: Input | None = None,
               eps: float = 1e-5) -> Tensor:
    """``(x - mean) / sqrt(var + eps) * weight + bias``, with mean and biased variance over the last axes, `normalized_shape`.

    Weight and bias have this shape too. Source: Ba, Kiros & Hinton 2016, arXiv 1607.06450.

    >>> F.layer_norm([[1.0, 3.0], [10.0, 30.0]], 2, eps=0.0)
    Tensor([[-1.,  1.],
            [-1.,  1.]])
    """
    x, sizes = as_input("layer_norm", x, weight, bias), shape_of_layer(normalized_shape, "layer_norm")
    if x.shape[-len(sizes):] != sizes:
        raise ValueError(f"layer_norm: x has shape {x.shape}, expected (..., {', '.join(map(str, sizes))})")
    weight, bias = _weight_and_bias("layer_norm", x, weight, bias, sizes)
    return norm_ops.layer_norm(x, weight, bias, eps=check_number(eps, "layer_norm: eps"))


def shape_of_layer(normalized_shape: Shape, who: str) -> tuple[int, ...]:
    """The normalised shape as a tuple of one or more sizes."""
    sizes = tuple(normalized_shape) if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
    if not sizes:
        raise ValueError(f"{who}: normalized_shape is empty, expected at least one size")
    return tuple(check_count(size, f"{who}: a size of normalized_shape") for size in sizes)


def as_input(who: str, x: Input, weight: Input | None, bias: Input | None) -> Tensor:
    """x as a Tensor. A plain array takes the dtype of the parameters."""
    if isinstance(x, Tensor):
        return x
    dtype = next((p.dtype for p in (weight, bias) if isinstance(p, Node)), None)
    return as_tensor(as_floats(x, dtype, f"{who}: x"))


def _weight_and_bias(who: str, x: Tensor, weight: Input | None, bias: Input | None, sizes: tuple[int, ...]) -> tuple[Any, Any]:
    """Weight and bias in the dtype of x and of shape `sizes`; ones and zeros where they are missing."""
    weight = np.ones(sizes, x.dtype) if weight is None else operand_array(weight, x, f"{who}: weight")
    bias = np.zeros(sizes, x.dtype) if bias is None else operand_array(bias, x, f"{who}: bias")
    if weight.shape != sizes or bias.shape != sizes:
        raise ValueError(f"{who}: x has shape {x.shape}, the weight {weight.shape}, the bias {bias.shape}; expected {sizes} for "
                         "weight and bias")
    if not x.dtype == weight.dtype == bias.dtype:
        raise TypeError(f"{who}: x is {x.dtype}, the weight {weight.dtype}, the bias {bias.dtype}; expected one dtype "
                        "(x.astype(...) converts)")
    return weight, bias


def dropout(x: Input, p: float = 0.5, training: bool = True, rng: int | Generator | None = None) -> Tensor:
    """In training each element is 0 with probability p, else ``x / (1 - p)``. In evaluation it is x (Srivastava et al. 2014).

    Training needs `rng`, unless p is 0. A seed drops the same elements for every dtype and number of threads. A dropped element
    is exactly 0, and so is its gradient, even where x is NaN or infinite. No mask is kept: the pullback draws the numbers again.

    >>> F.dropout([1.0, 2.0, 3.0, 4.0], p=0.5, rng=1)
    Tensor([0., 4., 6., 0.])
    """
    p, x = check_probability(p, "dropout: p"), as_tensor(x)
    return elementwise.dropout(x, elementwise.new_place(rng, "dropout in training"), p=p) if training and p else x


def embedding(indices: Any, weight: Input, padding_idx: int | None = None) -> Tensor:
    """``weight[indices]``: a row of the table (num_embeddings, embedding_dim) for each index.

    The gradient of a row is summed over its uses, in the order of the indices. The row `padding_idx` gets no gradient; a negative
    `padding_idx` counts from the end.

    >>> F.embedding([[2, 0]], [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    Tensor([[[4., 5.],
             [0., 1.]]])
    """
    weight = as_tensor(weight)
    if weight.ndim != 2:
        raise ValueError(f"embedding: the weight has shape {weight.shape}, expected (num_embeddings, embedding_dim)")
    rows = weight.shape[0]
    spared = -1 if padding_idx is None else padding_row(padding_idx, rows, "embedding")
    given = as_numbers(indices, "embedding: indices")
    if given.dtype.kind not in "iu" and given.size:
        raise TypeError(f"embedding: the indices are {given.dtype} numbers, expected integers")
    index = copied(given, np.array(given, np.int64, order="C"))
    launch(_check_index, given, index, rows)
    return indexing.embedding(weight, index, spared=spared)


def _check_index(given: Any, index: Any, rows: int) -> None:
    if index.size and index.view(np.uint64).max() >= rows:      # unsigned, negative numbers are the largest of all
        bad = np.argwhere((given < 0) | (given >= rows))
        at, more = tuple(map(int, bad[0])), f" (and {len(bad) - 1} more such indices)" if len(bad) > 1 else ""
        raise ValueError(f"embedding: got the index {given[at]} at {at}{more}; expected 0 to {rows - 1}, the rows of the weight")


def one_hot(labels: Any, num_classes: int = -1) -> Tensor:
    """1 at each label and 0 elsewhere, float32, with a last axis of `num_classes`; by default one more than the largest label.

    >>> F.one_hot([2, 0])
    Tensor([[0., 0., 1.],
            [1., 0., 0.]], dtype=float32)
    """
    given = as_numbers(value(labels), "one_hot: labels", LABELS)
    classes = None if num_classes == -1 else check_count(num_classes, "one_hot: num_classes")
    if classes is None:
        refuse_while_recording("counts the classes in one_hot; pass num_classes")
        classes = int(check_labels(given.ravel(), name="one_hot: labels").max()) + 1
    return Tensor.leaf(filled(np.empty((*given.shape, classes), np.float32), _one_hot, given, classes))


def _one_hot(given: Any, classes: int, out: Any) -> None:
    index = check_labels(given.ravel(), classes=classes, name="one_hot: labels")
    out[...] = (index[:, None] == np.arange(classes)).reshape(out.shape)


def padding_row(padding_idx: int, rows: int, who: str) -> int:
    """`padding_idx` as a number from 0 up."""
    row = check_count(padding_idx, f"{who}: padding_idx", least=-rows)
    if row >= rows:
        raise ValueError(f"{who}: padding_idx is {row}, expected {-rows} to {rows - 1}")
    return row % rows
