"""Every loss is PyTorch's: values, gradients, second derivatives, kinks, all reductions and weights; and 50 steps of training."""
from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as TF
from common import every_type
from parity.peer import TYPES, torch_twin
from parity.test_functions import agree, ours_and_theirs

from tinygrad_relu import functional as F
from tinygrad_relu import nn, optim

RNG = np.random.default_rng(0)
LABELS, IGNORING = np.array([0, 2, 1, 1, 0, 2]), np.array([0, -100, 1, 1, -100, 2])
WEIGHT, EACH, SIGNS = np.array([0.5, 2.0, 1.5]), RNG.uniform(0, 2, (6, 3)), np.where(RNG.random((6, 3)) < 0.5, 1.0, -1.0)

# name of the function: what it is compared on, as (options, fixed second argument or None)
CLASSES = {
    "cross_entropy": [(dict(weight=WEIGHT, label_smoothing=0.3, ignore_index=1), LABELS), (dict(ignore_index=-7), LABELS), *(
        (o, labels) for labels in (LABELS, IGNORING) for o in (
            dict(), dict(weight=WEIGHT), dict(label_smoothing=0.3), dict(weight=WEIGHT, label_smoothing=0.3)))],
    "nll_loss": [(dict(weight=WEIGHT, ignore_index=2), LABELS), *(
        (o, labels) for labels in (LABELS, IGNORING) for o in (dict(), dict(weight=WEIGHT)))],
    "multi_margin_loss": [(o, LABELS) for o in (dict(), dict(p=2), dict(p=2, margin=0.5, weight=WEIGHT), dict(margin=-0.5))],
    "hinge_embedding_loss": [(o, SIGNS) for o in (dict(), dict(margin=0.25))],
}
TARGETS = {
    "mse_loss": [dict(), dict(weight=EACH)],
    "l1_loss": [dict(), dict(weight=EACH)],
    "huber_loss": [dict(), dict(delta=0.3), dict(delta=2.0, weight=EACH)],
    "smooth_l1_loss": [dict(), dict(beta=0.3), dict(beta=0.0)],
    "binary_cross_entropy_with_logits": [dict(), dict(weight=EACH), dict(pos_weight=WEIGHT), dict(weight=WEIGHT, pos_weight=EACH)],
}
CURVED = {"cross_entropy", "mse_loss", "huber_loss", "smooth_l1_loss", "binary_cross_entropy_with_logits"}
CASES = ([(name, o, fixed) for name, cases in CLASSES.items() for o, fixed in cases]
         + [(name, o, None) for name, cases in TARGETS.items() for o in cases])


def theirs(name, options, dtype):
    made = {key: torch.tensor(v, dtype=TYPES[dtype]) if isinstance(v, np.ndarray) else v for key, v in options.items()}
    return lambda *arguments, reduction: getattr(TF, name)(*arguments, reduction=reduction, **made)


@every_type
@pytest.mark.parametrize("how", F.REDUCTIONS)
@pytest.mark.parametrize("name, options, fixed", CASES, ids=[f"{n}-{i}" for i, (n, _, _) in enumerate(CASES)])
def test_loss(name, options, fixed, how, dtype):
    f, g, order = getattr(F, name), theirs(name, options, dtype), 2 if name in CURVED and options.get("beta") != 0 else 1
    x, target = 2 * RNG.standard_normal((6, 3)), RNG.uniform(0, 1, (6, 3))
    if fixed is None:
        pairs = ours_and_theirs(lambda x, t: f(x, t, reduction=how, **options), lambda x, t: g(x, t, reduction=how),
                                [x, target], dtype, order)
    else:
        second = torch.tensor(fixed, dtype=TYPES[dtype] if fixed.dtype.kind == "f" else torch.int64)
        pairs = ours_and_theirs(lambda x: f(x, fixed, reduction=how, **options), lambda x: g(x, second, reduction=how), [x],
                                dtype, order)
    agree(pairs, dtype, ulps=256)       # sums of 18 numbers of up to 10, some of them squared


# class probabilities, which may have a gradient of their own; and labels at every place of a sequence or an image
SHAPES = {(3,): (), (4, 3): (4,), (2, 3, 5): (2, 5), (2, 3, 2, 3): (2, 2, 3), (2, 3, 2, 1, 2): (2, 2, 1, 2)}
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
every_reduction = pytest.mark.parametrize("how", F.REDUCTIONS)


@every_type
@every_reduction
@every_shape
@pytest.mark.parametrize("options", [{}, dict(weight=WEIGHT), dict(label_smoothing=0.3), dict(weight=WEIGHT, label_smoothing=0.3)],
                         ids=str)
def test_class_probabilities(options, shape, how, dtype):
    """Value, both gradients, and the derivatives of both. The probabilities need not sum to 1, in PyTorch or here."""
    f, g = (lambda x, t: F.cross_entropy(x, t, reduction=how, **options)), theirs("cross_entropy", options, dtype)
    arrays = [2 * RNG.standard_normal(shape), RNG.uniform(-0.2, 1, shape)]
    agree(ours_and_theirs(f, lambda x, t: g(x, t, reduction=how), arrays, dtype, order=2), dtype, ulps=256)


@every_type
@every_reduction
@every_shape
@pytest.mark.parametrize("options", [{}, dict(weight=WEIGHT), dict(ignore_index=1), dict(weight=WEIGHT, ignore_index=1)], ids=str)
@pytest.mark.parametrize("name, smoothing", [("cross_entropy", {}), ("cross_entropy", dict(label_smoothing=0.3)), ("nll_loss", {})])
def test_labels_at_every_place(name, smoothing, options, shape, how, dtype):
    f, order = getattr(F, name), 2 if name == "cross_entropy" else 1
    g = theirs(name, options | smoothing, dtype)
    labels = RNG.integers(0, 3, SHAPES[shape])
    labels[...] = np.where(labels.size > 1, labels, 2)          # a single place has a label that is not ignored
    second = torch.from_numpy(np.asarray(labels))
    agree(ours_and_theirs(lambda x: f(x, labels, reduction=how, **options, **smoothing), lambda x: g(x, second, reduction=how),
                          [2 * RNG.standard_normal(shape)], dtype, order), dtype, ulps=256)


@pytest.mark.parametrize("how", ["sum", "none"])
def test_an_empty_batch(how):
    """Without averaging, an empty batch is no special case."""
    for shape, places in (((0, 3), (0,)), ((2, 3, 0), (2, 0))):
        labels, x = np.zeros(places, int), np.zeros(shape)
        for name, options in (("cross_entropy", {}), ("cross_entropy", dict(label_smoothing=0.1)), ("nll_loss", {})):
            for target in (labels, x) if name == "cross_entropy" else (labels,):
                agree(ours_and_theirs(lambda x, n=name, o=options, t=target: getattr(F, n)(x, t, reduction=how, **o),
                                      lambda x, n=name, o=options, t=target: getattr(TF, n)(
                                          x, torch.from_numpy(t), reduction=how, **o), [x], np.float64), np.float64)


@every_type
@pytest.mark.parametrize("name, options, points", [
    ("l1_loss", {}, [0.0, -0.0]), ("huber_loss", dict(delta=0.5), [0.5, -0.5, 0.0, -0.0]),
    ("smooth_l1_loss", dict(beta=0.5), [0.5, -0.5, 0.0]), ("smooth_l1_loss", dict(beta=0.0), [0.0, -0.0])])
def test_slope_at_every_kink_of_the_error(name, options, points, dtype):
    zeros = np.zeros(len(points))
    pairs = ours_and_theirs(lambda x: getattr(F, name)(x, zeros, reduction="sum", **options),
                            lambda x: getattr(TF, name)(x, torch.zeros_like(x), reduction="sum", **options), [points], dtype)
    for a, b in pairs:
        np.testing.assert_array_equal(a, b)


@every_type
def test_slope_at_every_kink_of_the_hinges(dtype):
    x = np.array([[1.0, 0.0, 0.5], [0.25, 1.25, 1.25]])         # exactly the margin between a score and the right one
    for p in (1, 2):
        agree(ours_and_theirs(lambda x, p=p: F.multi_margin_loss(x, [0, 1], p=p), lambda x, p=p: TF.multi_margin_loss(
            x, torch.tensor([0, 1]), p=p), [x], dtype), dtype, ulps=2)
    x, signs = np.array([1.0, 1.0, 0.0, 2.0]), np.array([-1.0, 1.0, -1.0, -1.0])
    agree(ours_and_theirs(lambda x: F.hinge_embedding_loss(x, signs), lambda x: TF.hinge_embedding_loss(
        x, torch.tensor(signs, dtype=TYPES[dtype])), [x], dtype), dtype, ulps=2)


@every_type
def test_extreme_logits(dtype):
    """Nothing overflows; and for large logits the gradients here keep digits that PyTorch's lose."""
    x, t = np.array([1000.0, -1000.0, 1000.0, -1000.0, 1e30]), np.array([1.0, 1.0, 0.0, 0.0, 0.0])
    pairs = ours_and_theirs(lambda x: F.binary_cross_entropy_with_logits(x, t, reduction="none"),
                            lambda x: TF.binary_cross_entropy_with_logits(x, torch.tensor(t, dtype=TYPES[dtype]),
                                                                          reduction="none"), [x], dtype)
    agree(pairs, dtype)
    ours, other = F.binary_cross_entropy_with_logits([-50.0], [0.0]).item(), TF.binary_cross_entropy_with_logits(
        torch.tensor([-50.0]), torch.tensor([0.0])).item()
    assert other == 0 and abs(ours / np.exp(-50) - 1) < 1e-14


# -- training ----------------------------------------------------------------------------------------------------------

X, TARGET = RNG.standard_normal((32, 5)), RNG.standard_normal((32, 3))
CLASS, CHANCE, PLUS = RNG.integers(0, 3, 32), RNG.uniform(0, 1, (32, 3)), np.where(RNG.random((32, 3)) < 0.5, 1.0, -1.0)
SOME = np.where(RNG.random(32) < 0.2, -100, CLASS)
MODULES = [
    ("CrossEntropyLoss", {}, CHANCE), ("CrossEntropyLoss", dict(weight=WEIGHT, label_smoothing=0.2), CHANCE),
    ("CrossEntropyLoss", {}, CLASS), ("CrossEntropyLoss", dict(weight=WEIGHT, label_smoothing=0.2), SOME),
    ("CrossEntropyLoss", dict(reduction="sum", ignore_index=1), CLASS), ("NLLLoss", dict(weight=WEIGHT), SOME),
    ("MSELoss", {}, TARGET), ("MSELoss", dict(reduction="sum"), TARGET), ("L1Loss", {}, TARGET),
    ("HuberLoss", dict(delta=0.5), TARGET), ("SmoothL1Loss", dict(beta=0.5), TARGET),
    ("BCEWithLogitsLoss", {}, CHANCE), ("BCEWithLogitsLoss", dict(weight=WEIGHT, pos_weight=WEIGHT), CHANCE),
    ("MultiMarginLoss", {}, CLASS), ("MultiMarginLoss", dict(p=2, margin=0.5, weight=WEIGHT), CLASS),
    ("HingeEmbeddingLoss", dict(margin=0.5), PLUS)]


@pytest.mark.parametrize("name, options, target", MODULES, ids=[f"{n}-{i}" for i, (n, _, _) in enumerate(MODULES)])
def test_fifty_steps_with_every_module(name, options, target):
    model = nn.MLP([5, 8, 3], activation="tanh", dtype="float64", rng=1)
    peer = torch_twin(model)
    loss = getattr(nn, name)(**options)
    peer_loss = getattr(torch.nn, name)(**{k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in options.items()})
    assert {key: value.data.tolist() for key, value in loss.named_buffers()} == {
        key: value.tolist() for key, value in peer_loss.state_dict().items()}
    rate = 0.002 if options.get("reduction") == "sum" else 0.1
    opt, peer_opt = optim.SGD(model.parameters(), lr=rate, momentum=0.9), torch.optim.SGD(peer.parameters(), lr=rate, momentum=0.9)
    first = None
    for _ in range(50):
        y, other = model(X), peer(torch.from_numpy(X))
        if name == "NLLLoss":
            y, other = F.log_softmax(y), torch.log_softmax(other, dim=1)
        ours, theirs = loss(y, target), peer_loss(other, torch.from_numpy(target))
        opt.zero_grad(), peer_opt.zero_grad()
        ours.backward(), theirs.backward()
        opt.step(), peer_opt.step()
        first = ours.item() if first is None else first
        assert abs(ours.item() - theirs.item()) < 1e-10
    for p, q in zip(model.parameters(), peer.parameters()):
        np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=0, atol=1e-10)
    assert ours.item() < first


@every_type
@pytest.mark.parametrize("options", [dict(), dict(p=2, margin=0.5), dict(weight=WEIGHT)], ids=str)
@pytest.mark.parametrize("label", [np.array(1), np.array([1])], ids=["()", "(1,)"])
@pytest.mark.parametrize("reduction", F.REDUCTIONS)
def test_multi_margin_of_one_sample(options, label, reduction, dtype):
    weight = options.get("weight")
    theirs = {**options, "weight": torch.tensor(weight, dtype=TYPES[dtype])} if weight is not None else options
    agree(ours_and_theirs(lambda x: F.multi_margin_loss(x, label, reduction=reduction, **options), lambda x: TF.multi_margin_loss(
        x, torch.tensor(label), reduction=reduction, **theirs), [np.array([0.5, 1.0, 0.25])], dtype), dtype, ulps=4)
