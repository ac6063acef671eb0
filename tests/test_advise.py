"""Each rule of `lab.advise` speaks where it should, and only there."""
import json
import re
from pathlib import Path

import numpy as np
import pytest

from tinygrad_relu import functional as F
from tinygrad_relu import lab, nn, optim

RNG = np.random.default_rng(5)
X = RNG.standard_normal((80, 4))
Y = RNG.integers(0, 3, 80)


def net(activation="relu", widths=(4, 12, 8, 3), **options):
    return nn.MLP(widths, activation, dtype="float64", rng=0, **options)


def pushed(model, layer, bias):
    model[layer].bias.data = np.full(model[layer].bias.shape, bias)
    return model


def killed(model, units, layer=0):
    lab.kill(model, X, units, layer=layer)
    return model


def twins():
    model = net()
    for p in model[0].parameters():
        values = p.data.copy()
        values[3] = values[7]
        p.data = values
    return model


def heavy(model, **options):
    return optim.SGD(model.parameters(), **{"lr": 0.1, "momentum": 0.99, **options})


def plain(model, lr=0.01):
    return optim.SGD(model.parameters(), lr=lr)


def without_inputs(model):
    model[0].weight.array[[2, 9]], model[0].bias.array[[2, 9]] = 0, -1
    return model


def decayed(model):
    return optim.SGD([{"params": model.parameters(), "weight_decay": 0.1}], lr=0.01)


def frozen(model):
    model[0].requires_grad_(False)
    return model


# the model, the optimizer, and: urgency, claim, layer, units of the hint, and a word of its advice
CASES = {
    "dead": (killed(net(), [1, 4]), plain, ("act", "A11", "0", [1, 4], "call lab.ReDo().apply(model, optimizer, {0: hint.units}, rng)")),
    "dead behind": (killed(net(), [2], 1), None, ("act", "A11", "2", [2], "{1: hint.units}")),
    "a window": (killed(net(), [1]), heavy, ("act", "A11", "0", [1], "set weight_decay above 0.000251258, or call")),
    "in the window": (killed(net(), [1]), lambda m: heavy(m, weight_decay=0.001), ("watch", "A11", "0", [1], "go on training")),
    "in a Residual": (killed(nn.Sequential(nn.Residual(nn.Linear(4, 4, rng=0), nn.ReLU()), nn.Linear(4, 3, rng=0)), [1]), plain, (
        "act", "A11", "0.0", [1], "call lab.BumpBias(x).apply(model, optimizer, {0: hint.units})")),
    "many": (killed(net(), [0, 1, 2, 3, 4]), plain, ("act", "A9", "0", [0, 1, 2, 3, 4], "lower the rate")),
    "all": (killed(net(), None, 1), plain, ("act", "A23", "2", [], "lab.DataInit(x)")),
    "rate": (net(), lambda m: plain(m, 500.0), ("act", "A8", "", [], "lower the rate: up to")),
    "proper rate": (net(), plain, ("fine", "A10", "", [], "keep the rate")),
    "sparse": (net(), None, ("fine", "A14", "0", [], "keep it")),
    "saturated": (pushed(net("sigmoid"), 0, 50.0), None, ("act", "D8", "0", list(range(12)), "lab.InsertBatchNorm(x)")),
    "step": (net("step"), None, ("act", "D11", "0", list(range(12)), "straight_through")),
    "sigmoids": (net("sigmoid", (4, 5, 5, 5, 3)), None, ("watch", "C1", "", [], "use relu")),
    "vanishing": (net("sigmoid", (4, 8, 8, 8, 8, 8, 8, 3)), plain, ("act", "C7", "0", [], "batch normalisation")),
    "exploding": (net("relu", (4, 30, 30, 30, 30, 3), init="normal"), plain, ("act", "C11", "", [], "smaller weights")),
    "leaky": (pushed(net("leaky_relu"), 0, -50.0), None, ("watch", "B2", "0", list(range(12)), "lab.Mirror()")),
    "constant": (without_inputs(net("tanh")), None, ("watch", "A21", "0", [2, 9], "look at the inputs")),
    "linear": (pushed(net(), 0, 50.0), None, ("act", "A1", "0", [], "standardise x")),
    "pieces": (net("maxout", pieces=6), None, ("watch", "B13", "0", None, "take fewer pieces")),
    "prelu": (net("prelu"), decayed, ("act", "B4", "0", [], "weight_decay=0")),
    "norm": (net(norm="batch"), None, ("fine", "D10", "0", [], "bias=False")),
    "mixed": (nn.Sequential(nn.Linear(4, 5, rng=0), nn.ReLU(), nn.Linear(5, 5, rng=1), nn.Tanh(), nn.Linear(5, 3, rng=2)), None,
              ("watch", "B15", "", [], "use one")),
    "twins": (twins(), None, ("act", "A21", "0", [3, 7], "lab.ReDo()")),
    "frozen": (frozen(net()), None, ("fine", "D18", "0", list(range(12)), "set requires_grad")),
}


@pytest.mark.parametrize("name", CASES)
def test_a_hint_is_given_where_it_should_be(name):
    model, optimizer, (urgency, claim, layer, units, words) = CASES[name]
    before = {key: values.copy() for key, values in model.state_dict().items()}
    made = None if optimizer is None else optimizer(model)
    advice = lab.advise(model, X, None if made is None else Y, made)
    found = [hint for hint in advice.hints if (hint.urgency, hint.claim, hint.layer) == (urgency, claim, layer)]
    assert len(found) == 1 and words in found[0].advice and (units is None or found[0].units == units)
    assert all(np.array_equal(values, before[key]) for key, values in model.state_dict().items())
    order = [("act", "watch", "fine").index(hint.urgency) for hint in advice.hints]
    assert order == sorted(order)


class ByHand(nn.Module):
    """Its first activation is a function; `twice` uses the weights after it twice, so that no outgoing weight is a unit's own."""

    def __init__(self, twice, norm=False):
        self.first, self.second, self.norm, self.twice = nn.Linear(4, 8, rng=0), nn.Linear(8, 3, rng=1), nn.LayerNorm(8) if norm else None, twice

    def forward(self, x):
        z = self.first(x) if self.norm is None else self.norm(self.first(x))
        h = F.relu(z)
        return self.second(h) + self.second(2 * h) if self.twice else self.second(h)


@pytest.mark.parametrize(("model", "advice"), [
    (ByHand(False), "call lab.ReDo().apply(lab.Units(model, x), optimizer, {0: hint.units}, rng)"),
    (ByHand(True), "call lab.BumpBias(x).apply(model, optimizer, {0: hint.units})"),
    (ByHand(True, norm=True), "use an activation with a slope on both sides, such as leaky_relu")])
def test_an_advice_that_can_be_followed(model, advice):
    (model.first.bias if model.norm is None else model.norm.bias).array[1] = -99
    (hint,) = [hint for hint in lab.advise(model, X).hints if hint.urgency == "act"]
    assert (hint.units, hint.advice) == ([1], advice)
    if "call" in advice:
        exec(advice.removeprefix("call "), {"lab": lab, "model": model, "x": X, "optimizer": plain(model), "hint": hint, "rng": 0})


def test_a_healthy_network_is_left_alone():
    model = net()
    model[0].bias.data = np.full(12, 0.3)
    model[2].bias.data = np.full(8, 0.3)
    hints = lab.advise(model, X, Y, plain(model), batch_size=16).hints
    assert {(hint.urgency, hint.claim) for hint in hints} == {("fine", "A14"), ("fine", "A10")}


def test_a_unit_that_is_silent_on_most_batches():
    model = net()
    model[0].bias.data = np.where(np.arange(12) == 5, -np.sort(X @ model[0].weight.data[5])[-2], 0.0)
    (hint,) = [hint for hint in lab.advise(model, X, batch_size=16).hints if hint.claim == "A7" and 5 in hint.units]
    p = 1 / 80                                              # active on one sample, the largest
    assert (1 - p) ** 16 > 0.5 and f"batches of {int(np.ceil(np.log(2) / p))} " in hint.advice
    assert not any(hint.claim == "A7" for hint in lab.advise(model, X).hints)


@pytest.mark.parametrize("activation", ["leaky_relu", "sigmoid", "gelu"])
def test_a_unit_below_zero_is_not_silent_if_it_has_a_slope_there(activation):
    model = net(activation=activation)
    model[0].bias.data = -np.sort(X @ model[0].weight.data.T, axis=0)[-2]
    assert not any(hint.claim == "A7" for hint in lab.advise(model, X, batch_size=16).hints)


def test_a_network_that_has_diverged_gets_one_advice():
    model = net()
    model[0].bias.array[3] = np.inf
    hints = lab.advise(model, X, Y, plain(model)).hints
    assert hints[0].claim == "A13" and hints[0].units == [3] and "lower the rate" in hints[0].advice


def test_gradients_of_zero_are_stuck_or_finished():
    model = net(init=0.0)
    assert [hint.advice for hint in lab.advise(model, X, Y).hints if hint.claim == "D9"] == ["ask lab.why_zero whether it is finished"]


def test_the_advice_helps():
    """The dead units of a network get the intervention that is advised, and live."""
    model = killed(net(), [1, 4, 6])
    optimizer = heavy(model)
    advice = lab.advise(model, X, Y, optimizer)
    hint = advice.hints[0]
    assert hint.advice.endswith("call lab.ReDo().apply(model, optimizer, {0: hint.units}, rng)")
    lab.ReDo().apply(model, optimizer, {0: hint.units}, 0)
    assert lab.census(model, X).dead[0] == 0
    again = json.loads(advice.to_json())["hints"][0]
    assert again["units"] == [1, 4, 6] and again["claim"] == "A11"
    assert "A11" in str(advice) and "A11" in str(advice.table()) and advice.plot().axes and advice.census.plot().axes


@pytest.mark.parametrize(("call", "words"), [
    (lambda: lab.advise(net(), X, Y, "sgd"), "the optimizer is 'sgd'"),
    (lambda: lab.advise(net(), X, batch_size=0), "batch_size is 0"),
    (lambda: lab.advise(net(), X[:, :2]), "x has 2 features, expected 4")])
def test_wrong_calls_are_one_sentence(call, words):
    with pytest.raises((ValueError, TypeError), match=words):
        call()


def test_every_rule_has_a_case():
    source = Path(lab.__file__).with_name("advise.py").read_text(encoding="utf-8")
    claims = {claim for *_, (_, claim, *_) in CASES.values()} | {"A7", "A13", "D9"}         # these have tests of their own
    assert set(re.findall(r'Hint\("\w+", "(\w+)"', source)) == claims
