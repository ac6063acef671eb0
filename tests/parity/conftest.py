"""Parity with PyTorch: collected where torch is installed, and nowhere else."""
from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("torch") else ["*.py"]
