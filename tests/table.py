"""The table of operations, and the checks that every row must pass.

A row names the operation, its slow twin, and the inputs to draw. Everything else is the same for all rows:
value and gradient against the twin, finite differences of order 1 and 2, fused pullback against composed rule, float32
and float64, memory layouts, accumulation, and inputs that need no gradient. A new operation is a new row.
"""
from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import exact
import naive
import numpy as np

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu.kernels.formulas import ACTIVATIONS
from tinygrad_relu.ops.activation import activation_op
from tinygrad_relu.ops.activation import prelu as prelu_op

TYPES = (np.float32, np.float64)
LABELS = np.array([2, 0, 1, 2, 2])
PLACES = {(3,): np.array(1), (2, 3, 4): np.arange(8).reshape(2, 4) % 3, (2, 3, 2, 2): np.arange(8).reshape(2, 2, 2) % 3}
SIGNS = np.where(np.arange(12).reshape(3, 4) % 3, 1, -1)
WEIGHTS = np.arange(12.0).reshape(3, 4) % 5 / 2


class Row(NamedTuple):
    name: str
    f: Callable[..., Any]                   # Tensors in, a Tensor out
    twin: Callable[..., Any]                # the same on NumPy arrays
    inputs: tuple[Any, ...]                 # the shape of each input, drawn from N(0, 1), or a function of a Generator

    def draw(self) -> list[np.ndarray]:
        """The inputs: float64 numbers that float32 can represent exactly, so that both types get the same numbers."""
        rng = np.random.default_rng(zlib.crc32(self.name.encode()))
        made = [x(rng) if callable(x) else rng.standard_normal(x) for x in self.inputs]
        return [np.asarray(x, np.float32).astype(np.float64) for x in made]


def positive(*shape: int) -> Callable[[np.random.Generator], np.ndarray]:
    return lambda rng: rng.uniform(0.5, 2.0, shape)


def close(got: np.ndarray, expected: np.ndarray, ulps: float = 32) -> None:
    """Equal up to rounding. A row makes ten to thirty roundings of half an ulp each, of numbers as large as its largest number
    (or 1). So 32 ulps of that number are allowed."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape, f"shape {got.shape}, expected {expected.shape}"
    scale = max(1.0, float(np.max(np.abs(expected), initial=0.0)))
    np.testing.assert_allclose(got, expected, rtol=0, atol=ulps * float(np.finfo(got.dtype).eps) * scale)


def tensors(arrays: list[np.ndarray], dtype: Any = np.float64, needs: Any = None) -> list[tg.Tensor]:
    return [tg.Tensor(x, requires_grad=needs is None or i in needs, dtype=dtype) for i, x in enumerate(arrays)]


def backward(row: Row, inputs: list[tg.Tensor]) -> tuple[np.ndarray, list[Any], np.ndarray]:
    """The value, the gradients in ``.grad``, and the weights that were passed to ``backward``."""
    y = row.f(*inputs)
    weights = np.random.default_rng(1).standard_normal(y.shape).astype(np.float32)
    y.backward(weights)
    return y.data, [x.grad for x in inputs], weights.astype(np.float64)


# -- what is claimed of every row ------------------------------------------------------------------------------------

def check_twin(row: Row) -> None:
    """Value and gradients equal the twin's, in both types; the type is kept, forward and backward; the inputs are not changed."""
    arrays = row.draw()
    value, gradients = np.real(row.twin(*arrays)), None
    for dtype in TYPES:
        inputs = tensors(arrays, dtype)
        y, grads, weights = backward(row, inputs)
        assert y.dtype == dtype and y.flags.c_contiguous
        close(y, value)
        gradients = gradients or naive.gradients(row.twin, arrays, weights)
        for x, array, g, expected in zip(inputs, arrays, grads, gradients):
            assert g.dtype == dtype and g.flags.c_contiguous
            close(g, expected)
            np.testing.assert_array_equal(x.data, array)


def check_differences(row: Row) -> None:
    """First and second derivatives agree with finite differences."""
    assert tg.gradcheck(row.f, tensors(row.draw()), order=2)


def check_fused(row: Row) -> None:
    """The gradients of fused pullbacks are those of the composed rules, to rounding."""
    for dtype in TYPES:
        inputs = tensors(row.draw(), dtype)
        y = row.f(*inputs)
        weights = np.random.default_rng(1).standard_normal(y.shape)
        composed = tg.grad(y, inputs, weights, create_graph=True)
        fused = tg.grad(y, inputs, weights)
        for one, other in zip(fused, composed):
            assert one.dtype == other.dtype == dtype
            close(one.data, other.data)


def check_subsets(row: Row) -> None:
    """An input gets the same gradient, bit for bit, whether or not the others need one; inputs that need none get none."""
    arrays = row.draw()
    together = backward(row, tensors(arrays))[1]
    for i in range(len(arrays)):
        alone = backward(row, tensors(arrays, needs={i}))[1]
        assert [k for k, g in enumerate(alone) if g is not None] == [i]
        np.testing.assert_array_equal(alone[i], together[i])


def check_accumulation(row: Row) -> None:
    """Gradients add up: over two uses in one graph, over two backward passes through it, and over two graphs."""
    arrays = row.draw()
    once = backward(row, tensors(arrays))[1]
    inputs = tensors(arrays)
    y = row.f(*inputs) + row.f(*inputs)
    weights = np.random.default_rng(1).standard_normal(y.shape).astype(np.float32)
    y.backward(weights, retain_graph=True)
    for x, g in zip(inputs, once):
        close(x.grad, 2 * g)
    y.backward(weights)
    row.f(*inputs).backward(weights)
    for x, g in zip(inputs, once):
        close(x.grad, 5 * g)


def check_memory(row: Row) -> None:
    """Every gradient has memory of its own: writing into it changes no other array and no later backward pass."""
    inputs = tensors(row.draw())
    y = row.f(*inputs)
    weights = np.random.default_rng(1).standard_normal(y.shape)
    held = [x.data for x in inputs] + [y.data, weights]
    before = [array.copy() for array in held]
    walks = []
    for _ in range(2):
        y.backward(weights, retain_graph=True)
        grads = [x.grad for x in inputs] + [g.data for g in tg.grad(y, [*inputs, inputs[0], y], weights, retain_graph=True)]
        walks.append([g.copy() for g in grads])
        assert not any(np.shares_memory(g, other) for i, g in enumerate(grads) for other in [*held, *grads[:i]])
        for g in grads:
            g[...] = np.nan
        for x in inputs:
            x.grad = None
    for one, other in zip([*walks[0], *before], [*walks[1], *held]):
        np.testing.assert_array_equal(one, other)


def _unaligned(x: np.ndarray) -> np.ndarray:
    memory = np.empty(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    memory[...] = x
    return memory


def _strided(x: np.ndarray) -> np.ndarray:
    wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]) if x.ndim else (), x.dtype)
    view = wide[..., ::2] if x.ndim else wide
    view[...] = x
    return view


def _read_only(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x.flags.writeable = False
    return x


LAYOUTS = {
    "fortran": lambda x: np.asarray(x, order="F"), "strided": _strided, "read-only": _read_only, "unaligned": _unaligned,
    "reversed": lambda x: np.flip(np.flip(x).copy()), "swapped bytes": lambda x: x.astype(x.dtype.newbyteorder()),
    "list": lambda x: x.tolist(),
}


def check_layouts(row: Row) -> None:
    """Value and gradients are the same bits for every memory layout of the inputs, Tensors or plain arrays."""
    arrays = row.draw()
    y, grads, _ = backward(row, tensors(arrays))
    for layout, laid_out in LAYOUTS.items():
        y_other, grads_other, _ = backward(row, tensors([laid_out(x) for x in arrays]))
        np.testing.assert_array_equal(y_other, y, layout)
        for one, other in zip(grads_other, grads):
            np.testing.assert_array_equal(one, other, layout)
        for i in range(1, len(arrays)):     # all but the first as plain arrays, which take the dtype of the first
            mixed = [tg.Tensor(x) if k < i else laid_out(x) for k, x in enumerate(arrays)]
            np.testing.assert_array_equal(row.f(*mixed).data, y, layout)


CHECKS = (check_twin, check_differences, check_fused, check_subsets, check_accumulation, check_memory, check_layouts)


# -- the table -------------------------------------------------------------------------------------------------------

def _matmul_shapes():
    return [((3, 4), (4, 2)), ((4,), (4,)), ((3, 4), (4,)), ((4,), (4, 2)), ((2, 3, 4), (2, 4, 5)), ((3, 4), (2, 4, 5)),
            ((2, 3, 4), (4, 2)), ((2, 1, 3, 4), (5, 4, 2)), ((4,), (2, 4, 5)), ((2, 3, 4), (4,)), ((1, 1), (1, 1)),
            ((1, 4), (4, 1)), ((4, 1), (1, 4)), ((4,), (4, 1)), ((1, 4), (4,)), ((2, 1, 3), (2, 3, 1)), ((2, 3, 1), (2, 1, 3)),
            ((1, 3, 4), (5, 4, 2)), ((2, 1, 3, 4), (1, 5, 4, 2)), ((2, 2, 3, 4), (2, 4, 5)), ((2, 2, 3, 4), (4,))]


ARITHMETIC = [
    Row(f"{name} {a} {b}", op, op, (a, positive(*b) if name == "div" else b))
    for name, op in {"add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b,
                     "div": lambda a, b: a / b}.items()
    for a, b in [((2, 3), (2, 3)), ((3, 4), (4,)), ((4,), (3, 4)), ((3, 1), (1, 4)), ((), (2, 3)), ((2, 3), ()),
                 ((), ()), ((2, 1, 3), (4, 1)), ((1,), (1, 1))]
] + [
    Row("number + x", lambda x: 2.5 + x, lambda x: 2.5 + x, ((2, 3),)),
    Row("x - number", lambda x: x - 2, lambda x: x - 2, ((2, 3),)),
    Row("number - x", lambda x: 2 - x, lambda x: 2 - x, ((2, 3),)),
    Row("number / x", lambda x: 2 / x, lambda x: 2 / x, (positive(2, 3),)),
    Row("x / NumPy number", lambda x: x / np.float64(3), lambda x: x / 3, ((2, 3),)),
    Row("array * x", lambda x: np.arange(3) * x, lambda x: np.arange(3) * x, ((2, 3),)),
    Row("x ** 3", lambda x: x**3, lambda x: naive.power(x, 3.0), ((2, 3),)),
    Row("x ** 1", lambda x: x**1, lambda x: x, ((2, 3),)),
    Row("x ** 0", lambda x: x**0, lambda x: x * 0 + 1, ((2, 3),)),
    Row("x ** -1.5", lambda x: x**-1.5, lambda x: naive.power(x, -1.5), (positive(2, 3),)),
    Row("2 ** x", lambda x: 2**x, lambda x: naive.power(2.0, x), ((2, 3),)),
    Row("x ** y", lambda x, y: x**y, naive.power, (positive(2, 3), (3,))),
    Row("+x", lambda x: +x, lambda x: +x, ((2, 3),)),
    Row("-x", lambda x: -x, lambda x: -x, ((2, 3),)),
    Row("x * x", lambda x: x * x, lambda x: x * x, ((2, 3),)),
    Row("x - x", lambda x: x - x, lambda x: x - x, ((2, 3),)),
    Row("x / (x + 3)", lambda x: x / (x + 3), lambda x: x / (x + 3), (positive(3),)),
    Row("x @ x.T", lambda x: x @ x.T, lambda x: x @ x.T, ((3, 4),)),
    Row("linear(x, x)", lambda x: F.linear(x, x), lambda x: naive.linear(x, x), ((3, 3),)),
    Row("linear(x, x, sum of x)", lambda x: F.linear(x, x, x.sum(axis=1)),
        lambda x: naive.linear(x, x, x.sum(axis=1)), ((3, 3),)),
]

SHAPES = [
    Row(f"{name}(axis={axis}, keepdims={keep})", lambda x, n=name, a=axis, k=keep: getattr(x, n)(axis=a, keepdims=k),
        lambda x, n=name, a=axis, k=keep: getattr(np, n)(x, axis=a, keepdims=k), ((2, 3, 4),))
    for name in ("sum", "mean") for axis in (None, 0, -1, (0, 2), (), (2, 0, 1)) for keep in (False, True)
] + [
    Row("sum of a number", lambda x: x.sum(), lambda x: x.sum(), ((),)),
    Row("reshape", lambda x: x.reshape(4, -1), lambda x: x.reshape(4, -1), ((2, 3, 4),)),
    Row("reshape to a tuple", lambda x: x.reshape((6, 4)), lambda x: x.reshape(6, 4), ((2, 3, 4),)),
    Row("transpose", lambda x: x.transpose(), lambda x: x.transpose(), ((2, 3, 4),)),
    Row("T", lambda x: x.T, lambda x: x.T, ((2, 3),)),
    Row("transpose by axes", lambda x: x.transpose(1, 2, 0), lambda x: x.transpose(1, 2, 0), ((2, 3, 4),)),
    Row("transpose by negative axes", lambda x: x.transpose((-1, 0, -2)), lambda x: x.transpose(2, 0, 1), ((2, 3, 4),)),
]

MATRICES = [Row(f"matmul {a} {b}", lambda a, b: a @ b, lambda a, b: a @ b, (a, b)) for a, b in _matmul_shapes()]

MOVES = [
    Row("permute", lambda x: x.permute(2, 0, 1), lambda x: x.transpose(2, 0, 1), ((2, 3, 4),)),
    Row("permute within a stack", lambda x: F.permute(x, (0, -1, 1, 2)), lambda x: x.transpose(0, 3, 1, 2), ((2, 3, 2, 4),)),
    Row("permute in place", lambda x: x.permute((0, 1)), lambda x: x, ((3, 4),)),
    Row("permute a number", lambda x: F.permute(x, ()), lambda x: x, ((),)),
    Row("swapaxes", lambda x: x.swapaxes(0, -1), lambda x: x.swapaxes(0, -1), ((2, 3, 4),)),
    Row("swapaxes with itself", lambda x: F.swapaxes(x, 1, 1), lambda x: x, ((2, 3, 4),)),
    Row("squeeze", lambda x: x.squeeze(), np.squeeze, ((1, 3, 1, 2),)),
    Row("squeeze one", lambda x: F.squeeze(x, -2), lambda x: np.squeeze(x, -2), ((1, 3, 1, 2),)),
    Row("squeeze two", lambda x: x.squeeze((0, 2)), np.squeeze, ((1, 3, 1, 2),)),
    Row("squeeze nothing", lambda x: x.squeeze(()), lambda x: x, ((1, 3),)),
    Row("unsqueeze", lambda x: x.unsqueeze(-1), lambda x: np.expand_dims(x, -1), ((3, 2),)),
    Row("expand_dims", lambda x: F.expand_dims(x, (0, -2)), lambda x: np.expand_dims(x, (0, -2)), ((3, 2),)),
    Row("flatten", lambda x: x.flatten(), np.ravel, ((2, 3, 4),)),
    Row("flatten the end", lambda x: F.flatten(x, 1), lambda x: x.reshape(2, 12), ((2, 3, 4),)),
    Row("flatten the start", lambda x: x.flatten(end_axis=1), lambda x: x.reshape(6, 4), ((2, 3, 4),)),
    Row("flatten a number", lambda x: x.flatten(), np.ravel, ((),)),
    Row("broadcast_to", lambda x: F.broadcast_to(x, (2, 3, 4)), lambda x: np.broadcast_to(x, (2, 3, 4)), ((3, 1),)),
    Row("broadcast_to a length", lambda x: F.broadcast_to(x, 3), lambda x: np.broadcast_to(x, 3), ((),)),
    Row("broadcast_to itself", lambda x: F.broadcast_to(x, (3,)), lambda x: x, ((3,),)),
    Row("flip", lambda x: F.flip(x), np.flip, ((2, 3, 4),)),
    Row("flip some", lambda x: F.flip(x, (0, -1)), lambda x: np.flip(x, (0, -1)), ((2, 3, 4),)),
    Row("pad", lambda x: F.pad(x, 1), lambda x: np.pad(x, 1), ((2, 3),)),
    Row("pad each axis", lambda x: F.pad(x, ((0, 2), (1, 0)), 7.0), lambda x: np.pad(x, ((0, 2), (1, 0)), constant_values=7), ((2, 3),)),
    Row("pad all alike", lambda x: F.pad(x, (1, 2)), lambda x: np.pad(x, (1, 2)), ((2, 3),)),
    Row("iteration", lambda x: sum(k * row for k, row in enumerate(x)), lambda x: sum(k * row for k, row in enumerate(x)), ((3, 4),)),
]

JOINS = [
    Row(f"concatenate along {axis}", lambda *x, a=axis: tg.concatenate(x, axis=a), lambda *x, a=axis: np.concatenate(x, axis=a), shapes)
    for axis, shapes in [(0, ((2, 3), (1, 3), (4, 3))), (1, ((2, 3), (2, 1))), (-1, ((2, 3, 2), (2, 3, 0), (2, 3, 4))),
                         (-2, ((2, 3, 2), (2, 1, 2))), (0, ((3,),)), (None, ((2, 3), (2,), ()))]
] + [
    Row(f"stack along {axis}", lambda *x, a=axis: tg.stack(x, axis=a), lambda *x, a=axis: np.stack(x, axis=a), shapes)
    for axis, shapes in [(0, ((2, 3),) * 3), (1, ((2, 3),) * 2), (-1, ((2, 3),) * 2), (-2, ((3,),) * 2), (0, ((),) * 3), (2, ((2, 3),))]
] + [
    Row("stack x with itself", lambda x: tg.stack([x, x, 2 * x]), lambda x: np.stack([x, x, 2 * x]), ((2, 3),)),
    Row("concatenate x with itself", lambda x: tg.concatenate([x, x], axis=1), lambda x: np.concatenate([x, x], axis=1), ((2, 3),)),
] + [
    Row(f"part {part} of split({sections}, {axis})", lambda x, s=sections, a=axis, p=part: tg.split(x, s, axis=a)[p],
        lambda x, s=sections, a=axis, p=part: np.split(x, s, axis=a)[p], ((6, 4),))
    for sections, axis, part in [(3, 0, 0), (3, 0, -1), (2, 1, 1), (1, -1, 0), ([1, 4], 0, 1), ([1, 4], 0, 2), ([2, 2, 9], 0, 1),
                                 ((-2,), 1, 0), ([], 0, 0), (np.array([3]), -1, 1)]
] + [
    Row("split and multiply", lambda x: (lambda a, b: a * b)(*tg.split(x, 2)), lambda x: x[:2] * x[2:], ((4, 3),)),
]

INDICES = {     # of an array of shape (3, 4, 2)
    "1": 1, "-1": -1, "0, -1, 1": (0, -1, 1), "np.int8(2)": np.int8(2), "a 0-d array": np.array(1), "...": ..., "()": (),
    "None": None, "1:": slice(1, None), "::-2": slice(None, None, -2), "5:": slice(5, None), ":, 1:3, ::-1": (slice(None), slice(1, 3), slice(None, None, -1)),
    "..., 0": (..., 0), "0, ...": (0, ...), ":, None, 0, ..., None": (slice(None), None, 0, ..., None), "-2:, 1": (slice(-2, None), 1),
    "rows": [2, 0, 2], "rows, negative": np.array([-1, 0, 2, -3]), "rows, uint8": np.array([1, 1], np.uint8), "matrix of rows": [[0, 1], [2, 2]],
    "no rows": [], "no rows, an array": np.zeros((2, 0), int), "one number each": ([0, 1, 1, 2], [3, 0, 0, 1], [0, 1, 1, 0]),
    "pairs": ([0, 2, 2], [1, 1, 1]), "open mesh": np.ix_([0, 2], [3, 1, 1], [0]), "columns": (slice(None), [3, 3, 0]),
    "last axis": (..., [1, 0, 1]), "array, slice, array": ([0, 1], slice(None), [1, 1]), "slice, array, slice": (slice(2), [0, 0, 3], slice(1, None)),
    "integer and array": (0, [1, 1]), "array and integer": ([1, 1], slice(None), 0), "slice, integer, array": (slice(None), 2, [0, 0]),
    "array, None, array": ([0, 1], None, [1, 1]), "array, ..., array": ([0, 2], ..., [1, 1]), "arrays that broadcast": ([[0], [2]], [1, 1, 3]),
    "array, slice": ([2, 2], slice(1, 3)), "array twice, dots between": (slice(None), [0, 1, 1], ..., [0, 1, 0]),
    "mask": np.arange(24).reshape(3, 4, 2) % 5 == 1, "mask of rows": [True, False, True], "mask of two axes": np.arange(12).reshape(3, 4) % 3 == 0,
    "mask of columns": (slice(None), np.array([True, True, False, True])), "mask and integer": (np.array([True, False, True]), 1),
    "mask and array": (np.array([True, False, True]), [1, 1]), "mask at the end": (..., np.arange(8).reshape(4, 2) % 3 == 0),
    "nothing of a mask": np.zeros((3, 4, 2), bool), "True": True, "False": False, "range": range(2),
}

BY_INDEX = [
    Row(f"x[{name}]", lambda x, i=index: x[i], lambda x, i=index: x[i], ((3, 4, 2),)) for name, index in INDICES.items()
] + [
    Row(f"number[{name}]", lambda x, i=index: x[i], lambda x, i=index: x[i], ((),))
    for name, index in {"()": (), "...": ..., "None, None": (None, None), "True": np.array(True)}.items()
] + [
    Row(f"take_along_axis {np.shape(indices)} {axis}", lambda x, i=indices, a=axis: tg.take_along_axis(x, i, axis=a),
        lambda x, i=indices, a=axis: np.take_along_axis(x, np.array(i, int), axis=a), ((2, 3),))
    for indices, axis in [([[2, 2, 0, -1], [1, 0, 1, 1]], 1), ([[0, 1, 1]], 0), ([[1], [1]], -1), ([[0]], -2), ([5, 5, 0], None),
                          (np.zeros((2, 0), int), 1)]
] + [
    Row(f"gather {np.shape(index)} {axis}", lambda x, i=index, a=axis: tg.gather(x, a, i),
        lambda x, i=index, a=axis: naive.gather(x, a, i), ((2, 3),))
    for index, axis in [([[2, 2, 0, 1], [1, 0, 1, 1]], 1), ([[0, 1]], 0), ([[1, 0, 0], [1, 1, 0], [0, 0, 0]], 0), ([[1]], -1)]
]

EINSUMS = [
    Row(f"einsum {text} {shapes}", lambda *x, t=text: tg.einsum(t, *x), lambda *x, t=text: np.einsum(t, *x), shapes)
    for text, *shapes in [
        ("ij,jk->ik", (2, 3), (3, 4)), ("ij,jk->ki", (2, 3), (3, 4)), ("ji,jk", (3, 2), (3, 4)), ("ij,kj", (2, 3), (4, 3)),
        ("bij,bjk->bik", (2, 3, 4), (2, 4, 2)), ("bij,bkj->bik", (2, 3, 4), (2, 2, 4)), ("bqhd,bkhd->bhqk", (2, 3, 2, 2), (2, 4, 2, 2)),
        ("ijb,bjk->bk", (3, 4, 2), (2, 4, 2)), ("i,i->", (3,), (3,)), ("i,i", (3,), (3,)), ("i,i->i", (3,), (3,)), ("i,j->ij", (2,), (3,)),
        ("i,j->ji", (2,), (3,)), ("bi,bj->bij", (2, 3), (2, 2)), ("bi,bi->b", (2, 3), (2, 3)), ("ij,ij->ij", (2, 3), (2, 3)),
        ("ij,ji->ij", (2, 3), (3, 2)), ("ij,j->ij", (2, 3), (3,)), ("j,ij->i", (3,), (2, 3)), ("i,ij->ij", (2,), (2, 3)),
        ("ij,kl->", (2, 3), (3, 2)), ("ij,kl->jl", (2, 3), (2, 2)), ("ij,->ij", (2, 3), ()), (",", (), ()), ("->", ()),
        ("ij->", (2, 3)), ("ij->i", (2, 3)), ("ij->j", (2, 3)), ("ij->ji", (2, 3)), ("ij->ij", (2, 3)), ("ji", (2, 3)), ("ba", (2, 3)),
        ("ii", (3, 3)), ("ii->i", (3, 3)), ("iij->ij", (2, 2, 3)), ("iji->j", (2, 3, 2)), ("ijij", (2, 3, 2, 3)), ("iii->i", (2, 2, 2)),
        ("ii,i->i", (3, 3), (3,)), ("ii,ij->j", (2, 2), (2, 3)), ("ij,jk,kl->il", (2, 3), (3, 2), (2, 4)), ("ij,jk,kl,lm", (2, 2), (2, 3), (3, 2), (2, 2)),
        ("a,ab,b->", (2,), (2, 3), (3,)), ("ij,ik,il->jkl", (2, 2), (2, 3), (2, 2)), ("i,i,i->i", (3,), (3,), (3,)),
        ("...i->...", (2, 3, 2)), ("...ij,...jk->...ik", (2, 1, 3, 2), (4, 2, 2)), ("...,...", (2, 3), (3,)), ("i...->...i", (2, 3, 2)),
        ("...i,i", (2, 3), (3,)), ("i...,ij", (2, 3), (2, 2)), ("...", (2, 3)), ("...ii->...", (2, 3, 3)), ("...->...", ()),
        ("ij,jk->ik", (2, 1), (3, 4)), ("i,i->i", (1,), (3,)), ("ij,ij,i->j", (1, 3), (2, 3), (2,)), ("ij,i->", (2, 1), (1,)),
        (" i j , j k -> i k ", (2, 3), (3, 2)), ("Ab,bA->A", (2, 3), (3, 2)), ("ij,kj->ik", (2, 0), (3, 0)), ("ij->i", (2, 0)),
    ]
] + [
    Row("einsum of x with itself", lambda x: tg.einsum("ij,kj->ik", x, x), lambda x: x @ x.T, ((2, 3),)),
    Row("einsum of x three times", lambda x: tg.einsum("ij,jk,kl->il", x, x, x), lambda x: x @ x @ x, ((2, 2),)),
]

LAYERS = [
    Row("linear", F.linear, naive.linear, ((5, 4), (3, 4), (3,))),
    Row("linear without bias", F.linear, naive.linear, ((5, 4), (3, 4))),
    Row("linear, one row", F.linear, naive.linear, ((1, 4), (3, 4), (3,))),
    Row("linear, one unit", F.linear, naive.linear, ((5, 4), (1, 4), (1,))),
    Row("linear, one input", F.linear, naive.linear, ((5, 1), (3, 1), (3,))),
    Row("linear of a vector", F.linear, naive.linear, ((4,), (3, 4), (3,))),
    Row("linear of a stack", F.linear, naive.linear, ((2, 5, 4), (3, 4), (3,))),
    Row("maxout 2", lambda x: F.maxout(x, 2), lambda x: naive.maxout(x, 2), ((3, 4),)),
    Row("maxout 3", lambda x: F.maxout(x, 3), lambda x: naive.maxout(x, 3), ((2, 2, 6),)),
    Row("maxout 1", lambda x: F.maxout(x, 1), lambda x: naive.maxout(x, 1), ((4,),)),
    Row("prelu, one slope", F.prelu, naive.prelu, ((3, 4), (1,))),
    Row("prelu per channel", F.prelu, naive.prelu, ((3, 4), (4,))),
    Row("prelu per channel of images", F.prelu, naive.prelu, ((2, 3, 2, 2), (3,))),
    Row("prelu of a vector", F.prelu, naive.prelu, ((4,), (4,))),
    Row("prelu of a number", F.prelu, naive.prelu, ((), (1,))),
] + [
    Row(f"slopes {slopes} for x {x}", lambda x, slopes: prelu_op(F.as_tensor(x), F.as_tensor(slopes)),
        lambda x, slopes: np.where(np.real(x) > 0, x, slopes * x), (x, slopes))
    for x, slopes in [((3, 4), (3, 4)), ((3, 4), (3, 1)), ((2, 3, 4), (3, 1)), ((2, 3, 4), (2, 1, 4)), ((4,), (1,)),
                      ((), ())]
]


CENTER, SPREAD = np.array([0.5, -1.0, 2.0]), np.array([0.25, 1.0, 4.0])
INDICES = np.array([[4, 0, 4], [1, 4, 2]])

NORMS = [
    # eps: random graphs may pass equal numbers, for which the slopes are 1 / sqrt(eps), and cancel
    Row("batch_norm", lambda *p: F.batch_norm(p[0], None, None, *p[1:], training=True, eps=0.1),
        lambda *p: naive.batch_norm(*p, eps=0.1), ((5, 3), (3,), (3,))),
    Row("batch_norm of a series", lambda *p: F.batch_norm(p[0], None, None, *p[1:], training=True, eps=0.1),
        lambda *p: naive.batch_norm(*p, eps=0.1), ((2, 3, 4), (3,), (3,))),
    Row("batch_norm without parameters", lambda x: F.batch_norm(x, None, None, training=True, eps=0.1),
        lambda x: naive.batch_norm(x, eps=0.1), ((5, 3),)),
    Row("batch_norm, evaluation", lambda *p: F.batch_norm(p[0], CENTER, SPREAD, *p[1:]),
        lambda *p: naive.batch_norm_by(p[0], CENTER, SPREAD, *p[1:]), ((5, 3), (3,), (3,))),
    Row("batch_norm of a series, evaluation", lambda *p: F.batch_norm(p[0], CENTER, SPREAD, *p[1:]),
        lambda *p: naive.batch_norm_by(p[0], CENTER, SPREAD, *p[1:]), ((2, 3, 4), (3,), (3,))),
    Row("layer_norm", lambda x, *p: F.layer_norm(x, 4, *p, eps=0.1),
        lambda x, *p: naive.layer_norm(x, -1, *p, eps=0.1), ((3, 4), (4,), (4,))),
    Row("layer_norm over two axes", lambda x, *p: F.layer_norm(x, (3, 4), *p, eps=0.1),
        lambda x, *p: naive.layer_norm(x, (-2, -1), *p, eps=0.1), ((2, 3, 4), (3, 4), (3, 4))),
    Row("layer_norm of a vector", lambda x, *p: F.layer_norm(x, 5, *p), lambda x, *p: naive.layer_norm(x, -1, *p),
        ((5,), (5,))),
    Row("layer_norm without parameters", lambda x: F.layer_norm(x, 4, eps=0.1),
        lambda x: naive.layer_norm(x, -1, eps=0.1), ((2, 3, 4),)),
    Row("dropout", lambda x: F.dropout(x, 0.3, rng=5), lambda x: naive.dropout(x, 0.3, naive.key_of(5)), ((3, 90),)),
    Row("dropout of everything", lambda x: F.dropout(x, 1.0, rng=5), lambda x: 0 * x, ((3, 4),)),
    Row("rrelu in training", lambda x: F.rrelu(x, 0.2, 0.6, training=True, rng=5),
        lambda x: np.where(np.real(x) > 0, x, x * naive.drawn_slopes(np.shape(x), 0.2, 0.6, naive.key_of(5))), ((3, 4),)),
    Row("embedding", lambda w: F.embedding(INDICES, w), lambda w: naive.embedding(INDICES, w), ((5, 3),)),
]


LOSSES = [
    Row(f"{name}, axis {axis}", lambda x, n=name, a=axis: getattr(F, n)(x, axis=a),
        lambda x, n=name, a=axis: getattr(naive, n)(x, axis=a), (shape,))
    for name in ("softmax", "log_softmax")
    for shape, axis in (((3, 4), -1), ((3, 4), 0), ((2, 3, 4), 1), ((4,), 0), ((3, 1), 1))
] + [
    Row(f"cross_entropy, {how}, {rows} rows", lambda x, how=how, n=rows: F.cross_entropy(x, LABELS[:n], reduction=how),
        lambda x, how=how, n=rows: naive.cross_entropy(x, LABELS[:n], how), ((rows, 3),))
    for how in F.REDUCTIONS for rows in (5, 1)
] + [
    Row(f"cross_entropy, {options}, {how}", lambda x, o=options, how=how: F.cross_entropy(x, LABELS, reduction=how, **o),
        lambda x, o=options, how=how: naive.cross_entropy(x, LABELS, how, **o), ((5, 3),))
    for options in (dict(weight=[0.5, 2.0, 1.5]), dict(label_smoothing=0.3), dict(ignore_index=2), dict(label_smoothing=1.0),
                    dict(weight=[0.5, 0.0, 1.5], label_smoothing=0.3, ignore_index=0))
    for how in F.REDUCTIONS
] + [
    Row(f"nll_loss, {options}, {how}", lambda x, o=options, how=how: F.nll_loss(x, LABELS, reduction=how, **o),
        lambda x, o=options, how=how: naive.nll(x, LABELS, how, **o), ((5, 3),))
    for options in (dict(), dict(weight=[0.5, 2.0, 1.5], ignore_index=0)) for how in F.REDUCTIONS
] + [
    Row(f"{name} of shape {shape}, {options}, {how}",
        lambda x, n=name, s=shape, o=options, how=how: getattr(F, n)(x, PLACES[s], reduction=how, **o),
        lambda x, n=name, s=shape, o=options, how=how: naive.at_places(naive.CLASSES[n], x, PLACES[s], how, **o), (shape,))
    for name in ("cross_entropy", "nll_loss") for shape in PLACES for how in F.REDUCTIONS
    for options in (dict(), dict(weight=[0.5, 2.0, 1.5], ignore_index=2))
] + [
    Row(f"cross_entropy of probabilities {shape}, {options}, {how}",
        lambda x, t, o=options, how=how: F.cross_entropy(x, t, reduction=how, **o),
        lambda x, t, o=options, how=how: naive.soft_cross_entropy(x, t, how, **o),
        (shape, lambda rng, s=shape: rng.uniform(0, 1, s)))
    for shape in ((4, 3), (2, 3, 2)) for how in F.REDUCTIONS
    for options in (dict(), dict(weight=[0.5, 2.0, 1.5]), dict(label_smoothing=0.3, weight=[0.5, 0.0, 1.5]))
] + [
    Row(f"cross_entropy of the probabilities of one, {how}", lambda x, t, how=how: F.cross_entropy(x, t, reduction=how),
        lambda x, t: naive.soft_cross_entropy(x[None], t[None], "sum"), ((3,), lambda rng: rng.uniform(0, 1, 3)))
    for how in F.REDUCTIONS
] + [
    Row(f"multi_margin_loss, {options}, {how}", lambda x, o=options, how=how: F.multi_margin_loss(x, LABELS, reduction=how, **o),
        lambda x, o=options, how=how: naive.multi_margin(x, LABELS, reduction=how, **o), ((5, 3),))
    for options in (dict(), dict(p=2, margin=0.5, weight=[0.5, 2.0, 1.5])) for how in F.REDUCTIONS
] + [
    Row(f"hinge_embedding_loss, {how}", lambda x, how=how: F.hinge_embedding_loss(x, SIGNS, 0.75, how),
        lambda x, how=how: naive.hinge_embedding(x, SIGNS, 0.75, how), ((3, 4),))
    for how in F.REDUCTIONS
] + [
    Row(f"binary_cross_entropy_with_logits, {options}, {how}",
        lambda x, t, o=options, how=how: F.binary_cross_entropy_with_logits(x, t, reduction=how, **o),
        lambda x, t, o=options, how=how: naive.bce(x, t, reduction=how, **o), ((3, 4), lambda rng: rng.uniform(0, 1, (3, 4))))
    for options in (dict(), dict(weight=WEIGHTS[:1], pos_weight=[0.5, 2.0, 1.5, 1.0])) for how in F.REDUCTIONS
] + [
    Row(f"{name}{p}, {shape}, {how}", lambda x, t, n=name, p=p, how=how: getattr(F, n)(x, t, how, *p),
        lambda x, t, n=name, p=p, how=how: naive.error_loss(n, x, t, p, how), (shape, shape))
    for name, p in (("mse_loss", ()), ("l1_loss", ()), ("huber_loss", (0.75,)), ("smooth_l1_loss", (0.75,)))
    for shape in ((3, 4), (1,), (70, 2)) for how in F.REDUCTIONS if shape == (3, 4) or how == "mean"
] + [
    Row(f"{name} with weights, {how}", lambda x, t, n=name, how=how: getattr(F, n)(x, t, reduction=how, weight=WEIGHTS),
        lambda x, t, n=name, how=how: naive.error_loss(n, x, t, (), how, WEIGHTS, None if n == "huber_loss" else WEIGHTS.sum()),
        ((3, 4), (3, 4)))
    for name in ("mse_loss", "l1_loss", "huber_loss") for how in F.REDUCTIONS
]


FUNCTIONS = {       # methods and functions of one name: (the twin, the shape of its input)
    "abs": (naive.dual(np.abs, np.sign), (2, 3)), "exp": (np.exp, (2, 3)), "square": (lambda x: x * x, (2, 3)),
    "expm1": (exact.twin("expm1"), (2, 3)), "log": (np.log, positive(2, 3)),
    "log1p": (exact.twin("log1p"), positive(2, 3)), "sqrt": (np.sqrt, positive(2, 3)),
    "sin": (np.sin, (2, 3)), "cos": (np.cos, (2, 3)),
}
REDUCTIONS = {"sum": np.sum, "mean": np.mean, "max": naive.largest, "min": naive.smallest, "var": naive.var,
              "std": naive.std, "prod": np.prod, "logsumexp": naive.logsumexp}
ABOVE = np.arange(6).reshape(2, 3) % 2 == 0

ARRAYS = [
    Row(f"x.{name}()", lambda x, n=name: getattr(x, n)(), twin, (shape,)) for name, (twin, shape) in FUNCTIONS.items()
] + [
    Row(f"x.{name}(axis={axis}, keepdims={keep})", lambda x, n=name, a=axis, k=keep: getattr(x, n)(axis=a, keepdims=k),
        lambda x, f=twin, a=axis, k=keep: f(x, axis=a, keepdims=k), ((2, 3, 2),))
    for name, twin in REDUCTIONS.items() if name not in ("sum", "mean")
    for axis in (None, 1, -1, (0, 2), (), (2, 0, 1)) if (name, axis) != ("std", ())         # a kink, where the slope is 0
    for keep in (False, True)
] + [
    Row(f"{name} of a number", lambda x, n=name: getattr(x, n)(), lambda x, f=twin: f(x), ((),))
    for name, twin in REDUCTIONS.items() if name != "std"
] + [
    Row("var, ddof 1", lambda x: x.var(axis=0, ddof=1), lambda x: naive.var(x, 0, ddof=1), ((3, 2),)),
    Row("std, ddof 1.5", lambda x: x.std(ddof=1.5, keepdims=True), lambda x: naive.std(x, None, True, 1.5), ((3, 2),)),
    Row("prod with a zero", lambda x: (x * [0.0, 1.0, 1.0]).prod(axis=1), lambda x: (x * [0, 1, 1]).prod(axis=1), ((2, 3),)),
    Row("cumsum", lambda x: x.cumsum(), lambda x: x.cumsum(), ((2, 3),)),
    Row("cumsum of a number", lambda x: x.cumsum(), lambda x: x.reshape(1).cumsum(), ((),)),
    *(Row(f"cumsum, axis {axis}", lambda x, a=axis: x.cumsum(a), lambda x, a=axis: x.cumsum(a), ((2, 3, 2),))
      for axis in (0, 1, -1)),
] + [
    Row(f"{name} {a} {b}", getattr(tg, name), twin, (a, b))
    for name, twin in {"maximum": naive.maximum, "minimum": naive.minimum}.items()
    for a, b in [((2, 3), (2, 3)), ((3, 1), (1, 4)), ((), (2, 3)), ((2, 3), ()), ((2, 1, 3), (4, 1))]
] + [
    Row("maximum of x and a number", lambda x: tg.maximum(x, 0.25), lambda x: naive.maximum(x, 0.25), ((2, 3),)),
    Row("minimum of a number and x", lambda x: tg.minimum(-0.25, x), lambda x: naive.minimum(-0.25, x), ((2, 3),)),
    Row("maximum of x and x", lambda x: tg.maximum(x, x), lambda x: x, ((2, 3),)),
    Row("clip", lambda x: x.clip(-0.5, 0.5), lambda x: naive.minimum(naive.maximum(x, -0.5), 0.5), ((3, 4),)),
    Row("clip from below", lambda x: x.clip(min=-0.5), lambda x: naive.maximum(x, -0.5), ((3, 4),)),
    Row("clip from above", lambda x: tg.clip(x, max=0.5), lambda x: naive.minimum(x, 0.5), ((3, 4),)),
    Row("clip between Tensors", tg.clip, lambda x, a, b: naive.minimum(naive.maximum(x, a), b), ((3, 4), (4,), (3, 1))),
    Row("where", lambda a, b: tg.where(ABOVE, a, b), lambda a, b: np.where(ABOVE, a, b), ((2, 3), (2, 3))),
    Row("where, broadcast", lambda a, b: tg.where(ABOVE, a, b), lambda a, b: np.where(ABOVE, a, b), ((2, 1), ())),
    Row("where or 0", lambda x: tg.where(x > 0, x * x, 0), lambda x: np.where(x.real > 0, x * x, 0), ((2, 3),)),
    Row("where else x", lambda x: tg.where([True, False, True], 1.5, x), lambda x: np.where([1, 0, 1], 1.5, x), ((2, 3),)),
    Row("x ** array", lambda x: x ** np.arange(3), lambda x: naive.power(x, np.arange(3.0)), (positive(2, 3),)),
    Row("array ** x", lambda x: np.array([0.5, 1.0, 2.0]) ** x, lambda x: naive.power(np.array([0.5, 1, 2]), x), ((2, 3),)),
    Row("x ** y, broadcast", lambda x, y: x**y, naive.power, (positive(3, 1), (2, 1, 4))),
    Row("x ** x", lambda x: x**x, lambda x: naive.power(x, x), (positive(2, 3),)),
    Row("normalised", lambda x: (x - x.mean(axis=1, keepdims=True)) / (x.var(axis=1, keepdims=True) + 1e-3).sqrt(),
        lambda x: (x - x.mean(axis=1, keepdims=True)) / np.sqrt(naive.var(x, 1, True) + 1e-3), ((3, 4),)),
]


def _away_from_kinks(name: str, p: tuple[float, ...], draws: Any) -> np.ndarray:
    """Numbers in the domain of an activation, none of them within 0.01 of a kink."""
    x = np.asarray(draws)
    for kink, _ in ACTIVATIONS[name].kinks(*p):
        x = np.where(np.abs(x - kink) < 0.01, kink + 0.02, x)
    return np.abs(x) + 0.1 if name == "log" else np.maximum(x, -0.9) if name == "log1p" else x


def activation(name: str, *p: float) -> Callable[..., Any]:
    """The function of an activation, with its parameters if there are some. The record itself where `functional` has a
    function of another kind (the learned slopes of prelu)."""
    op, values = activation_op(ACTIVATIONS[name]), p or tuple(ACTIVATIONS[name].parameters.values())
    return lambda x: op(F.as_tensor(x), p=values)


def activation_row(name: str) -> Row:
    """The row that follows from a record."""
    p = tuple(ACTIVATIONS[name].parameters.values())
    return Row(name, activation(name), exact.twin(name),
               (lambda rng: _away_from_kinks(name, p, 2 * rng.standard_normal((3, 5))),))


TABLE = (ARITHMETIC + SHAPES + ARRAYS + MATRICES + MOVES + JOINS + BY_INDEX + EINSUMS + LAYERS + NORMS + LOSSES
         + [activation_row(name) for name in ACTIVATIONS])
