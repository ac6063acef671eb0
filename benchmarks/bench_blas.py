"""Matrix products: our copy of OpenBLAS and NumPy's, the cost of one launch, and whether threads of libraries slow each other."""
import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np

from tinygrad_relu.kernels.machine.matmul import matmul

from . import THREADS

# Products of ours and work of another library take turns. If the threads of one keep spinning while the other works, a pair takes
# up to 70 times as long.
TURNS = """
import sys, time
import numpy as np
from statistics import median
from tinygrad_relu.kernels.machine.matmul import matmul
a = np.ones((512, 512), np.float32)
out = np.empty_like(a)

def ours(): matmul(False, False, a, a, 0.0, out)

if sys.argv[1] == "pytorch":
    import torch
    b, result = torch.ones(512, 512), torch.empty(512, 512)
    def theirs(): torch.mm(b, b, out=result)
elif sys.argv[1] == "scikit-learn":
    from sklearn.metrics import pairwise_distances_argmin
    points = np.random.default_rng(0).random((4000, 64))
    def theirs(): pairwise_distances_argmin(points, points[:64])
else:
    def theirs(): np.matmul(a, a, out=out)

def seconds(*products):
    "The best of five medians: spinning threads disturb all of them, a busy moment of the machine does not."
    medians = []
    for _ in range(5):
        runs = []
        for _ in range(9):
            start = time.perf_counter()
            for turn in products:
                turn()
            runs.append(time.perf_counter() - start)
        medians.append(median(runs))
    return min(medians)

print(seconds(ours), seconds(theirs), seconds(ours, theirs))
"""


class Matmul:
    """One thread. The smallest size is all overhead: NumPy's dispatch, or ours."""

    params = (("ours", "numpy"), ((2, 2, 2), (64, 16, 16), (64, 784, 256), (512, 512, 512)))
    param_names = ("copy", "rows, inner, columns")
    timeout = 300

    def setup(self, copy, sizes):
        rows, inner, columns = sizes
        self.a, self.b = np.ones((rows, inner), np.float32), np.ones((inner, columns), np.float32)
        self.out = np.empty((rows, columns), np.float32)
        self.product = self.ours if copy == "ours" else self.numpys
        self.product()                  # compiled, or loaded from the cache

    def ours(self):
        matmul(False, False, self.a, self.b, 0.0, self.out)

    def numpys(self):
        np.matmul(self.a, self.b, out=self.out)

    def time_matmul(self, *_):
        self.product()


class Peace:
    """All threads: products of ours and another library's work in turns, relative to each alone (1: neither slows the other)."""

    params = ("numpy", "pytorch", "scikit-learn")
    param_names = ("with",)
    timeout = 300

    def setup(self, library):
        if find_spec({"pytorch": "torch", "scikit-learn": "sklearn"}.get(library, library)) is None:
            raise NotImplementedError(f"{library} is not installed")

    def track_taking_turns(self, library):
        environment = {name: value for name, value in os.environ.items() if name not in THREADS}
        printed = subprocess.check_output([sys.executable, "-c", TURNS, library], env=environment, text=True)
        ours, theirs, both = map(float, printed.split())
        return both / (ours + theirs)

    track_taking_turns.unit = "times"
