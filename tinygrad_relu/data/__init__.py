"""Data to train on: real sets from files and packages, small synthetic ones, and minibatches.

Nothing is downloaded: real data come from an installed package or from files that you name. Everything random takes `rng`, a
seed or a numpy Generator; the same seed gives the same bits.
"""
from ..missing import elsewhere as _elsewhere
from .dataset import Dataset as Dataset, batches as batches
from .delimited import csv as csv
from .sets import (
    digits as digits,
    fashion_mnist as fashion_mnist,
    mnist as mnist,
    moons as moons,
    read_idx as read_idx,
    spirals as spirals,
)

vars()["__getattr__"] = _elsewhere(__name__)
