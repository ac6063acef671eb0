"""Saving and loading a run: an MLP of 8 million numbers (32 MB) with the two buffers of Adam, and a small one; CSV."""
import shutil
import tempfile
from importlib.util import find_spec

import numpy as np

from tinygrad_relu import data, load, nn, optim, save

WIDTHS = {"small": [64, 64, 10], "large": [1000, 2000, 2000, 1000]}


def _run(size):
    """A model, and an optimizer that has moved it once."""
    model = nn.MLP(WIDTHS[size], rng=0)
    optimizer = optim.Adam(model.parameters())
    for p in model.parameters():
        p.grad = np.ones(p.shape, p.dtype)
    optimizer.step()
    return model, optimizer


class Files:
    """Including the fsync, which takes most of the time for a small file."""

    params = ((".npz", ".safetensors"), tuple(WIDTHS))
    param_names = ("format", "size")
    timeout = 300
    folder = ""                                 # asv calls teardown even after a case that is left out

    def setup(self, suffix, size):
        if suffix == ".safetensors" and find_spec("safetensors") is None:
            raise NotImplementedError       # to asv: left out
        self.folder = tempfile.mkdtemp()
        self.path = f"{self.folder}/run{suffix}"
        self.model, self.optimizer = _run(size)
        self.time_save(), self.time_load()

    def teardown(self, *_):
        shutil.rmtree(self.folder, ignore_errors=True)

    def time_save(self, *_):
        save(self.path, model=self.model, optimizer=self.optimizer)

    def time_load(self, *_):
        load(self.path, model=self.model, optimizer=self.optimizer)

    def peakmem_load(self, *_):
        load(self.path, model=self.model, optimizer=self.optimizer)


class States:
    """Without a file: the checks and copies."""

    params = tuple(WIDTHS)
    param_names = ("size",)
    timeout = 300

    def setup(self, size):
        self.model, self.optimizer = _run(size)
        self.time_module(), self.time_optimizer()

    def time_module(self, *_):
        self.model.load_state_dict(self.model.state_dict())

    def time_optimizer(self, *_):
        self.optimizer.load_state_dict(self.optimizer.state_dict())


class Csv:
    """As many numbers as the digits have: 1797 lines of 65 cells."""

    def setup(self):
        self.folder = tempfile.mkdtemp()
        pixels, labels = np.random.default_rng(0).integers(0, 17, (1797, 64)) / 16, np.arange(1797) % 10
        np.savetxt(f"{self.folder}/digits.csv", np.column_stack([pixels, labels]), delimiter=",", fmt=["%g"] * 64 + ["%d"])
        self.time_csv()

    def teardown(self):
        shutil.rmtree(self.folder)

    def time_csv(self):
        data.csv(f"{self.folder}/digits.csv")
