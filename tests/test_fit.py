"""`tg.fit` trains with the bits of a loop, resumes with the bits of a run that was not interrupted, and keeps a good state."""
from __future__ import annotations

import signal
import threading
from functools import reduce

import numpy as np
import pytest

import tinygrad_relu as tg
from tinygrad_relu import data, nn, optim
from tinygrad_relu import functional as F
from tinygrad_relu.autodiff.guard import CaptureError
from tinygrad_relu.capture import Program
from tinygrad_relu.training import Run

X = np.random.default_rng(0).standard_normal((50, 4)).astype("f4")
POINTS = data.Dataset("points", X, np.arange(50) % 3, classes=3)
VALID = data.Dataset("others", X[::2] * 1.1, np.arange(50)[::2] % 3, classes=3)


def start(seed=0, dtype="float32", kind=optim.Adam, **options):
    model = nn.MLP([4, 8, 3], **{"norm": "batch", "dropout": 0.2, **options}, rng=seed, dtype=dtype)
    return model, kind(model.parameters(), lr=0.05)


def fit(model, opt, **options):
    return tg.fit(model, opt, options.pop("loss", F.cross_entropy), options.pop("dataset", POINTS),
                  **{"epochs": 4, "batch_size": 16, "rng": 5, "quiet": True, **options})


def bits(model, opt):
    state = opt.state_dict()
    return ([x.tobytes() for x in model.state_dict().values()], [group["lr"] for group in state["param_groups"]],
            [np.asarray(x).tobytes() for part in state["state"].values() for x in part.values()])


def numbers(history):
    return {name: column for name, column in history.columns.items() if name != "seconds"}, history.steps


def interrupt(at):
    """A callback, for every=1, that presses Ctrl-C after the step `at`."""
    return lambda history: signal.raise_signal(signal.SIGINT) if history.steps == at else None


# -- the bits of a loop ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", [optim.Adam, optim.SGD])
@pytest.mark.parametrize("clip, shuffle, drop_last, each", [
    (None, True, False, "epoch"), (0.1, True, False, "step"), (None, False, True, "epoch"), (0.1, True, True, "step")])
def test_the_bits_are_those_of_a_loop(dtype, kind, clip, shuffle, drop_last, each):
    model, opt = start(dtype=dtype, kind=kind)
    schedule = optim.ExponentialLR(opt, 0.9)
    losses, batches = [], POINTS.batches(16, 5, drop_last, shuffle)
    for _ in range(6):
        losses.append([])
        for x, y in batches:
            loss = F.cross_entropy(model(x), y)
            opt.zero_grad()
            loss.backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            opt.step()
            losses[-1].append((loss.item(), len(x)))
            if each == "step":
                schedule.step()
        if each == "epoch":
            schedule.step()
    other, its = start(dtype=dtype, kind=kind)
    history = fit(other, its, epochs=6, max_norm=clip, shuffle=shuffle, drop_last=drop_last, schedule_each=each,
                  schedule=optim.ExponentialLR(its, 0.9), rng=5 if shuffle else None)
    assert bits(other, its) == bits(model, opt) and not other.training
    total = lambda epoch: reduce(float.__add__, (a * n for a, n in epoch))      # sum() compensates its rounding from Python 3.12 on
    assert history["loss"] == [total(epoch) / sum(n for _, n in epoch) for epoch in losses]
    assert (len(history), history.steps, history.stopped) == (6, 6 * len(batches), "")
    assert history.batch_loss == losses[-1][-1][0]


def test_targets_that_are_numbers_and_arrays_of_several_axes():
    series = np.random.default_rng(1).standard_normal((20, 3, 2))
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 1, rng=0))
    opt = optim.SGD(model.parameters(), lr=0.1)
    history = tg.fit(model, opt, nn.MSELoss(), (series, series.sum((1, 2))[:, None]), epochs=40, rng=0,
                     validation=[series, series.sum((1, 2))[:, None]], metrics={"worst": lambda p, t: abs(p - t).max()})
    assert history["valid_loss"][-1] < 0.05 and history["valid_worst"][-1] < 0.9 and history["loss"][-1] < 0.1
    assert "valid_accuracy" not in history.columns


def test_a_population_is_trained_by_the_sum_of_its_losses():
    """Each member as it is alone: its bits, and its loss."""
    rates = [0.02, 0.1, 0.3]
    many = nn.MLP([4, 8, 3], members=3, rng=[0, 0, 0])
    its = optim.SGD(many.parameters(), lr=rates, momentum=0.9)
    history = fit(many, its, loss=lambda scores, y: F.per_member(F.cross_entropy, scores, y).sum(), validation=VALID)
    losses = []
    for k, rate in enumerate(rates):
        alone, opt = start(kind=lambda parameters, lr, rate=rate: optim.SGD(parameters, lr=rate, momentum=0.9), norm=None, dropout=0.0)
        losses.append(fit(alone, opt, validation=VALID)["valid_loss"][-1])
        assert all((p.data == q.data).all() for p, q in zip(alone.parameters(), many.member(k).parameters()))
        assert tg.evaluate(many.member(k), F.cross_entropy, VALID)["loss"] == losses[-1]
    assert history["valid_loss"][-1] == pytest.approx(sum(losses), rel=1e-6) and "valid_accuracy" not in history.columns


def test_a_step_that_cannot_be_captured_runs_eagerly_from_the_start():
    def loss(scores, y):
        value = F.cross_entropy(scores, y)
        return value if value.item() > 0 else value * 2.0

    model, opt = start()
    fit(model, opt)
    other, its = start()
    with pytest.warns(UserWarning, match="fit runs every step eagerly"):
        history = fit(other, its, loss=loss)
    assert bits(other, its) == bits(model, opt) and history.steps == 16
    with pytest.raises(CaptureError):
        tg.capture(lambda: loss(tg.Tensor(np.ones((2, 3), "f4")), np.array([0, 1])))()


def test_refilled_batches_are_the_batches():
    for drop_last in (False, True):
        usual, refilled = (data.batches(X, np.arange(50), 16, 3, drop_last) for _ in range(2))
        for _ in range(2):
            for (x, y), (a, b) in zip(usual, refilled.refilled(), strict=True):
                assert (x == a).all() and (y == b).all() and a.flags.c_contiguous and (a.dtype, b.dtype) == (x.dtype, y.dtype)
        whole = [y.tolist() for _, y in usual]
        assert [y.tolist() for _, y in refilled.refilled(skip=2)] == whole[2:]


def test_two_steps_of_each_size_are_recorded(monkeypatch):
    recorded, usual = [], Program._record
    monkeypatch.setattr(Program, "_record", lambda *arguments: recorded.append(1) or usual(*arguments))
    fit(*start(), epochs=3)
    assert len(recorded) == 4       # batches of 16, and of 2


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "uint8", "bool"])
@pytest.mark.parametrize("shape", [(), (1,), (3, 2), (0,), (9000,)])
def test_batches_of_any_numbers_are_gathered_bit_by_bit(dtype, shape):
    x = np.random.default_rng(0).integers(0, 255, (11, *shape)).astype(dtype)
    x = np.where(x == 0, np.nan, -x).astype(dtype) if x.dtype.kind == "f" else x
    usual, refilled = (data.batches(x, x[:, ...], 4, 1) for _ in range(2))
    for pair, other in zip(usual, refilled.refilled(), strict=True):
        assert all(a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in zip(pair, other))


# -- interrupted and resumed -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
@pytest.mark.parametrize("at", [1, 2, 4, 5, 11, 16])        # 4 steps an epoch
@pytest.mark.parametrize("each", ["epoch", "step", "plateau"])
def test_a_resumed_run_has_the_bits_of_one_without_interruption(at, suffix, each, tmp_path):
    def run(seed, **options):
        model, opt = start(seed)
        schedule = optim.ReduceLROnPlateau(opt, patience=0) if each == "plateau" else optim.CosineAnnealingLR(opt, 9)
        history = fit(model, opt, schedule=schedule, schedule_each="step" if each == "step" else "epoch", validation=VALID,
                      patience=3, **options)
        return bits(model, opt), numbers(history), history.stopped

    path = tmp_path / f"run.{suffix}"
    expected = run(0)
    with pytest.warns(UserWarning, match="fit: interrupted after (step|epoch)"):
        _, cut, stopped = run(0, checkpoint=path, callbacks=[interrupt(at)], every=1)
    assert cut[1] == at and stopped.startswith("interrupted")
    assert run(7, checkpoint=path, resume=True, rng=8)[:2] == expected[:2]          # other seeds: all is in the file
    assert run(9, checkpoint=path, resume=True)[:2] == expected[:2]                 # there is nothing left to do


def test_a_run_is_resumed_for_more_epochs_or_begun_if_there_is_no_file(tmp_path):
    path = str(tmp_path / "run.npz")
    model, opt = start()
    fit(model, opt, epochs=5)
    other, its = start()
    fit(other, its, epochs=2, checkpoint=path, resume=True)
    history = fit(*start(3), epochs=2, checkpoint=path, resume=True)
    assert len(history) == 2
    other, its = start(3)
    assert len(fit(other, its, epochs=5, checkpoint=path, resume=True)) == 5
    assert bits(other, its) == bits(model, opt)
    fit(*start(), epochs=1, checkpoint=path)            # without resume, a new run replaces the file
    assert len(fit(*start(), epochs=1, checkpoint=path, resume=True)) == 1


def test_a_run_resumed_with_a_validation_set_or_patience_it_did_not_have(tmp_path):
    """Numbers stand beside the epoch that they belong to, and patience begins with the first epoch that it judges."""
    path = tmp_path / "run.npz"
    for before, after in ({}, {"patience": 1}), ({"validation": VALID}, {"patience": 1}), ({"validation": VALID}, {"validation": None}):
        fit(*start(), epochs=2, checkpoint=path, **before)
        history = fit(*start(), checkpoint=path, resume=True, epochs=3, **{"validation": VALID, **after})
        assert set(map(len, history.columns.values())) == {3} and len(history.parts()[0].rows) == 3
        judged = ~np.isnan(history["valid_loss"])
        assert judged.tolist() == [bool(before)] * 2 + [after != {"validation": None}] and judged[history.best - 1]
    assert history.stopped == ""


def test_a_file_of_another_run_is_refused_and_nothing_changes(tmp_path):
    path = tmp_path / "run.npz"
    fit(*start(), epochs=1, checkpoint=path)
    for options, message in [
            (dict(batch_size=8), "the run was begun with batch_size 16; expected the same settings"),
            (dict(dataset=(X[:-1], POINTS.y[:-1]), drop_last=True), "begun with samples 50, drop_last False"),
            (dict(schedule=optim.StepLR), "has no part schedule")]:
        model, opt = start(1)
        if "schedule" in options:
            options["schedule"] = options["schedule"](opt, 1)
        before = bits(model, opt)
        with pytest.raises(ValueError, match=message):
            fit(model, opt, checkpoint=path, resume=True, **options)
        assert bits(model, opt) == before
    tg.save(path, model=start()[0], optimizer=start()[1], rng=np.random.default_rng(0), fit={"epoch": 3})
    with pytest.raises(ValueError, match="this is not the state of a run of fit"):
        fit(*start(), checkpoint=path, resume=True)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(OSError, match=r"not a complete \.npz file"):
        fit(*start(), checkpoint=path, resume=True)


def test_ctrl_c_twice_breaks_off_the_step_and_goes_back(monkeypatch):
    def press(history):
        if history.steps == 7:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    model, opt = start()
    initial = bits(model, opt)
    with pytest.warns(UserWarning, match="middle of a step; back at the state after step 0"):
        history = fit(model, opt, callbacks=[press], every=1)
    assert bits(model, opt) == initial and history.steps == 0 and not len(history)
    monkeypatch.setattr("tinygrad_relu.training.KEPT", 0.0)
    monkeypatch.setattr("tinygrad_relu.training.SPACED", 0.0)       # the state is kept after every step
    whole, its = start()
    fit(whole, its, epochs=1)
    model, opt = start()
    with pytest.warns(UserWarning, match="back at the state after step 6"):
        history = fit(model, opt, callbacks=[press], every=1)
    assert (history.steps, len(history)) == (6, 1)


def test_ctrl_c_while_the_last_good_state_comes_back_or_is_saved_at_the_end(monkeypatch, tmp_path):
    press, usual = (lambda: signal.raise_signal(signal.SIGINT)), Run.go_back
    monkeypatch.setattr(Run, "go_back", lambda run: (press(), usual(run)))
    model, opt = start()
    initial = bits(model, opt)
    with pytest.warns(UserWarning, match="middle of a step; back at the state after step 0"):
        fit(model, opt, callbacks=[lambda history: (press(), press())])
    assert bits(model, opt) == initial
    saved = []
    monkeypatch.setattr("tinygrad_relu.training.save", lambda path, state: saved.append(path) or (len(saved) == 2 and press()))
    with pytest.warns(UserWarning, match="fit: interrupted after the last epoch$"):
        assert len(fit(*start(), checkpoint=tmp_path / "run.npz")) == 4


def test_the_usual_handler_of_ctrl_c_comes_back_and_others_stay():
    fit(*start())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    mine = lambda number, frame: None
    signal.signal(signal.SIGINT, mine)
    try:
        fit(*start(), callbacks=[lambda history: signal.getsignal(signal.SIGINT) is not mine])
    finally:
        assert signal.signal(signal.SIGINT, signal.default_int_handler) is mine
    done = []
    thread = threading.Thread(target=lambda: done.append(fit(*start())))        # where no handler can be set
    thread.start()
    thread.join()
    assert len(done[0]) == 4


def test_a_loss_that_is_not_finite_ends_the_run_at_the_last_good_state(tmp_path):
    for spoil in (lambda model: model[0].weight.data.fill(np.nan), lambda model: model[-1].bias.data.fill(np.inf)):
        model, opt = start(dropout=0.0, norm=None)
        initial = bits(model, opt)

        def callback(history, model=model, spoil=spoil):
            if history.steps == 6:
                spoil(model)

        with pytest.warns(UserWarning, match="fit: the loss of step 7 was (nan|inf); back at the state after step 0"):
            history = fit(model, opt, callbacks=[callback], every=1, checkpoint=tmp_path / "run.npz")
        assert bits(model, opt) == initial and "step 7" in history.stopped
    model, opt = start(dropout=0.0, norm=None)
    with pytest.warns(UserWarning, match="0.weight was not finite after step 16"):        # in the very last step
        fit(model, opt, callbacks=[lambda history: history.steps == 16 and model[0].weight.data.fill(np.nan) is None and None],
            every=1)
    assert bits(model, opt) == initial


def test_a_member_that_diverges_is_named():
    model = nn.MLP([4, 8, 3], members=4, rng=0)
    opt = optim.SGD(model.parameters(), lr=np.array([0.1, 1e38, 0.1, 1e30]))
    with pytest.warns(UserWarning, match=r"fit: the loss of step 2 was nan \(members 1, 3\); back at the state after step 0"):
        fit(model, opt, loss=lambda z, y: F.per_member(F.cross_entropy, z, y).sum())


# -- validation, early stopping, callbacks ---------------------------------------------------------------------------------------


def test_early_stopping_restores_the_best_weights():
    model, opt = start()
    states = []
    history = fit(model, opt, epochs=60, validation=VALID, patience=2, callbacks=[lambda h: states.append(model.state_dict())])
    best = history.best
    assert history["valid_loss"][best - 1] == min(history["valid_loss"]) and len(history) == best + 2 < 60
    assert history.stopped == "no lower validation loss in 2 epochs"
    assert all((states[best - 1][name] == x).all() for name, x in model.state_dict().items())
    assert tg.evaluate(model, F.cross_entropy, VALID)["loss"] == pytest.approx(min(history["valid_loss"]), rel=1e-6)
    assert str(history).splitlines()[0].split() == ["epoch", "loss", "valid_loss", "valid_accuracy", "lr", "seconds"]
    assert len(str(history).splitlines()) == len(history) + 3 and "epochs" in repr(history)


@pytest.mark.parametrize("other", [(X[:, :3], POINTS.y), (X, X)], ids=["samples", "targets"])
def test_a_validation_set_of_another_shape_is_refused_before_the_training(other):
    model, opt = start()
    before = bits(model, opt)
    with pytest.raises(ValueError, match="shape"):
        fit(model, opt, validation=other)
    assert bits(model, opt) == before


def test_a_long_history_shows_its_ends():
    model, opt = start()
    history = fit(model, opt, epochs=61)
    epochs = [line.split()[0] for line in str(history).splitlines()[2:]]
    assert epochs == ["1", "2", "3", "4", "5", "...", "57", "58", "59", "60", "61"] and len(history["loss"]) == 61


def test_callbacks_see_the_history_and_end_the_training():
    seen = []
    history = fit(*start(), callbacks=[lambda h: seen.append((len(h), h.steps))])
    assert seen == [(1, 4), (2, 8), (3, 12), (4, 16)]
    seen.clear()
    fit(*start(), epochs=2, every=3, callbacks=[lambda h: seen.append((len(h), h.steps))])
    assert seen == [(0, 3), (1, 4), (1, 6), (2, 8)]
    history = fit(*start(), callbacks=iter([lambda h: len(h) == 2]))
    assert len(history) == 2 and history.stopped == "a callback ended the training after step 8"
    assert len(fit(*start(), callbacks=[lambda h: 1])) == 4          # only True ends it
    assert len(fit(*start(), callbacks=[lambda h: np.mean([len(h)]) > 1])) == 2


def test_a_callback_may_leave_the_model_in_evaluation_mode():
    model, opt = start()
    fit(model, opt)
    other, its = start()
    fit(other, its, every=1, callbacks=[lambda history: other.eval() and None])
    assert bits(other, its) == bits(model, opt)


def test_a_recorder_of_units_as_a_callback():
    from tinygrad_relu import lab
    model, opt = start(norm=None, dropout=0.0)
    recorder = lab.Recorder(model, X)
    recorder.observe(0)
    fit(model, opt, epochs=2, every=1, callbacks=[lambda h: recorder.observe(h.steps) if recorder.steps[-1] < h.steps else None])
    assert recorder.steps == list(range(9))


def test_evaluate_is_in_evaluation_mode_and_needs_no_batches():
    model, _ = start()
    large = (np.tile(X, (50, 1)), np.tile(POINTS.y, 50))        # 2500 samples
    found = tg.evaluate(model, F.cross_entropy, large)
    assert all(module.training for module in model.modules())
    model.eval()
    scores = model(large[0])
    assert found["accuracy"] == np.mean(scores.data.argmax(1) == large[1])
    assert found["loss"] == pytest.approx(F.cross_entropy(scores, large[1]).item(), rel=1e-6)
    assert found == tg.evaluate(model, F.cross_entropy, large)
    assert tg.evaluate(model, lambda scores, y: scores.square().mean(), large)["loss"] > 0      # a loss gets a Tensor
    assert tg.evaluate(model, F.cross_entropy, POINTS, metrics={})  == {"loss": pytest.approx(found["loss"], rel=1e-5)}


def test_one_logit_for_two_classes_has_no_accuracy_of_its_own():
    """Its largest score is always in column 0, so the share of label 0 passed for the accuracy."""
    model = nn.MLP([4, 1], rng=0)
    loss = lambda scores, y: F.binary_cross_entropy_with_logits(scores[:, 0], y)
    assert tg.evaluate(model, loss, (X, POINTS.y % 2)).keys() == {"loss"}
    right = {"accuracy": lambda scores, y: np.mean((scores[:, 0] > 0) == y)}
    assert "accuracy" in tg.evaluate(model, loss, (X, POINTS.y % 2), metrics=right)
    with pytest.raises(ValueError, match=r"evaluate: the output of the model is ragged.*; a recurrent layer returns a tuple: pass its first"):
        tg.evaluate(nn.LSTM(2, 3, batch_first=True, rng=0), loss, (X.reshape(50, 2, 2), POINTS.y))


def test_the_bar_is_drawn_only_on_a_terminal(capfd):
    fit(*start(), quiet=False)
    assert capfd.readouterr() == ("", "")


# -- errors ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options, kind, message", [
    (dict(rng=None), TypeError, "fit needs rng"), (dict(epochs=0), ValueError, "fit: epochs is 0, expected at least 1"),
    (dict(batch_size=0), ValueError, "fit: batch_size is 0"), (dict(loss="mse"), TypeError, "got MLP, Adam and 'mse'; expected"),
    (dict(dataset=X), TypeError, "fit: got ndarray of shape \\(50, 4\\), expected a data.Dataset, or a pair"),
    (dict(dataset=(X, POINTS.y[:3])), ValueError, "x of shape \\(50, 4\\) and y of shape \\(3,\\), expected one target"),
    (dict(dataset=(X[:0], POINTS.y[:0])), ValueError, "expected one target for each"),
    (dict(dataset=(np.ma.masked_array(X, X > 0), POINTS.y)), TypeError, "fit: x is a masked array with masked values"),
    (dict(patience=3), ValueError, "metrics judge a validation set"), (dict(resume=True), ValueError, "continues from a file"),
    (dict(metrics={"worst": max}), ValueError, "metrics judge a validation set"),
    (dict(metrics=[max], validation=VALID), TypeError, "metrics is .*, expected functions by name"),
    (dict(metrics={"loss": max}, validation=VALID), TypeError, "by name \\(any but 'loss'\\)"),
    (dict(callbacks=print), TypeError, "callbacks is <built-in function print>, expected a list of functions"),
    (dict(callbacks=[3]), TypeError, "callbacks is \\[3\\], expected a list"),
    (dict(loss=lambda p, y: 0.5), TypeError, "the loss returned 0.5, expected a Tensor of one number"),
    (dict(loss=lambda p, y: F.cross_entropy(p, y, reduction="none")), TypeError, "the loss returned Tensor of shape \\(16,\\)"),
    (dict(schedule="cosine"), TypeError, "schedule is 'cosine', expected one of this optimizer"),
    (dict(schedule=optim.StepLR(start()[1], 1)), TypeError, "schedule is StepLR(.*), expected one of this optimizer"),
    (dict(schedule_each="batch"), ValueError, "schedule_each is 'batch'"), (dict(every=0), ValueError, "fit: every is 0"),
    (dict(checkpoint="run.pt"), ValueError, "save: run.pt ends in '.pt'"), (dict(max_norm=-1.0), ValueError, "max_norm"),
    (dict(drop_last=True, batch_size=51), ValueError, "drop_last leave nothing"),
])
def test_bad_arguments_are_refused_in_one_sentence(options, kind, message):
    with pytest.raises(kind, match=message) as caught:
        fit(*start(), **options)
    assert "\n" not in str(caught.value)


def test_an_optimizer_of_another_model_and_a_plateau_of_steps_are_refused():
    model, opt = start()
    with pytest.raises(ValueError, match="moves no parameter of this model"):
        fit(start()[0], opt)
    with pytest.raises(ValueError, match="ReduceLROnPlateau judges epochs"):
        fit(model, opt, schedule=optim.ReduceLROnPlateau(opt), schedule_each="step")
    with pytest.raises(KeyError, match="the history has no 'accuracy'; it has loss, lr, seconds"):
        fit(model, opt)["accuracy"]
