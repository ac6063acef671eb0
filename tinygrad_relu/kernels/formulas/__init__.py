"""The formulas, on plain numbers; ACTIVATIONS has the record of every elementwise function, by name."""
from __future__ import annotations

from . import gaussian, piecewise, saturating, smooth
from .record import records

ACTIVATIONS = records(piecewise, saturating, smooth, gaussian)
