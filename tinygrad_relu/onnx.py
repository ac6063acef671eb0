"""Export a model to an ONNX file, which other programs run without this package.

A forward pass in evaluation is recorded as a graph, and each operation becomes one or a few ONNX operators. The model is
evaluated on two batches of different sizes: an array that is the same for both becomes a constant of the file, and an axis that
differs is left open.
"""
from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .autodiff.node import Array, Node, recording
from .checks import said
from .files import AnyPath, write_through
from .kernels.formulas import ACTIVATIONS
from .nn import Module
from .nn.module import evaluating
from .tensor import Tensor

OPSET, IR_VERSION = 20, 9
MISSING = 'onnx.export needs the package onnx, which is not installed: python -m pip install "tinygrad_relu[onnx]"'


def export(model: Module, x: Any, path: AnyPath, *, batch_axis: int = 0, input_name: str = "input",
           output_name: str = "output") -> None:
    """Write `model`, as it is in evaluation, into an ONNX file.

    Parameters
    ----------
    x : an example of the input: floats, or integers for an `Embedding`. Its numbers do not matter.
    batch_axis : the axis of x, and of the output, that may have any length; of a recurrent layer without batch_first it is 1.

    A `ValueError` names an operation for which there is no ONNX operator here, such as an activation of your own. onnxruntime
    computes most operators in float32 only: export ``model.float()``.

    >>> import tempfile
    >>> model = nn.MLP([4, 3, 2], rng=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tg.onnx.export(model, np.zeros((1, 4)), f"{folder}/model.onnx")
    """
    try:
        import onnx
    except ImportError as error:
        raise ImportError(MISSING) from error
    if not isinstance(model, Module):
        raise TypeError(f"onnx.export: the model is {said(model)}, expected a Module")
    example = np.asarray(x)
    if example.ndim <= batch_axis or not example.size:
        raise ValueError(f"onnx.export: x has shape {example.shape}, expected at least one sample along axis {batch_axis}")
    graph = _Graph(model, example, batch_axis, input_name)
    result = graph.node("Identity", graph.finish(), output=output_name)

    def described(name: str, array: Array) -> Any:
        shape = [("batch" if i == batch_axis else n) for i, n in enumerate(array.shape)]
        return onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), shape)

    file = onnx.helper.make_model(
        onnx.helper.make_graph(
            [onnx.helper.make_node(kind, inputs, [output], **options) for kind, inputs, output, options in graph.nodes],
            type(model).__name__, [described(input_name, graph.input)], [described(result, graph.output.array)],
            [onnx.numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in graph.constants.items()]),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="tinygrad_relu")
    onnx.checker.check_model(file, full_check=True)
    write_through(path, lambda out: out.write(file.SerializeToString()))


class _Graph:
    """The operators and constants of a file, built from the two recorded passes."""

    def __init__(self, model: Module, x: Array, batch_axis: int, input_name: str) -> None:
        self.nodes: list[tuple[str, list[str], str, dict[str, Any]]] = []
        self.constants: dict[str, Array] = {}
        self._names: dict[int, str] = {id(p): name for name, p in model.named_parameters()}
        more = np.concatenate([x, x.take([0], batch_axis)], batch_axis)
        (start, self.output), (again, other) = (_recorded(model, part) for part in (x, more))
        self.input, self._input_name = start.array, input_name
        self._names[id(start)] = input_name
        first, second = _made(self.output), _made(other)
        if [node.op.name for node in first] != [node.op.name for node in second]:
            raise ValueError("onnx.export: the model runs other operations on a batch of another size, expected the same")
        self._pairs = list(zip(first, second))

    def finish(self) -> str:
        """Add the operators of all operations; returns the name of the result."""
        for node, other in self._pairs:
            self._names[id(node)] = self._add(node, other)
        return self._names[id(self.output)]

    def node(self, kind: str, *inputs: str, output: str = "", **options: Any) -> str:
        """Add an operator; returns the name of its result."""
        output = output or f"{kind}_{len(self.nodes)}"
        self.nodes.append((kind, list(inputs), output, options))
        return output

    def constant(self, values: Any, dtype: Any = np.int64) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants[name] = np.asarray(values, dtype)
        return name

    def _add(self, node: Node, other: Node) -> str:
        name = node.op.name
        emit = OPERATORS.get(name.partition("_")[0] if node.op.activation is not None and name.startswith("linear_") else name)
        if emit is None:
            raise ValueError(f"onnx.export: there is no ONNX operator for {name!r}, an operation of this model")
        inputs = [self._input(node, other, i) for i in range(1 if name in RECURRENT else len(node.values))]
        result: str = emit(self, _Call(node, other), *inputs)
        if name.startswith("linear_") and node.op.activation is not None:
            result = self._activation(node.op.activation, node.op.p, result, node.dtype)
        return result

    def _input(self, node: Node, other: Node, i: int) -> str:
        """The name of input i of an operation: an earlier result, a parameter, or a constant."""
        value, parent = node.values[i], node.parents[i] if node.parents else None
        for known in (parent, value):
            if id(known) in self._names:
                name = self._names[id(known)]
                if parent is not None and parent.op is None and name != self._input_name:
                    self.constants[name] = parent.array
                return name
        if not isinstance(value, np.ndarray):
            return self.constant(value, node.dtype)
        if value.dtype == self.input.dtype == np.int64 and np.array_equal(value, self.input):     # an index is copied
            return self._input_name
        if value.shape != np.shape(other.values[i]):
            raise ValueError(f"onnx.export: {node.op.name} takes an array of shape {value.shape} that depends on the size of the "
                             "batch and is not computed from the input by operations of the package")
        return self.constant(value, value.dtype) if value.size else ""

    def _activation(self, record: Any, p: tuple[float, ...], x: str, dtype: Any) -> str:
        name = record.name
        if name not in ELEMENTWISE or ACTIVATIONS[name] is not record:          # one of a user's own may have a known name
            raise ValueError(f"onnx.export: there is no ONNX operator for the activation {name!r}")
        return ELEMENTWISE[name](self, x, lambda value: self.constant(value, dtype), *p)


def _recorded(model: Module, x: Array) -> tuple[Tensor, Tensor]:
    """The input and the output of a forward pass in evaluation, with its graph."""
    floats = np.issubdtype(x.dtype, np.floating)
    dtype = next((p.dtype for p in model.parameters()), x.dtype)
    start = Tensor.leaf(np.ascontiguousarray(x, dtype if floats else np.int64), requires_grad=floats)
    with evaluating(model), recording():
        y = model(start if floats else start.array)
    y = y[0] if isinstance(y, tuple) else y         # of a recurrent layer: the outputs
    if not isinstance(y, Tensor) or y.op is None:
        raise ValueError(f"onnx.export: the model returns {said(y)}, expected a Tensor that depends on its parameters or input")
    return start, y


def _made(output: Node) -> list[Node]:
    """All results of operations that `output` depends on, in the order in which they were made."""
    found, stack = dict[int, Node](), [output]
    while stack:
        node = stack.pop()
        if node.op is not None and id(node) not in found:
            found[id(node)] = node
            stack += [parent for parent in node.parents if parent is not None]
    return sorted(found.values(), key=lambda node: node.order)


class _Call:
    """One operation in both passes: its options, and its shapes."""

    def __init__(self, node: Node, other: Node) -> None:
        self.node, self.other = node, other
        self.options = node.params

    def axes(self, what: str = "axis") -> list[int] | None:
        axis = self.options.get(what)
        return None if axis is None else [int(a) for a in np.atleast_1d(axis)]

    def open_shape(self) -> list[int]:
        """The shape of the result, with -1 for the axis that depends on the size of the batch."""
        shape = [n if n == m else -1 for n, m in zip(self.node.shape, self.other.shape)]
        if shape.count(-1) > 1:
            raise ValueError(f"onnx.export: {self.node.op.name} gives the shape {self.node.shape}, of which several axes depend "
                             "on the size of the batch; expected one")
        return shape


# -- elementwise functions: from the graph, the name of x, the maker of constants, and the parameters ------------------------

Emit = Callable[..., str]


def _as_is(kind: str, *names: str, **options: Any) -> Emit:
    """One operator; `names` are those of the parameters that it takes as attributes."""
    return lambda graph, x, number, *p: graph.node(kind, x, **dict(zip(names, map(float, p))), **options)


def _clip(graph: _Graph, x: str, number: Any, low: float = 0.0, high: float = 6.0) -> str:
    return graph.node("Clip", x, number(low), number(high))


def _step(graph: _Graph, x: str, number: Any, *p: float) -> str:
    return graph.node("Where", graph.node("GreaterOrEqual", x, number(0)), number(1), number(0))


def _softplus(graph: _Graph, x: str, number: Any, beta: float = 1.0, threshold: float = np.inf) -> str:
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
    def emit(graph: _Graph, call: _Call, x: str) -> str:
        record = call.node.op.activation
        return graph._activation(record, call.options.get("p", record.defaults), x, call.node.dtype)

    return emit


def _linear(graph: _Graph, call: _Call, x: str, weight: str, bias: str) -> str:
    return graph.node("Gemm", x, weight, *[bias] * bool(bias), transB=1)


def _matmul(graph: _Graph, call: _Call, *inputs: str) -> str:
    turned = []
    for name, side, array in zip(inputs, "ab", call.node.values):
        axes = [*range(array.ndim - 2), array.ndim - 1, array.ndim - 2]
        turned.append(graph.node("Transpose", name, perm=axes) if call.options.get(f"transpose_{side}") else name)
    return graph.node("MatMul", *turned)


def _reduced(kind: str) -> Emit:
    def emit(graph: _Graph, call: _Call, x: str) -> str:
        axes = call.axes()
        return graph.node(kind, x, *([] if axes is None else [graph.constant(axes)]),
                          keepdims=int(call.options.get("keepdims", False)))

    return emit


def _reshape(graph: _Graph, call: _Call, x: str) -> str:
    return graph.node("Reshape", x, graph.constant(call.open_shape()))


def _transpose(graph: _Graph, call: _Call, x: str) -> str:
    axes, n = call.axes("axes"), len(call.node.shape)
    return graph.node("Transpose", x, perm=[a % n for a in axes] if axes is not None else [*range(n)][::-1])


def _take(graph: _Graph, call: _Call, x: str) -> str:
    if call.options.get("count", 1) != 1:
        raise ValueError("onnx.export: there is no ONNX operator here for a selection along several axes at once")
    return graph.node("Gather", x, graph.constant(call.options["rows"]), axis=call.options["axis"])


def _cut(graph: _Graph, call: _Call, x: str) -> str:
    """A key of integers, slices, None and one Ellipsis, as Slice and Reshape."""
    key, ndim = [k for k in call.options["key"] if k is not None], call.node.values[0].ndim
    if any(not isinstance(k, (int, np.integer, slice, type(...))) for k in key):
        raise ValueError(f"onnx.export: there is no ONNX operator here for the selection {call.options['key']!r}")
    if ... in key:
        i = key.index(...)
        key[i:i + 1] = [slice(None)] * (ndim - len(key) + 1)
    for axis, k in enumerate(key):
        if isinstance(k, slice):
            start, stop, step = k.indices(call.node.values[0].shape[axis])
            if (start, step) == (0, 1) and k.stop is None:
                continue
            ends = start, k.stop if k.stop is not None else np.iinfo(np.int64).max * (1 if step > 0 else -1), step
        else:
            ends = int(k), int(k) + 1 if k != -1 else np.iinfo(np.int64).max, 1
        first, last, by = (graph.constant([end]) for end in ends)
        x = graph.node("Slice", x, first, last, graph.constant([axis]), by)
    return graph.node("Reshape", x, graph.constant(call.open_shape()))


def _batch_norm(graph: _Graph, call: _Call, x: str, weight: str, bias: str) -> str:
    flat = [graph.node("Reshape", name, graph.constant([-1])) for name in (weight, bias)]
    moments = [graph.constant(m, call.node.dtype) for m in call.options["moments"]]
    return graph.node("BatchNormalization", x, *flat, *moments, epsilon=float(call.options["eps"]))


def _layer_norm(graph: _Graph, call: _Call, x: str, weight: str, bias: str) -> str:
    return graph.node("LayerNormalization", x, weight, bias, axis=-call.node.values[1].ndim, epsilon=float(call.options["eps"]))


ORDER = {"lstm": [0, 3, 1, 2], "gru": [1, 0, 2], "rnn": [0]}       # our gates i f g o, r z n in the order of ONNX


def _recurrent(kind: str, graph: _Graph, call: _Call, z: str, *inputs: str) -> str:
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


def _narrow(graph: _Graph, call: _Call, x: str) -> str:
    start, stop = call.options["start"], call.options["stop"]
    steps = call.node.values[0].shape[0] - (2 if call.node.parents[0].op.name == "lstm" else 1)
    if call.node.parents[0].op.name == "lstm" and start > steps:
        raise ValueError("onnx.export: the model uses the last cell state of an LSTM, expected its outputs or hidden state")
    return graph.node("Slice", x, *(graph.constant([k]) for k in (start, stop, 0)))


RECURRENT: dict[str, Emit] = {          # their states are zeros, and no inputs of the operator
    "lstm": partial(_recurrent, "lstm"), "gru": partial(_recurrent, "gru"),
    "rnn_tanh": partial(_recurrent, "rnn"), "rnn_relu": partial(_recurrent, "rnn")}
OPERATORS: dict[str, Emit] = {
    **RECURRENT,
    **{name: _record(name) for name in ELEMENTWISE},
    "linear": _linear, "matmul": _matmul, "prelu": _operator("PRelu"),
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
