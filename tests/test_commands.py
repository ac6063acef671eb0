"""The commands on trainings and saved models: resumed bits, the live line, the layer that diverged first, and the instruments."""
import json

import numpy as np
import pytest

import tinygrad_relu as tg
from tinygrad_relu import cli, data, lab, nn

QUICK = ["train", "--data", "moons", "--widths", "12", "8", "--epochs", "4"]


def run(capsys, *arguments):
    status = cli.main(list(map(str, arguments)))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def weights(path):
    return tg.load(path)["model"]


@pytest.mark.parametrize("more", [[], ["--optimizer", "adam", "--lr", "0.01", "--dropout", "0.3", "--norm", "batch"],
                                  ["--momentum", "0.9", "--schedule", "cosine", "--dtype", "float64", "--standardise"]],
                         ids=lambda words: " ".join(words))
def test_a_resumed_run_has_the_bits_of_an_uninterrupted_one(capsys, tmp_path, more):
    """With and without --watch, which must not touch the training."""
    whole, parts = tmp_path / "whole.npz", tmp_path / "parts.npz"
    assert run(capsys, *QUICK, "--out", whole, "--quiet", *more) == (0, "", "")
    assert run(capsys, *QUICK, "--out", parts, "--watch", "--every", "3", "--seed", "0", *more)[0] == 0
    at_four = weights(parts)
    assert all((at_four[name] == array).all() for name, array in weights(whole).items())
    assert run(capsys, "train", "--resume", whole, "--epochs", 7)[0] == run(capsys, *QUICK, "--epochs", 2, *more, "--out", parts)[0] == 0
    if "cosine" not in more:        # which takes its length from the first call
        assert run(capsys, "train", "--resume", parts, "--epochs", 7, "--watch")[0] == 0
        assert all((weights(parts)[name] == array).all() for name, array in weights(whole).items())
    assert any((at_four[name] != array).any() for name, array in weights(whole).items())


def test_watch_shows_dead_dying_and_revived_units(capsys, tmp_path):
    numbers = tmp_path / "a.json"
    status, out, _ = run(capsys, *QUICK, "--lr", "8", "--watch", "--json", numbers, "--out", tmp_path / "a.npz")
    looks = json.loads(numbers.read_text())["looks"]
    headings, first, *_ = out.splitlines()[1:]
    assert status == 0 and headings.split() == ["epoch", "step", "loss", "accuracy", "dead", "dying", "revived"]
    assert first.split() == ["0", "0", f"{looks[0]['loss']:.4g}", f"{looks[0]['accuracy']:.4f}",
                             *(str(n) for name in ("dead", "dying", "revived") for n in looks[0][name])]
    assert [look["step"] for look in looks] == [0, 4, 8, 12, 16] and sum(looks[-1]["dead"]) > sum(looks[0]["dead"])
    census = run(capsys, "census", tmp_path / "a.npz", "--json", numbers)
    layers = json.loads(numbers.read_text())["layers"]
    assert census[0] == 0 and [layer["dead"] for layer in layers] == looks[-1]["dead"]


def test_dying_is_a_slope_of_zero_on_most_batches():
    """A unit that is flat on a share f of the samples gets no gradient from a batch of m with probability f^m."""
    model = nn.MLP([1, 3, 1], rng=0, dtype="float64")
    model[0].weight.data, model[0].bias.data = [[1.0], [1.0], [1.0]], [-98.5, -97.5, 0.0]      # alive on 1, 2, 99 of 100 samples
    (layer,) = lab.census(model, np.arange(100.0)[:, None]).layers
    assert layer.flat.tolist() == [0.99, 0.98, 0.01]
    assert (layer.flat ** 64 > 0.5).tolist() == [True, False, False]


def test_divergence_is_one_sentence_that_names_the_layer(capsys, tmp_path):
    """A weight of layer 2 that overflows on the first batch; and an overshoot, in which the first products overflow."""
    status, _, err = run(capsys, *QUICK, "--lr", "1e6", "--activation", "elu", "--out", tmp_path / "a.npz")
    assert status == 1 and err.count("\n") == 1 and "back at the state after step 0. Layer" in err and "went first" in err
    saved = tg.load(tmp_path / "a.npz")
    assert all(np.isfinite(array).all() for array in saved["model"].values())
    saved["model"]["2.weight"][0] = 3e38
    tg.save(tmp_path / "a.npz", saved)
    status, _, err = run(capsys, "train", "--resume", tmp_path / "a.npz")
    assert status == 1 and "Layer 2 went first: linear in 2 (Linear) made the first infinity at step 1 (forward)" in err


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["train", "--resume", "no.npz"], "no.npz does not exist"),
    (["train", "--resume", "begun.npz", "--lr", "3"], "--lr is 3.0, but the run in begun.npz was begun with 0.1"),
    (["train", "--held-out", "1"], "--held-out is 1.0, expected a share"),
    (["train", "--optimizer", "adam", "--momentum", "0.9"], "got momentum 0.9 for adam"),
    (["train", "--every", "5"], "--every is an option of --watch"),
    (["train", "--out", "a.txt"], "a.txt ends in '.txt', expected .npz"),
    (["train", "--out", "a.npz", "--json", "a.npz"], "both name a.npz"),
    (["census", "no.npz"], "no.npz does not exist"),
    (["census", "begun.npz", "--path", "x.csv"], "the options of a data set need --data"),
    (["census", "begun.npz", "--data", "digits"], "0.weight has shape (12, 2), expected (12, 64)"),
    (["census", "numbers.npz"], "numbers.npz holds no weights of linear layers"),
])
def test_bad_input_is_one_sentence(capsys, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    run(capsys, *QUICK, "--epochs", 1, "--out", "begun.npz")
    tg.save("numbers.npz", rates=[0.1])
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "") and sentence in err and err.count("\n") == 1


@pytest.mark.parametrize("norm", [None, "batch"])
def test_a_model_that_tg_save_has_written_is_read_too(capsys, tmp_path, norm):
    moons = data.moons(rng=0)
    model = nn.MLP([2, 9, 5, 2], activation="tanh", norm=norm, rng=3, dtype="float64")
    for name, parts in (("model.npz", (model,)), ("run.npz", ({"model": model, "step": 3},))):
        tg.save(tmp_path / name, *parts)
        words = ["census", tmp_path / name, "--data", "moons", "--activation", "tanh", *(["--norm", norm] if norm else [])]
        status, _, err = run(capsys, *words, "--json", tmp_path / "a.json")
        assert status == 0, err
        assert (tmp_path / "a.json").read_text() == lab.census(model, moons.x, moons.y).to_json() + "\n"
