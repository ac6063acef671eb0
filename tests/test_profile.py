"""Profiles: operations, bytes, times, limits; and a profiled program goes on as if nothing had happened."""
from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import nn, optim
from tinygrad_relu.kernels.formulas import ACTIVATIONS
from tinygrad_relu.kernels.loops.pointwise import loops
from tinygrad_relu.kernels.loops.update import sgd
from tinygrad_relu.kernels.machine.cost import SIZES, counting, gemm_limit, memory_limit, operations
from tinygrad_relu.kernels.machine.door import launch
from tinygrad_relu.profile import of_launches
from tinygrad_relu.training import train_step


def trained(dtype="float32", kind=optim.SGD, **options):
    model = nn.MLP([4, 8, 8, 3], rng=0, dtype=dtype, **options)
    opt = kind(model.parameters(), lr=0.1)
    rng = np.random.default_rng(0)
    return partial(train_step, model, opt, F.cross_entropy, None), model, opt, lambda: (rng.standard_normal((6, 4)).astype(dtype), rng.integers(0, 3, 6))


def state(model, opt):
    return ([(name, x.tobytes()) for name, x in model.state_dict().items()],
            [None if p.grad is None else p.grad.tobytes() for p in model.parameters()],
            [(i, name, np.asarray(x).tobytes()) for i, one in opt.state_dict()["state"].items() for name, x in one.items()])


# -- operations -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("m, n, inner", [(1, 1, 1), (5, 7, 3), (300, 200, 256), (4, 6, 0)])
def test_operations_of_matrix_products(m, n, inner, dtype):
    a, b = np.ones((m, inner), dtype), np.ones((inner, n), dtype)
    tg.Tensor(a) @ tg.Tensor(b)         # nobody counts
    with counting() as since:
        tg.Tensor(a) @ tg.Tensor(b)
        assert since() == 2 * m * n * inner
        assert since() == 0
        with counting() as inner_since:
            tg.Tensor(a) @ tg.Tensor(b)
            assert inner_since() == 2 * m * n * inner
        tg.Tensor(a) @ tg.Tensor(b)
        assert since() == 2 * m * n * inner


def test_operations_of_a_training_step():
    """Forward, and twice that backward, without the gradient of x."""
    step, *_, draw = trained()
    step(*draw())
    with counting() as since:
        step(*draw())
        products = 4 * 8 + 8 * 8 + 8 * 3
        assert since() == 2 * 6 * (3 * products - 4 * 8)


def test_operations_of_loops():
    def branches(a, x, out):
        """Of branches the longest counts; indices, ranges and outer loops do not."""
        scale = 1.0 / a
        for i in range(x.shape[0] // 2 + 1):
            total = 0.0
            if a > 0:
                for j in range(out.size):
                    total += x[i * 3 + j] * a + scale
            else:
                for j in range(out.size):
                    total -= x[i, j]
            out[i] = total / scale

    def early(a, x):
        if a:
            for i in range(3):
                x[i] += a
            return
        for i in range(3):
            x[i] = x[i] * a + a ** 2

    def twice(x):
        return x + x

    def calls(x, out):
        for i in range(out.size):
            out[i] = twice(twice(x[i])) if x[i] > 0 else -x[i] * 2

    assert [operations(f) for f in (branches, early, calls, lambda x: x * 2 + x)] == [3, 3, 3, 2]
    assert operations(np.add) == 0 and operations(loops(ACTIVATIONS["relu"]).forward) <= 1
    assert operations(sgd) >= 6 and 10 < operations(loops(ACTIVATIONS["tanh"]).forward) < 60


# -- limits -----------------------------------------------------------------------------------------------------------------


def test_limits_are_speeds_of_this_machine():
    assert gemm_limit("float64") > 0 and gemm_limit("float32") > 0
    assert all(0 < memory_limit(size) < np.inf for size in (0, *SIZES, 1 << 40))


# -- profiles ----------------------------------------------------------------------------------------------------------------


def test_a_profile_of_eager_code():
    step, *_, draw = trained()
    step(*draw())
    with tg.profile() as found:
        for _ in range(3):
            step(*draw())
    names = [line.kernel for line in found.lines]
    assert names[0] == "linear_relu_forward" and names[-1] == "sgd" and all(line.calls == 3 for line in found.lines)
    first = found.lines[0]
    assert first.shapes == "6x4 8x4 8 6x8 6x8" and first.operations == 2 * 6 * 4 * 8 and first.products
    assert first.bytes == 4 * (24 + 32 + 8 + 48 + 48) and first.share > 0 and first.limit in ("gemm", "memory")
    assert 0 < found.seconds < found.whole
    text = str(found)
    assert text.splitlines()[0].split() == ["kernel", "shapes", "dtype", "calls", "bytes", "FLOPs", "us", "time", "limit"]
    assert "GFLOP/s" in text and f"{3 * len(names)} launches in " in text and "us for everything else" in text


def test_a_function_that_launches_others_counts_its_own_time_only():
    def outer(x):
        launch(inner, x)

    def inner(x):
        sum(range(20000))

    with tg.profile() as found:
        launch(outer, np.ones(3))
    one, other = found.lines
    assert (one.kernel, other.kernel) == ("outer", "inner") and one.seconds < other.seconds <= found.seconds <= found.whole


def test_nothing_to_profile():
    with tg.profile() as found:
        pass
    assert str(found) == "no launches" and str(of_launches([], 3)) == "no launches"
    with pytest.raises(ValueError, match="plot: no launch of this profile computes anything"):
        found.plot()


def test_a_block_that_raises_ends_the_profile():
    with pytest.raises(KeyError), tg.profile() as found:
        tg.Tensor([1.0, 2.0]).relu()
        raise KeyError
    assert found.whole > 0 and [line.kernel for line in found.lines] == ["relu_forward"]
    tg.Tensor([1.0, 2.0]).relu()
    assert found.lines[0].calls == 1


@pytest.mark.parametrize("options", [{}, {"dropout": 0.5}, {"norm": "batch"}], ids=str)
@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam])
def test_a_profiled_program_goes_on_as_before(kind, options):
    batches = [trained()[3]() for _ in range(6)]
    found = []
    for profiles in (False, True):
        step, model, opt, _ = trained(kind=kind, **options)
        program = tg.capture(step)
        for i, (x, y) in enumerate(batches):
            if profiles and i >= 4:
                before = state(model, opt), program.replays
                profile = program.profile(x, y, repeat=3)
                assert (state(model, opt), program.replays) == before
                assert profile.whole > 0 and all(line.calls == 1 and line.seconds > 0 for line in profile.lines)
                assert str(profile) in str(program)
            loss = program(x, y)
        found.append((loss.data.tobytes(), state(model, opt), program.replays))
    assert found[0] == found[1]


def test_a_program_without_a_replay():
    step, *_, draw = trained()
    program = tg.capture(step)
    assert str(program) == "no recording yet"
    with pytest.raises(ValueError, match="profile: the program has no replay with such arguments yet; call it with them a few times"):
        program.profile(*draw())
    program(*draw())
    headings, _, first, *_ = str(program).splitlines()
    assert headings.split() == ["kernel", "shapes", "dtype", "calls", "bytes"] and "linear_relu_forward" in first
    with pytest.raises(ValueError, match="repeat"):
        program.profile(*draw(), repeat=0)


def test_a_picture(tmp_path):
    pytest.importorskip("matplotlib")
    step, *_, draw = trained()
    program = tg.capture(step)
    for _ in range(4):
        program(*draw())
    figure = program.plot(*draw())
    assert "launches in" in figure.axes[0].get_title()
    found = program.profile(*draw())
    *named, _, rest = (line.split("  ") for line in found.plot().axes[0].get_legend().get_title().get_text().split("\n"))
    shares = {row[0]: row[8] for row in found.parts()[0].rows}
    assert named and all(shares[i] == share for i, _, share in named) and rest[0] == "everything else"
    figure.savefig(tmp_path / "roofline.png")
    assert (tmp_path / "roofline.png").stat().st_size > 10_000
