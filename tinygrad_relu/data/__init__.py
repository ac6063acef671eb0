"""Data to train on: real sets from files and packages, small synthetic ones, and minibatches.

Nothing is ever downloaded: real data are read from a package that is installed or from files that the caller names.
Everything that is random takes ``rng``, a seed or a numpy Generator; the same seed gives the same bits.
"""
from tinygrad_relu.data.dataset import Dataset, batches
from tinygrad_relu.data.delimited import csv
from tinygrad_relu.data.idx import read_idx
from tinygrad_relu.data.real import digits, fashion_mnist, mnist
from tinygrad_relu.data.synthetic import moons, spirals

__all__ = ["Dataset", "batches", "csv", "digits", "fashion_mnist", "mnist", "moons", "read_idx", "spirals"]
