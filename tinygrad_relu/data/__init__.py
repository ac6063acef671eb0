"""Data to train on: real sets from files and packages, small synthetic ones, and minibatches.

Nothing is downloaded: real data come from an installed package or from files that you name. Everything random takes `rng`, a
seed or a numpy Generator; the same seed gives the same bits.
"""
from ..missing import elsewhere as _elsewhere, present as _present
from .dataset import Dataset as Dataset, batches as batches, digits as digits, moons as moons, spirals as spirals
from .from_files import csv as csv, fashion_mnist as fashion_mnist, mnist as mnist, read_idx as read_idx

vars()["__getattr__"], vars()["__dir__"] = _elsewhere(__name__), _present(__name__)
