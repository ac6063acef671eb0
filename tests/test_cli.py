"""The command line: the main job with small settings, its files, and one sentence for every error."""
import argparse
import io
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from html import unescape
from threading import Semaphore

import numpy as np
import pytest
from common import run

import tinygrad_relu as tg
from tinygrad_relu import cli, data, lab
from tinygrad_relu.commands import COMMANDS
from tinygrad_relu.commands import revive as command
from tinygrad_relu.lab import report
from tinygrad_relu.lab import revive as revive_module
from tinygrad_relu.lab.prescription import OPTIONS
from tinygrad_relu.lab.treatments import TREATMENTS
from tinygrad_relu.text import Table, print_parts, progress

QUICK = ["revive", "--data", "spiral", "--widths", "12", "8", "--kill-steps", "40", "--steps", "60", "--kill-lr", "40"]


def test_revive_writes_its_json_and_figure(capsys, tmp_path):
    figure, numbers = tmp_path / "a.png", tmp_path / "a.json"
    status, out, _ = run(capsys, *QUICK, "--json", str(numbers), "--figure", str(figure))
    assert status == 0
    assert "SGD" in out and "accuracy" in out
    result = json.loads(numbers.read_text())
    assert result["data"] and set(result["sick"]) >= {"dead", "accuracy"}
    assert [t["name"] for t in result["treatments"]] == [t.key for t in TREATMENTS]
    for treatment in result["treatments"]:
        assert {"name", "predictions", "predicted_step", "observed_step", "dead", "accuracy", "loss"} <= set(treatment)
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "a.png"]


@pytest.mark.parametrize("data", ["digits", "moons"])
@pytest.mark.parametrize("activation", ["relu", "relu6", "maxout", "prelu", "sigmoid"])
def test_every_kind_of_network_can_be_treated(capsys, data, activation):
    status, out, err = run(capsys, "revive", "--data", data, "--activation", activation, "--widths", "6", "--kill-steps", "5",
                           "--steps", "12", "--treatments", "sgd", "momentum-l2-inside", "adam-l2")
    assert status == 0, err
    assert "momentum .9" in out


def test_the_same_seed_gives_the_same_numbers(capsys, tmp_path):
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for file in files:
        assert run(capsys, *QUICK, "--json", str(file))[0] == 0
    assert files[0].read_text() == files[1].read_text()


def test_headline_digits_return_at_step_472():
    digits = data.digits()
    sick = revive_module.make_sick(digits)
    assert sick.dead[1] == 64 and sick.gradient == 0.0 and sick.accuracy < 0.11
    (told,) = [t for t in TREATMENTS if t.key == "heavy-l2"]
    (outcome,) = revive_module.revive(sick, digits, [told], steps=500)
    assert outcome.predicted_step == outcome.observed_step == 472 and not outcome.disagreements and outcome.opens == (250, 250)
    assert len(outcome.predictions) == sum(p.proved for p in outcome.predictions) == sick.dead[0] + 1      # and the unit of layer 1 that opens the first path
    path = np.array(outcome.predicted_orbit[:472])
    np.testing.assert_allclose(outcome.observed_orbit[:472], path, atol=1e-9 * np.abs(path).max())


def test_a_training_that_ends_before_the_return(capsys, tmp_path):
    """Predicted for step 48, observed up to step 20: no disagreement, and never within the training."""
    numbers = tmp_path / "a.json"
    status, out, _ = run(capsys, *QUICK, "--steps", "20", "--treatments", "momentum-l2-inside", "--json", str(numbers),
                         "--figure", str(tmp_path / "a.svg"))
    (treatment,) = json.loads(numbers.read_text())["treatments"]
    assert status == 0 and treatment["proved"] and treatment["verdict"].startswith("step 48,")
    assert treatment["predicted_step"] == 48 and treatment["observed_step"] is None
    (row,) = [line for line in out.splitlines() if line.startswith("momentum .9, L2 inside")]
    assert row.split()[6:8] == ["48", ">20"], row
    assert "above the threshold (momentum .9, L2 inside), decay and momentum together swing" in " ".join(out.split())
    assert "predicted 48, observed >20" in unescape((tmp_path / "a.svg").read_text())


@pytest.mark.parametrize(("arguments", "sentence", "absent"), [
    (["--kill-lr", "40"], "no sample reaches the output through a path that is alive", "but no layer is"),
    (["--activation", "hardtanh", "--kill-lr", "100"], "through a path that is alive", "gets the same input"),   # -1 or 1
    (["--activation", "step"], "but no layer is entirely dead", "through a path that is alive"),
    (["--kill-lr", "3"], "Some path is still alive", "exactly zero in every hidden unit"),
    (["--activation", "maxout", "--kill-lr", "40"], "of 24 and", "units, layer by layer"),
    (["--activation", "maxout", "--kill-lr", "1e30"], "it diverged", "Some path is still alive"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_what_is_said_of_the_sick_network(capsys, arguments, sentence, absent):
    status, out, err = run(capsys, *QUICK, "--treatments", "sgd", *arguments)
    said = " ".join(out.split())
    assert status == 0 and sentence in said and absent not in said, said
    assert "Warning" not in err


def test_a_path_that_opens_at_another_step_than_the_first_return_is_told():
    moons = data.moons(60, rng=0)
    sick = revive_module.make_sick(moons, hidden=(8, 8), kill_lr=20.0, kill_steps=60)
    (sgd,) = revive_module.revive(sick, moons, [TREATMENTS[0]], steps=5)
    assert sgd.claims and sgd.observed_step is None and sgd.opens == (None, None)
    for opens, returned, accuracy, told in (        # opens: (predicted, observed)
            ((None, None), None, 1.0, None), ((4, 4), 4, 1.0, None),
            ((2, 2), 4, 1.0, "SGD, step 2 (predicted: 2), first return in layer 0 at step 4, accuracy above "
                                f"{sick.accuracy + 0.05:.2f} from step 5."),
            ((None, 2), None, sick.accuracy, "SGD, step 2, first return in layer 0 never.")):
        outcome = replace(sgd, opens=opens, opens_between=None if opens[0] is None else (2, 2), observed_step=returned, accuracies=[(0, sick.accuracy), (5, accuracy)])
        said = [sentence for sentence in report.sentences(sick, [outcome]) if "first path to the output" in sentence]
        assert [sentence.endswith(told or "?") for sentence in said] == [True] * (told is not None), said


def test_a_failed_prediction_exits_with_1(capsys, monkeypatch):
    real = revive_module.prognosis

    def wrong(*args, **kwargs):
        told = real(*args, **kwargs)
        units = [lab.UnitPrognosis(u.layer, u.unit, "revives", 7, 0, "wrong on purpose", u.proved, (7, 7)) for u in told.units]
        return lab.Prognosis(units)

    monkeypatch.setattr(revive_module, "prognosis", wrong)
    status, out, _ = run(capsys, *QUICK, "--treatments", "sgd")
    assert status == 1 and "THE THEORY FAILED" in out


BAD = [
    (["revive", "--lr", "-1"], "--lr is -1.0, expected"),
    (["revive", "--kill-lr", "nan"], "--kill-lr is nan"),
    (["revive", "--steps", "0"], "--steps is 0"),
    (["revive", "--samples", "0"], "--samples is 0, expected at least 1"),
    (["revive", "--widths", "1000000000000"], "--widths 1000000000000, over 15150 steps, needs about 7.5e+07 GB of memory"),
    (["revive", "--steps", str(10**25)], "GB of memory"),
    (["revive", "--delimiter", ";"], "--delimiter is for csv; --data digits takes none"),
    (["revive", "--data", "mnist", "--path", ".", "--target", "y"], "--target is for csv; --data mnist takes none"),
    (["warmup", "--jobs", "0"], "--jobs is 0"),
    (["revive", "--widths", "8", "0"], "--widths is 0"),
    (["revive", "--seed", "-3"], "--seed is -3"),
    (["revive", "--data", "fashion-mnist"], "needs --path"),
    (["revive", "--data", "mnist", "--path", "no-such-folder"], "no-such-folder"),
    (["revive", "--figure", "no-such-folder/a.png"], "the folder no-such-folder does not exist"),
    (["revive", "--json", "."], "is a folder"),
    (["revive", "--figure", "a.jpeg"], "expected one of: png, svg, pdf"),
    (["revive", "--json", ""], "expected the name of a file"),
    (["revive", "--figure", ""], "expected the name of a file"),
    (["revive", "--json", "a.png", "--figure", "./a.png"], "both name ./a.png, expected two files"),
    (["revive", "--at", "0"], "--at is 0, expected"),
    (["revive", "--option", "lr"], "--option is an option of --at, expected both"),
    (["revive", "--at", "300", "--schedule", "cosine"], "--at needs a constant rate"),
    (["revive", "--at", "300", "--treatments", "sgd", "adam"], "--at changes one treatment"),
    (["revive", "--at", "5", "--treatments", "coast"], "'coast' starts with another network, expected one in which"),
    (["revive", "--at", "5", "--treatments", "mirror"], "'mirror' brings the units back by itself, expected one in which"),
    (["revive", "--data", "moons", "--kill-steps", "9", "--at", "300", "--optimizer", "adam"], "expected an SGD"),
    (["revive", "--optimizer", "adam", "--momentum", "0.9"], "got momentum 0.9 for adam"),
    (["revive", "--momentum", "1"], "momentum is 1.0"),
    (["revive", "--held-out", "1"], "--held-out is 1.0, expected a share from 0 to below 1"),
    (["revive", "--seeds", "0"], "--seeds is 0"),
    (["doctor", "--json", ""], "expected the name of a file"),
]


@pytest.mark.parametrize(("arguments", "sentence"), BAD, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_bad_input_is_one_sentence_and_exit_2(capsys, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, *arguments)
    assert status == 2 and sentence in err and out == ""
    assert err.count("\n") == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize(("arguments", "hint"), [
    (["revive", "--treatments", "hevy-l2"], "did you mean 'heavy-l2'?"),
    (["revive", "--data", "digts"], "did you mean 'digits'?"),
    (["revive", "--activation", "RELU"], "did you mean 'relu'?"),
    (["revive", "--activation", "rleu"], "did you mean 'relu'?"),
    (["reviv"], f"the command is 'reviv', expected one of: {', '.join(one.name for one in COMMANDS)}; did you mean 'revive'?"),
    (["revive", "--stesp", "5"], "did you mean '--steps'?"),
    (["revive", "--kil-lr=5"], "did you mean '--kill-lr'?"),
    (["doctor", "--figure", "a.png"], "an option of doctor is '--figure', expected one of: --json"),
    (["revive", "digits"], "got 'digits', expected an option"),
    (["--verison"], "did you mean '--version'?"),
    (["revive", "--steps", "many"], "argument --steps: got 'many', expected a whole number"),
    (["revive", "--widths", "8", "1.5"], "argument --widths: got '1.5', expected a whole number"),
    (["revive", "--lr", "fast"], "argument --lr: got 'fast', expected a number"),
    (["revive", "--lr"], "expected one argument"),
    ([], "required: COMMAND"),
])
def test_unknown_names_get_the_nearest(capsys, arguments, hint):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and hint in error and error.count("\n") == 1


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_a_progress_bar_is_for_terminals(monkeypatch, stream):
    monkeypatch.setattr("sys.stderr", stream())
    monkeypatch.setenv("TERM", "xterm")
    with progress(4, "compiling") as tick:
        tick("relu", 1)
        tick("gelu", 3)
    shown = cli.sys.stderr.getvalue()
    assert ("gelu" in shown and "4/4" in shown) if stream is Terminal else shown == ""


def test_a_table_is_as_wide_as_its_rows_and_keeps_lines(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    table = Table("units", ["name", "many\nlines", "why"])
    table.add("relu", "1\n22", "a sentence that is longer than a terminal of twenty columns is wide")
    title, *lines = str(table).splitlines()
    assert title == "units" and [line.split() for line in lines[:2]] == [["many"], ["name", "lines", "why"]]
    assert lines[3].split()[:2] == ["relu", "1"] and lines[3].endswith("is wide") and lines[4].strip() == "22"
    with pytest.raises(ValueError, match=r"a table of 3 columns got 1 cell$"):
        table.add(1)


@pytest.mark.parametrize("columns", ["0", "1", "40", "60", "80", "200"])
def test_a_report_fits_every_terminal(capsys, monkeypatch, columns):
    """No line is too long, no heading and no number is broken; COLUMNS=0 is an unknown width."""
    monkeypatch.setenv("COLUMNS", columns)
    _, out, _ = run(capsys, *QUICK, "--treatments", "momentum-l2-inside", "heavy-l2")
    assert max(map(len, out.splitlines())) <= {"0": 80, "1": 24}.get(columns, int(columns)), out
    words = out.replace(";", "").split()
    for whole in ("eta", "momentum", "2.5e-05", "472", "8→12", "0.33→0.33"):
        assert whole in words, whole
    assert ("──" in out) == (columns in ("0", "80", "200"))
    assert ("threshold: 2.5e-05" in " ".join(out.split())) == (columns in ("1", "40", "60"))


def test_a_wide_table_moves_together_and_then_is_a_list(capsys, monkeypatch):
    """A heading that rows share stands above them once; and a folded line goes on where its text begins."""
    table = Table("", ["layer", "first number", "second number", "why"], [["hidden", 1.5, 2.5, "short"], ["hidden", 3.5, 4.5, ""]])
    monkeypatch.setenv("COLUMNS", "32")
    print_parts(table, "    an indented sentence, which is folded", "- and a point of a list, folded too")
    assert capsys.readouterr().out.splitlines() == [
        "        first second", "layer  number number why", "──────────────────────────", "hidden    1.5    2.5 short",
        "hidden    3.5    4.5", "    an indented sentence, which", "    is folded", "- and a point of a list, folded", "  too"]
    monkeypatch.setenv("COLUMNS", "24")
    print_parts(table)
    out = capsys.readouterr().out
    assert out.count("layer: hidden") == 1 and "first number: 3.5" in " ".join(out.split())


def test_a_terminal_without_arrows_gets_question_marks(monkeypatch):
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding="latin-1"))
    print_parts("12→8")
    cli.sys.stdout.seek(0)
    assert cli.sys.stdout.read() == "12?8\n"


@pytest.mark.parametrize(("arguments", "said"), [
    ([], ["39 predictions, 0 wrong, 39 proved", "19 returns are not yet due. - Not yet due: momentum .9, L2 inside needs 48 steps, "
          "ran 10."]),
    (["--lr", "0"], ["Not tested, and not counted, as nothing moves at rate 0: SGD; momentum .9, L2 inside."]),
], ids=["short", "rate 0"])
def test_only_what_the_run_could_observe_is_counted(capsys, arguments, said):
    status, out, _ = run(capsys, *QUICK, "--steps", "10", "--treatments", "sgd", "momentum-l2-inside", *arguments)
    out = " ".join(out.split())
    assert status == 0 and all(sentence in out for sentence in said) and out.count(" wrong") == (not arguments)


def test_predictions_hold_while_other_units_diverge():
    """A dead unit selects 0 where its gradient is NaN. What is lost is only the time after the unit itself has diverged."""
    moons = data.moons(60, rng=0)
    sick = revive_module.make_sick(moons, hidden=(8, 8), kill_lr=20.0, kill_steps=60)
    sick.model[4].bias.data = [np.inf, 0.0]
    (outcome,) = revive_module.revive(sick, moons, [TREATMENTS[4]], steps=60)
    assert not np.isfinite(outcome.loss) and outcome.predicted_step == outcome.observed_step == 48 and not outcome.untested
    assert any("and then the training diverged" in sentence for sentence in report.sentences(sick, [outcome]))
    unit = outcome.predictions[0]
    early, lost, wrong = (replace(unit, observed=step, until=until) for step, until in ((None, 30), (None, 0), (47, 60)))
    assert not unit.fails and early.waits and not early.fails and wrong.fails
    nothing = replace(outcome, predictions=[lost], observed_step=None)
    assert [*report.verdict([nothing])] == ["Not tested, and not counted, as the units diverged at the first step: "
                                            "momentum .9, L2 inside."]


def test_a_network_that_has_finished_is_not_called_sick():
    twice = data.Dataset("two", [[-1.0], [1.0]], [0, 1], 2)
    sick = revive_module.make_sick(twice, kill_lr=5.0)
    assert sick.accuracy == 1.0 and sick.finished
    (sentence,) = report.sentences(sick, [])
    assert sentence.startswith("The network stands still") and sentence.endswith("It has learned all its samples.")


def test_an_interrupt_keeps_the_finished_treatments(monkeypatch):
    moons = data.moons(60, rng=0)
    sick = revive_module.make_sick(moons, hidden=(4,), kill_steps=5)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    treatments, real, others = TREATMENTS[:6], revive_module._treat, Semaphore(0)
    *first, last = revive_module._groups(treatments, 5, 2, 6)

    def treat(networks, dataset, group, **options):
        if group == [treatments[i] for i in last]:      # as Ctrl-C in the main thread, when the other groups are done
            for _ in first:
                others.acquire()
            raise KeyboardInterrupt
        outcomes = real(networks, dataset, group, **options)
        others.release()
        return outcomes

    monkeypatch.setattr(revive_module, "_treat", treat)
    found = revive_module.revive(sick, moons, treatments, steps=5)
    assert [outcome.treatment for outcome in found] == [t for i, t in enumerate(treatments) if i not in last] and first
    with pytest.raises(KeyboardInterrupt):
        first = []
        revive_module.revive(sick, moons, [treatments[i] for i in last], steps=5)


def test_an_interrupted_command_reports_what_has_finished(capsys, monkeypatch, tmp_path):
    real = revive_module.revive
    monkeypatch.setattr(revive_module, "revive", lambda sick, dataset, treatments, **options:
                        real(sick, dataset, treatments[:1], **options))
    status, out, err = run(capsys, *QUICK, "--treatments", "sgd", "sgd-l2", "--json", str(tmp_path / "a.json"))
    assert status == 130 and err == "tinygrad-relu revive: interrupted; 1 of 2 treatments had finished\n"
    assert "SGD " in out and len(json.loads((tmp_path / "a.json").read_text())["treatments"]) == 1


INTERRUPTED = """
import os, signal, sys

class Interrupt:
    def find_spec(name, *rest):
        if name == "numpy.random":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt)
sys.argv = ["/usr/bin/tinygrad-relu", "revive"]
from tinygrad_relu.cli import main
sys.exit(main())
"""


def python(*words, **options):
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=60, **options)


HALF = """
import sys
sys.argv = ["/usr/bin/tinygrad-relu", "map"]
from tinygrad_relu.cli import main
from tinygrad_relu.commands import map

def interrupted(*arguments):
    print("half")
    raise KeyboardInterrupt

map.check_files = interrupted       # the first that the command calls
sys.exit(main())
"""


def test_what_an_interrupted_command_has_printed_is_not_lost():
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    ended = python("-c", HALF, env=buffered)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "half\n", "tinygrad-relu map: interrupted\n")


def test_an_interrupt_during_the_imports_is_one_line():
    ended = python("-c", INTERRUPTED)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "tinygrad-relu: interrupted\n")


@pytest.mark.parametrize("words", ["--version", "--help", *(f"{command.name} --help" for command in COMMANDS)])
def test_help_imports_nothing_heavy(words):
    ended = python("-X", "importtime", "-m", "tinygrad_relu", *words.split())
    assert ended.returncode == 0 and ended.stdout.startswith(("usage: tinygrad-relu", f"tinygrad-relu {tg.__version__}"))
    assert "argparse" in ended.stderr and "numpy" not in ended.stderr and "numba" not in ended.stderr


def test_an_interrupted_warmup_is_one_line():
    warming = subprocess.Popen([sys.executable, "-m", "tinygrad_relu", "warmup", "--jobs", "2"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert "cached" in warming.stdout.readline()
    os.killpg(warming.pid, signal.SIGINT)           # as a terminal does: the compiling processes get it too
    assert warming.communicate(timeout=60)[1] == "tinygrad-relu warmup: interrupted\n" and warming.returncode == 130


IMPORTING = """
import time

from tinygrad_relu.lab.experiments.running import in_processes

if __name__ == "__main__":
    try:
        with in_processes(2) as pool:
            pool.submit(time.sleep, 60).result()
    except KeyboardInterrupt:
        print("interrupted")
else:
    print("importing", flush=True)
    time.sleep(0.5)
"""


def test_an_interrupt_while_processes_import_leaves_no_traceback(tmp_path):
    (tmp_path / "script.py").write_text(IMPORTING)
    waiting = subprocess.Popen([sys.executable, tmp_path / "script.py"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)
    assert waiting.stdout.readline() == "importing\n"
    os.killpg(waiting.pid, signal.SIGINT)
    assert waiting.communicate(timeout=60) == ("interrupted\n", "") and waiting.returncode == 0


def test_revive_in_python_checks_its_arguments():
    moons = data.moons(20, rng=0)
    sick = revive_module.make_sick(moons, hidden=[3], kill_steps=1)
    for call, words in (
            (lambda: revive_module.make_sick(moons.x), "the data is ndarray of shape (20, 2), expected a Dataset"),
            (lambda: revive_module.make_sick(moons, hidden=4), "hidden is 4, expected the widths"),
            (lambda: revive_module.make_sick(moons, kill_steps=1.5), "kill_steps is 1.5, expected a whole number"),
            (lambda: revive_module.revive(sick.model, moons, TREATMENTS[:1]), "expected a Sick, the result of make_sick"),
            (lambda: revive_module.revive(sick, moons, ["sgd"]), "a treatment is 'sgd', expected a Treatment"),
            (lambda: revive_module.revive(sick, moons, TREATMENTS[0]), "expected a list of them")):
        with pytest.raises(TypeError, match=re.escape(words)):
            call()


def test_the_help_lists_every_choice():
    """The registries are read when a name is checked, and not for the help; the error tells what is in them."""
    listed = 0
    for one in COMMANDS:
        one.options(parser := argparse.ArgumentParser())
        for option in parser._actions:
            if option.metavar == "NAME" and option.type is not None and option.dest != "activation":
                with pytest.raises(argparse.ArgumentTypeError) as wrong:
                    option.type("?")
                assert str(wrong.value).partition("expected one of: ")[2] in option.help
                listed += 1
    assert listed == 16
    assert tuple(option.replace("_", "-") for option in OPTIONS) == command.OPTIONS


def test_standard_output_may_be_closed_or_read_in_part():
    words = [sys.executable, "-m", "tinygrad_relu", *QUICK, "--treatments", "sgd"]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=60, preexec_fn=lambda: os.close(1))
    assert ended.returncode == 0 and "Error" not in ended.stderr
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, "")


def test_options_of_csv_files(capsys, tmp_path):
    """Another delimiter, features as they are, and nothing printed."""
    file, numbers = tmp_path / "a.csv", [tmp_path / "a.json", tmp_path / "b.json", tmp_path / "c.json"]
    moons = data.moons(40, rng=0)
    for delimiter in ";\t":
        file.write_text("\n".join(delimiter.join(map(str, [*x, y])) for x, y in zip(100 * moons.x, moons.y)))
        words = ["revive", "--data", "csv", "--path", str(file), "--delimiter", delimiter.replace("\t", "\\t"), "--widths", "4",
                 "--steps", "4", "--kill-steps", "4", "--kill-lr", "0.1", "--treatments", "sgd", "--quiet", "--json"]
        assert run(capsys, *words, str(numbers[0])) == (0, "", "")
    assert run(capsys, *words, str(numbers[1]), "--standardise") == (0, "", "")
    assert run(capsys, *words, str(numbers[2]), "--no-standardise") == (0, "", "")
    standardised, same, raw = (file.read_text() for file in numbers)
    assert standardised == same != raw
    file.write_text("1e300,0\n2.0,1\n" * 5)
    assert run(capsys, "train", "--data", "csv", "--path", str(file), "--no-standardise") == (
        2, "", "tinygrad-relu train: x holds a number that is infinite in float32; expected at most 3.4e+38\n")
