"""Benchmarks of tinygrad_relu for asv (https://asv.readthedocs.io).

::

    python -m benchmarks                                    # each benchmark once, in one process: do they all work?
    asv machine --yes && asv run -E existing --quick        # the installed package, each benchmark once
    asv run --quick --show-stderr HEAD^!                    # one commit, in an environment of its own
    asv continuous main my-branch                           # does my branch make anything slower?
    asv compare main my-branch                              # the same from stored results
    asv publish && asv preview                              # the history, as pages

The pages of `asv publish` load jQuery and Flot from the network. If the figures of bench_control.py differ, the machine was
slower, and the other differences mean nothing. ``--quick`` times each call once, when nothing is in the processor's caches: up to
ten times as long, so its figures must not be compared with others.

With ``ASV_PYTHONPATH=$PWD`` in front, ``-E existing`` measures the checkout, installed or not. All files go to ``.asv/``.
To compare with other libraries: ``python benchmarks/compare.py``.

The environment of all benchmarks is set here, because asv imports this before anything else, NumPy included.
"""
import os
from importlib.util import find_spec
from pathlib import Path

# One thread: the history should compare versions of the code, and not how busy the other cores were.
THREADS = ("TINYGRAD_RELU_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
os.environ.update(dict.fromkeys(THREADS, "1"))

# A forced processor family slows OpenBLAS.
for forced in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(forced, None)

# Compiled kernels, in a folder for each commit: what one commit has compiled neither warms nor slows another one.
COMMIT = os.environ.get("ASV_COMMIT", "checkout")[:8]
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(__file__).parents[1] / ".asv" / "kernels" / COMMIT))

# asv gives ASV_PYTHONPATH to this process only; processes that benchmarks start must find the same package.
_package = find_spec("tinygrad_relu")
if _package is not None and _package.origin and "site-packages" not in _package.origin:
    os.environ["PYTHONPATH"] = str(Path(_package.origin).parents[1])
