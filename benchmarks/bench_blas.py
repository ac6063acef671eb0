"""Matrix products: our copy of OpenBLAS and NumPy's, the cost of one launch, and whether the two copies slow each other down."""
import os
import subprocess
import sys

import numpy as np

from tinygrad_relu.kernels.machine.matmul import matmul

from . import THREADS

# The two copies of OpenBLAS take turns. If the threads of one keep spinning while the other works, a pair of products takes
# up to 70 times as long.
TURNS = """
import time
import numpy as np
from statistics import median
from tinygrad_relu.kernels.machine.matmul import matmul
a = np.ones((512, 512), np.float32)
out = np.empty_like(a)

def ours(): matmul(False, False, a, a, 0.0, out)
def numpys(): np.matmul(a, a, out=out)

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

print(seconds(ours), seconds(numpys), seconds(ours, numpys))
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
    """All threads: products of ours and of NumPy's in turns, relative to each alone (1: neither slows the other down)."""

    timeout = 300

    def track_taking_turns(self):
        environment = {name: value for name, value in os.environ.items() if name not in THREADS}
        printed = subprocess.check_output([sys.executable, "-c", TURNS], env=environment, text=True)
        ours, numpys, both = map(float, printed.split())
        return both / (ours + numpys)

    track_taking_turns.unit = "times"
