"""Dropout as a module."""
from __future__ import annotations

from typing import Any

from numpy.random import Generator

from .. import functional as F
from ..functional.layers import check_probability, dropout_at
from ..ops import random
from .module import Buffer, Module


class Dropout(Module):
    """In training, every element is 0 with probability p, and else ``x / (1 - p)``; in evaluation, x (Srivastava et al. 2014).

    Parameters
    ----------
    p : float
        From 0 to 1.
    rng : int or Generator
        Required; the key of the random numbers is drawn from it.

    Attributes
    ----------
    rng_state : Buffer, shape (2,)
        Key and counter of the random numbers. Saved with the module, it resumes the draws.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Dropout(0.5, rng=1)
    >>> layer(np.ones(4)), layer(np.ones(4))
    (Tensor([0., 2., 2., 0.]), Tensor([0., 0., 0., 2.]))
    >>> layer.eval()(np.ones(4))
    Tensor([1., 1., 1., 1.])
    """

    depends_on_mode = True

    def __init__(self, p: float = 0.5, *, rng: int | Generator | None = None) -> None:
        self.p = check_probability(p, "Dropout: p")
        self.rng_state = Buffer(random.new_place(rng, "Dropout"), optional=True)

    def forward(self, x: Any) -> Any:
        x = F.as_tensor(x)
        return dropout_at(x, self.p, random.take(self.rng_state.data, x.size)) if self.training and self.p else x

    def extra_repr(self) -> str:
        return f"p={self.p:g}"
