"""Export a model to an ONNX file, which other programs run without this package.

A forward pass in evaluation is recorded as a graph, and each operation becomes one or a few ONNX operators. The model is
evaluated on two batches of different sizes: an array that is the same for both becomes a constant of the file, and an axis that
differs is left open.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from ..autodiff.node import Array, Node, recording
from ..autodiff.tape import history
from ..checks import check_count, said
from ..files import AnyPath, write_through
from ..kernels.formulas import ACTIVATIONS
from ..missing import needing
from ..nn import Module
from ..nn.module import evaluating
from ..tensor import Tensor
from .operators import ELEMENTWISE, OPERATORS, RECURRENT

OPSET, IR_VERSION = 20, 9


def export(model: Module, x: Any, path: AnyPath, *, batch_axis: int = 0, input_name: str = "input",
           output_name: str = "output") -> None:
    """Write `model`, as it is in evaluation, into an ONNX file.

    - `x`: an example of the input: floats, or integers for an `Embedding`. Its numbers do not matter.
    - `batch_axis`: the axis of x, and of the output, that may have any length; of a recurrent layer without batch_first it is 1.

    A `ValueError` names an operation for which there is no ONNX operator here, such as an activation of your own. onnxruntime
    computes most operators in float32 only: export ``model.float()``.

    >>> import tempfile
    >>> model = nn.MLP([4, 3, 2], rng=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tg.onnx.export(model, np.zeros((1, 4)), f"{folder}/model.onnx")
    """
    with needing("onnx.export needs", "onnx"):
        import onnx
    if not isinstance(model, Module):
        raise TypeError(f"onnx.export: the model is {said(model)}, expected a Module")
    example = np.asarray(x)
    if check_count(batch_axis, "onnx.export: batch_axis", least=-example.ndim) >= example.ndim or not example.size:
        raise ValueError(f"onnx.export: x has shape {example.shape}, expected at least one sample along axis {batch_axis}")
    batch_axis %= example.ndim
    graph = Graph(model, example, batch_axis, input_name)
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


class Graph:
    """The operators and constants of a file, built from the two recorded passes."""

    def __init__(self, model: Module, x: Array, batch_axis: int, input_name: str) -> None:
        self.nodes: list[tuple[str, list[str], str, dict[str, Any]]] = []
        self.constants: dict[str, Array] = {}
        self._names: dict[int, str] = {id(p): name for name, p in model.named_parameters()}
        more = np.concatenate([x, x.take([0], batch_axis)], batch_axis)
        (start, self.output), (again, other) = (_recorded(model, part) for part in (x, more))
        self.input, self._other_input, self._input_name = start.array, again.array, input_name
        self._names[id(start)] = input_name
        first, second = (history(output, "onnx.export") for output in (self.output, other))
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
        if name != "reshape" and not all(_same(option, other.params[key]) for key, option in node.params.items()):
            raise ValueError(f"onnx.export: {name} has options that depend on the size of the batch, expected the same for any "
                             "size; for a recurrent layer without batch_first pass batch_axis=1")
        inputs = [self._input(node, other, i) for i in range(1 if name in RECURRENT else len(node.values))]
        result: str = emit(self, Call(node, other), *inputs)
        if name.startswith("linear_") and node.op.activation is not None:
            result = self.activation(node.op.activation, node.op.p, result, node.dtype)
        return result

    def _input(self, node: Node, other: Node, i: int) -> str:
        """The name of input i of an operation: an earlier result, a parameter, or a constant."""
        value, again, parent = node.values[i], other.values[i], node.parents[i] if node.parents else None
        for known in (parent, value):
            if id(known) in self._names:
                name = self._names[id(known)]
                if parent is not None and parent.op is None and name != self._input_name:
                    self.constants[name] = parent.array
                return name
        if self.input.dtype == np.int64 and _same(value, self.input) and _same(again, self._other_input):   # an index is copied
            return self._input_name
        if not _same(value, again):
            raise ValueError(f"onnx.export: {node.op.name} takes {said(value)}, which depends on the batch and is not computed "
                             "from the input by operations of the package")
        return self.constant(value, getattr(value, "dtype", node.dtype)) if np.size(value) else ""

    def activation(self, record: Any, p: tuple[float, ...], x: str, dtype: Any) -> str:
        name = record.name
        if name not in ELEMENTWISE or ACTIVATIONS[name] is not record:          # one of a user's own may have a known name
            raise ValueError(f"onnx.export: there is no ONNX operator for the activation {name!r}")
        return ELEMENTWISE[name](self, x, lambda value: self.constant(value, dtype), *p)


def _same(one: Any, other: Any) -> bool:
    """Whether a value, or an option, is the same in both passes."""
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(map(_same, one, other))
    return one is other or np.array_equal(one, other)


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


class Call:
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
