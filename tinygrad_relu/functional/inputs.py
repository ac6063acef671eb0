"""What comes in: Tensors as they are, everything else through a gate."""
from __future__ import annotations

from typing import Any

from ..checks import as_floats
from ..tensor import Tensor

Input = Any     # a Tensor, or whatever NumPy can make an array of


def as_tensor(x: Input) -> Tensor:
    """A Tensor as it is; anything else as a Tensor without gradient, sharing memory where it can."""
    return x if isinstance(x, Tensor) else Tensor.leaf(as_floats(x, name="x"))
