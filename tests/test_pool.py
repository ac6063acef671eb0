"""`parallel`: the slices of a loop cover it once, on any number of threads, nested, from several threads, after a fork."""
from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from common import at_once, every_type, on_threads

import tinygrad_relu as tg
from tinygrad_relu.kernels.machine import pool
from tinygrad_relu.kernels.machine.parallel import parallel
from tinygrad_relu.kernels.machine.policy import Integers, Matrix, Vector, kernel, scalar
from tinygrad_relu.kernels.machine.pool import num_threads

ROOT = Path(__file__).parents[1]


@scalar
def _added(start, stop, x, out):
    x, out = x[start:stop], out[start:stop]
    for i in range(out.size):
        out[i] += x[i]


@kernel
def added(x: Vector, grain: int, out: Vector):
    parallel(_added, x.size, grain, (x, out))


@scalar
def _rows_added(start, stop, x, out):
    for r in range(start, stop):
        parallel(_added, x.shape[1], 3, (x[r], out[r]))     # nested


@kernel
def rows_added(x: Matrix, out: Matrix):
    parallel(_rows_added, x.shape[0], 1, (x, out))


@scalar
def _failing(start, stop, where):
    for i in range(start, stop):
        if i == where[0]:
            raise ZeroDivisionError("on purpose")


@kernel
def failing(count: int, where: Integers):
    parallel(_failing, count, 1, (where,))


@every_type
@pytest.mark.parametrize("threads", [1, 2, 3, 4, 9])
def test_every_number_is_computed_once(threads, dtype):
    with num_threads(threads):
        for size in (0, 1, 6, 7, 8, 14, 15, 1000, 70_001):
            for grain in (7, 1, 1 << 40):
                if grain == 1 and size > 1000:
                    continue
                out = np.zeros(size, dtype)
                added(np.arange(size, dtype=dtype), grain, out)
                np.testing.assert_array_equal(out, np.arange(size))


@every_type
@pytest.mark.parametrize("name", ["relu", "gelu"])
def test_activations_have_the_same_bits_on_any_number_of_threads(name, dtype):
    """Of any length: the end of a slice that fills no vector is computed by other instructions."""
    f, rng = getattr(tg.functional, name), np.random.default_rng(0)
    for size in (100_003, 8193, 40):
        x, g = tg.Tensor(rng.standard_normal(size), dtype=dtype, requires_grad=True), rng.standard_normal(size).astype(dtype)
        on_threads(lambda x=x, g=g: (y := f(x), *tg.grad(y, x, g)))


def test_blocks_that_overlap():
    """As two threads may leave them; then a number of before is not one that is still to be restored."""
    with num_threads(2):
        blocks = num_threads(1), num_threads(1)
        for block in blocks:
            block.__enter__()
        for block in blocks:
            block.__exit__(None, None, None)
        assert tg.get_num_threads() == 2


def test_one_after_the_other_and_after_a_sleep():
    """Groups that follow each other at once, and after helpers fell asleep."""
    x, out = np.ones(64, "float32"), np.zeros(64, "float32")
    with num_threads(3):
        for i in range(3000):
            added(x, 4, out)
            if i % 500 == 0:
                threading.Event().wait(0.002)
    assert (out == 3000).all()


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_loop_inside_a_slice_runs_alone(threads):
    x = np.arange(600.0).reshape(30, 20)
    out = np.zeros_like(x)
    with num_threads(threads):
        rows_added(x, out)
    np.testing.assert_array_equal(out, x)


def test_several_callers_at_once():
    def work(k):
        x, out = np.full(999, k, "float64"), np.zeros(999)
        for _ in range(500):
            added(x, 10, out)
        return (out == 500 * k).all()

    with num_threads(3):
        assert all(at_once([partial(work, k) for k in range(4)]))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_an_error_comes_out_and_the_pool_goes_on(threads):
    with num_threads(threads):
        for where in (0, 1, 57, 99):
            with pytest.raises(ZeroDivisionError, match="on purpose"):
                failing(100, np.array([where]))
            failing(100, np.array([-1]))
        out = np.zeros(100, "float32")
        added(np.ones(100, "float32"), 5, out)
    assert (out == 1).all()


def test_the_body_runs_in_python():
    out = np.zeros(5)
    added.function(np.ones(5), 2, out)
    assert (out == 1).all()


SCRIPT = """
import os, sys
sys.path.insert(0, "tests")
import numpy as np
import tinygrad_relu as tg
from test_pool import added
def right():
    out = np.zeros(1000)
    for _ in range(20):
        added(np.ones(1000), 10, out)
    return bool((out == 20).all())
"""


def run(code, **environment):
    clean = {name: value for name, value in os.environ.items() if name not in pool.VARIABLES}
    return subprocess.run([sys.executable, "-W", "ignore", "-c", SCRIPT + code], timeout=120, cwd=ROOT, capture_output=True, text=True,
                          env=clean | environment)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone says and sets on which cores a thread may run")
def test_a_helper_keeps_off_the_core_of_the_caller():
    """It has been woken there otherwise, and hindered the caller. With more threads than cores it goes where it likes."""
    done = run("""
import time
all_cores, before = os.sched_getaffinity(0), set(os.listdir("/proc/self/task"))
tg.set_num_threads(int(os.environ["THREADS"]))
for _ in range(3):
    right(), time.sleep(0.02)           # asleep: to be woken
for thread in set(os.listdir("/proc/self/task")) - before:
    print(len(all_cores), len(os.sched_getaffinity(int(thread)) & all_cores))
""", THREADS=str(threads := max(2, pool.cores())))
    assert not done.stderr, done.stderr
    found = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    cores = pool.cores()
    assert found == [(cores, cores - 1 if threads <= cores else cores)] * (threads - 1)


def test_forks_share_nothing():
    """A child, and its own child, start helpers of their own; before the first use too."""
    done = run("""
for generation in range(3):
    tg.set_num_threads(3)
    if not right(): os._exit(1)
    pid = os.fork()
    if pid: raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    if tg.get_num_threads() != 1: os._exit(2)
raise SystemExit(0 if right() else 1)
""")
    assert done.returncode == 0 and not done.stderr, done.stderr


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")      # Python 3.15 counts NumPy's threads
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes_use_one_thread(method):
    with multiprocessing.get_context(method).Pool(1) as workers:
        assert workers.apply(tg.get_num_threads) == 1


MAIN = """
import multiprocessing, sys
import tinygrad_relu as tg                  # in a worker this is imported before anything says that it is one

if __name__ == "__main__":
    with multiprocessing.get_context(sys.argv[1]).Pool(1) as workers:
        print(workers.apply(tg.get_num_threads))
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_of_a_program_use_one_thread(method, tmp_path):
    (tmp_path / "main.py").write_text(MAIN)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TINYGRAD_RELU_NUM_THREADS": "3"}
    done = subprocess.run([sys.executable, tmp_path / "main.py", method], capture_output=True, text=True, env=environment, timeout=120)
    assert done.stdout == "1\n", done.stderr


def test_the_process_ends_while_helpers_look_for_work():
    for code in ("right(); raise SystemExit(7)", "right(); import time; time.sleep(0.01); raise SystemExit(7)", "raise SystemExit(7)"):
        done = run(f"tg.set_num_threads(4); {code}")
        assert done.returncode == 7 and not done.stderr, done.stderr


@pytest.mark.parametrize("environment, expected", [
    ({"TINYGRAD_RELU_NUM_THREADS": "3", "OMP_NUM_THREADS": "2"}, 3), ({"OMP_NUM_THREADS": "2"}, 2),
    ({"OPENBLAS_NUM_THREADS": "5", "OMP_NUM_THREADS": "2"}, 5), ({"TINYGRAD_RELU_NUM_THREADS": "many", "OMP_NUM_THREADS": "4"}, 4),
    ({"TINYGRAD_RELU_NUM_THREADS": "0"}, None), ({"TINYGRAD_RELU_NUM_THREADS": "99999"}, 1024)], ids=str)
def test_the_environment_sets_the_number(environment, expected):
    done = run("print(tg.get_num_threads())", **environment)
    assert int(done.stdout) == (expected or tg.kernels.machine.host.cores())
