"""The commands over the experiments: one, several, the page of all, and the table of claims in the documentation."""
import json
from contextlib import contextmanager
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from common import run

from tinygrad_relu import notebook
from tinygrad_relu.lab import experiments
from tinygrad_relu.lab.experiments import Claim, Finding, page, running

DOCS = Path(__file__).parents[1] / "docs"
NAME = "maxout-exact"         # quick
VOID = {"meta", "img", "br", "link", "input"}


class Reader(HTMLParser):
    """Collects texts, addresses and ids, and checks that every tag is closed (<li> may stay open)."""

    def __init__(self, text):
        super().__init__()
        self.texts, self.addresses, self.ids, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.addresses += [attributes[name] for name in ("src", "href") if name in attributes]
        self.ids += [attributes[name] for name in ("id",) if name in attributes]
        self.open += [tag] * (tag not in VOID and tag != "li")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(" ".join(data.split()))


def test_one_experiment_prints_writes_and_draws(capsys, tmp_path):
    numbers, figure = tmp_path / "a.json", tmp_path / "a.svg"
    status, out, err = run(capsys, "experiment", NAME, "--fast", "--seed", 3, "--json", numbers, "--figure", figure)
    found, experiment = json.loads(numbers.read_text()), experiments.find(NAME)
    assert (status, err) == (0, "") and found["seed"] == 3 and found["fast"] and found["verdict"] == "holds"
    assert found["findings"] == [finding.to_dict() for finding in experiment(3, True).findings]
    said = " ".join(out.split())
    assert experiment.title in said and " ".join(experiment.explanation.split()) in said and said.endswith("Verdict: holds.")
    assert all(claim.key in said and claim.says in said for claim in experiment.claims)
    assert figure.read_text().startswith("<?xml")


@contextmanager
def bar(total, name, *, quiet):
    """In place of the progress bar."""
    ticks = []
    yield lambda name, n: ticks.append((name, n))
    assert sorted(ticks) == [(NAME, 1), ("upstream", 1)] and total == 2 and quiet


def test_several_experiments_run_side_by_side_with_the_same_numbers(monkeypatch):
    monkeypatch.setattr(running, "progress", bar)
    names = ["upstream", NAME]
    found, alone = (running.run_all(names, seed=1, fast=True, jobs=jobs, quiet=True) for jobs in (2, 1))
    assert [result.experiment.name for result in found] == names
    assert [result.findings for result in found] == [result.findings for result in alone]


def test_the_report_is_one_page_with_everything(tmp_path):
    result = experiments.find(NAME)(fast=True)
    wrong = Claim("D18", "a <b> & c", "nobody, 1999", "a > b")
    other = replace(result, findings=[Finding("step of return", 472, 471, claimed=float("inf"))],
                    experiment=replace(result.experiment, title="Another one", claims=[wrong]))
    result.plot(tmp_path / f"{NAME}.svg")
    text = page.html([result, other], tmp_path)
    read = Reader(text)
    assert read.open == [] and all(address.startswith(("#", "data:image/svg+xml;base64,")) for address in read.addresses)
    assert {address[1:] for address in read.addresses if address[0] == "#"} <= set(read.ids)
    assert text.count("data:image") == 2 and "://" not in text
    said = " ".join(read.texts)
    for words in (result.experiment.title, *(cell for row in result.table().rows for cell in row), wrong.says, wrong.source,
                  wrong.correction, "step of return", "never", "472", "471", "does not hold", "1 of them corrected"):
        assert words in said, words


def test_a_figure_with_too_many_points_is_embedded_as_a_png(tmp_path, monkeypatch):
    result = experiments.find(NAME)(fast=True)
    result.plot(tmp_path / f"{NAME}.svg")
    monkeypatch.setattr(notebook, "HEAVY", 100)
    assert page.html([result], tmp_path).count("data:image/png;base64,iVBOR") == 1


def test_the_report_command(capsys, tmp_path):
    status, out, err = run(capsys, "report", "--only", NAME, "--fast", "--out", tmp_path / "a.html", "--jobs", 1)
    assert (status, err) == (0, "") and "1 of 1 experiments hold" in out
    assert (tmp_path / "a.html").read_text().count("<article") == 1
    assert run(capsys, "experiment", NAME, "upstream", "--fast", "--jobs", 1, "--figure", tmp_path / "figures")[0] == 0
    assert {file.name for file in (tmp_path / "figures").iterdir()} == {f"{NAME}.svg", "upstream.svg"}


def test_the_page_of_claims_is_that_of_the_records(capsys, tmp_path):
    """If this fails: tinygrad-relu report --claims docs/claims.md"""
    assert run(capsys, "report", "--claims", tmp_path / "a.md")[0] == 0
    assert (tmp_path / "a.md").read_text() == (DOCS / "claims.md").read_text() == running.claims_page()


def test_figures_of_several_experiments_need_a_folder(capsys, tmp_path):
    (tmp_path / "a.png").touch()
    status, out, err = run(capsys, "experiment", NAME, "upstream", "--figure", tmp_path / "a.png")
    assert (status, out) == (2, "") and "a.png, expected a folder for 2 figures" in err


def test_a_claim_that_does_not_hold_exits_with_1(capsys, monkeypatch):
    experiment = experiments.find(NAME)
    failing = replace(experiment, run=lambda seed, fast: ([Finding("one", 1, 2)], {}))
    monkeypatch.setattr(type(experiment), "name", NAME)
    monkeypatch.setattr(running, "find", lambda name: failing)
    status, out, _ = run(capsys, "experiment", NAME, NAME, "--jobs", "1")
    assert status == 1 and "Verdict: does not hold." in out and "NO" in out
    assert run(capsys, "experiment", NAME, "--quiet", "--jobs", "1") == (1, "", "")


def test_a_list_of_all_experiments(capsys):
    status, out, _ = run(capsys, "experiment", "list")
    assert status == 0 and all(name in out for name in experiments.names())


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["experiment", "bach-size"], "did you mean 'batch-size'?"),
    (["experiment", NAME, "--seed", "-1"], "--seed is -1"),
    (["experiment", NAME, "--jobs", "0"], "--jobs is 0"),
    (["experiment", NAME, "--figure", "a.jpeg"], "expected one of: png, svg, pdf"),
    (["report", "--out", "no-such-folder/a.html"], "the folder no-such-folder does not exist"),
    (["report", "--only", "no"], "the experiment is 'no'"),
    (["report", "--only", "list"], "the experiment is 'list'"),
    (["report", "--claims", "no-such-folder/a.md"], "the folder no-such-folder does not exist"),
])
def test_bad_input_is_one_sentence(capsys, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "") and sentence in err and err.count("\n") == 1 and not list(tmp_path.iterdir())
