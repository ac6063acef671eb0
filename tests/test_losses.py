"""Special cases of losses: kinks, infinities, long sums, ignored rows, weights, dtypes. (table.py has the ordinary cases.)"""
from __future__ import annotations

import inspect

import numpy as np
import pytest
from common import every_type, launches

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import nn
from tinygrad_relu.kernels.loops.loss import ERRORS

nan, inf = float("nan"), float("inf")
ERROR_LOSSES = {"mse_loss": "squared_error", "l1_loss": "absolute_error", "huber_loss": "huber", "smooth_l1_loss": "smooth_l1"}
every_error_loss = pytest.mark.parametrize("name", ERROR_LOSSES)


def slope(f, x, dtype=np.float64):
    x = tg.Tensor(x, requires_grad=True, dtype=dtype)
    f(x).backward()
    return x.grad


def test_every_record_of_an_error_has_its_function():
    assert set(ERROR_LOSSES.values()) == set(ERRORS)


@every_type
@pytest.mark.parametrize("name, options, rows", [       # error, loss, slope
    ("l1_loss", {}, [(-2, 2, -1), (-0.0, 0, 0), (0.0, 0, 0), (0.5, 0.5, 1)]),
    ("huber_loss", dict(delta=0.5), [(-2, 0.875, -0.5), (-0.5, 0.125, -0.5), (0, 0, 0), (0.25, 0.03125, 0.25), (0.5, 0.125, 0.5)]),
    ("smooth_l1_loss", dict(beta=0.5), [(-2, 1.75, -1), (-0.5, 0.25, -1), (0, 0, 0), (0.25, 0.0625, 0.5), (0.5, 0.25, 1)]),
    ("smooth_l1_loss", dict(beta=0.0), [(-2, 2, -1), (-0.0, 0, 0), (0.0, 0, 0), (0.5, 0.5, 1)])])
def test_kinks(name, options, rows, dtype):
    """Exact values and slopes on both sides of each kink and on it."""
    error, loss, expected = np.array(rows, dtype).T.copy()
    f, zeros = getattr(F, name), np.zeros(len(rows), dtype)
    np.testing.assert_array_equal(f(error, zeros, reduction="none", **options).data, loss)
    np.testing.assert_array_equal(slope(lambda x: f(x, zeros, reduction="sum", **options), error, dtype), expected)


def test_slope_of_the_hinges_at_their_kinks():
    """Exactly at the margin, multi_margin has slope 0, and hinge_embedding has slope -1; both as in PyTorch."""
    np.testing.assert_array_equal(slope(lambda x: F.multi_margin_loss(x, [0], reduction="sum"), [[1.0, 0.0, 0.5]]),
                                  [[-1 / 3, 0, 1 / 3]])
    np.testing.assert_array_equal(slope(lambda x: F.hinge_embedding_loss(x, -np.ones(3), reduction="sum"), [0.9, 1.0, 1.1]),
                                  [-1, -1, 0])


@every_error_loss
def test_nan_and_infinity_stay_in_their_place(name):
    f = getattr(F, name)
    y = f([nan, inf, -inf, 1.0], np.zeros(4), reduction="none").data
    np.testing.assert_array_equal(np.isnan(y), [True, False, False, False])
    np.testing.assert_array_equal(np.isinf(y), [False, True, True, False])
    x = tg.Tensor([nan, 1.0], requires_grad=True)
    (first,) = tg.grad(f(x, np.zeros(2), reduction="sum"), x, create_graph=True)
    (second,) = tg.grad(first, x, np.ones(2))
    for g in (first, second, tg.grad(f(x, np.zeros(2)), x)[0]):
        np.testing.assert_array_equal(np.isnan(g.data), [True, False])


@every_error_loss
def test_second_derivative_on_both_sides(name):
    """At errors of -2, -0.5, 0.5 and 2: that of the parabola and that of the line."""
    x = tg.Tensor([-2.0, -0.5, 0.5, 2.0], requires_grad=True)
    (first,) = tg.grad(getattr(F, name)(x, np.zeros(4), reduction="sum"), x, create_graph=True)
    second = tg.grad(first, x, np.ones(4))[0].data.tolist()
    assert second == {"mse_loss": [2, 2, 2, 2], "l1_loss": [0, 0, 0, 0]}.get(name, [0, 1, 1, 0])


@every_error_loss
def test_a_mean_of_a_million_is_exact(name):
    """Sums are float64; only the result is rounded to float32."""
    x = np.random.default_rng(0).uniform(-3, 3, 1_000_003).astype(np.float32)
    f = getattr(F, name)
    exact = f(x.astype(float), np.zeros(len(x)), reduction="none").data.mean()
    assert abs(f(x, np.zeros(len(x), np.float32)).item() / exact - 1) < 2**-23


@every_error_loss
def test_one_launch_each_way(name):
    x, f = tg.Tensor(np.ones((3, 4)), requires_grad=True), ERROR_LOSSES[name]
    assert launches(lambda: getattr(F, name)(x, np.zeros((3, 4))).backward()) == [f"{f}_loss_forward", f"{f}_loss_pullback"]


@every_type
def test_confident_logits_keep_their_gradient(dtype):
    """Loss and gradient of the binary cross-entropy at +-1000, at +-50, and beyond all exponentials."""
    x, t = np.array([1000.0, -1000.0, 1000.0, -1000.0, -50.0, 50.0]), np.array([1.0, 1.0, 0.0, 0.0, 0.0, 1.0])
    tiny = np.exp(-50.0)
    loss = F.binary_cross_entropy_with_logits(tg.Tensor(x, dtype=dtype), t, reduction="none").data
    np.testing.assert_allclose(loss, [0, 1000, 1000, 0, tiny, tiny], rtol=8 * np.finfo(dtype).eps)
    g = slope(lambda x: F.binary_cross_entropy_with_logits(x, t, reduction="sum"), x, dtype)
    np.testing.assert_allclose(g, [0, -1, 1, 0, tiny, -tiny], rtol=8 * np.finfo(dtype).eps)


@pytest.mark.parametrize("f", [F.cross_entropy, F.nll_loss])
@pytest.mark.parametrize("ignore_index", [-100, -1, 1, 7])
def test_an_ignored_row_has_no_say(f, ignore_index):
    """Whatever an ignored row holds, its loss and gradient are exactly 0, and those of the other rows do not change."""
    x = np.random.default_rng(0).standard_normal((4, 3))
    x[1], x[3] = [inf, nan, -inf], [nan, 0, 0]
    labels = np.array([0, ignore_index, 2, ignore_index])
    alone = slope(lambda x: f(x, labels[::2]), x[::2])
    for options in (dict(), dict(weight=[1.0, 1.0, 1.0])):
        g = slope(lambda x, o=options: f(x, labels, ignore_index=ignore_index, **o), x)
        np.testing.assert_allclose(g[::2], alone, rtol=1e-14)
        np.testing.assert_array_equal(g[1::2], 0)
        losses = f(x, labels, ignore_index=ignore_index, reduction="none", **options).data
        assert (losses[1::2] == 0).all() and np.isfinite(losses).all()
    assert f(x, labels, ignore_index=ignore_index).item() == pytest.approx(f(x[::2], labels[::2]).item(), rel=1e-15)
    everything = f(x, np.full(4, ignore_index), ignore_index=ignore_index, reduction="sum")
    assert everything.item() == 0


def test_a_masked_class_contributes_nothing():
    """A logit of -inf rules a class out; with weights and without smoothing that is finite, with smoothing it is infinite."""
    x, labels = [[0.0, -inf, 0.0]], [0]
    log2 = float(np.log(2))
    assert F.cross_entropy(x, labels).item() == pytest.approx(log2)
    assert F.cross_entropy(x, labels, weight=[2.0, 1.0, 1.0], reduction="sum").item() == pytest.approx(2 * log2)
    assert F.nll_loss(F.log_softmax(x), labels, weight=[2.0, 1.0, 1.0]).item() == pytest.approx(log2)
    assert F.cross_entropy(x, labels, label_smoothing=0.1).item() == inf
    g = slope(lambda x: F.cross_entropy(x, labels, weight=[2.0, 1.0, 1.0]), x)
    np.testing.assert_allclose(g, [[-0.5, 0, 0.5]], atol=1e-15)


@every_type
def test_class_probabilities_that_are_not_ordinary(dtype):
    """A class of probability 0 contributes 0 even at an infinite logit, and a row of zeros even for an infinite g."""
    x = tg.Tensor([[0.0, -inf, 0.0], [nan, inf, 0.0], [0.0, 0.0, 0.0], [0.0, nan, 0.0]], requires_grad=True, dtype=dtype)
    target = np.array([[1.0, 0, 0], [0, 0, 0], [1, -1, 0], [1, 0, -1]])     # the third row sums to 0, but is not 0
    losses = F.cross_entropy(x, target, reduction="none")
    np.testing.assert_allclose(losses.data, [np.log(2), 0, 0, nan], rtol=2 * np.finfo(dtype).eps)
    for create_graph in (True, False):
        (g,) = tg.grad(losses, x, [1.0, inf, 1.0, 1.0], create_graph=create_graph)
        np.testing.assert_allclose(g.data, [[-0.5, 0, 0.5], [0, 0, 0], [-1, 1, 0], [nan, nan, nan]], atol=1e-7)
    onehot = np.eye(3)[[0, 2, 1, 1]]
    both = [slope(lambda x, t=t: F.cross_entropy(x, t), np.zeros((4, 3)), dtype) for t in (onehot, onehot.argmax(axis=1))]
    np.testing.assert_allclose(*both, rtol=4 * np.finfo(dtype).eps)


def test_the_gradient_of_class_probabilities():
    """It is the negative log-softmax of x, precise even where the softmax underflows to 0; alone, and with that of x."""
    x, t = (tg.Tensor(a, requires_grad=True) for a in ([[0.0, -800.0]], [[1.0, 0.0]]))
    F.cross_entropy(x.detach(), t).backward()
    np.testing.assert_array_equal(t.grad, [[0, 800]])
    F.cross_entropy(x, t).backward()
    np.testing.assert_array_equal(t.grad, [[0, 1600]])
    np.testing.assert_array_equal(x.grad, [[0, 0]])


@pytest.mark.parametrize("f", [F.cross_entropy, F.nll_loss])
def test_every_place_is_a_row(f):
    """The losses of an image are those of its places, one by one: strided, read-only, with places to ignore."""
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((3, 5, 4, 2)), rng.integers(0, 5, (3, 8, 2))[:, ::2]
    labels[0, 1, 1] = labels[2, 3, 0] = -100
    x[0, :, 1, 1], x[2, 0, 3, 0] = nan, inf
    labels.flags.writeable = False
    losses = f(x, labels, reduction="none").data
    for place in np.ndindex(labels.shape):
        assert losses[place] == f(x[place[0], :, place[1], place[2]][None], [labels[place]], reduction="sum").item()
    g = slope(lambda x: f(x, labels), x)
    assert (g[0, :, 1, 1] == 0).all() and (g[2, :, 3, 0] == 0).all() and np.isfinite(g).all()


@every_type
def test_the_general_way_is_the_fast_way(dtype):
    """With weights of 1 and no smoothing, the general kernel gives the same numbers as the fast one."""
    x, labels = np.random.default_rng(0).standard_normal((50, 7)).astype(dtype), np.arange(50) % 7
    for how in F.REDUCTIONS:
        plain, general = (F.cross_entropy(x, labels, weight=w, reduction=how).data for w in (None, np.ones(7)))
        np.testing.assert_allclose(general, plain, rtol=8 * np.finfo(dtype).eps)
        assert general.dtype == dtype


@pytest.mark.parametrize("dtype", [np.int8, np.uint64, np.int64, bool])
@pytest.mark.parametrize("f", [F.nll_loss, F.multi_margin_loss, lambda x, y: F.cross_entropy(x, y, label_smoothing=0.1)])
def test_labels_of_any_integer_type(f, dtype):
    x = np.arange(12.0).reshape(4, 3)
    labels = np.array([0, 1, 1, 0, 0, 1, 1, 0])[::2].astype(dtype)
    labels.flags.writeable = False
    assert f(x, labels).item() == f(x, labels.tolist()).item() == f(x, labels.astype(int)).item()


@every_error_loss
def test_a_target_joins_with_the_dtype_of_x(name):
    """Arrays and Tensors without a gradient are converted to the dtype of x; a Tensor that requires one must have that dtype."""
    x = tg.Tensor([1.0, 2.0], requires_grad=True, dtype="float32")
    f = getattr(F, name)
    for target in ([0.0, 0.0], np.zeros(2), tg.Tensor(np.zeros(2))):
        assert f(x, target).dtype == np.float32
    with pytest.raises(TypeError, match=f"{name}: x is float32, the target float64; expected one dtype"):
        f(x, tg.Tensor(np.zeros(2), requires_grad=True))


def test_the_gradient_of_the_target_alone():
    for name in ERROR_LOSSES:
        t = tg.Tensor([[0.25, -0.5]], requires_grad=True)
        getattr(F, name)([[1.0, 1.5]], t).backward()
        np.testing.assert_array_equal(t.grad, -slope(lambda x, n=name: getattr(F, n)(x, [[0.25, -0.5]]), [[1.0, 1.5]]))


def test_modules_hand_their_settings_on():
    x, labels, target = np.random.default_rng(0).standard_normal((4, 3)), [0, 2, 1, 1], np.ones((4, 3))
    w = [0.5, 2.0, 1.0]
    for module, expected in [
            (nn.CrossEntropyLoss(w, 1, "sum", 0.1), F.cross_entropy(x, labels, w, 1, "sum", 0.1)),
            (nn.NLLLoss(w, 1, "none"), F.nll_loss(x, labels, w, 1, "none")),
            (nn.MSELoss("none"), F.mse_loss(x, target, "none")), (nn.L1Loss("sum"), F.l1_loss(x, target, "sum")),
            (nn.HuberLoss("sum", 0.3), F.huber_loss(x, target, "sum", 0.3)),
            (nn.SmoothL1Loss("sum", 0.3), F.smooth_l1_loss(x, target, "sum", 0.3)),
            (nn.BCEWithLogitsLoss(w, "sum", [2.0]), F.binary_cross_entropy_with_logits(x, target, w, "sum", [2.0])),
            (nn.MultiMarginLoss(2, 0.3, w, "none"), F.multi_margin_loss(x, labels, 2, 0.3, w, "none")),
            (nn.HingeEmbeddingLoss(0.3, "none"), F.hinge_embedding_loss(x, target, 0.3, "none"))]:
        got = module(x, labels if isinstance(module, (nn.CrossEntropyLoss, nn.NLLLoss, nn.MultiMarginLoss)) else target)
        np.testing.assert_array_equal(got.data, expected.data)
    assert [name for name, _ in nn.BCEWithLogitsLoss(w, pos_weight=w).named_buffers()] == ["weight", "pos_weight"]
    assert repr(nn.MSELoss()) == "MSELoss()" and repr(nn.MSELoss("sum")) == "MSELoss(reduction='sum')"


@pytest.mark.parametrize("kind, module, function, options", [
    (ValueError, "CrossEntropyLoss", F.cross_entropy, dict(label_smoothing=1.5)),
    (ValueError, "CrossEntropyLoss", F.cross_entropy, dict(label_smoothing=nan)),
    (TypeError, "CrossEntropyLoss", F.cross_entropy, dict(label_smoothing="a")),
    (TypeError, "CrossEntropyLoss", F.cross_entropy, dict(ignore_index=0.5)),
    (ValueError, "CrossEntropyLoss", F.cross_entropy, dict(reduction="average")),
    (TypeError, "CrossEntropyLoss", F.cross_entropy, dict(weight=tg.Tensor([1.0, 1.0], requires_grad=True))),
    (TypeError, "NLLLoss", F.nll_loss, dict(ignore_index="a")),
    (ValueError, "MultiMarginLoss", F.multi_margin_loss, dict(p=3)),
    (ValueError, "MultiMarginLoss", F.multi_margin_loss, dict(margin=inf)),
    (ValueError, "HuberLoss", F.huber_loss, dict(delta=0.0)),
    (TypeError, "HuberLoss", F.huber_loss, dict(delta=None)),
    (ValueError, "SmoothL1Loss", F.smooth_l1_loss, dict(beta=-1.0)),
    (ValueError, "HingeEmbeddingLoss", F.hinge_embedding_loss, dict(margin=nan)),
    (TypeError, "BCEWithLogitsLoss", F.binary_cross_entropy_with_logits, dict(pos_weight=tg.Tensor(2.0, requires_grad=True))),
    (ValueError, "MSELoss", F.mse_loss, dict(reduction="average"))])
def test_modules_check_their_settings_when_they_are_made(kind, module, function, options):
    """The error is that of the function, with the name of the module in front."""
    labels = module in ("CrossEntropyLoss", "NLLLoss", "MultiMarginLoss")
    with pytest.raises(kind) as said:
        function(*([[[0.0, 1.0]], [0]] if labels else [[1.0, 1.0], [1.0, 1.0]]), **options)
    with pytest.raises(kind) as found:
        getattr(nn, module)(**options)
    assert str(found.value) == str(said.value).replace(function.__name__, module, 1)


@pytest.mark.parametrize("module", [nn.CrossEntropyLoss, nn.NLLLoss, nn.MultiMarginLoss])
def test_weights_of_classes_have_one_axis(module):
    with pytest.raises(ValueError, match=rf"{module.__name__}: weight has shape \(1, 2\), expected \(classes,\)"):
        module(weight=[[1.0, 2.0]])


@pytest.mark.parametrize("module", [cls for cls in vars(nn).values() if isinstance(cls, type) and issubclass(cls, nn.Loss) and cls is not nn.Loss])
def test_modules_take_the_settings_of_their_functions(module):
    """The settings have the same names, order, defaults and docs. (Weights of elements are arguments of the function only.)"""
    settings = dict(list(inspect.signature(module.function).parameters.items())[2:])
    own = inspect.signature(module).parameters
    assert [*own] == [name for name in settings if name in own] and settings.keys() - own.keys() <= {"weight"}
    for name, parameter in own.items():
        assert parameter.default == settings[name].default and getattr(module(), name) == parameter.default
    formula = inspect.getdoc(module.function).split("\n\n")[0]
    assert inspect.getdoc(module).startswith(formula) and f"`{module.function.__name__}`" in module.__doc__


@every_type
def test_the_gradient_that_cross_entropy_saves_is_lent(dtype):
    """Backward takes it as it is where g is 1: nothing may write to it, and what is added or scaled has the same value."""
    values = np.random.default_rng(0).standard_normal((5, 3)).astype(dtype)
    expected = slope(lambda x: F.cross_entropy(x, np.arange(5) % 3), values, dtype)

    def gradients(of, times=1):
        x = tg.Tensor(values, requires_grad=True)
        loss = F.cross_entropy(x, np.arange(5) % 3)
        saved = loss.saved.copy()
        for _ in range(times):
            of(loss, x).backward(retain_graph=True)
        np.testing.assert_array_equal(loss.saved, saved)
        assert not np.shares_memory(x.grad, loss.saved)
        return x.grad

    np.testing.assert_array_equal(gradients(lambda loss, x: loss), expected)
    np.testing.assert_array_equal(gradients(lambda loss, x: loss, times=2), expected + expected)
    np.testing.assert_array_equal(gradients(lambda loss, x: loss * 2.0), 2 * expected)
    np.testing.assert_array_equal(gradients(lambda loss, x: loss + x.sum()), expected + 1)
    np.testing.assert_array_equal(gradients(lambda loss, x: x.sum() + loss), expected + 1)

    x = tg.Tensor(values, requires_grad=True)
    logits = x * 1.0
    loss, seen = F.cross_entropy(logits, np.arange(5) % 3), []
    for node in (loss, logits):
        node.register_hook(seen.append)
    for found in tg.grad(loss, [logits, loss], retain_graph=True):
        found.data[...] = 7.0           # copies: neither the saved gradient nor the 1 at the loss
    loss.backward()
    np.testing.assert_array_equal(x.grad, expected)
    assert len(seen) == 4 and not any(g.flags.writeable for g in seen)
