"""Adding an activation, an op, a loss, a layer and an optimizer: by a user in one file, and inside a copy of the package.

docs/extending.md is the user's file: its blocks run in test_docs.py. Here such a file is imported as a module, so that what it
defines can be pickled and found in the cache again; and edits of the package are counted.
"""
from __future__ import annotations

import math
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygrad_relu as tg
from tinygrad_relu import lab, nn
from tinygrad_relu.lab.layers import flat_edges

ROOT = Path(tg.__file__).parents[1]


# -- an activation ---------------------------------------------------------------------------------------------------------

def straight(x, low=-1.0):
    T = type(x)
    return T(low) if x <= T(low) else x


def straight_dx(g, x, y, low=-1.0):
    return type(x)(0) if x <= type(x)(low) else g


def straight_dxx(c, x, y, low=-1.0):
    return type(x)(0)


floored = tg.activation("floored", straight, straight_dx, straight_dxx, kinks=lambda low: ((low, 0.0),), formula="max(x, low)",
                        source="here")


def test_function_and_module_are_like_the_built_in_ones():
    x = np.array([[-2.0, -0.5, 3.0]], np.float32)
    assert floored(x).data.tolist() == [[-1, -0.5, 3]] and floored(x, low=-0.25).data.tolist() == [[-0.25, -0.25, 3]]
    assert floored(x).dtype == np.float32
    layer = floored.Module(low=-0.25)
    assert repr(layer) == "Floored(low=-0.25)" and layer.low == -0.25 and layer(x).data.tolist() == [[-0.25, -0.25, 3]]
    for thing in (floored, floored.Module):
        assert "max(x, low)" in thing.__doc__ and "Source: here" in thing.__doc__ and "0 at x = -1" in thing.__doc__
        assert thing.__doc__.endswith("([-2.0, 0.0, 2.0])\nTensor([-1.,  0.,  2.])\n")
    of_positive = tg.activation("of_positive", lambda x: math.log(x), lambda g, x, y: g / x)
    assert of_positive.__doc__.endswith("of_positive([-2.0, 0.0, 2.0]).shape\n(3,)\n")
    with pytest.raises(TypeError, match="floored: got an unknown parameter 'lo'; expected low"):
        floored(x, lo=2.0)
    with pytest.raises(TypeError, match="Floored: low is 'a', expected a number"):
        floored.Module("a")


def test_derivatives_to_the_second_and_no_further():
    x = tg.Tensor([-2.0, 0.5, 3.0], requires_grad=True)
    assert tg.gradcheck(floored, x, order=2)
    rough = tg.activation("rough", straight, straight_dx)
    (g,) = tg.grad(rough(x).sum(), x, create_graph=True)
    assert g.data.tolist() == [0, 1, 1]
    with pytest.raises(RuntimeError, match="rough: no second derivative, as it has no formula f_dxx; derivatives up to the first"):
        tg.grad(g.sum(), x)


def test_it_runs_fused_and_the_laboratory_knows_its_flat_side():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20, 3))
    model = nn.MLP([3, 6, 2], activation=floored, rng=0, dtype="float64")
    with tg.no_grad():
        model[0].bias.data[0] = -50.0
    hidden = model[0](x).data
    np.testing.assert_array_equal(model(x).data, model[2](np.maximum(hidden, -1)).data)
    assert flat_edges(model[1]) == (-1.0, np.inf)
    found = lab.census(model, x, np.zeros(20, int)).layers[0]
    assert found.activation == "floored" and lab.State(found.state[0]) == lab.State.DEAD
    assert model[0].weight.grad is None
    model(x).sum().backward()
    assert not model[0].weight.grad[0].any() and model[0].weight.grad[1:].any()


def test_layers_are_pickled_by_the_name_of_the_function():
    model = nn.Sequential(nn.Linear(3, 2, rng=0), floored.Module(low=0.5))
    copy = pickle.loads(pickle.dumps(model))
    assert type(copy[1]) is floored.Module and copy[1].low == 0.5
    copy.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(copy(np.ones((2, 3))).data, model(np.ones((2, 3))).data)


@pytest.mark.parametrize("kind, arguments, words", [
    (ValueError, ("a b", straight, straight_dx), "activation: name is 'a b', expected a Python name"),
    (TypeError, ("a", 3, straight_dx), "activation a: f is 3, expected a Python function of numbers"),
    (TypeError, ("a", lambda x, y: x, straight_dx), "activation a: f has the signature (x, y); expected (x), or (x, alpha=1.0, ...)"),
    (TypeError, ("a", lambda: 0, straight_dx), "activation a: f has the signature (); expected (x)"),
    (TypeError, ("a", lambda x, p="q": x, straight_dx), "activation a: f has the signature (x, p='q'); expected"),
    (TypeError, ("a", straight, lambda g, x, y: g), "activation a: f_dx has the signature (g, x, y); expected (g, x, y, low)"),
    (TypeError, ("a", straight, lambda g, x, y, high: g), "activation a: f_dx has the signature (g, x, y, high); expected"),
    (TypeError, ("a", straight, None), "activation a: f_dx is None, expected a Python function"),
    (TypeError, ("a", straight, straight_dx, "f"), "activation a: f_dxx is 'f', expected a Python function"),
    (TypeError, ("a", lambda x: None, lambda g, x, y: g), "activation a: f returns NoneType, expected a number"),
    (TypeError, ("a", lambda x: x, lambda g, x, y: None), "activation a: f_dx returns NoneType, expected a number"),
])
def test_invalid_activations_are_refused_in_one_sentence(kind, arguments, words):
    with pytest.raises(kind) as caught:
        tg.activation(*arguments)
    assert str(caught.value).startswith(words) and "\n" not in str(caught.value)


# -- a user's file, in processes of their own ---------------------------------------------------------------------------------

MINE = '''
import math, sys
import numpy as np
import tinygrad_relu as tg
from tinygrad_relu import functional as F, nn, optim

STEEP = 2.0

def bell(x):
    return math.exp(-x * x)

def f(x):
    return x * bell(x) * type(x)(STEEP)

def f_dx(g, x, y):
    T = type(x)
    return g * (T(STEEP) * bell(x) * (T(1) - T(2) * x * x))

wave = tg.activation("wave", f, f_dx)
cube = tg.Op("cube", lambda x: x * x * x, pull=(lambda g, y, x: g * 3 * x * x,))

def quartic_loss(x, target, scale=1.0):
    """``(scale (x - target))^4``, averaged."""
    return ((F.as_tensor(x) - target) * scale).square().square().mean()

class QuarticLoss(nn.Loss):
    function = quartic_loss

class Doubled(nn.Module):
    def __init__(self, n, rng):
        self.inner = nn.Linear(n, n, rng=rng, dtype="float64")

    def forward(self, x):
        return cube(self.inner(x)) * 0.01 + x * 2

class SignSGD(optim.Optimizer):
    def __init__(self, params, lr=0.01, weight_decay=0.0):
        super().__init__(params, dict(lr=lr, weight_decay=weight_decay))

    def move(self, segment, grad, options):
        segment.data -= options["lr"] * np.sign(grad)

def train():
    rng = np.random.default_rng(0)
    x, target = rng.standard_normal((40, 3)), rng.standard_normal((40, 1))
    model = nn.Sequential(nn.Linear(3, 4, rng=0, dtype="float64"), wave.Module(), Doubled(4, rng=1),
                          nn.Linear(4, 1, rng=2, dtype="float64"))
    loss, opt, seen = QuarticLoss(scale=0.5), SignSGD(model.parameters(), lr=0.003), []
    for _ in range(60):
        opt.zero_grad()
        y = loss(model(x), target)
        y.backward()
        opt.step()
        seen.append(y.item())
    return seen

if __name__ == "__main__":
    seen = train()
    assert seen[-1] < 0.8 * seen[0], seen
    print(wave([0.5]).item())
'''


def run(arguments: list[str], folder: Path, package: Path = ROOT) -> str:
    """A Python process that imports from `folder` and from the folder of the package, with a cache of kernels in `folder`."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(folder / "cache"), "PYTHONPATH": os.pathsep.join([str(folder), str(package)]),
                                "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-W", "error", *arguments], env=environment, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def compiled(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*.nbc") if "wave" in path.name}


def test_a_user_adds_one_of_each_in_one_file(tmp_path):
    """All five train together; the activation is loaded from the cache until some code that it uses is edited."""
    mine = tmp_path / "mine.py"
    mine.write_text(MINE)
    run(["mine.py"], tmp_path)
    use = "import mine; print(mine.wave([0.5]).item())"
    first, known = run(["-c", use], tmp_path), compiled(tmp_path)
    assert run(["-c", use], tmp_path) == first and compiled(tmp_path) == known and len(known) > 1
    for edited, value in ((MINE.replace("STEEP = 2.0", "STEEP = 4.0"), 4 * 0.5 * np.exp(-0.25)),
                          (MINE.replace("-x * x)", "-x * x / 2)"), 2 * 0.5 * np.exp(-0.125))):
        mine.write_text(edited)
        assert float(run(["-c", use], tmp_path)) == pytest.approx(value) != float(first)


# -- inside a copy of the package -----------------------------------------------------------------------------------------------

FORMULAS = '''

@scalar
def bent(x: float, slope: float = 0.5) -> float:
    T = type(x)
    return T(slope) * x if x > T(0) else x


@scalar
def bent_dx(g, x, y, slope=0.5):
    T = type(x)
    return g * T(slope) if x > T(0) else g if x <= T(0) else x


BENT = Elementwise("bent", bent, bent_dx, flat, "slope * x if x > 0 else x", "nobody", lambda slope=0.5: ((0.0, 1.0),))
'''
MODULE = '''class Bent(Activation):
    record = piecewise.BENT
    slope: float

    def __init__(self, slope: float = 0.5) -> None:
        super().__init__(slope)


'''
OP = '''

CUBE: Op = Op("cube", lambda x: x * x * x, pull=(lambda g, y, x: mul(g, mul(mul(x, x), 3.0)),))


def cube(x: T) -> T:
    """``x^3``.

    >>> tg.cube([2.0])
    Tensor([8.])
    """
    return CUBE(x)
'''
LOSS = '''def quartic_loss(x: Input, target: Input, reduction: str = "mean") -> Tensor:
    """``(x - target)^4``, averaged.

    >>> F.quartic_loss([1.0], [3.0]).item()
    16.0
    """
    x = as_tensor(x)
    e = sub(x, check_target("quartic_loss", x, target, reduction))
    return reduced(mul(mul(e, e), mul(e, e)), reduction)


'''
LOSS_MODULE = '''class QuarticLoss(Loss):
    function = F.quartic_loss

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__(reduction)


'''
LAYER = '''

class Scale(Module):
    """``x * factor``, the factor learned."""

    def __init__(self, *, dtype: Any = "float32") -> None:
        self.factor = Parameter([1.0], dtype=dtype)

    def forward(self, x: Any) -> Any:
        return x * self.factor
'''
OPTIMIZER = '''

class SignSGD(Optimizer):
    """``p <- p - lr sign(g)``."""

    def __init__(self, params: Any, lr: float = 0.01, weight_decay: float = 0.0) -> None:
        super().__init__(params, dict(lr=lr, weight_decay=weight_decay))

    def move(self, segment: Segment, grad: Array, options: dict[str, Any]) -> None:
        segment.data -= options["lr"] * np.sign(grad)
'''
END = ""
ADDITIONS = [       # what is new, file, before which line, what to write there
    ("activation", "kernels/formulas/piecewise.py", END, FORMULAS),
    ("activation", "functional/activation.py", "relu6 = elementwise(", "bent = elementwise(piecewise.BENT)\n"),
    ("activation", "nn/activations.py", "class GELUTanh(Activation):", MODULE),
    ("op", "ops/elementary.py", END, OP),
    ("op", "functional/array.py", "sqrt = lift(", "cube = lift(elementary.cube)\n"),
    ("loss", "functional/loss.py", "def _error_loss(", LOSS),
    ("loss", "functional/__init__.py", END, "from .loss import quartic_loss as quartic_loss\n"),
    ("loss", "nn/loss.py", "class L1Loss(Loss):", LOSS_MODULE),
    ("layer", "nn/layers.py", END, LAYER),
    ("layer", "nn/__init__.py", END, "from .layers import Scale as Scale\n"),
    ("optimizer", "optim/rules.py", END, OPTIMIZER),
    ("optimizer", "optim/__init__.py", END, "from .rules import SignSGD as SignSGD\n"),
]

USE = """
import inspect
import numpy as np
import tinygrad_relu as tg
from tinygrad_relu import functional as F, lab, nn, optim

rng = np.random.default_rng(0)
x, target = rng.standard_normal((40, 3)), rng.standard_normal((40, 1))
model = nn.Sequential(nn.MLP([3, 4, 4, 1], activation="bent", rng=0, dtype="float64"), nn.Scale(dtype="float64"))
opt, loss, seen = optim.SignSGD(model.parameters(), lr=0.003), nn.QuarticLoss(), []
for _ in range(60):
    opt.zero_grad()
    y = loss(F.cube(model(x)) * 0.01 + model(x), target)
    y.backward()
    opt.step()
    seen.append(y.item())
assert seen[-1] < 0.8 * seen[0], seen
assert list(inspect.signature(nn.Bent).parameters) == ["slope"] and str(inspect.signature(F.bent)) == "(x, slope=0.5)"
assert "slope * x if x > 0 else x" in nn.Bent.__doc__ and "1 at x = 0" in F.bent.__doc__ and "averaged" in nn.QuarticLoss.__doc__
assert repr(nn.Bent(0.25)) == "Bent(slope=0.25)"
assert lab.census(nn.MLP([3, 4, 1], activation=nn.Bent, rng=0, dtype="float64"), x).layers[0].activation == "bent"
"""


def test_one_of_each_in_the_package_touches_three_files_at_most(tmp_path):
    shutil.copytree(ROOT / "tinygrad_relu", tmp_path / "tinygrad_relu", ignore=shutil.ignore_patterns("__pycache__"))
    files: dict[str, set[str]] = {}
    for kind, name, mark, new in ADDITIONS:
        path = tmp_path / "tinygrad_relu" / name
        text = path.read_text()
        assert mark == END or text.count(f"\n{mark}") == 1, (name, mark)
        place = len(text) if mark == END else text.index(f"\n{mark}") + 1
        path.write_text(text[:place] + new + text[place:])
        files.setdefault(kind, set()).add(name)
    assert {kind: len(touched) for kind, touched in files.items()} == {"activation": 3, "op": 2, "loss": 3, "layer": 2, "optimizer": 2}
    run(["-c", USE], tmp_path, package=tmp_path)
