"""The embedding as a module."""
from __future__ import annotations

from typing import Any

from numpy.random import Generator

from .. import functional as F
from ..checks import check_count, check_dtype, check_rng
from ..functional.layers import padding_row
from ..parameters import Parameter
from .init import normal
from .module import Module


class Embedding(Module):
    """``weight[indices]``: a table of vectors, one for each index. They start as N(0, 1).

    Parameters
    ----------
    num_embeddings, embedding_dim : int
    padding_idx : int, optional
        A row that starts at 0 and gets no gradient; a negative one counts from the end.
    dtype : dtype
    rng : int or Generator
        Required.

    Attributes
    ----------
    weight : Parameter, shape (num_embeddings, embedding_dim)

    Notes
    -----
    PyTorch's max_norm (with norm_type), scale_grad_by_freq and sparse are not supported.

    Examples
    --------
    >>> layer = Embedding(10, 3, padding_idx=0, rng=0)
    >>> layer([[4, 7], [0, 0]]).shape
    (2, 2, 3)
    >>> layer(0)
    Tensor([0., 0., 0.], dtype=float32, requires_grad=True)
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None, *, dtype: Any = "float32",
                 rng: int | Generator | None = None) -> None:
        shape = (check_count(num_embeddings, "Embedding: num_embeddings"), check_count(embedding_dim, "Embedding: embedding_dim"))
        self.num_embeddings, self.embedding_dim = shape
        self.padding_idx = None if padding_idx is None else padding_row(padding_idx, num_embeddings, "Embedding")
        self.weight = Parameter(normal(shape, check_rng(rng, "Embedding"), check_dtype(dtype)))
        if self.padding_idx is not None:
            self.weight.array[self.padding_idx] = 0

    def forward(self, indices: Any) -> Any:
        return F.embedding(indices, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"
