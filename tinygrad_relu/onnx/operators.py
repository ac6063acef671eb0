"""Which ONNX operators each operation becomes. Adding one: a function here, and its name in `ELEMENTWISE` or `OPERATORS`."""
from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..autodiff.node import Array

if TYPE_CHECKING:
    from . import Call, Graph

# -- elementwise functions: from the graph, the name of x, the maker of constants, and the parameters ------------------------

Emit = Callable[..., str]


def _as_is(kind: str, *names: str, **options: Any) -> Emit:
    """One operator; `names` are those of the parameters that it takes as attributes."""
    return lambda graph, x, number, *p: graph.node(kind, x, **dict(zip(names, map(float, p))), **options)


def _clip(graph: Graph, x: str, number: Any, low: float = 0.0, high: float = 6.0) -> str:
    return graph.node("Clip", x, number(low), number(high))


def _step(graph: Graph, x: str, number: Any, *p: float) -> str:
    return graph.node("Where", graph.node("GreaterOrEqual", x, number(0)), number(1), number(0))


def _softplus(graph: Graph, x: str, number: Any, beta: float = 1.0, threshold: float = np.inf) -> str:
    scaled = graph.node("Mul", x, number(beta))
    y = graph.node("Div", graph.node("Softplus", scaled), number(beta))
    return y if threshold == np.inf else graph.node("Where", graph.node("Greater", scaled, number(threshold)), x, y)


ELEMENTWISE: dict[str, Emit] = {
    "relu": _as_is("Relu"), "leaky_relu": _as_is("LeakyRelu", "alpha"), "elu": _as_is("Elu", "alpha"),
    "celu": _as_is("Celu", "alpha"), "selu": _as_is("Selu"), "step": _step, "hardtanh": _clip, "relu6": _clip,
    "hardsigmoid": _as_is("HardSigmoid", alpha=1 / 6, beta=0.5), "hardswish": _as_is("HardSwish"),
    "sigmoid": _as_is("Sigmoid"), "tanh": _as_is("Tanh"), "softsign": _as_is("Softsign"), "softplus": _softplus,
    "logsigmoid": lambda graph, x, number: graph.node("Neg", graph.node("Softplus", graph.node("Neg", x))),
    "silu": lambda graph, x, number: graph.node("Mul", x, graph.node("Sigmoid", x)), "mish": _as_is("Mish"),
    "gelu": _as_is("Gelu"), "gelu_tanh": _as_is("Gelu", approximate="tanh"),
    "exp": _as_is("Exp"), "log": _as_is("Log"), "erf": _as_is("Erf"),
    "expm1": lambda graph, x, number: graph.node("Sub", graph.node("Exp", x), number(1)),
    "log1p": lambda graph, x, number: graph.node("Log", graph.node("Add", x, number(1))),
    "erfc": lambda graph, x, number: graph.node("Sub", number(1), graph.node("Erf", x))}


# -- operations: from the graph, the call, and the names of the inputs -------------------------------------------------------


def _operator(kind: str) -> Emit:
    return lambda graph, call, *inputs: graph.node(kind, *inputs)


def _record(name: str) -> Emit:
    def emit(graph: Graph, call: Call, x: str) -> str:
        record = call.node.op.activation
        return graph.activation(record, call.options.get("p", record.defaults), x, call.node.dtype)

    return emit


def _matmul(graph: Graph, call: Call, *inputs: str) -> str:
    turned = []
    for name, side, array in zip(inputs, "ab", call.node.values):
        axes = [*range(array.ndim - 2), array.ndim - 1, array.ndim - 2]
        turned.append(graph.node("Transpose", name, perm=axes) if call.options.get(f"transpose_{side}") else name)
    return graph.node("MatMul", *turned)


def _reduced(kind: str) -> Emit:
    def emit(graph: Graph, call: Call, x: str) -> str:
        axes = call.axes()
        return graph.node(kind, x, *([] if axes is None else [graph.constant(axes)]),
                          keepdims=int(call.options.get("keepdims", False)))

    return emit


def _reshape(graph: Graph, call: Call, x: str) -> str:
    return graph.node("Reshape", x, graph.constant(call.open_shape()))


def _transpose(graph: Graph, call: Call, x: str) -> str:
    axes, n = call.axes("axes"), len(call.node.shape)
    return graph.node("Transpose", x, perm=[a % n for a in axes] if axes is not None else [*range(n)][::-1])


def _take(graph: Graph, call: Call, x: str) -> str:
    if call.options.get("count", 1) != 1:
        raise ValueError("onnx.export: there is no ONNX operator here for a selection along several axes at once")
    return graph.node("Gather", x, graph.constant(call.options["rows"]), axis=call.options["axis"])


END = np.iinfo(np.int64).max        # beyond the last entry of any axis; and -END before the first


def _cut(graph: Graph, call: Call, x: str) -> str:
    """A key of integers, slices, None and one Ellipsis, as Slice and Reshape."""
    key, ndim = [k for k in call.options["key"] if k is not None], call.node.values[0].ndim
    if any(not isinstance(k, (int, np.integer, slice, type(...))) for k in key):
        raise ValueError(f"onnx.export: there is no ONNX operator here for the selection {call.options['key']!r}")
    if ... in key:
        i = key.index(...)
        key[i:i + 1] = [slice(None)] * (ndim - len(key) + 1)
    for axis, k in enumerate(key):
        cut = k if isinstance(k, slice) else slice(k, k + 1 or None)
        step = cut.step or 1
        low, high = (-END, END) if step > 0 else (END, -END)
        first, last = low if cut.start is None else cut.start, high if cut.stop is None else cut.stop
        if cut != slice(None):
            x = graph.node("Slice", x, *(graph.constant([n]) for n in (first, last, axis, step)))
    same_axes = all(isinstance(k, (slice, type(...))) for k in call.options["key"])
    return x if same_axes else _reshape(graph, call, x)


def _batch_norm(graph: Graph, call: Call, x: str, weight: str, bias: str) -> str:
    flat = [graph.node("Reshape", name, graph.constant([-1])) for name in (weight, bias)]
    moments = [graph.constant(m, call.node.dtype) for m in call.options["moments"]]
    return graph.node("BatchNormalization", x, *flat, *moments, epsilon=float(call.options["eps"]))


def _layer_norm(graph: Graph, call: Call, x: str, weight: str, bias: str) -> str:
    return graph.node("LayerNormalization", x, weight, bias, axis=-call.node.values[1].ndim, epsilon=float(call.options["eps"]))


ORDER = {"lstm": [0, 3, 1, 2], "gru": [1, 0, 2], "rnn": [0]}       # our gates i f g o, r z n in the order of ONNX


def _recurrent(kind: str, graph: Graph, call: Call, z: str, *inputs: str) -> str:
    """One direction of one layer. z is the input after its affine map, so the input weight of the operator is a permutation."""
    values, gates = call.node.values, ORDER[kind]
    h, *rest = values[1:]
    weight, bias = (rest[1], None) if kind == "lstm" else (rest[0], rest[1] if kind == "gru" and rest[1].size else None)
    if any(state.any() for state in ([h, rest[0]] if kind == "lstm" else [h])):
        raise ValueError(f"onnx.export: the {kind} layer starts from a state that is given, expected one from zeros")
    size, dtype = h.shape[1], call.node.dtype

    def ordered(rows: Array) -> Array:
        return rows.reshape(len(gates), size, -1)[gates].reshape(1, len(gates) * size, -1)

    own = [graph.constant(ordered(array), dtype) for array in (np.eye(len(gates) * size), weight)]
    if bias is not None:
        both = np.concatenate([np.zeros_like(bias), ordered(bias).ravel()])
        own.append(graph.constant(both[None], dtype))
    options: dict[str, Any] = {"linear_before_reset": 1} if kind == "gru" else {}
    if kind == "rnn":
        options["activations"] = [call.node.op.name.removeprefix("rnn_").capitalize()]
    direction = "reverse" if call.options.get("reverse") else "forward"
    states = graph.node(kind.upper(), z, *own, hidden_size=size, direction=direction, **options)
    states = graph.node("Squeeze", states, graph.constant([1]))
    first = graph.node("Mul", graph.node("Slice", states, *(graph.constant([k]) for k in (0, 1, 0))), graph.constant(0, dtype))
    around = [states, first] if call.options.get("reverse") else [first, states]
    return graph.node("Concat", *around, axis=0)


def _narrow(graph: Graph, call: Call, x: str) -> str:
    start, stop = call.options["start"], call.options["stop"]
    if call.node.parents[0].op.name == "lstm" and start == len(call.node.values[0]) - 1:
        raise ValueError("onnx.export: the model uses the last cell state of an LSTM, expected its outputs or hidden state")
    return graph.node("Slice", x, *(graph.constant([k]) for k in (start, stop, 0)))


RECURRENT: dict[str, Emit] = {          # their states are zeros, and no inputs of the operator
    "lstm": partial(_recurrent, "lstm"), "gru": partial(_recurrent, "gru"),
    "rnn_tanh": partial(_recurrent, "rnn"), "rnn_relu": partial(_recurrent, "rnn")}
OPERATORS: dict[str, Emit] = {
    **RECURRENT,
    **{name: _record(name) for name in ELEMENTWISE},
    "linear": lambda graph, call, x, weight, bias: graph.node("Gemm", x, weight, *[bias] * bool(bias), transB=1),
    "matmul": _matmul, "prelu": _operator("PRelu"),
    "maxout": lambda graph, call, x: graph.node("ReduceMax", x, graph.constant([-1]), keepdims=0),
    **{name: _operator(kind) for name, kind in {
        "add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "power": "Pow", "maximum": "Max", "minimum": "Min", "neg": "Neg",
        "pos": "Identity", "sqrt": "Sqrt", "sin": "Sin", "cos": "Cos", "abs": "Abs"}.items()},
    "square": lambda graph, call, x: graph.node("Mul", x, x),
    **{name: _reduced(kind) for name, kind in {
        "sum": "ReduceSum", "max": "ReduceMax", "min": "ReduceMin", "logsumexp": "ReduceLogSumExp"}.items()},
    "softmax": lambda graph, call, x: graph.node("Softmax", x, axis=-1),
    "log_softmax": lambda graph, call, x: graph.node("LogSoftmax", x, axis=-1),
    "reshape": _reshape, "transpose": _transpose, "take": _take, "cut": _cut, "narrow": _narrow,
    "concatenate": lambda graph, call, *parts: graph.node("Concat", *parts, axis=int(call.options["axis"])),
    "embedding": lambda graph, call, table, index: graph.node("Gather", table, index, axis=0),
    "batch_norm_by": _batch_norm, "layer_norm": _layer_norm}
