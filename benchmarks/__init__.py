"""Benchmarks of tinygrad_relu for asv (https://asv.readthedocs.io).

::

    asv check -E existing                                   # do the benchmarks import?
    asv machine --yes && asv run -E existing --quick        # the installed package, each benchmark once: a few minutes
    asv run --quick --show-stderr HEAD^!                    # one commit, in an environment of its own
    asv continuous main my-branch                           # does my branch make anything slower?
    asv publish && asv preview                              # the history, as pages

With ``ASV_PYTHONPATH=$PWD`` before it, ``-E existing`` takes the checkout, installed or not. Everything lands in
``.asv/``. Beside other libraries: ``python benchmarks/compare.py``.

What every benchmark is held to stands here, because asv imports this before anything else, NumPy included.
"""
import os
from importlib.util import find_spec
from pathlib import Path

# One thread: what is compared over the history is code, not how busy the other cores were.
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
os.environ.update(dict.fromkeys(THREADS, "1"))

# A forced processor family slows whoever uses OpenBLAS; here it would hide what the machine can do.
for forced in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(forced, None)

# Compiled kernels of each commit in a folder of its own, which dies with asv's environment.
_environment = os.environ.get("ASV_ENV_DIR") or Path(__file__).parents[1] / ".asv" / "existing"
os.environ["NUMBA_CACHE_DIR"] = str(Path(_environment) / "kernels" / os.environ.get("ASV_COMMIT", "checkout"))

# asv hands its ASV_PYTHONPATH to this process alone. Those that benchmarks start shall find the same package.
_package = find_spec("tinygrad_relu")
if _package is not None and _package.origin and "site-packages" not in _package.origin:
    os.environ["PYTHONPATH"] = str(Path(_package.origin).parents[1])
