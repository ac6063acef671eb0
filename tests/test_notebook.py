"""What a notebook shows: every result that prints, Tensors and modules as HTML, without scripts or links; and the progress bar."""
from __future__ import annotations

import pickle
import sys
import xml.etree.ElementTree as ET
from types import SimpleNamespace

import numpy as np
import pytest
from public import ROOMS, names_of

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import lab, nn, optim
from tinygrad_relu.lab.experiments import find
from tinygrad_relu.lab.readings import Reading
from tinygrad_relu.text import Shown, Table, progress

X, Y = np.random.default_rng(0).standard_normal((40, 4)), np.arange(40) % 3


def trained(dtype: str = "float64") -> dict[str, object]:
    """One of each thing that a notebook shows."""
    model = nn.MLP([4, 8, 8, 3], rng=0, dtype=dtype)
    lab.kill(model, X, [0])
    opt = optim.SGD(model.parameters(), lr=0.5, momentum=0.9, weight_decay=1e-2)
    autopsy, recorder = lab.Autopsy(model, X, opt), lab.Recorder(model, X)
    for _ in range(3):
        recorder.observe()
        opt.zero_grad()
        loss = F.cross_entropy(model(X), Y)
        loss.backward()
        autopsy.step()
    recorder.observe()
    lab.mirror(model, [0])
    recorder.observe()
    lab.kill(model, X, [0])
    program = tg.capture(lambda x: model(x))
    for _ in range(3):
        program(X)
    profile = program.profile(X, repeat=1)
    loss = F.cross_entropy(model(X), Y)
    many = nn.MLP([4, 3, 2], members=2, rng=0, dtype=dtype)
    recorders = lab.Recorders(many, X)
    recorders.observe()
    return {
        "tensor": tg.Tensor(X, dtype=dtype), "parameter": model[0].weight, "result": loss, "model": model,
        "summary": model.summary((5, 4)), "explanation": tg.explain(loss, model), "graph": tg.graph(loss, model), "program": program,
        "profile": profile, "history": tg.fit(model, opt, F.cross_entropy, (X, Y), epochs=2, rng=0, quiet=True),
        "census": lab.census(model, X, Y), "prognosis": lab.prognosis(model, X, opt), "rates": lab.lethal_lr(model, X, Y),
        "gradients": lab.gradient_profile(model, X, Y), "why": lab.why_zero(model, X, Y), "advice": lab.advise(model, X, Y),
        "members": lab.census(many, X), "recorders": recorders,
        "autopsy": autopsy, "recorder": recorder, "survival": lab.survival(recorder, of="alive"),
        "sweep": lab.sweep({"seeds": 2, "training": {"data": "moons", "widths": [8], "steps": 5}}, jobs=1),
        "prescription": lab.prescribe(model, X, opt, at=3), "birth": lab.birth_probability([4, 3, 3], trials=10, rng=0), "experiment": find("maxout-exact"), "result of an experiment": find("maxout-exact")(fast=True),
    }


@pytest.fixture(scope="module", params=["float32", "float64"])
def things(request):
    with pytest.MonkeyPatch.context() as patch:         # the limits of this machine, which take seconds to measure
        patch.setattr(sys.modules["tinygrad_relu.profile"], "gemm_limit", lambda dtype: 1e11)
        patch.setattr(sys.modules["tinygrad_relu.profile"], "memory_limit", lambda size: 1e10)
        yield trained(request.param)


def well_formed(html: str) -> ET.Element:
    """The HTML as XML, which it must be; nothing in it runs, or is loaded."""
    root = ET.fromstring(f"<div>{html}</div>")
    for element in root.iter():
        assert element.tag.rpartition("}")[2] not in ("script", "link", "iframe", "style")
        for name, address in element.attrib.items():
            assert not name.startswith("on")
            assert "://" not in address and (name not in ("src", "href") or address.startswith("data:image/"))
    return root


def text_of(root: ET.Element) -> str:
    return " ".join(" ".join(root.itertext()).split())


def test_everything_that_prints_is_shown(things):
    for name, thing in things.items():
        shown = text_of(well_formed(thing._repr_html_()))
        assert shown, name
        if isinstance(thing, Shown):
            for part in thing.parts():
                for cell in ([cell for row in part.rows for cell in row] if isinstance(part, Table) else part.split("\n")):
                    assert " ".join(cell.split()) in shown, (name, cell)
            assert str(thing) and len(repr(thing)) <= max(len(str(thing)), 100), name


def test_all_readings_are_covered(things):
    """A new instrument belongs into the table above."""
    kinds = [Shown]
    for kind in kinds:
        kinds += kind.__subclasses__()
    ours = {kind for kind in kinds if kind.__module__.startswith("tinygrad_relu.")}
    assert ours - {type(thing) for thing in things.values()} == {Shown, Reading}


@pytest.mark.parametrize("room", [ROOMS[name] for name in ROOMS if name != "inside"])
def test_tab_lists_what_users_call(room):
    """No file of a package, and nothing that a file has only imported."""
    listed = {name for name in dir(room) if not name.startswith("_")}
    rooms = {"data", "functional", "lab", "nn", "onnx", "optim", "sklearn", "init", "utils", "lr_scheduler", "experiments", "laws"}
    assert listed - rooms == names_of(room).keys() - rooms and "__doc__" in dir(room)


def test_tab_lists_what_a_file_defines():
    assert {"he", "orthogonal"} < {*dir(nn.init)} and not {"np", "Any", "check_name", "GAINS"} & {*dir(nn.init)}
    assert {name for name in dir(nn.utils) if name[0] != "_"} == {"clip_grad_norm_", "clip_grad_value_", "functional_call"}
    assert "export" in dir(tg.onnx) and "safe_rate" in dir(lab.laws) and "np" not in dir(optim.lr_scheduler)


def test_words_of_users_are_escaped():
    table = Table("<b>title</b>", ["<script>", "a & b"], [["<img src=x onerror=1>", 1]])
    root = well_formed(table._repr_html_())
    assert "<img src=x onerror=1>" in text_of(root) and not root.findall(".//img") and repr(table) == str(table)
    assert "(0)" not in text_of(well_formed(nn.Sequential(nn.Linear(2, 3, rng=0), nn.ReLU())._repr_html_()))
    op = tg.Op("<i>odd</i>", lambda x: x + 1, pull=(lambda g, y, x: g,))
    assert "<i>odd</i>" in text_of(well_formed(op(tg.Tensor([1.0], requires_grad=True))._repr_html_()))


def bars(x: object) -> list[float]:
    """The heights of the bars of a histogram."""
    rects = well_formed(tg.Tensor(x)._repr_html_()).iter("{http://www.w3.org/2000/svg}rect")
    return [float(rect.attrib["height"]) for rect in rects]


def test_a_histogram_counts():
    """In numbers from 0 to 79, each of 40 intervals holds two; of two, the fuller one is as high as the picture."""
    assert bars(np.arange(80.0)) == [70.0] * 40
    assert bars(np.repeat([0.0, 1.0], [30, 10])) == [70.0, pytest.approx(70 / 3, abs=0.1)]
    huge = np.finfo(np.float64).max
    assert bars(np.repeat([-huge, 0.0, huge], 5)) == [70.0] * 3
    one = np.float32(1)
    assert bars(np.repeat([one, np.nextafter(one, 2 * one)], [30, 10])) == [70.0, pytest.approx(70 / 3, abs=0.1)]
    for same in (3.0, 1e16, huge, np.float32(3e38), 5e-324, 0.0):       # 40 intervals between neighbours have no room
        assert bars(np.repeat([same, np.nextafter(same, same / 2)], 10)) in ([70.0], [70.0, 70.0])
    shown = text_of(well_formed(tg.Tensor(np.r_[np.zeros(5), 1.0, 2.0, np.arange(1.0, 12.0), np.nan, np.inf])._repr_html_()))
    assert "20 numbers, 25% exactly zero, 1 NaN, 1 infinite, mean 3.833" in shown and shown.endswith("0 11")
    assert "9 numbers, 0% exactly zero, 9 NaN" in text_of(well_formed(tg.Tensor(np.full(9, np.nan))._repr_html_()))


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (3,), (2, 3, 4), (2000, 3)])
def test_tensors_of_all_shapes(shape):
    x = tg.Tensor(np.zeros(shape), requires_grad=True)
    root = well_formed((x * 1)._repr_html_())
    assert f"Tensor of shape {shape}, float64, a result of mul" in text_of(root)
    assert len(list(root.iter("{http://www.w3.org/2000/svg}svg"))) == (x.size > 8)
    (x * 1).sum().backward()
    assert "grad: " in text_of(well_formed(x._repr_html_()))


def test_a_model_is_a_table_of_its_parameters():
    model = nn.Sequential(nn.Linear(3, 4, rng=0), nn.ReLU(), nn.Linear(4, 4, rng=0))
    model[2].weight = model[0].bias          # shared: counted once
    model[0].weight.requires_grad_(False)
    cells = [[cell.text or "" for cell in row] for row in well_formed(model._repr_html_()).iter("tr")]
    assert cells[1:] == [["0", "Linear(3, 4)", "weight (4, 3) frozen, bias (4,)", "16"], ["1", "ReLU()", "", "0"],
                         ["2", "Linear(4, 4)", "weight (4,), bias (4,)", "4"]]


def test_a_graph_that_is_too_large_for_a_picture_is_a_table():
    y = tg.Tensor(1.0, requires_grad=True)
    for _ in range(310):
        y = y * 2.0
    picture = tg.graph(y)
    assert picture._repr_svg_() is None and "zero gradient" in text_of(well_formed(picture._repr_html_()))


def test_without_rich_all_this_prints(monkeypatch, things):
    monkeypatch.setitem(sys.modules, "rich", None)
    assert all(repr(thing) for thing in things.values())


def test_a_figure_is_a_picture(things):
    """Without pyplot, a notebook shows only the words <Figure size ...>. The figure can be pickled, as any other."""
    figure = pickle.loads(pickle.dumps(things["census"].plot()))
    assert figure._repr_png_().startswith(b"\x89PNG") and things["result of an experiment"].figure()._repr_png_ is not None


def test_a_progress_bar_below_the_cell(monkeypatch):
    """What IPython is asked to display: the bar at once, its states, and in the end nothing."""
    display = pytest.importorskip("IPython.display")
    seen: list[object] = []
    handle = SimpleNamespace(update=lambda thing, **options: seen.append(thing if isinstance(thing, dict) else thing._repr_html_()))
    monkeypatch.setattr("IPython.get_ipython", lambda: SimpleNamespace(kernel=None))
    monkeypatch.setattr(display, "display", lambda thing, display_id: seen.append(thing._repr_html_()) or handle)
    monkeypatch.setattr("tinygrad_relu.notebook.SHOWN", 0.0)
    with pytest.raises(KeyboardInterrupt), progress(4, "<first>") as tick:
        tick("<second>", 3)
        raise KeyboardInterrupt
    first, second, last = seen
    assert 'value="0"' in first and text_of(well_formed(first)) == "0/4 <first> (0:00:00)"
    assert 'max="4" value="3"' in second and "3/4 <second> (0:00:00, 0:00:00 left)" in text_of(well_formed(second))
    assert last == {"text/html": "", "text/plain": ""}
    with progress(4, quiet=True) as tick:
        tick("", 1)
    assert len(seen) == 3
