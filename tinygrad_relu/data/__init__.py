"""Data to train on: real sets from files and packages, small synthetic ones, and minibatches.

Nothing is ever downloaded: real data are read from a package that is installed or from files that the caller names.
Everything that is random takes ``rng``, a seed or a numpy Generator; the same seed gives the same bits.
"""
from .dataset import Dataset as Dataset, batches as batches
from .delimited import csv as csv
from .idx import read_idx as read_idx
from .real import digits as digits, fashion_mnist as fashion_mnist, mnist as mnist
from .synthetic import moons as moons, spirals as spirals
