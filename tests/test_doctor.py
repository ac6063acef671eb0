"""`tinygrad-relu doctor`: its verdicts, on figures that are given."""
from __future__ import annotations

from typing import Any

import pytest

from tinygrad_relu import doctor
from tinygrad_relu.kernels.machine.cost import fastest

HERE = {"core": "Haswell", "sgemm": 100.0, "dgemm": 48.0, "relu": 9.0, "maximum": 9.2, "copy": 14.0, "copy_all_threads": 15.0}
FREE = {"core": "SkylakeX", "sgemm": 200.0, "dgemm": 50.0, "relu": 9.0, "maximum": 9.2, "copy": 14.0, "copy_all_threads": 15.0}


@pytest.fixture
def _measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "measure", lambda: HERE)
    for name in [name for name in doctor.os.environ if name.startswith(doctor.PREFIXES)]:
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("_measured")
def test_without_variables_the_speed_is_what_the_machine_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two measurements of one thing would differ by noise alone."""
    monkeypatch.setattr(doctor, "_measure_without_settings", lambda: pytest.fail("measured twice"))
    monkeypatch.setenv(doctor.KEPT, "kernels")
    report = doctor.diagnose()
    assert report["blas_verdict"] == "the kernels that OpenBLAS chooses for this processor"
    assert {m["verdict"] for name, m in report["measurements"].items() if name != "copy"} == {"as fast as this machine allows"}
    assert "as fast as NumPy's maximum" in report["measurements"]["copy"]["verdict"]


@pytest.mark.usefixtures("_measured")
def test_a_variable_that_costs_speed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_measure_without_settings", lambda: FREE)
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    report = doctor.diagnose()
    assert "OpenBLAS would choose SkylakeX (AVX-512)" in report["blas_verdict"]
    assert report["measurements"]["sgemm"]["verdict"] == "50% of what this machine allows, because of OPENBLAS_CORETYPE=Haswell"
    assert report["measurements"]["dgemm"]["verdict"] == "as fast as this machine allows"
    doctor.show(report)


@pytest.mark.usefixtures("_measured")
def test_the_variable_of_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_measure_without_settings", lambda: FREE)
    monkeypatch.setattr(doctor, "get_num_threads", lambda: 1)
    monkeypatch.setattr(doctor, "cores", lambda: 4)
    monkeypatch.setenv("TINYGRAD_RELU_NUM_THREADS", "1")
    report = doctor.diagnose()
    assert report["threads_verdict"] == "matrix products use 1 of 4 cores, because of TINYGRAD_RELU_NUM_THREADS=1"
    assert report["measurements"]["sgemm"]["verdict"].endswith("because of TINYGRAD_RELU_NUM_THREADS=1")


@pytest.mark.usefixtures("_measured")
@pytest.mark.parametrize("width", [40, 80])
def test_the_table_fits_a_narrow_terminal(width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Its long texts are in the last column, which folds."""
    monkeypatch.setenv("COLUMNS", str(width))
    doctor.show(doctor.diagnose())
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width and any("python 3" in line and "numpy" in line for line in lines)


def test_actions_take_turns() -> None:
    """Then relu and maximum use the same pages of memory, and their ratio is meaningful on any machine."""
    done: list[Any] = []
    seconds = fastest([lambda: done.append("relu"), lambda: done.append("maximum")], 5)
    assert done == ["relu", "maximum"] * 5 and len(seconds) == 2 and all(s >= 0 for s in seconds)
