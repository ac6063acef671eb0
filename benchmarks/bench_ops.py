"""Elementwise operations and reductions, forward and backward, float32; a new one is a new benchmark. (Not activations.)"""
from inspect import isfunction, signature

import numpy as np

import tinygrad_relu as tg
from tinygrad_relu import Tensor, grad
from tinygrad_relu.autodiff.node import Op
from tinygrad_relu.ops import elementary, elementwise


def takes_arrays_alone(op):
    try:
        signature(op.forward).bind(*op.pull)
    except TypeError:           # it needs options, too
        return False
    except ValueError:          # a ufunc without a signature
        pass
    return True


OPS = {op.name: (op, len(op.pull)) for module in (elementwise, elementary) for op in vars(module).values()
       if isinstance(op, Op) and op.elementwise and len(op.pull) <= 2 and takes_arrays_alone(op)}
REDUCTIONS = [name for name, f in vars(tg).items() if isfunction(f) and {"axis", "keepdims"} <= set(signature(f).parameters)
              and not name.startswith("arg")]
OPS |= {name: (f, 1) for name, f in vars(tg).items() if isfunction(f) and hasattr(Tensor, name) and name in vars(elementary)}
OPS |= {"power 3": (lambda x: x**3, 1), "clip": (lambda x: tg.clip(x, 0.75, 1.25), 1),
        "where": (lambda a, b: tg.where(a > 1, a, b), 2), "astype": (lambda x: x.astype("float64"), 1)}
OPS |= {f"{name}, axis {axis}": (lambda x, name=name, axis=axis: getattr(tg, name)(x, axis=axis), 1)
        for name in [*REDUCTIONS, "cumsum"] for axis in (0, 1)}


class Ops:
    """A matrix that fits into the nearest caches."""

    params = (tuple(OPS), ((128, 128),))
    param_names = ("op", "shape")
    timeout = 300

    def setup(self, name, shape):
        rng = np.random.default_rng(0)
        self.f, inputs = OPS[name]
        self.arrays = [Tensor(rng.uniform(0.5, 1.5, shape).astype("float32")) for _ in range(inputs)]
        self.inputs = [Tensor(x, requires_grad=True) for x in self.arrays]
        self.y = self.f(*self.inputs)
        self.g = rng.standard_normal(self.y.shape, dtype=np.float32)
        self.time_forward(), self.time_backward()       # compiled, or loaded from the cache

    def time_forward(self, *_):
        self.f(*self.arrays)

    def time_backward(self, *_):
        """The pullbacks within a backward pass, whose overhead is a few microseconds."""
        grad(self.y, self.inputs, self.g, retain_graph=True)


class Large(Ops):
    """A matrix that does not fit into the nearest caches."""

    params = (("mul", "power", "sum, axis 0", "sum, axis 1", "cumsum, axis 0"), ((1024, 1024),))


class Compare:
    def setup(self):
        rng = np.random.default_rng(0)
        self.x, self.y = (Tensor(rng.standard_normal((128, 128), dtype=np.float32)) for _ in range(2))
        self.nodes = [Tensor(1.0) for _ in range(1000)]
        self.time_less()

    def time_less(self):
        self.x < self.y  # noqa: B015

    def time_a_thousand_nodes_in_a_dict(self):
        """Nodes as keys, as in a backward pass: they are compared by identity, and == is never called."""
        table = dict.fromkeys(self.nodes)
        for node in self.nodes:
            table[node] = node


class Positions:
    """Where the extremes are, along the last axis and along the first, float32."""

    params = (("argmax", "argmin"), (0, 1))
    param_names = ("op", "axis")

    def setup(self, name, axis):
        self.f, self.x = getattr(tg, name), Tensor(np.random.default_rng(0).standard_normal((1024, 128), dtype=np.float32))
        self.time_positions(name, axis)

    def time_positions(self, name, axis):
        self.f(self.x, axis)


class HigherOrder:
    """Second derivatives of the loss of a small network by its input: the Hessian times one vector, and the whole Hessian."""

    timeout = 300

    def setup(self):
        rng = np.random.default_rng(0)
        weights = [rng.standard_normal(shape) / 4 for shape in ((16, 32), (32, 1))]
        self.x, self.v = Tensor(rng.standard_normal((4, 16))), rng.standard_normal((4, 16))
        self.f = lambda x: (tg.functional.tanh(x @ weights[0]) @ weights[1]).sum()
        self.time_hvp(), self.time_hessian(), self.time_jacobian(), self.time_jacobian_with_a_history()

    def time_hvp(self):
        tg.hvp(self.f, self.x, self.v)

    def time_hessian(self):
        tg.hessian(self.f, self.x)

    def time_jacobian(self):
        tg.jacobian(lambda x: x @ x.T, self.x)

    def time_jacobian_with_a_history(self):
        tg.jacobian(lambda x: x @ x.T, self.x, create_graph=True)
