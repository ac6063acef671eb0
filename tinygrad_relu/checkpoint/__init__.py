"""Files that hold all that a training run needs to go on: named arrays, and a text that says how they belong together."""
from .store import load as load, save as save
