"""A native program gives the bits of its launches one by one; NumPy's arithmetic as kernels gives NumPy's bits."""
from __future__ import annotations

import weakref

import numpy as np
import pytest
from common import at_once

from tinygrad_relu import Tensor, nn, optim
from tinygrad_relu import functional as F
from tinygrad_relu.kernels.loops.loss import cross_entropy
from tinygrad_relu.kernels.loops.pointwise import swap
from tinygrad_relu.kernels.loops.strided import COMPARISONS, FORMULAS, as_kernel
from tinygrad_relu.kernels.loops.update import sgd
from tinygrad_relu.kernels.machine.door import copy, watch
from tinygrad_relu.kernels.machine.policy import Kernel
from tinygrad_relu.kernels.machine.program import Inputs, Native

NO_CUTS = np.zeros(0, np.int64)
MODELS = {
    "relu": lambda **o: nn.MLP([3, 8, 8, 2], rng=0, **o), "tanh, dropout": lambda **o: nn.MLP([3, 8, 2], "tanh", dropout=0.5, rng=0, **o),
    "leaky relu, batch norm": lambda **o: nn.MLP([3, 8, 2], "leaky_relu", norm="batch", rng=0, **o),
    "gelu, layer norm": lambda **o: nn.MLP([3, 8, 2], "gelu", norm="layer", rng=0, **o),
    "maxout": lambda **o: nn.MLP([3, 8, 2], "maxout", rng=0, **o), "large": lambda **o: nn.MLP([3, 1024, 2], rng=0, **o)}


def launches_of(step):
    """All launches of a function, in order; of a launched Python function, only itself."""
    seen, depth = [], []

    def note(kernel, arguments):
        if not depth:
            seen.append((kernel, arguments))
        depth.extend([1] * (type(kernel) is not Kernel))
        kernel(*arguments)
        del depth[len(depth) - (type(kernel) is not Kernel):]

    with watch(note):
        step()
    return seen


def memory(launches):
    """The arrays that own the memory of all arguments."""
    arrays = [x for _, arguments in launches for x in arguments if isinstance(x, np.ndarray)]
    while any(isinstance(x.base, np.ndarray) for x in arrays):
        arrays = [x.base if isinstance(x.base, np.ndarray) else x for x in arrays]
    return list({id(x): x for x in arrays}.values())


@pytest.mark.parametrize("kind, options", [(optim.SGD, {"momentum": 0.9}), (optim.Adam, {})], ids=["SGD", "Adam"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("model", MODELS)
def test_bits_of_a_training_step(model, dtype, kind, options):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((5 if model != "large" else 4096, 3)).astype(dtype), rng.integers(0, 2, 5 if model != "large" else 4096)
    net = MODELS[model](dtype=dtype)
    opt = kind(net.parameters(), lr=0.1, **options)

    def step():
        opt.zero_grad()
        F.cross_entropy(net(x), y).backward()
        opt.step()

    launches = [launch for each in launches_of(step) if (launch := each if type(each[0]) is Kernel else as_kernel(*each))]
    assert len(launches) > 5
    held = memory(launches)
    before = [one.copy() for one in held]
    for _ in range(2):
        for kernel, arguments in launches:
            kernel(*arguments)
    expected = [one.tobytes() for one in held]
    for one, was in zip(held, before):
        if one.flags.writeable:
            one[...] = was
    native = Native(launches)
    native.run(), native.run()
    assert [one.tobytes() for one in held] == expected != [one.tobytes() for one in before]


def test_numbers_are_read_at_each_run():
    p, g = np.ones(3, "float32"), np.ones(3, "float32")
    native = Native([(swap, (p.reshape(1, 1, 3), np.empty((1, 3, 1), "float32"))),
                     (sgd, (p, g, p[:0], NO_CUTS, 0.25, 0.0, True, 1.0, 0.0, False, False))])
    native.run()
    assert p.tolist() == [0.75] * 3
    native.write(1, 4, 0.5)
    native.run()
    assert p.tolist() == [0.25] * 3
    native.write(1, 8, 1.0), native.write(1, 10, True)      # decay, and decoupled
    native.run()
    assert p.tolist() == [0.25 * 0.5 - 0.5] * 3


def test_a_kernel_that_raises():
    x, labels, p = np.zeros((2, 3)), np.array([0, 1]), np.ones(3)
    update = (sgd, (p, p.copy(), p[:0], NO_CUTS, 0.25, 0.0, True, 1.0, 0.0, False, False))
    native = Native([update, (cross_entropy, (x, labels, 0.5, np.empty_like(x), np.empty(1))), update])
    native.run()
    assert p.tolist() == [0.5] * 3
    labels[1] = 3
    with pytest.raises(IndexError, match="a label is not a class"):
        native.run()
    assert native.at == 1 and p.tolist() == [0.25] * 3
    labels[1] = 2
    native.run()
    assert p.tolist() == [-0.25] * 3


def test_wrong_arguments_are_refused():
    x = np.ones((2, 3))
    with pytest.raises(TypeError, match=r"kernel swap: out is a ndarray of shape \(2, 3\) and float64; expected Array3"):
        Native([(swap, (x[None], x))])
    with pytest.raises(TypeError, match="kernel swap: got 1 arguments, expected 2"):
        Native([(swap, (x[None],))])
    with pytest.raises(TypeError, match=r"kernel swap: x is a ndarray .* expected Array3"):
        Native([(swap, (x[None, :, ::2], np.ones((1, 2, 2))))])
    Native([]).run()


def test_programs_in_threads_and_the_end_of_one():
    arrays = [np.ones(100000) for _ in range(2)]
    programs = [Native([(sgd, (p, p, p[:0], NO_CUTS, 0.5, 0.0, True, 1.0, 0.0, False, False))] * 10) for p in arrays]
    at_once([lambda native=native: [native.run() for _ in range(10)] for native in programs])
    assert all((p == 0.5**100).all() for p in arrays)
    freed = weakref.ref(arrays[0])
    del programs, arrays
    assert freed() is None


# -- NumPy's arithmetic ---------------------------------------------------------------------------------------------------------

SPECIAL = [0.0, -0.0, 1.0, -1.5, np.inf, -np.inf, np.nan, 1e-40, 1e-310, 1e38, -3.0]


def drawn(shape, dtype, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape)
    with np.errstate(over="ignore"):
        return np.where(rng.random(shape) < 0.3, rng.choice(SPECIAL, shape), x).astype(dtype)


def transposed(shape, dtype):
    return np.empty(shape[::-1], dtype).T


BINARY = {np.add, np.subtract, np.multiply, np.divide, *COMPARISONS}
OPERANDS = {        # two operands and the memory of the result
    "vectors": lambda t: (drawn(37, t, 0), drawn(37, t, 1), np.empty(37, t)),
    "matrices": lambda t: (drawn((5, 7), t, 0), drawn((5, 7), t, 1), np.empty((5, 7), t)),
    "row": lambda t: (drawn((5, 7), t, 0), drawn(7, t, 1), np.empty((5, 7), t)),
    "column": lambda t: (drawn((5, 1), t, 0), drawn((5, 7), t, 1), np.empty((5, 7), t)),
    "outer": lambda t: (drawn((5, 1), t, 0), drawn((1, 7), t, 1), np.empty((5, 7), t)),
    "zero axes": lambda t: (drawn((), t, 0), drawn((), t, 1), np.empty((), t)),
    "one number": lambda t: (drawn((), t, 0), drawn((2, 3), t, 1), np.empty((2, 3), t)),
    "a Python number": lambda t: (drawn((5, 7), t, 0), 0.1, np.empty((5, 7), t)),
    "a Python number first": lambda t: (3, drawn((5, 7), t, 0), np.empty((5, 7), t)),
    "transposed": lambda t: (drawn((7, 5), t, 0).T, drawn((5, 7), t, 1), np.empty((5, 7), t)),
    "into a transposed": lambda t: (drawn((5, 7), t, 0), drawn((5, 7), t, 1), transposed((5, 7), t)),
    "slices": lambda t: (drawn((9, 9), t, 0)[1:6, ::2], drawn((5, 5), t, 1), np.empty((6, 11), t)[1:, 1::2]),
    "four axes": lambda t: (drawn((2, 3, 4, 5), t, 0).swapaxes(0, 1), drawn((3, 1, 4, 1), t, 1), np.empty((3, 2, 4, 5), t)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", FORMULAS, ids=lambda function: function.__name__)
def test_bits_of_numpy(function, dtype):
    for name, make in OPERANDS.items():
        a, b, out = make(dtype)
        if function in COMPARISONS:
            out = np.empty(out.shape, bool)
        inputs = (a, b) if function in BINARY else (a if name == "a Python number" else b,)
        whole = out if out.base is None else out.base
        whole[...] = 7
        with np.errstate(all="ignore"):
            function(*inputs, out)
        expected = whole.tobytes()
        whole[...] = 7
        Native([as_kernel(function, (*inputs, out))]).run()
        assert whole.tobytes() == expected, name
    if function not in COMPARISONS:
        x, y = drawn(37, dtype, 2), drawn(37, dtype, 2)       # in place
        with np.errstate(all="ignore"):
            function(*[x] * len(inputs), x)
        kernel, arguments = as_kernel(function, (*[y] * len(inputs), y))
        kernel(*arguments)
        assert x.tobytes() == y.tobytes()


@pytest.mark.parametrize("given", ["float32", "float64", "int64", "bool", "uint32"])
@pytest.mark.parametrize("made", ["float32", "float64", "int64", "bool", "uint32"])
def test_copies_and_casts(given, made):
    with np.errstate(all="ignore"):
        x = (drawn((2, 37), "float64", 0) * 2.0**40).astype(given)
    out = np.empty((37, 2), made)
    launch = as_kernel(copy, (x.T, out))
    assert (launch is not None) == (given == made or (given != "uint32" and made in ("float32", "float64")))
    if launch:
        Native([launch]).run()
        with np.errstate(over="ignore"):
            assert out.tobytes() == x.T.astype(made).tobytes()


def test_what_stays_with_numpy():
    x = np.ones(6)
    for function, arguments in [
            (np.exp, (x, x)), (np.add, (x[1:], x[1:], x[:-1])), (copy, (x[::-1], np.empty(6))), (np.square, (0.1, x)),
            (np.add, (x[:0], x[:0], x[:0])), (np.add, (x, x.astype("float32"), x)), (np.add, (1, 2, x)), (np.less, (x, x, x)),
            (copy, (np.ones((2,) * 10).T, np.empty((2,) * 10))), (np.add.reduce, (x, None, None, np.empty(())))]:
        assert as_kernel(function, arguments) is None


def test_inputs_are_copied_only_if_they_fit():
    homes = [np.zeros((3, 2), "float32"), np.zeros(4, np.int64), np.array(0.0)]
    good = [np.ones((3, 2), "float32"), np.arange(4), np.array(2.0)]
    inputs = Inputs(homes, [True, True, False])
    assert inputs.take(*homes) and not inputs.take(*good)
    inputs.may_vary(2)
    assert inputs.take(*good)
    assert all((home == x).all() for home, x in zip(homes, good))
    for wrong in [[], good[:2], [*good, good[0]], [good[0].astype("float64"), *good[1:]], [good[0].T, *good[1:]],
                  [np.ones((2, 3), "float32").T, *good[1:]], [good[0].view(np.memmap), *good[1:]], [good[0], [0, 1, 2, 3], good[2]],
                  [good[0], np.arange(8)[::2], good[2]], [good[0], np.arange(4, dtype=">i8"), good[2]],
                  [good[0], good[1].view("datetime64[s]"), good[2]], [*good[:2], 2.0], [*good[:2], np.ones(1)]]:
        assert not inputs.take(*wrong)
    assert not Inputs([np.array([None])], [True]).take(np.array([None]))


def test_inputs_are_taken_out_of_tensors_of_one_kind():
    homes = [np.zeros(2), np.zeros(1), np.zeros(2)]
    inputs = Inputs(homes, [True] * 3, (), [(Tensor, "array", "requires_grad", trained) for trained in (False, True)] + [None])
    good = [Tensor([1.0, 2.0]), Tensor([3.0], requires_grad=True), np.array([4.0, 5.0])]
    assert inputs.take(*good) and [home.tolist() for home in homes] == [[1.0, 2.0], [3.0], [4.0, 5.0]]
    empty = Tensor.__new__(Tensor)
    empty.requires_grad = False
    for i, wrong in [(0, np.ones(2)), (0, Tensor([1.0, 2.0], requires_grad=True)), (0, Tensor([1.0, 2.0], dtype="float32")), (0, empty),
                     (0, Tensor([1.0])), (0, None), (1, Tensor([3.0])), (1, nn.Parameter([3.0])), (2, good[0])]:
        assert not inputs.take(*good[:i], wrong, *good[i + 1:])


def test_inputs_are_not_taken_if_an_attribute_is_another_object():
    nodes = [nn.Parameter([0.0]) for _ in range(3)]
    inputs = Inputs([], [], [(x, name, getattr(x, name)) for x in nodes for name in ("grad", "requires_grad")])
    assert inputs.take()
    for x in nodes:
        for name, other in (("grad", x.array), ("requires_grad", False)):
            before = getattr(x, name)
            setattr(x, name, other)
            assert not inputs.take()
            setattr(x, name, before)
            assert inputs.take()
