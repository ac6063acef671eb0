"""The table of activations: every record, by name."""
from __future__ import annotations

from .gaussian import GAUSSIAN
from .piecewise import PIECEWISE
from .record import Activation
from .smooth import SMOOTH

ACTIVATIONS: dict[str, Activation] = {record.name: record for record in (*PIECEWISE, *SMOOTH, *GAUSSIAN)}
