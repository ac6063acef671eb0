"""Files from which a training run resumes: named arrays, and a JSON text that says how they belong together."""
from .store import load as load, save as save
