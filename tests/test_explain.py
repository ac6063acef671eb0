"""explain: the table agrees with backward, and the verdict is true."""
from __future__ import annotations

import numpy as np
import pytest
from common import every_type

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import nn
from tinygrad_relu.autodiff.tape import history

RNG = np.random.default_rng(0)
X = RNG.standard_normal((20, 8))
LABELS = RNG.integers(0, 3, 20)


def mlp(*hidden, **options):
    return nn.MLP([8, *hidden, 3], rng=0, **options)


def loss_of(model, x=X):
    return F.cross_entropy(model(x), LABELS)


def leaf(values, dtype=np.float64):
    return tg.Tensor(values, requires_grad=True, dtype=dtype)


# -- the table -------------------------------------------------------------------------------------------------------

def residual():
    x, w = leaf(X), nn.Parameter(RNG.standard_normal((8, 8)))
    h = x
    for _ in range(3):
        h = h + F.relu(h @ w)
    return (h * h).mean() + (w * w).sum() * 0.1


GRAPHS = {
    "mlp": lambda: loss_of(mlp(16, 16)),
    "tanh, float64": lambda: loss_of(mlp(16, dtype="float64", activation="tanh")),
    "maxout": lambda: loss_of(mlp(16, activation="maxout")),
    "prelu": lambda: loss_of(mlp(16, activation="prelu")),
    "hardtanh": lambda: (F.hardtanh(leaf(X) * 3) * 2).sum(),
    "residual": residual,
    "no scalar": lambda: F.relu(leaf(X)),
    "number": lambda: leaf(2.0) * leaf(3.0),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_gradients_are_those_of_grad(name):
    """The gradients by one call of grad per node, independent of the backward pass of explain."""
    root = GRAPHS[name]()
    seed = np.ones(root.shape, root.dtype)
    nodes = history(root)
    leaves = {id(x): x for node in nodes for x in node.parents if x is not None and x.op is None}
    shares = sorted((tg.grad(root, x, seed, retain_graph=True)[0].data == 0).mean() for x in [*nodes, *leaves.values()])
    table = tg.explain(root)
    assert sorted(row.zero_gradient for row in table.rows if row.zero_gradient is not None) == shares
    assert [row.op for row in table.rows if not row.is_leaf] == [node.op.name for node in nodes]


@every_type
def test_rows(dtype):
    model = mlp(16, dtype=dtype)
    loss = loss_of(model)
    rows = tg.explain(loss, model=model).rows
    assert rows == tg.explain(loss, model).rows == tg.graph(loss, model).explanation.rows
    assert [(r.row, r.op, r.name, r.inputs, r.shape) for r in rows] == [
        (0, "input", "", (), (20, 8)), (1, "parameter", "0.weight", (), (16, 8)), (2, "parameter", "0.bias", (), (16,)),
        (3, "linear_relu", "", (0, 1, 2), (20, 16)), (4, "parameter", "2.weight", (), (3, 16)),
        (5, "parameter", "2.bias", (), (3,)), (6, "linear", "", (3, 4, 5), (20, 3)), (7, "input", "labels", (), (20,)),
        (8, "cross_entropy", "", (6, 7), ())]
    size = np.dtype(dtype).itemsize
    assert {r.dtype for r in rows} == {np.dtype(dtype).name, "int64"} and rows[7].dtype == "int64"
    assert rows[3].bytes == 20 * 16 * size              # relu computes its slope from its result; gelu needs its input
    assert tg.explain(loss_of(mlp(16, dtype=dtype, activation="gelu"))).rows[3].bytes == 2 * rows[3].bytes
    assert [r.bytes for r in rows[4:7]] == [3 * 16 * size, 3 * size, 20 * 3 * size]
    assert rows[0].zero_gradient is None and rows[7].zero_gradient is None
    z = X.astype(dtype) @ model[0].weight.data.T + model[0].bias.data
    assert rows[3].zero_slopes == (z <= 0).mean() and rows[6].zero_slopes is None
    flat = int((z <= 0).all(axis=0).sum())
    assert rows[3].note == (f"{flat} of 16 units flat" if flat else "")
    assert tg.explain(loss).rows[1].name == "weight"
    assert tg.explain(loss, model=model).to_dicts()[3]["op"] == "linear_relu"


def test_slopes_of_elementwise_operations():
    x = leaf([-2.0, -0.5, 0.5, 2.0])
    mask = np.array([0.0, 1.0, 0.0, 0.0])

    def share(y):
        return tg.explain(y).rows[-1].zero_slopes

    assert share(F.relu(x)) == 0.5 and share(F.hardtanh(x)) == 0.5 and share(F.tanh(x)) == 0 and share(F.step(x)) == 1
    assert share(x * mask) == 0.75 and share(x + 1) == 0 and share(x**0) == 1
    assert share(x * leaf(mask)) is None                # two inputs with gradients: no single slope
    assert share(x.sum()) is None and share(F.softmax(x)) is None
    assert share(F.prelu(x, leaf([0.0]))) == 0.5 and share(F.prelu(x.data, leaf([0.0]))) == 0.5
    assert share(x * np.array([[0.0], [1.0], [1.0]])) == 1 / 3      # each of the twelve results has its slope


def test_views_hold_nothing_and_leaves_are_shared():
    w = nn.Parameter(np.ones((8, 8)))
    y = ((tg.Tensor(X) @ w) @ w).reshape(-1)
    rows = tg.explain(y).rows
    assert [r.op for r in rows] == ["input", "parameter", "matmul", "matmul", "reshape"]
    assert rows[-1].bytes == 0 and rows[3].inputs == (2, 1)


def test_an_empty_batch():
    table = tg.explain(F.relu(leaf(np.ones((0, 3)))).sum())
    assert [r.zero_gradient for r in table.rows] == [None, None, 0.0] and table.rows[1].zero_slopes is None


def test_nothing_is_touched():
    model = mlp(16)
    calls = []
    model[1].register_full_backward_hook(lambda *_: calls.append(1))
    model[0].weight.register_hook(lambda g: calls.append(1))
    loss = loss_of(model)
    before = str(tg.explain(loss))
    assert not calls and all(p.grad is None for p in model.parameters())
    assert str(tg.explain(loss)) == before
    loss.backward()
    assert calls
    with pytest.raises(RuntimeError, match="has been freed by an earlier backward"):
        tg.explain(loss)


def test_the_text_lines_up_and_rounds_nothing_to_all_or_none():
    x = leaf(np.r_[np.ones(2999), -1.0])
    table = tg.explain(F.relu(x).sum())
    assert repr(table) == str(table)
    head, _, *lines = str(table).splitlines()[:5]
    assert head.index("zero slopes") + len("zero slopes") == lines[1].index("0.1%") + len("0.1%")
    assert "99.9%" in str(tg.explain(F.relu(-x).sum()))


def test_a_long_table_shows_its_ends():
    y = leaf(1.0)
    for _ in range(500):
        y = y * 2.0
    text = str(tg.explain(y)).splitlines()
    assert len(text) == 2 + 101 + 2 and {*text[52].split()} == {"..."} and text[53].split()[:2] == ["451", "mul"]


def test_bad_arguments():
    with pytest.raises(TypeError, match="explain: got ndarray; expected a Tensor"):
        tg.explain(np.ones(3))
    with pytest.raises(ValueError, match=r"the gradient has shape \(2,\), expected \(3,\)"):
        tg.explain(leaf(np.ones(3)), gradient=np.ones(2))


@pytest.mark.parametrize("who", ["explain", "graph"])
def test_errors_name_the_function_and_the_operation(who):
    x = leaf(np.ones(3))
    y = (x * x).sum()
    y.backward()
    for kind, bad, words in [
            (TypeError, lambda f: f(3.0), "got float; expected a Tensor"),
            (ValueError, lambda f: f(x, gradient=[1.0]), "the gradient has shape (1,), expected (3,)"),
            (TypeError, lambda f: f(x, gradient="a"), "gradient holds text"),
            (RuntimeError, lambda f: f(y), "the graph of this result has been freed by an earlier backward (at sum); compute")]:
        with pytest.raises(kind) as caught:
            bad(getattr(tg, who))
        assert str(caught.value).startswith(f"{who}: {words}"), caught.value


def test_integers_and_booleans_are_named_by_their_role():
    """The key of dropout and the labels are inputs, but not data; floats have no name of their own."""
    model = nn.Sequential(nn.Embedding(5, 8, rng=0), nn.Dropout(0.5, rng=0), nn.Linear(8, 3, rng=0))
    h = model(np.array([0, 1, 4]))
    picked = tg.where(np.array([[True], [False], [True]]), h, 0.0)
    table = tg.explain(F.cross_entropy(picked, [0, 1, 2]) + F.nll_loss(picked, np.array([2, 1, 0])), model)
    found = {(row.name, row.op, row.dtype, row.shape) for row in table.rows if row.is_leaf and not row.dtype.startswith("float")}
    assert found == {("index", "input", "int64", (3,)), ("random key", "input", "int64", (2,)), ("labels", "input", "int64", (3,)),
                     ("condition", "input", "bool", (3, 1))}
    assert {row.name for row in table.rows if row.op == "parameter"} == {"0.weight", "2.weight", "2.bias"}
    assert all(row.name == "" for row in table.rows if row.op == "input" and row.dtype.startswith("float"))
    assert "random key" in tg.graph(h).to_svg() and "input random key" not in tg.graph(h).to_svg()


# -- the verdict -----------------------------------------------------------------------------------------------------

def verdict(y, **options):
    return tg.explain(y, **options).verdict


def test_a_living_network():
    model = mlp(16, activation="tanh")
    assert verdict(loss_of(model)) == "a gradient that is not exactly zero reaches everything that requires one"


def test_a_few_flat_units():
    model = mlp(16)
    model[0].bias.data = np.where(np.arange(16) < 5, -100.0, 100.0)
    assert verdict(loss_of(model), model=model).splitlines() == [
        "a gradient that is not exactly zero reaches everything that requires one",
        "units on the flat side on every sample: 5 of 16 in row 3 (linear_relu with 0.weight)"]


@every_type
def test_a_dead_layer(dtype):
    model = mlp(16, 16, 16, dtype=dtype)
    model[2].bias.data = np.full(16, -100.0)
    model[4].bias.data = np.ones(16)        # inputs of 0: only the bias keeps z off 0, where the slope is 0
    table = tg.explain(loss_of(model), model=model)
    assert [r.row for r in table.rows if r.dies] == [6]
    assert table.verdict.splitlines()[0] == (
        "the gradient is exactly zero from row 6 (linear_relu with 2.weight, 16 of 16 units on the flat side) back to the inputs")
    assert table.verdict.splitlines()[1] == (
        "exactly zero arrives at row 7 (parameter 4.weight), because row 6 (linear_relu with 2.weight) is exactly zero")
    table_without_names = verdict(loss_of(model))
    assert "from row 6 (linear_relu, 16 of 16 units on the flat side) back to the inputs" in table_without_names


def test_two_dead_layers_are_explained_from_the_root():
    model = mlp(16, 16, 16)
    for i in (0, 4):
        model[i].bias.data = np.full(16, -100.0)
    text = verdict(loss_of(model))
    assert text.startswith("the gradient is exactly zero from row 9 (linear_relu, 16 of 16") and text.count("back to") == 1


def test_a_layer_that_is_flat_because_of_the_one_before_it():
    """Inputs of zero and a bias of zero put z at 0, where the slope is 0: the cause is further back."""
    model = mlp(16, 16, 16)
    model[2].bias.data = np.full(16, -100.0)
    lines = verdict(loss_of(model), model=model).splitlines()
    assert lines[0] == ("the gradient is exactly zero from row 9 (linear_relu with 4.weight, 16 of 16 units on the flat side; "
                        "row 6 (linear_relu with 2.weight) is exactly zero) back to the inputs")
    assert lines[-1].startswith("units on the flat side on every sample:") and "16 of 16 in row 6 (linear" in lines[-1]


def test_hooked_layers_are_explained_one_by_one():
    model = mlp(16)
    model[0].bias.data = np.full(16, -100.0)
    model[0].register_full_backward_hook(lambda *_: None)
    assert "(relu, 16 of 16 units on the flat side)" in verdict(loss_of(model))


def test_a_last_layer_of_zeros():
    model = mlp(16, 16)
    model[4].weight.data = np.zeros((3, 16))
    assert verdict(loss_of(model), model=model).splitlines()[0] == (
        "the gradient is exactly zero from row 6 (linear_relu with 2.weight) back to the inputs: row 9 (linear with 4.weight) "
        "passes back only zeros, because row 7 (parameter 4.weight) is exactly zero")


def test_data_of_zeros():
    model = mlp(16, activation="sigmoid")
    text = verdict(loss_of(model, 0 * X), model=model)
    assert text == "exactly zero arrives at row 1 (parameter 0.weight), because row 0 (input) is exactly zero"


BY_NATURE = {
    # a function of x and a bias -> what batch normalisation gets; whether the gradient of the bias is zero by nature
    "linear": (lambda x, w, b: F.linear(x, w, b), True),
    "sum": (lambda x, w, b: x @ w.T + b, True),
    "difference": (lambda x, w, b: b - x @ w.T, True),
    "product": (lambda x, w, b: x @ w.T * b, False),
    "both": (lambda x, w, b: (x @ w.T + b) * b, False),
    "not at the end": (lambda x, w, b: F.tanh(x @ w.T + b), False),
}


@every_type
@pytest.mark.parametrize("name", BY_NATURE)
@pytest.mark.parametrize("training", [True, False])
def test_a_gradient_that_is_zero_by_nature(name, training, dtype):
    """Batch normalisation subtracts a bias again. What is left of its gradient is rounding, and not a number to look at."""
    make, by_nature = BY_NATURE[name]
    by_nature &= training
    w, b = nn.Parameter(RNG.standard_normal((3, 8)), dtype=dtype), nn.Parameter([0.5, 1.0, 2.0], kind="bias", dtype=dtype)
    h = F.batch_norm(make(X.astype(dtype), w, b), np.zeros(3), np.ones(3), training=training)
    loss = F.cross_entropy(h, LABELS)
    table = tg.explain(loss)
    row = next(row for row in table.rows if row.name == "bias")
    assert row.by_nature == by_nature == ("zero by nature, up to rounding: row" in table.verdict) == ("~100%" in str(table))
    loss.backward()
    assert (abs(b.grad).max() < 1e-3 * abs(w.grad).max() * np.finfo(dtype).eps ** 0.5) == by_nature


def test_zero_by_nature_is_said_of_a_network():
    model = mlp(16, norm="batch")
    lines = verdict(loss_of(model), model=model).splitlines()
    assert lines == ["a gradient that is not exactly zero reaches everything that requires one",
                     "zero by nature, up to rounding: row 2 (parameter 0.bias), because row 6 (batch_norm with 1.weight) "
                     "subtracts the mean of the batch"]
    assert "by nature" not in verdict(loss_of(mlp(16, norm="layer")))
    model[1].bias.data = np.full(16, -100.0)                    # a dead layer: exactly zero, for another reason
    assert "by nature" not in str(tg.explain(loss_of(model)))


def test_a_bias_that_goes_elsewhere_too_has_a_gradient():
    x, b = tg.Tensor(RNG.standard_normal((20, 3))), nn.Parameter(np.ones(3), kind="bias")

    def is_by_nature(y):
        return [row.by_nature for row in tg.explain((y * x).sum()).rows if row.name == "bias"]

    z = x + b
    y = F.batch_norm(z, None, None, training=True)
    assert is_by_nature(y) == [True] and is_by_nature(y + F.tanh(z)) == [False] and is_by_nature(y + b) == [False]


@pytest.mark.parametrize(("shape", "by_nature"), [((3,), False), ((5, 1), True), ((1, 5, 1), True), ((4, 5, 1), False), ((), True)])
def test_channels_are_axis_1(shape, by_nature):
    b, weights = nn.Parameter(np.ones(shape), kind="bias"), RNG.standard_normal((4, 5, 3))
    y = F.batch_norm(tg.Tensor(RNG.standard_normal((4, 5, 3))) + b, None, None, training=True)
    assert [row.by_nature for row in tg.explain((y * weights).sum()).rows if row.name == "bias"] == [by_nature]


def test_a_dead_branch_beside_a_living_one():
    x = leaf(X)
    text = verdict(F.relu(x - 100) + x)
    assert text == ("no gradient passes row 2 (relu, 8 of 8 units on the flat side); its inputs get one along another "
                    "path")


def test_no_slope_where_the_gradient_is():
    """Half of the units are alive, but the gradient arrives at the other half."""
    x = leaf([[1.0, -1.0]])
    y = (F.relu(x) * np.array([0.0, 1.0])).sum()
    assert verdict(y).splitlines()[0] == ("the gradient is exactly zero from row 1 (relu, its slopes are exactly zero wherever "
                                          "a gradient arrives) back to the inputs")
    assert "all its slopes are exactly zero" in verdict((x * 0).sum())


def test_a_matrix_of_zeros():
    x = leaf(X)
    assert verdict((x @ np.zeros((8, 2))).sum()) == (
        "the gradient is exactly zero from row 2 (matmul, row 1 (input) is exactly zero) back to the inputs")


def test_underflow_is_called_so():
    model = mlp(*[8] * 30, activation="sigmoid", init=0.001)
    text = verdict(loss_of(model), model=model)
    assert "passes back only zeros, because the gradient there is at most" in text and "and underflows" in text


def test_cancelling_gradients_are_no_death():
    """Both paths carry a gradient, and their sum is exactly zero: nothing died on the way."""
    x = leaf(X)
    text = verdict((F.tanh(x) - F.tanh(x)).sum())
    assert "dies" not in text and "back to" not in text


def test_the_start():
    x = leaf(X)
    assert verdict(F.relu(x), gradient=np.zeros(X.shape)) == "the gradient is exactly zero from the start"
    assert verdict(tg.Tensor(X)) == "no gradient flows here: nothing that went into this result requires one"
    with tg.no_grad():
        assert verdict(x * 2).startswith("no gradient flows here")


def test_nan_is_not_zero():
    x = leaf([[1.0, np.nan]])
    text = verdict((F.relu(x) * x).sum())
    assert text.startswith("the gradient holds NaN or infinity at row 1 (relu)")
