"""The time until the first number: the import, and a whole process that makes one training step."""
import subprocess
import sys

ONE_STEP = """
import numpy as np
import tinygrad_relu as tg
from tinygrad_relu import nn, optim, functional as F
model = nn.MLP([64, 64, 64, 10], rng=0)
opt = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
x, y = np.ones((32, 64), np.float32), np.zeros(32, np.int64)
opt.zero_grad()
F.cross_entropy(model(x), y).backward()
opt.step()
"""


class Import:
    """The import alone, in a fresh interpreter. It includes the import of NumPy, because a user waits for both."""

    timeout = 300

    def timeraw_import(self):
        return "import tinygrad_relu"

    def timeraw_import_numpy(self):
        return "import numpy"


class Process:
    """The whole process from the start of the interpreter, with its kernels in the cache."""

    timeout = 300
    number = 1

    def setup(self):
        self.run(ONE_STEP)              # the first one compiles

    def run(self, script):
        subprocess.run([sys.executable, "-c", script], check=True)

    def time_one_step(self):
        self.run(ONE_STEP)

    def time_bare_interpreter(self):
        self.run("pass")
