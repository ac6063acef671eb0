"""The table of docs/accuracy.md: it is complete, within the bounds, and true for a thousandth of all inputs.

All 2^32 inputs are in tests/exhaustive.py, which runs when it is named.
"""
from __future__ import annotations

import accuracy
import exact
import numpy as np
import pytest
from accuracy import (
    ACTIVATIONS,
    BOUND,
    EVERYTHING,
    PAGE,
    THOUSANDTH,
    Row,
    Worst,
    distance,
    errors,
    measure,
    neighbourhood,
    numbers,
    read_table,
    row,
    special_inputs,
    with_table,
)
from reference import mp, points, ulps
from strength import strength

INF, NAN = np.inf, np.nan
TABLE_OF_THE_PAGE = read_table(PAGE.read_text(encoding="utf-8"))
every_name = pytest.mark.parametrize("name", ACTIVATIONS)


# -- the page ----------------------------------------------------------------------------------------------------------

def test_the_table_names_every_activation_and_keeps_the_bound():
    assert list(TABLE_OF_THE_PAGE) == list(ACTIVATIONS)
    for name, found in TABLE_OF_THE_PAGE.items():
        assert max(found.value.ulps, found.slope.ulps) <= BOUND, name


@every_name
def test_a_thousandth_of_all_inputs(name):
    """With the inputs that the table names, the errors are exactly the figures of the table."""
    table = TABLE_OF_THE_PAGE[name]
    found = row(*measure(name, THOUSANDTH, more=(table.value.x, table.slope.x)), table.inputs)
    assert (found.value.ulps, found.slope.ulps) == (table.value.ulps, table.slope.ulps), (
        f"{name} is off by {found}, docs/accuracy.md says {table}; `python tests/accuracy.py {name}` measures it anew")


def test_the_command_rewrites_the_rows_it_measured(tmp_path, monkeypatch, capsys):
    page, stale = tmp_path / "page.md", Row(Worst(3.5, -1.5), Worst(0.0, 0.0), "all")
    page.write_text(with_table("before\n\n" + accuracy.HEAD + "\nafter\n", {"relu": stale, "exp": stale}))
    assert "| relu | 3.50 | -1.5 | 0 | any | all |\n| exp |" in page.read_text()
    monkeypatch.setattr(accuracy, "PAGE", page)
    monkeypatch.setattr(accuracy, "THOUSANDTH", EVERYTHING[::99991])
    accuracy.main(["--thousandth", "relu", "tanh"])
    rows = read_table(page.read_text())
    assert list(rows) == ["relu", "tanh", "exp"] and rows["exp"] == stale
    assert rows["relu"] == Row(Worst(0.0, 0.0), Worst(0.0, 0.0), "a thousandth") and 1 < rows["tanh"].value.ulps < 2
    assert page.read_text().startswith("before\n\n|") and page.read_text().endswith("|\n\nafter\n")
    assert capsys.readouterr().out.startswith("| relu | 0 | any | 0 | any | a thousandth |")
    with pytest.raises(SystemExit):
        accuracy.main(["no_such"])


# -- the inputs --------------------------------------------------------------------------------------------------------

def test_the_thousandth_is_spread_over_everything():
    x = numbers(THOUSANDTH)
    patterns = x.view(np.uint32)
    assert 0.99e-3 < x.size / 2**32 < 1.01e-3 and (np.diff(patterns) == 997).all()
    assert (np.bincount(patterns >> 23, minlength=512) > 8000).all()        # every sign and exponent: 2^23 patterns each
    assert np.isnan(x).sum() > 16000 and len(set(patterns & 1023)) == 1024


@every_name
def test_the_special_inputs(name):
    x = special_inputs(name)
    assert np.isnan(x).any() and np.signbit(x[x == 0]).any()
    kinks = [kink for kink, _ in ACTIVATIONS[name].kinks(*ACTIVATIONS[name].parameters.values())]
    for place in np.array([0.0, INF, -INF, *kinks, exact.CROSSINGS.get(name, 0.0)], np.float32):
        assert np.isin([np.nextafter(place, np.float32(-INF)), place, np.nextafter(place, np.float32(INF))], x).all()


@pytest.mark.parametrize("x", [0.0, 1.0, -3.0, 6.0, -0.75])
def test_neighbourhood(x):
    around = neighbourhood(x)
    expected = [np.float32(x)]
    for _ in range(10):
        expected = [np.nextafter(expected[0], np.float32(-INF)), *expected, np.nextafter(expected[-1], np.float32(INF))]
    np.testing.assert_array_equal(np.sort(around), np.array(expected))


# -- the ruler ---------------------------------------------------------------------------------------------------------

def test_distance_is_that_of_the_slow_twin():
    """Over all magnitudes, beyond the largest number, below the smallest, beside infinity."""
    rng, top = np.random.default_rng(0), np.finfo(np.float32).max
    got = np.concatenate([points(np.float32, 300), np.float32([INF, -INF, INF, top, -top, 0, 0, 1e-45, 1])])
    exact = got.astype(np.float64) * rng.uniform(1 - 1e-6, 1 + 1e-6, got.size) + rng.normal(0, 1e-45, got.size)
    exact[-9:] = [INF, -INF, 2.0**128 * (1 - 2**-25), 2.0**130, -INF, 1e-60, -0.0, 0.0, 1 - 2**-25]
    out, x = np.empty(got.size), np.zeros_like(got)
    distance(x, got, exact, exact, out)
    expected = [ulps(float(g), mp.mpf(float(e)), np.float32) for g, e in zip(got, exact)]
    np.testing.assert_allclose(out, expected, rtol=1e-12)
    assert out[-9:].tolist() == [0, 0, 0.5, 1, 1, 1e-60 * 2.0**149, 0, 1, 0.5]


@pytest.mark.parametrize("x, got, exact, larger, off", [
    (0, NAN, NAN, 1, 0), (0, NAN, 1, 1, INF), (0, 1, NAN, 1, INF), (0, NAN, INF, 1, INF),
    (NAN, NAN, 1, 1, 0), (NAN, 0, 0, 1, INF),                               # NaN in, NaN out
    (0, 0.125, 0.25, 0.25, 2.0**22), (0, 0.125, 0.25, 0.5, 2.0**22),        # a summand counts once it is more than
    (0, 0.125, 0.25, 0.75, 2.0**21), (0, 0.125, 0.25, -1, 2.0**20),         # twice as large as the sum
])
def test_distance(x, got, exact, larger, off):
    out = np.empty(9)
    distance(*(np.full(9, v, np.float32) for v in (x, got)), *(np.full(9, v, np.float64) for v in (exact, larger)), out)
    np.testing.assert_array_equal(out, off)


def test_a_wrong_formula_is_found_out(monkeypatch):
    monkeypatch.setitem(exact.EXPRESSIONS, "tanh", lambda x: (1 + 1e-6) * exact.sigmoid(x))
    value, slope = errors("tanh", np.float32([0.5, -2.0]))
    assert (value > BOUND).all() and (slope > BOUND).all()


# -- the reference -----------------------------------------------------------------------------------------------------

@every_name
def test_float64_suffices(name):
    """The float64 reference is exact to a millionth of a float32 ulp, at a thousand points: subnormal numbers, tails, zeros,
    ends."""
    x = np.concatenate([points(np.float32, strength(200, thorough=700)), neighbourhood(exact.CROSSINGS.get(name, 1.0))])
    with np.errstate(all="ignore"):
        found = exact.on_arrays(name, x.astype(np.float64), dtype=np.float32)
    truths = [exact.exact(name, xi, dtype=np.float32) for xi in x.tolist()]
    assert sum(truth is not None for truth in truths) > len(x) / 3
    for xi, truth, y, slope, larger in zip(x, truths, found.value, found.slope, found.larger):
        if truth is not None:
            assert ulps(float(y), truth.value, np.float32) < 1e-6, f"{name} of {xi!r} is not {y!r}"
            for got, expected in ((slope, truth.slope), (larger, truth.larger)):
                assert ulps(float(got), expected, np.float32, truth.larger) < 1e-6, f"the slope of {name} at {xi!r} is not {got!r}"
