"""Sweeps: a run has one key and one row, the bits of `tinygrad-relu train`, on every executor and after every kill."""
from __future__ import annotations

import gc
import json
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

import tinygrad_relu as tg
from tinygrad_relu import cli, lab
from tinygrad_relu.lab import experiments
from tinygrad_relu.lab.sweep import executors, results, store, training
from tinygrad_relu.lab.sweep.settings import read_plan, run_of

TRAINING = {"data": "moons", "widths": [5], "steps": 30}
PLAN = {"seeds": 3, "training": TRAINING, "grid": {"lr": [0.1, 1.0], "momentum": [0.0, 0.9]}}
LONG = "seeds = 4\n[training]\ndata = 'moons'\nsteps = 1000\n[grid]\nwidths = [[4], [5], [6], [7], [8], [9], [10], [11]]\n"


def rows(found):
    return dict(found.store.ask("SELECT key, result FROM runs"))


@pytest.fixture(scope="module")
def long_rows(tmp_path_factory):
    """The rows of LONG, from one process."""
    file = tmp_path_factory.mktemp("long") / "long.toml"
    file.write_text(LONG)
    return rows(lab.sweep(file, jobs=1))


# -- plans and keys ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes, sentence", [
    ({"grids": {}}, "an entry is 'grids', expected one of: seeds, training, experiment, grid; did you mean 'grid'?"),
    ({"experiment": {"name": "rates"}}, "expected a table [training] or a table [experiment], and not both"),
    ({"training": {"leaning-rate": 1}}, "a setting in [training] is 'leaning_rate'"),
    ({"training": {"lr": 0.1}}, "lr is in [training] and in [grid], expected it in one of them"),
    ({"training": {"lr": -1}, "grid": {}}, "lr is -1, expected a finite number, 0 or more"),
    ({"training": {"widths": 8}}, "widths is 8, expected a list, such as [64, 64]"),
    ({"training": {"activation": "rleu"}}, "did you mean 'relu'?"),
    ({"training": {"optimizer": "adam"}}, "got momentum 0.0 for adam, expected it for sgd, nesterov or sgdw"),
    ({"training": {"optimizer": "nesterov"}}, "nesterov got momentum 0.0"),
    ({"training": {"steps": 3, "epochs": 1}}, "got 3 steps and 1 epochs, expected one of them"),
    ({"training": {"data": "csv"}}, "data csv needs path, the CSV file"),
    ({"training": {"data": "csv", "path": "no/x"}}, "no/x does not exist; expected a file of data"),
    ({"training": {"held_out": 1}}, "held_out is 1, expected a number from 0 up to, but not including, 1"),
    ({"training": {"seed": 1}}, "got seeds, and seed as a setting; expected one of them"),
    ({"training": {"standardise": "yes"}}, "standardise is 'yes', expected True or False"),
    ({"training": 3}, "[training] is 3, expected a table of settings"),
    ({"grid": []}, "[grid] is [], expected a table of settings"),
    ({"grid": {"lr": []}}, "lr in [grid] is [], expected a list of its values"),
    ({"grid": {"lr": 0.1}}, "lr in [grid] is 0.1, expected a list of its values"),
    ({"seeds": 0}, "seeds is 0, expected at least 1"),
    ({"seeds": []}, "seeds is [], expected a whole number"),
    ({"seeds": "many"}, "seeds is 'many', expected a whole number"),
])
def test_a_plan_that_is_wrong_is_one_sentence(changes, sentence):
    with pytest.raises((ValueError, TypeError, OSError)) as error:
        lab.sweep({**PLAN, **changes}, jobs=1)
    assert sentence in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("text, sentence", [
    ("seeds = ", "is not TOML: Invalid value (at end of document)"), ("\xff", "is not TOML: "),
    ("seeds = 3", "a.toml: expected a table [training]"), ("[experiment]\nname = 'rats'", "did you mean 'rates'?"),
    ("[experiment]\nfast = true", "expected the name of an experiment"),
    ("[training]\ndata = 'csv'\npath = 'no'", "a.toml: no does not exist; expected a file of data"),
    ("[training]\noptimizer = 'adam'\nmomentum = 0.9", "a.toml: got momentum 0.9 for adam, expected it for"),
    ("[training]\nbetas = [0.5, 0.9]", "a.toml: got betas [0.5, 0.9] for sgd, expected them for adam or adamw"),
    ("[training]\noptimizer = 'adam'\nbetas = [0.5]", "a.toml: betas is [0.5], expected two numbers from 0 up to"),
    ("[training]\nregression = true", "a.toml: regression is for csv; data digits takes none"),
    ("[training]\nsteps = 3\nepochs = 1", "a.toml: got 3 steps and 1 epochs, expected one of them")])
def test_a_file_that_is_wrong_is_one_sentence(text, sentence, tmp_path, capsys):
    (tmp_path / "a.toml").write_bytes(text.encode("latin-1"))
    assert cli.main(["sweep", str(tmp_path / "a.toml")]) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.startswith("tinygrad-relu sweep: ") and said.count("\n") == 1
    assert not (tmp_path / "a.sqlite").exists()


@pytest.mark.parametrize("words, sentence", [
    (["no.toml"], "no.toml does not exist; expected the TOML file of a sweep"),
    (["table", "no.sqlite"], "no.sqlite does not exist, expected the results of a sweep"),
    (["tables", "a.sqlite"], "got tables a.sqlite, expected FILE.toml, or one of status, table, plot with a database"),
    (["status"], "got status, expected FILE.toml, or one of status, table, plot with a database"),
    (["a.toml", "--executor", "slurm"], "expected one of: local, joblib, dask"),
    (["a.toml", "--scheduler", "tcp://x"], "got the scheduler tcp://x for the executor local, expected the executor dask"),
    (["a.toml", "--out", "no/such.sqlite"], "the results: the folder no does not exist"),
])
def test_words_that_are_wrong_are_one_sentence(words, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("a.toml").write_text(LONG)
    with pytest.raises(SystemExit) if "slurm" in words else pytest.MonkeyPatch.context():
        assert cli.main(["sweep", *words]) == 2
    assert sentence in capsys.readouterr().err


def test_the_same_run_has_one_key_however_it_is_written(tmp_path):
    keys = {run_of(given).key for given in (
        {"data": "moons"}, {"data": "moons", "lr": 0.1, "momentum": 0.0, "epochs": 20, "seed": 0, "data_seed": 0})}
    assert len(keys) == 1
    plans = [read_plan({"training": {"weight-decay": 1, "data": "moons"}}), read_plan({"seeds": [0], "training": {
        "data": "moons"}, "grid": {"weight_decay": [1.0]}})]
    assert len({run.key for plan in plans for run in plan.runs()}) == 1
    for name, other in {"lr": 0.2, "widths": [64], "seed": 1, "data_seed": 1, "dtype": "float64", "steps": 5, "init": 0.1,
                        "schedule": "cosine", "norm": "batch", "optimizer": "sgdw"}.items():
        assert run_of({"data": "moons", name: other}).key not in keys, name


def test_a_file_of_data_counts_by_its_content(tmp_path):
    for name, text in (("a", "1,2,x"), ("b", "1,2,x"), ("c", "1,2,y")):
        (tmp_path / name).write_text(text)
    keys = [run_of({"data": "csv", "path": str(tmp_path / name)}).key for name in "abc"]
    assert keys[0] == keys[1] != keys[2]


def test_a_file_of_data_that_has_changed_is_read_again(tmp_path):
    """In one process, such as a notebook's: its old content was taken again, and the sweep said that nothing was left to run."""
    plan = {"training": {"data": "csv", "path": str(tmp_path / "a.csv"), "widths": [4], "steps": 5, "held_out": 0.0}}
    for count, sign in enumerate((1, -1), start=1):
        (tmp_path / "a.csv").write_text("".join(f"{sign * (-1) ** i * i},{i % 2}\n" for i in range(20)))
        found = lab.sweep(plan, out=tmp_path / "a.sqlite", jobs=1)
        assert found.new == 1 and len(set(found.columns()["loss"])) == count


def test_grids_are_joined_and_runs_of_one_shape_are_neighbours():
    plan = read_plan({"seeds": [7, 9], "training": {"data": "moons"}, "grid": [
        {"lr": [0.1, 1.0], "widths": [[4], [5]]}, {"widths": [[5]], "lr": [1.0, 2.0]}]})
    runs = list(plan.runs())
    assert len(plan) == len(runs) == 12 and len({run.key for run in runs}) == 10
    assert [(r.settings["widths"], r.settings["lr"], r.settings["seed"]) for r in runs[:5]] == [
        ([4], 0.1, 7), ([4], 0.1, 9), ([4], 1.0, 7), ([4], 1.0, 9), ([5], 0.1, 7)]


# -- runs ----------------------------------------------------------------------------------------------------------------------

KINDS = [
    {"dtype": "float64", "momentum": 0.9, "weight_decay": 0.01}, {"norm": "batch", "activation": "tanh", "batch_size": 50},
    {"dropout": 0.3, "optimizer": "adamw", "lr": 0.01}, {"schedule": "cosine", "optimizer": "nesterov", "data": "spiral"},
    {"activation": "maxout", "held_out": 0.0, "batch_size": 1000}, {"regression": True, "data": "csv", "path": "line.csv"}]


@pytest.mark.parametrize("given", KINDS, ids=lambda given: next(iter(given)))
def test_a_run_has_the_bits_of_the_command_train(given, tmp_path, monkeypatch):
    """Beside others with other settings, in one population."""
    monkeypatch.chdir(tmp_path)
    np.savetxt("line.csv", np.random.default_rng(0).standard_normal((60, 3)), delimiter=",")
    common = {"data": "moons", "widths": [6, 5], "epochs": 3, **given}
    own = {"lr": common.pop("lr", 0.1), "weight_decay": common.pop("weight_decay", 0.0)}
    grid = {"lr": [own["lr"], 0.03], "weight_decay": [own["weight_decay"], 0.2], "seed": [3, 4]}
    found = lab.sweep({"training": common, "grid": grid}, jobs=1)
    assert len(found) == 8 and len(set(found.columns()["weights"])) == 8
    at = next(i for i, key in enumerate(zip(*(found.columns()[name] for name in grid))) if key == (*own.values(), 4))
    alone = {**common, **own, "seed": 4}
    words = [word for name, value in alone.items() for word in (
        f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value] if value is not True else []))]
    assert cli.main(["train", *words, "--quiet", "--out", str(tmp_path / "run.npz"), "--json", str(tmp_path / "run.json")]) == 0
    sets = training.load(run_of(alone).settings)
    model = training._network(run_of(alone).settings, sets[0])
    tg.load(tmp_path / "run.npz", model=model)
    columns, epochs = found.columns(), json.loads((tmp_path / "run.json").read_text())["epochs"]
    assert {name: columns[name][at] for name in columns if name in results.RESULT} == {
        name: value for name, value in training._measured(model, *sets).items() if value is not None}
    for name in {"valid_loss", "valid_accuracy"} & columns.keys():
        assert columns[name][at] == epochs[name][-1]


def test_a_run_does_not_depend_on_its_company():
    """On which other runs are in its population, on the number of members, and on shared data."""
    grid = {"lr": [0.1, 1.0], "seed": [0, 1, 2], "data_seed": [5, 6]}
    together = rows(lab.sweep({"training": TRAINING, "grid": grid}, jobs=1))
    assert len(together) == 12
    for lr in grid["lr"]:
        for seed in grid["seed"]:
            (alone,) = rows(lab.sweep({"training": {**TRAINING, "lr": lr, "seed": seed, "data_seed": 6}}, jobs=1)).items()
            assert alone in together.items()


def test_betas_are_a_setting_of_adam():
    """Each run has its own, in one population; those of the default have the key that they had without the setting."""
    adam = {**TRAINING, "optimizer": "adam", "lr": 0.01}
    found = lab.sweep({"training": adam, "grid": {"betas": [[0.9, 0.999], [0.5, 0.9]]}}, jobs=1)
    assert found.columns()["betas"] == ["[0.9,0.999]", "[0.5,0.9]"] and len(set(found.columns()["weights"])) == 2
    for own in ({}, {"betas": [0.5, 0.9]}):
        (alone,) = rows(lab.sweep({"training": {**adam, **own}}, jobs=1)).items()
        assert alone in rows(found).items()
    assert "betas" not in lab.sweep({"training": TRAINING}, jobs=1).columns()


def test_a_diverged_run_has_no_loss_and_the_table_says_so():
    found = lab.sweep({"training": TRAINING, "grid": {"weight_decay": [0.1, 1e30]}}, jobs=1)
    columns = found.columns()
    assert found.notes() == ["1 run diverged: the mean of a number that they lack is that of the others."]
    assert str(found.table("weight_decay", "loss")) == str(found.table(["weight_decay"], ["loss"]))
    assert columns["diverged"] == [0, 1] and columns["loss"][1] is None and columns["dead"][1] is None and columns["loss"][0] > 0


def test_a_network_without_hidden_units_has_no_dead_ones():
    found = lab.sweep({"training": {**TRAINING, "widths": []}}, jobs=1)
    assert found.failed == 0 and "dead" not in found.columns() and found.columns()["loss"][0] > 0


def test_experiments_run_with_seeds():
    found = lab.sweep({"seeds": 2, "experiment": {"fast": True}, "grid": {"name": ["hull", "window"]}}, jobs=1)
    assert found.columns()["experiment"] == ["hull", "hull", "window", "window"] and found.columns()["holds"] == [1] * 4
    findings = json.loads(found.columns()["findings"][0])
    assert [finding["measured"] for finding in findings] == [f.measured for f in experiments.find("hull")(0, True).findings]
    assert len(read_plan({"experiment": {}, "grid": {"name": ["depth", "rates", "sparsity"]}})) == len(
        experiments.chosen(["depth"])) + 2


# -- never twice ---------------------------------------------------------------------------------------------------------------


def test_a_sweep_resumes_and_extends_and_runs_nothing_twice(tmp_path, monkeypatch):
    out, carried = tmp_path / "a.sqlite", []
    plain = training.carry_out
    monkeypatch.setitem(lab.sweep.__globals__, "carry_out", lambda runs: (carried.extend(run.key for run in runs), plain(runs))[1])
    assert lab.sweep(PLAN, out=out, jobs=1).new == 12
    before = dict(lab.Sweep(out).store.ask("SELECT key, finished FROM runs"))
    assert lab.sweep(PLAN, out=out, jobs=1).new == 0
    larger = {**PLAN, "seeds": 4, "grid": {"lr": [0.1, 0.3, 1], "momentum": [0.9, 0.0]}}
    assert lab.sweep(larger, out=out, jobs=1).new == 24 - 12
    assert lab.sweep({**PLAN, "seeds": 2}, out=out, jobs=1).new == 0
    after = dict(lab.Sweep(out).store.ask("SELECT key, finished FROM runs"))
    assert len(carried) == len(set(carried)) == len(after) == 24 and before.items() <= after.items()
    assert [int(row[1]) for row in lab.Sweep(out).status().rows] == [12, 24, 8]
    assert rows(lab.Sweep(out)) == rows(lab.sweep(larger, jobs=1))


def test_what_other_code_has_computed_is_told_and_can_be_renewed(tmp_path, monkeypatch):
    out = tmp_path / "a.sqlite"
    monkeypatch.setattr(training, "code", lambda: "0.0 old")
    lab.sweep({**PLAN, "seeds": 1}, out=out, jobs=1)
    monkeypatch.undo()
    found = lab.sweep({**PLAN, "seeds": 2}, out=out, jobs=1)
    assert found.new == 4 and "Computed by 2 versions of the code" in str(found) and "0.0 old (4 runs)" in str(found)
    found = lab.sweep({**PLAN, "seeds": 2}, out=out, jobs=1, renew=True)
    assert found.new == 4 and len(found) == 8 and not found.notes()


def test_a_run_that_fails_is_kept_with_its_error_and_tried_again(tmp_path, monkeypatch, capsys):
    file = tmp_path / "a.toml"
    file.write_text("seeds = 3\n[training]\ndata = 'moons'\nwidths = [5]\nsteps = 30\n")
    plain = training.train

    def fails(settings):
        if any(one["seed"] == 1 for one in settings):
            raise MemoryError("no room")
        return plain(settings)

    monkeypatch.setattr(training, "train", fails)
    assert cli.main(["sweep", str(file), "--jobs", "1"]) == 1
    assert "Failed: seed 1: MemoryError: no room" in capsys.readouterr().out
    assert cli.main(["sweep", "status", str(tmp_path / "a.sqlite")]) == 1
    assert lab.Sweep(tmp_path / "a.sqlite").status().rows[0][1:5] == ["3", "2", "1", "1"]
    monkeypatch.undo()
    assert cli.main(["sweep", str(file), "--jobs", "1"]) == 0
    assert "1 new run " in capsys.readouterr().out


def test_killing_the_sweep_loses_only_the_runs_under_way(tmp_path, long_rows):
    """kill -9 in the middle: its processes end too, what was finished is there, and the same command does the rest."""
    file, out = tmp_path / "a.toml", tmp_path / "a.sqlite"
    file.write_text(LONG)
    command = [sys.executable, "-m", "tinygrad_relu", "sweep", str(file), "--jobs", "2", "--quiet"]
    sweep = subprocess.Popen(command)
    wait_for(lambda: len(lab.Sweep(out)) >= 4)
    with pytest.raises(OSError, match="is in use by another sweep"):
        lab.sweep(file, jobs=1)
    assert "a sweep is running" in str(lab.Sweep(out).status())
    workers = psutil.Process(sweep.pid).children()
    sweep.kill()
    assert sweep.wait() == -signal.SIGKILL
    found = lab.Sweep(out)
    there = rows(found)
    assert 4 <= len(there) < 32 and there.items() <= long_rows.items() and "no sweep is running" in str(found.status())
    wait_for(lambda: not any(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in workers))
    again = lab.sweep(file, jobs=1)
    assert again.new == 32 - len(there) and rows(again) == long_rows


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if condition():
                return
        except (OSError, ValueError):       # the database is not there yet
            pass
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} seconds")


# -- executors -----------------------------------------------------------------------------------------------------------------


def test_a_killed_worker_of_a_cluster_costs_nothing(tmp_path, long_rows, monkeypatch):
    """A scheduler and two workers in processes of their own; one of them is killed with -9 while it has tasks. Without any worker
    the sweep ends with a sentence."""
    place = tmp_path / "scheduler.json"

    def start(what, *words):
        return subprocess.Popen([sys.executable, "-W", "ignore", "-m", "dask", what, "--scheduler-file", str(place), *words],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    scheduler = start("scheduler", "--no-dashboard", "--host", "127.0.0.1", "--port", "0")
    workers = [start("worker", "--nthreads", str(n), "--no-nanny", "--no-dashboard", "--host", "127.0.0.1") for n in (1, 2)]
    try:
        wait_for(place.exists)
        (tmp_path / "a.toml").write_text(LONG)
        out, address = tmp_path / "a.sqlite", json.loads(place.read_text())["address"]

        def kill():
            wait_for(lambda: len(lab.Sweep(out)) >= 4)
            workers[0].kill()

        killer = threading.Thread(target=kill)
        killer.start()
        found = lab.sweep(tmp_path / "a.toml", executor="dask", scheduler=address)
        killer.join()
        assert workers[0].wait() == -signal.SIGKILL and workers[1].poll() is None
        assert found.new == len(found) == 32 and rows(found) == long_rows
        monkeypatch.setattr(executors, "PATIENCE", 1)
        out, workers[0] = tmp_path / "b.sqlite", workers[1]         # now the other one is killed, too
        killer = threading.Thread(target=kill)
        killer.start()
        with pytest.raises(OSError, match="has had no worker for 1 seconds; start one by `dask worker tcp"):
            lab.sweep(tmp_path / "a.toml", out=out, executor="dask", scheduler=address)
        killer.join()
        assert 4 <= len(lab.Sweep(out)) < 32
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.wait()


def test_joblib_carries_out_on_any_of_its_backends():
    from joblib import parallel_config

    with parallel_config(backend="threading"):
        found = lab.sweep(PLAN, executor="joblib", jobs=2)
    assert found.new == 12 and rows(found) == rows(lab.sweep(PLAN, jobs=1))


# -- the database --------------------------------------------------------------------------------------------------------------


def test_a_locked_or_damaged_database_is_one_sentence(tmp_path, monkeypatch):
    out = tmp_path / "a.sqlite"
    lab.sweep(PLAN, out=out, jobs=1)
    monkeypatch.setattr(store, "PATIENCE", 0.01)
    other = sqlite3.connect(out, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(OSError, match=r"a.sqlite is locked by another program \(database is locked\); expected the results"):
        lab.sweep({**PLAN, "seeds": 4}, out=out, jobs=1)
    other.close()
    whole = out.read_bytes()
    for damage in (b"no database at all" * 500, whole[:5000], whole[:4096] + b"\xff" * (len(whole) - 4096)):
        out.write_bytes(damage)
        for use in (lambda: lab.sweep(PLAN, out=out, jobs=1), lambda: str(lab.Sweep(out))):
            with pytest.raises(OSError, match=r"a\.sqlite is damaged, or no database"):
                use()
        gc.collect()        # a Sweep in the traceback holds the file open
        assert out.read_bytes() == damage and [p.name for p in tmp_path.iterdir()] == ["a.sqlite"]


def test_a_database_of_an_older_version_goes_on(tmp_path):
    """Without the keys of the plans."""
    out = tmp_path / "a.sqlite"
    lab.sweep(PLAN, out=out, jobs=1)
    before = lab.Sweep(out).status().rows
    with sqlite3.connect(out) as old:
        old.execute("ALTER TABLE plans DROP COLUMN keys")
    old.close()
    assert lab.Sweep(out).status().rows == before
    found = lab.sweep({**PLAN, "seeds": 4}, out=out, jobs=1)
    assert found.new == 4 and [row[1:5] for row in found.status().rows] == [
        ["12", "12", "0", "0"], ["16", "16", "0", "0"]]


def test_another_database_is_refused_and_left_as_it_is(tmp_path):
    out = tmp_path / "a.sqlite"
    with sqlite3.connect(out) as other:
        other.execute("CREATE TABLE runs (x)")
    other.close()
    before = out.read_bytes()
    for use in (lambda: lab.sweep(PLAN, out=out, jobs=1), lambda: lab.Sweep(out)):
        with pytest.raises(ValueError, match="is another database, expected the results of a sweep"):
            use()
    assert out.read_bytes() == before


# -- what has been found -------------------------------------------------------------------------------------------------------


def test_a_plot_says_which_settings_it_leaves_out(tmp_path):
    found = lab.sweep({**PLAN, "grid": {"lr": [0.1, 1e30], "momentum": [0.0, 0.9]}}, out=tmp_path / "a.sqlite", jobs=1)
    titles = [found.plot("lr", y, by="momentum").get_suptitle() for y in ("loss", "valid_accuracy")]
    assert titles == ["12 runs: loss over lr, except of 2 settings without one", "12 runs: valid_accuracy over lr"]


def test_tables_plots_and_files(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    found = lab.sweep(PLAN, out="a.sqlite", jobs=1)
    columns = found.columns()
    assert columns["lr"] == [0.1] * 6 + [1.0] * 6 and columns["momentum"] == ([0.0] * 3 + [0.9] * 3) * 2
    assert columns["seed"] == [0, 1, 2] * 4 and set(columns["widths"]) == {"[5]"}
    by, of, groups = found.groups(["momentum"], ["loss"])
    for (momentum,), n, ((mean, error),) in groups:
        losses = [loss for loss, mu in zip(columns["loss"], columns["momentum"]) if mu == momentum]
        assert n == 6 and np.isclose(mean, np.mean(losses)) and np.isclose(error, np.std(losses, ddof=1) / 6 ** 0.5)
    assert cli.main(["sweep", "table", "a.sqlite", "--by", "lr", "--of", "dead", "--parquet", "a.parquet", "--json", "a.json"]) == 0
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()[-2:]] == [["0.1", "6"], ["1", "6"]]
    from pyarrow import parquet

    assert parquet.read_table("a.parquet").to_pydict() == json.loads(Path("a.json").read_text())["columns"] == columns
    assert cli.main(["sweep", "plot", "a.sqlite", "--over", "momentum", "--of", "loss"]) == 0
    assert Path("a.png").read_bytes().startswith(b"\x89PNG")
    lines = found.plot(by="momentum").legends[0].get_texts()
    assert [line.get_text() for line in lines] == ["momentum 0.0", "momentum 0.9"]
    for x, places in (("lr", [[0.1, 1.0]] * 2), ("widths", [[-0.075], [0.075]])):        # numbers where they are
        drawn = [line.lines[0].get_xdata() for line in found.plot(x, by="momentum").axes[0].containers]
        np.testing.assert_allclose(drawn, places, rtol=1e-15)
    assert all(tick == round(tick) for tick in found.plot("seed", by="momentum").axes[0].get_xticks())          # no seed is 0.5
    assert all(error == 0 for _, _, [(_, error)] in found.groups(["lr"], ["lr"])[2])        # and no remainder of rounding
    assert cli.main(["sweep", "table", "a.sqlite", "--of", "weights"]) == 2         # digests, some of which look like numbers
    assert "weights is text in some runs, expected a column of numbers" in capsys.readouterr().err
    assert cli.main(["sweep", "table", "a.sqlite", "--by", "rate"]) == 2
    assert "a column is 'rate', expected one of" in capsys.readouterr().err
