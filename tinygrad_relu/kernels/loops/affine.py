"""The affine layer, alone or with the activation that follows it."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

from numpy import empty  # by name: see autodiff/tape.py

from ..formulas import ACTIVATIONS
from ..formulas.record import Elementwise
from ..machine.blas import gemm_block
from ..machine.calling import called
from ..machine.door import current_watcher, launch
from ..machine.panels import SHARED, block, multiply, panel, panel_count, panel_shape
from ..machine.parallel import parallel
from ..machine.policy import Kernel, Matrix, Pair, Parameters, Vector, factory, in_turns, kernel, pair, scalar
from .pointwise import loops
from .reduce import column_sums

SLICE = 1 << 14         # numbers of a slice of an elementwise loop: 3 to 10 us

# -- the kernels ---------------------------------------------------------------------------------------------------------


@scalar
def check_sizes(x, weight, bias):
    if weight.shape[1] != x.shape[1] or (bias.size and bias.size != weight.shape[0]):
        raise ValueError("the sizes of x, weight and bias do not fit")


@scalar
def whole(x, weight, bias, out):
    """A layer below `SHARED`. It does without panels and `parallel`, which take 0.3 us: as long as the smallest product.

    The bias comes last: OpenBLAS adds slowly to short rows (to 64 x 10 in 1.1 us, which it writes in 0.7).
    """
    gemm_block(False, True, x, weight, 0.0, out, 0, out.shape[0], 0, out.shape[1])
    if bias.size:
        for r in range(out.shape[0]):
            for c in range(out.shape[1]):
                out[r, c] += bias[c]


@scalar
def affine_panel(x, weight, bias, out, top, bottom, left, right):
    if bias.size:
        first = bias[left:right]
        for r in range(top, bottom):
            line = out[r, left:right]
            for c in range(line.size):      # an assignment of slices takes 15 ns more for each row
                line[c] = first[c]
    block(False, True, x, weight, 1.0 if bias.size else 0.0, out, top, bottom, left, right)


@scalar
def affine_panels(start, stop, x, weight, bias, out, rows, columns):
    for i in range(start, stop):
        top, bottom, left, right = panel(i, out, rows, columns, False)
        affine_panel(x, weight, bias, out, top, bottom, left, right)


@scalar
def gradient_panels(start, stop, g, x, weight, gx, gw, gb, add, rows_x, columns_x, rows_w, columns_w):
    """Work item 0 is the gradient of the bias. Panels of gx and gw follow in turn, so each thread has its part of both."""
    of_x = panel_count(gx, rows_x, columns_x) if gx.size else 0
    both = max(1, of_x + (panel_count(gw, rows_w, columns_w) if gw.size else 0))
    for i in range(start, stop):
        k = (i - 1) * of_x // both      # panels of gx before this item
        if i == 0:
            if gb.size:
                column_sums(g, gb, add & 4)
        elif i * of_x // both > k:
            multiply(k, k + 1, False, False, g, weight, 1.0 if add & 1 else 0.0, gx, rows_x, columns_x)
        else:
            multiply(i - 1 - k, i - k, True, False, g, x, 1.0 if add & 2 else 0.0, gw, rows_w, columns_w)


@kernel
def linear(x: Matrix, weight: Matrix, bias: Vector, out: Matrix):
    check_sizes(x, weight, bias)
    if out.size * x.shape[1] < SHARED:
        whole(x, weight, bias, out)
        return
    rows, columns = panel_shape(out.shape[0], out.shape[1], x.shape[1], False, True)
    parallel(affine_panels, panel_count(out, rows, columns), 1, (x, weight, bias, out, rows, columns))


@kernel
def linear_pullback(g: Matrix, x: Matrix, weight: Matrix, gx: Matrix, gw: Matrix, gb: Vector, add: int):
    rows, outputs, inputs = g.shape[0], g.shape[1], x.shape[1]
    if rows * outputs * inputs < SHARED:
        if gx.size:
            gemm_block(False, False, g, weight, 1.0 if add & 1 else 0.0, gx, 0, rows, 0, inputs)
        if gw.size:
            gemm_block(True, False, g, x, 1.0 if add & 2 else 0.0, gw, 0, outputs, 0, inputs)
        if gb.size:
            column_sums(g, gb, add & 4)
        return
    rows_x, columns_x = panel_shape(rows, inputs, outputs, False, False)
    rows_w, columns_w = panel_shape(outputs, inputs, rows, True, False)
    of_x, of_w = panel_count(gx, rows_x, columns_x) if gx.size else 0, panel_count(gw, rows_w, columns_w) if gw.size else 0
    parallel(gradient_panels, 1 + of_x + of_w, 1, (g, x, weight, gx, gw, gb, add, rows_x, columns_x, rows_w, columns_w))


gradients = called(linear_pullback)


@factory(ACTIVATIONS.values())
def linear_activation(activation: Elementwise[...]) -> Pair:
    """The two kernels: ``forward(x, weight, bias, p, z, out)`` computes z = x @ weight.T + bias and out = f(z), and `pullback`
    computes gz, the gradient of z, first.

    This saves one launch and one node per layer: a training step of a small MLP is a third faster. In a large layer the
    activation is applied to each panel while it is in the cache. If, with default parameters, the slope can be read off the
    result (relu), `forward` does not write z. `pullback` may get g as gz.
    """
    f, f_dx, overwrites = activation.f, activation.f_dx, activation.slope_from_y(*activation.defaults)

    # `flat`, because Numba counts the references to a slice, which takes 30 ns.

    @in_turns
    def activate(start, stop, z, out, p):
        z, out = z.flat, out.flat
        for i in range(start, stop):
            out[i] = f(out[i] if overwrites else z[i], *p)      # vectors only if LLVM knows that z is out

    @scalar
    def panels(start, stop, x, weight, bias, p, z, out, rows, columns):
        before = out if overwrites else z
        for i in range(start, stop):
            top, bottom, left, right = panel(i, out, rows, columns, False)
            affine_panel(x, weight, bias, before, top, bottom, left, right)
            if right - left == out.shape[1]:            # then the rows follow each other without a gap
                activate(top * right, bottom * right, z, out, p)
            else:
                for r in range(top, bottom):
                    activate(r * out.shape[1] + left, r * out.shape[1] + right, z, out, p)

    @in_turns
    def slopes(start, stop, g, z, y, p, gz):
        apart = g.ctypes.data != gz.ctypes.data
        g, z, y, gz = g.flat, z.flat, y.flat, gz.flat
        if apart:
            for i in range(start, stop):
                gz[i] = g[i]
        for i in range(start, stop):
            gz[i] = f_dx(gz[i], z[i], y[i], *p)         # vectors only if LLVM knows that g is gz

    def forward(x: Matrix, weight: Matrix, bias: Vector, p: Parameters, z: Matrix, out: Matrix):
        check_sizes(x, weight, bias)
        if out.size * x.shape[1] < SHARED:
            whole(x, weight, bias, out if overwrites else z)
            activate(0, out.size, z, out, p)
            return
        rows, columns = panel_shape(out.shape[0], out.shape[1], x.shape[1], False, True)
        parallel(panels, panel_count(out, rows, columns), 1, (x, weight, bias, p, z, out, rows, columns))

    def pullback(g: Matrix, z: Matrix, y: Matrix, x: Matrix, weight: Matrix, p: Parameters, gz: Matrix, gx: Matrix, gw: Matrix,
                 gb: Vector, add: int):
        if g.size <= SLICE:
            slopes(0, g.size, g, z, y, p, gz)
        else:
            parallel(slopes, g.size, SLICE, (g, z, y, p, gz))
        gradients(gz, x, weight, gx, gw, gb, add)

    return pair(f"linear_{activation.name}", activation, forward, pullback)


def is_pullback(kernel: Any, of: Callable[..., Pair] = linear_activation) -> bool:
    """Whether it is a pullback of `linear_activation`, or of the same for members."""
    return isinstance(kernel, Kernel) and kernel.record is not None and kernel is of(kernel.record).pullback


# -- the layer -----------------------------------------------------------------------------------------------------------


class Affine(NamedTuple):
    """An affine layer and its pullback, one launch each. x (rows, inputs), weight (outputs, inputs), bias (outputs,) or empty."""

    forward: Callable[..., Any]
    """``forward(x, weight, bias) -> y, z``: y = f(x @ weight.T + bias), and z is what the pullback needs."""
    pullback: Callable[..., None]
    """``pullback(g, y, z, into, add, x, weight, bias)``: as the `fused` of an operation. With f, `into` ends with gz."""


def slope_from_y(activation: Elementwise[...] | None, p: tuple[float, ...]) -> tuple[bool, bool]:
    """Whether the slope follows from the result with the parameters p; and with the default ones, where kernels write no z."""
    return (activation.slope_from_y(*p), activation.slope_from_y(*activation.defaults)) if activation else (True, True)


@cache
def affine(activation: Elementwise[...] | None = None, p: tuple[float, ...] = (), keeps: bool = False) -> Affine:
    """The layer with an activation, of parameters p, or without one. With `keeps`, it returns z even if y suffices."""
    fused, apart = (linear_activation(activation), loops(activation)) if activation else (None, None)
    from_y, overwrites = slope_from_y(activation, p)
    one_launch = (from_y or not overwrites) and not keeps       # else the kernel would leave out the z that is needed
    to_y, to_inputs = (fused.forward if fused and one_launch else None), fused.pullback if fused else linear_pullback

    def forward(x: Any, weight: Any, bias: Any) -> tuple[Any, Any]:
        dtype = x.dtype
        if dtype is not weight.dtype:
            check(x, weight, bias)
        y = empty((len(x), len(weight)), dtype)
        z = y if from_y and overwrites and not keeps else empty(y.shape, dtype)
        try:
            if to_y is not None:        # `launch`, in 0.1 us less
                (to_y.code[dtype] if current_watcher() is None else partial(launch, to_y))(x, weight, bias, p, z, y)
            else:
                (linear.code[dtype] if current_watcher() is None else partial(launch, linear))(x, weight, bias, z)
        except (TypeError, ValueError):         # the kernels check all else, in less time
            check(x, weight, bias)
            raise
        if apart and not one_launch:
            launch(apart.forward, z.ravel(), p, y.ravel())
        return y, z

    def pullback(g: Any, y: Any, z: Any, into: Sequence[Any], add: int, x: Any, weight: Any, bias: Any) -> None:
        run = to_inputs.code[g.dtype] if current_watcher() is None else partial(launch, to_inputs)
        if fused is not None:
            gx, gw, gb, gz = into
            run(g, z, y, x, weight, p, gz, gx, gw, gb, add)
        else:
            run(g, x, weight, *into, add)

    return Affine(forward, pullback)


def check(x: Any, weight: Any, bias: Any) -> None:
    """Raise if shapes or dtypes do not fit, and say how."""
    shape = weight.shape
    if len(shape) != 2 or shape[1:] != x.shape[1:] or bias.shape not in (shape[:1], (0,)):
        given = f"the weight {shape}" if bias.shape == (0,) else f"the weight {shape}, the bias {bias.shape}"
        inputs = shape[1] if len(shape) == 2 else "inputs"
        raise ValueError(f"linear: x has shape {x.shape}, {given}; expected x (..., {inputs}), weight (outputs, inputs) and "
                         "bias (outputs,)")
    if not x.dtype == weight.dtype == bias.dtype:
        given = f"the weight {weight.dtype}" if bias.shape == (0,) else f"the weight {weight.dtype}, the bias {bias.dtype}"
        raise TypeError(f"linear: x is {x.dtype}, {given}; expected one dtype (x.astype(...) converts)")
