"""The laboratory: what happens to a unit whose gradient is exactly zero, whether it can come back, and at which step."""
from .census import Census, LayerCensus, census
from .closed_form import Revival, layer_revivals, revival, revival_step
from .prognosis import Prognosis, UnitPrognosis, prognosis
from .recorder import Life, Recorder
from .roll_forward import orbit, revival_parts, roll_forward
from .units import State

__all__ = ["Census", "LayerCensus", "Life", "Prognosis", "Recorder", "Revival", "State", "UnitPrognosis", "census",
           "layer_revivals", "orbit", "prognosis", "revival", "revival_parts", "revival_step", "roll_forward"]
