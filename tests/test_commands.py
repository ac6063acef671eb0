"""The commands on trainings and saved models: resumed bits, the live line, the layer that diverged first, and the instruments."""
import argparse
import json

import numpy as np
import pytest
from common import run

import tinygrad_relu as tg
from tinygrad_relu import data, lab, nn, optim, training
from tinygrad_relu import functional as F
from tinygrad_relu.commands import models
from tinygrad_relu.commands.train import Watch, _fit
from tinygrad_relu.training import History

QUICK = ["train", "--data", "moons", "--widths", "12", "8", "--epochs", "4"]


NET = """
import numpy as np
from tinygrad_relu import functional as F, nn

class Net(nn.Module):
    def __init__(self, rng):
        rng = np.random.default_rng(rng)
        self.a, self.b = nn.Linear(2, 6, rng=rng), nn.Linear(6, 2, rng=rng)

    def forward(self, x):
        return self.b(F.relu(self.a(x)))
"""


def weights(path):
    return tg.load(path)["model"]


@pytest.mark.parametrize("more", [[], ["--optimizer", "adam", "--betas", "0.8", "0.99", "--lr", "0.01", "--dropout", "0.3", "--norm", "batch"],
                                  ["--momentum", "0.9", "--schedule", "cosine", "--dtype", "float64", "--standardise"]],
                         ids=lambda words: " ".join(words))
def test_a_resumed_run_has_the_bits_of_an_uninterrupted_one(capsys, tmp_path, more):
    """With and without --watch, which must not touch the training."""
    whole, parts = tmp_path / "whole.npz", tmp_path / "parts.npz"
    assert run(capsys, *QUICK, "--out", whole, "--quiet", *more) == (0, "", "")
    assert run(capsys, *QUICK, "--out", parts, "--watch", "--every", "3", "--seed", "0", *more)[0] == 0
    at_four = weights(parts)
    assert all((at_four[name] == array).all() for name, array in weights(whole).items())
    status, _, err = run(capsys, "train", "--resume", whole, "--epochs", 7)
    if "cosine" in more:        # which takes its length from the first call
        assert status == 2 and "--epochs is 7, but the cosine schedule of this run ends at rate 0 after 4 epochs" in err
        return
    assert status == run(capsys, *QUICK, "--epochs", 2, *more, "--out", parts)[0] == 0
    assert run(capsys, "train", "--resume", parts, "--epochs", 7, "--watch")[0] == 0
    assert all((weights(parts)[name] == array).all() for name, array in weights(whole).items())
    assert any((at_four[name] != array).any() for name, array in weights(whole).items())


def test_watch_shows_dead_dying_and_revived_units(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    numbers = tmp_path / "a.json"
    status, out, _ = run(capsys, *QUICK, "--lr", "8", "--watch", "--json", numbers, "--out", tmp_path / "a.npz")
    looks = json.loads(numbers.read_text())["looks"]
    headings, first, *_ = out.splitlines()[1:]
    assert ("The training overshot" in out) == (looks[-1]["loss"] > looks[0]["loss"])
    assert status == 0 and headings.split() == ["epoch", "step", "loss", "accuracy", "dead", "dying", "revived"]
    assert first.split() == ["0", "0", f"{looks[0]['loss']:.4g}", f"{looks[0]['accuracy']:.4f}",
                             *(str(n) for name in ("dead", "dying", "revived") for n in looks[0][name])]
    assert [look["step"] for look in looks] == [0, 4, 8, 12, 16] and sum(looks[-1]["dead"]) > sum(looks[0]["dead"])
    census = run(capsys, "census", tmp_path / "a.npz", "--json", numbers)
    layers = json.loads(numbers.read_text())["layers"]
    assert census[0] == 0 and [layer["dead"] for layer in layers] == looks[-1]["dead"]


def test_dying_is_a_slope_of_zero_on_most_batches():
    """A unit that is flat on a share f of the samples gets no gradient from a batch of 64 with probability f^64. Here f is 0.99,
    0.98 and 0.01; then the first unit dies, and comes back."""
    model = nn.MLP([1, 3, 2], rng=0, dtype="float64")
    train = data.Dataset("line", np.arange(100.0)[:, None], np.arange(100) % 2, 2)
    setup = models.Setup(argparse.Namespace(batch_size=64), train, None, model, optim.SGD(model.parameters(), lr=0.1), None)
    watch, history, model[0].weight.data = Watch(setup, quiet=True), History(), [[1.0], [1.0], [1.0]]
    for bias in (-98.5, -100.0, -98.5, -98.5, -100.0):
        model[0].bias.data, history.steps = [bias, -97.5, 0.0], history.steps + 1
        watch(history)
    assert [(row["dead"], row["dying"], row["revived"]) for row in watch.rows] == [
        ([0], [1], [0]), ([1], [0], [0]), ([0], [1], [1]), ([0], [1], [1]), ([1], [0], [1])]
    assert [row["epoch"] for row in watch.rows] == [0.5, 1.0, 1.5, 2.0, 2.5]


@pytest.mark.parametrize("width", [30, 40, 60, 80])
def test_the_lines_of_a_watch_fit_the_terminal(capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    out = run(capsys, *QUICK, "--watch")[1].partition("\n\n")[0].splitlines()
    assert max(map(len, out)) <= width and any(line.split()[:1] == ["epoch"] and "dead" in line for line in out)


def test_divergence_is_one_sentence_that_names_the_layer(capsys, tmp_path, monkeypatch):
    """A weight of layer 2 that overflows on the first batch; and an overshoot, in which the first products overflow."""
    monkeypatch.setattr(training, "KEPT", np.inf)       # on a slow machine, ten seconds may be over after the first step
    status, out, err = run(capsys, *QUICK, "--lr", "1e6", "--activation", "elu", "--out", tmp_path / "a.npz")
    assert status == 1 and err.count("\n") == 1 and "back at the state after step 0. Layer" in err and "went first" in err
    assert out.startswith("the loss of step") and "\n\ncensus" in out and "diverged" not in out      # the units of that state
    saved = tg.load(tmp_path / "a.npz")
    assert all(np.isfinite(array).all() for array in saved["model"].values())
    saved["model"]["2.weight"][0] = 3e38
    tg.save(tmp_path / "a.npz", saved)
    status, _, err = run(capsys, "train", "--resume", tmp_path / "a.npz")
    assert status == 1 and "Layer 2 went first: linear in 2 (Linear) made the first infinity at step 1 (forward)" in err


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["train", "--resume", "no.npz"], "no.npz does not exist"),
    (["train", "--resume", "numbers.npz"], "numbers.npz does not tell how it was trained"),
    (["train", "--resume", "begun.npz", "--lr", "3"], "--lr is 3.0, but the run in begun.npz was begun with 0.1"),
    (["train", "--resume", "quick.npz", "--lr", "0.1"], "--lr is 0.1, but the run in quick.npz was begun with 0.3"),
    (["train", "--model", "net.txt:Net"], "--model is 'net.txt:Net', expected FILE.py:NAME"),
    (["train", "--data", "moons", "--model", "net.py:Nat"], "a name in net.py is 'Nat'"),
    (["train", "--data", "moons", "--model", "net.py:np"], "expected a class or a function"),
    (["train", "--data", "moons", "--model", "no.py:Net"], "--model: no.py cannot be run: No such file or directory"),
    (["train", "--data", "moons", "--model", "words.py:Net"], "--model: words.py cannot be run: invalid syntax"),
    (["train", "--data", "moons", "--start", "numbers.npz"], "numbers.npz: MLP: the state does not fit: missing 0.weight"),
    (["train", "--regression"], "--regression is for csv; --data digits takes none"),
    (["train", "--data", "csv", "--path", "words.csv", "--regression"], "words.csv, line 2, column 'y': got 'no', expected a finite"),
    (["train", "--epochs", "0"], "--epochs is 0"),
    (["train", "--resume", "begun.npz", "--epochs", "0"], "--epochs is 0"),
    (["train", "--held-out", "1"], "--held-out is 1.0, expected a share"),
    (["train", "--optimizer", "adam", "--momentum", "0.9"], "got momentum 0.9 for adam"),
    (["train", "--betas", "0.8", "0.99"], "got betas [0.8, 0.99] for sgd, expected them for adam or adamw"),
    (["train", "--optimizer", "adam", "--betas", "0.8", "1"], "betas is (0.8, 1.0), expected two numbers from 0 up to"),
    (["train", "--resume", "begun.npz", "--out", "a.npz"], "got --resume and --out, expected one of them"),
    (["train", "--every", "5"], "--every is an option of --watch"),
    (["train", "--seed", "-1"], "--seed is -1, expected at least 0"),
    (["map", "--steps", "999999999999"], "--steps is 999999999999, expected at most 1,000,000"),
    (["experiment", "all", "--figure", "a.png"], "--figure is a.png, expected a folder for"),
    (["experiment", "list", "foo"], "the experiment is 'foo'"),
    (["report", "--out", "a.pdf"], "--out: the ending of the report is '.pdf', expected one of: .html, .htm"),
    (["train", "--out", "a.txt"], "a.txt ends in '.txt', expected .npz"),
    (["train", "--out", "a.npz", "--json", "a.npz"], "both name a.npz"),
    (["census", "no.npz"], "no.npz does not exist"),
    (["census", "begun.npz", "--path", "x.csv"], "the options of a data set need --data"),
    (["census", "begun.npz", "--data", "digits"], "0.weight has shape (12, 2), expected (12, 64)"),
    (["census", "begun.npz", "--figure", "a.gif"], "expected one of: png, svg, pdf"),
    (["autopsy", "begun.npz", "--steps", "0"], "--steps is 0"),
    (["why-zero", "begun.npz", "--unit", "0", "3", "--parameter", "0.bias"], "got --parameter and --unit"),
    (["why-zero", "begun.npz", "--parameter", "0.bais"], "did you mean '0.bias'"),
    (["why-zero", "begun.npz", "--unit", "0", "99"], "got (layer, unit) = (0, 99), expected one of 2 hidden layers"),
    (["autopsy", "fresh.npz"], "the run in fresh.npz went back to its beginning, expected one with steps"),
    (["lethal-lr", "diverged.npz", "--data", "moons"], "gradients are NaN or infinite, expected a network that has not diverged"),
    (["census", "numbers.npz"], "numbers.npz holds no weights of linear layers"),
])
def test_bad_input_is_one_sentence(capsys, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    run(capsys, *QUICK, "--epochs", 1, "--out", "begun.npz")
    run(capsys, *QUICK, "--epochs", 1, "--lr", 0.3, "--out", "quick.npz")
    (tmp_path / "words.csv").write_text("x,y\n1,no\n")
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "words.py").write_text("not a program")
    tg.save("numbers.npz", rates=[0.1])
    begun = tg.load("begun.npz")
    tg.save("fresh.npz", {**begun, "fit": {**begun["fit"], "steps": 0}})
    tg.save("diverged.npz", {name: array * np.nan for name, array in begun["model"].items()})
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "") and sentence in err and err.count("\n") == 1


def test_a_model_of_your_own(capsys, tmp_path, monkeypatch):
    """It is trained, resumed, and looked at, also from a file of its weights alone."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    own = ["--data", "moons", "--model", "net.py:Net"]
    assert run(capsys, "train", *own, "--epochs", 1, "--out", "a.npz", "--watch")[0] == 0
    assert run(capsys, "train", "--resume", "a.npz", "--epochs", 2)[0] == 0
    tg.save("weights.npz", weights("a.npz"))
    for command in ("census", "lethal-lr", "gradient-profile", "advise", "why-zero"):
        one, other = (run(capsys, command, *words) for words in (["a.npz", "--data", "moons"], ["weights.npz", *own]))
        assert one[0] == other[0] == 0, one[2] + other[2]
        assert one[1] == other[1] or command in ("gradient-profile", "advise")          # which take the saved optimizer
    assert run(capsys, "train", *own, "--start", "weights.npz", "--epochs", 1, "--quiet") == (0, "", "")


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
def test_weights_of_many_layers_of_another_program_go_by_their_order(capsys, tmp_path, ending):
    """A .safetensors file has no order: layers of one shape could change places, in another way in each process."""
    model = nn.MLP([2, *[3] * 11, 2], rng=3)
    tg.save(tmp_path / "own.npz", model)
    tg.save(tmp_path / f"other.{ending}", {f"net.{name}": array for name, array in model.state_dict().items()})
    one, other = (run(capsys, "census", tmp_path / file, "--data", "moons") for file in ("own.npz", f"other.{ending}"))
    assert one == other and one[0] == 0


def test_weights_of_another_program_go_by_their_order(capsys, tmp_path):
    """PyTorch's names, say; a training begins with them."""
    model, files = nn.MLP([2, 9, 5, 2], rng=3), (tmp_path / "own.npz", tmp_path / "other.npz")
    tg.save(files[0], model)
    tg.save(files[1], dict(zip(("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias", "out.weight", "out.bias"),
                               model.state_dict().values())))
    one, other = (run(capsys, "census", file, "--data", "moons") for file in files)
    assert one == other and one[0] == 0
    words = ["train", "--data", "moons", "--widths", 9, 5, "--start", files[1], "--lr", 0, "--epochs", 1, "--out", tmp_path / "a.npz"]
    assert run(capsys, *words)[0] == 0
    assert all((array == model.state_dict()[name]).all() for name, array in weights(tmp_path / "a.npz").items())


def test_a_regression(capsys, tmp_path):
    """From a CSV file, with the squared loss; its loss falls, and the instruments take the same loss."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 3))
    table = np.column_stack([x, 2 * x[:, 0] - np.maximum(x[:, 1], 0)])
    np.savetxt(tmp_path / "r.csv", table, delimiter=",", header="a,b,c,y", comments="")
    found = data.csv(tmp_path / "r.csv", regression=True)
    assert found.classes is None and found.y.shape == (200, 1)
    np.testing.assert_array_equal(found.y[:, 0], table[:, 3])
    words = ["train", "--data", "csv", "--path", tmp_path / "r.csv", "--regression", "--widths", 12, "--lr", 0.05, "--epochs", 8]
    assert run(capsys, *words, "--watch", "--out", tmp_path / "r.npz", "--json", tmp_path / "r.json")[0] == 0
    looks = json.loads((tmp_path / "r.json").read_text())["looks"]
    assert "accuracy" not in looks[0] and looks[-1]["loss"] < 0.2 * looks[0]["loss"]
    for command in ("census", "lethal-lr", "gradient-profile", "advise", "why-zero", "autopsy"):
        assert run(capsys, command, tmp_path / "r.npz")[0] == 0
    setup = models.read(str(tmp_path / "r.npz"), {})
    assert setup.loss is F.mse_loss and setup.train.classes is None


@pytest.mark.parametrize("norm", [None, "batch"])
def test_a_model_that_tg_save_has_written_is_read_too(capsys, tmp_path, norm):
    moons = data.moons(rng=0)
    model = nn.MLP([2, 9, 5, 2], activation="tanh", norm=norm, rng=3, dtype="float64")
    for name, parts in (("model.npz", (model,)), ("run.npz", ({"model": model, "notes": {"step": 3}},))):
        tg.save(tmp_path / name, *parts)
        words = ["census", tmp_path / name, "--data", "moons", "--activation", "tanh", *(["--norm", norm] if norm else [])]
        status, _, err = run(capsys, *words, "--json", tmp_path / "a.json")
        assert status == 0, err
        assert (tmp_path / "a.json").read_text() == lab.census(model, moons.x, moons.y).to_json() + "\n"


def test_the_widths_of_a_maxout_are_found(capsys, tmp_path):
    tg.save(tmp_path / "a.npz", nn.MLP([2, 9, 2], "maxout", rng=0))
    status, out, err = run(capsys, "census", tmp_path / "a.npz", "--data", "moons", "--activation", "maxout")
    assert (status, err) == (0, "") and out.splitlines()[3].split()[:3] == ["0", "maxout", "18"]


LOOKS = {                   # command and options: the same from a setup in Python
    "census": lambda s: lab.census(s.model, s.train.x, s.train.y),
    "why-zero": lambda s: lab.why_zero(s.model, s.train.x, s.train.y),
    "why-zero --parameter 2.bias": lambda s: lab.why_zero(s.model, s.train.x, s.train.y, "2.bias"),
    "why-zero --unit 0 3": lambda s: lab.why_zero(s.model, s.train.x, s.train.y, (0, 3)),
    "lethal-lr": lambda s: lab.lethal_lr(s.model, s.train.x, s.train.y),
    "lethal-lr --with-optimizer": lambda s: lab.lethal_lr(s.model, s.train.x, s.train.y, optimizer=s.optimizer),
    "gradient-profile": lambda s: lab.gradient_profile(s.model, s.train.x, s.train.y, s.optimizer),
    "advise": lambda s: lab.advise(s.model, s.train.x, s.train.y, s.optimizer, batch_size=64)}


@pytest.mark.parametrize("words", LOOKS)
def test_an_instrument_on_a_saved_run(capsys, tmp_path, monkeypatch, words):
    monkeypatch.setenv("COLUMNS", "300")
    run(capsys, *QUICK, "--lr", 3, "--momentum", 0.9, "--out", tmp_path / "a.npz", "--quiet")
    command, *options = words.split()
    status, out, err = run(capsys, command, tmp_path / "a.npz", *options, "--json", tmp_path / "a.json", "--figure", tmp_path / "a.png")
    found = LOOKS[words](models.read(str(tmp_path / "a.npz"), {}))
    assert (status, err) == (0, "") and (tmp_path / "a.json").read_text() == found.to_json() + "\n"
    assert set(str(found).split()) - set(out.split()) <= {"─" * n for n in range(200)}
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("more", [[], ["--schedule", "step", "--dropout", "0.2", "--dtype", "float64"]], ids=" ".join)
def test_an_autopsy_replays_the_run_to_its_last_bit(capsys, tmp_path, monkeypatch, more):
    """From its beginning; and on from its end, with the steps that a resumed run makes."""
    seen, step = [], lab.Autopsy.step
    monkeypatch.setattr(lab.Autopsy, "step", lambda self: (seen[-1:] != [self] and seen.append(self), step(self)))
    run(capsys, *QUICK, "--lr", 2, "--out", tmp_path / "a.npz", *more)
    status, out, err = run(capsys, "autopsy", tmp_path / "a.npz", "--json", tmp_path / "a.json")
    assert (status, err) == (0, "") and json.loads((tmp_path / "a.json").read_text())["steps"] == seen[0].steps == 16
    assert "deaths in 16 steps" in out and len(seen[0].deaths) > 0
    assert run(capsys, "autopsy", tmp_path / "a.npz", "--on")[0] == 0 and seen[1].steps == 4
    for autopsy in seen:
        assert all((weights(tmp_path / "a.npz")[name] == array).all() for name, array in autopsy.units.model.state_dict().items())
        run(capsys, "train", "--resume", tmp_path / "a.npz", "--epochs", 5)


def test_an_autopsy_goes_on_in_the_middle_of_an_epoch(capsys, tmp_path, monkeypatch):
    """With momentum, whose buffers are in the file. The run has stopped after step 6 of 16, its second epoch after step 8."""
    path, seen = str(tmp_path / "a.npz"), []
    run(capsys, *QUICK, "--momentum", 0.9, "--epochs", 1, "--out", path)
    setup = models.begin(models.read_options(path))
    _fit(setup, {"epochs": 4, "checkpoint": path, "callbacks": [lambda history: history.steps == 6], "every": 1}, resume=True, quiet=True)
    step = lab.Autopsy.step
    monkeypatch.setattr(lab.Autopsy, "step", lambda self: (seen.append(self), step(self)))
    assert run(capsys, "autopsy", path, "--on", "--steps", 10)[0] == 0
    run(capsys, "train", "--resume", path, "--epochs", 4)
    assert tg.load(path)["fit"]["steps"] == 16
    assert all((weights(path)[name] == array).all() for name, array in seen[-1].units.model.state_dict().items())


def test_a_divergence_counts_from_the_first_step_of_the_run(capsys, tmp_path):
    path = tmp_path / "a.npz"
    run(capsys, *QUICK, "--epochs", 2, "--out", path)
    saved = tg.load(path)
    saved["model"]["2.weight"][0] = 3e38
    tg.save(path, saved)
    assert "at step 9 (forward)" in run(capsys, "train", "--resume", path, "--epochs", 4)[2]


def test_an_autopsy_of_a_file_without_its_training(capsys, tmp_path):
    model = nn.MLP([2, 9, 2], rng=3)
    tg.save(tmp_path / "a.npz", model=model, optimizer=optim.SGD(model.parameters(), lr=5.0))
    status, _, err = run(capsys, "autopsy", tmp_path / "a.npz", "--data", "moons")
    assert status == 2 and "does not tell how it was trained, expected a file of `tinygrad-relu train --out`" in err
    status, out, _ = run(capsys, "autopsy", tmp_path / "a.npz", "--data", "moons", "--on", "--steps", 3)
    assert status == 0 and "in 3 steps" in out
    tg.fit(model, optim.SGD(model.parameters(), lr=5.0), F.cross_entropy, data.moons(rng=0), epochs=1, batch_size=50, rng=0,
           checkpoint=tmp_path / "a.npz", quiet=True)          # which has a batch size and a rate that are not in the file
    assert "does not tell how it was trained" in run(capsys, "autopsy", tmp_path / "a.npz", "--data", "moons")[2]
