"""Files that hold what a training run needs to go on: arrays by name, and a text that says how they belong together."""
from .store import load, save

__all__ = ["load", "save"]
