"""The embedding as a function."""
from __future__ import annotations

from typing import Any

import numpy as np

from ..autodiff.node import Array
from ..checks import as_numbers, check_count
from ..ops import embedding as embedding_ops
from ..tensor import Tensor
from .lift import Input, as_tensor


def embedding(indices: Any, weight: Input, padding_idx: int | None = None) -> Tensor:
    """``weight[indices]``: one row of a table for each index.

    Parameters
    ----------
    indices : array_like of int, of any shape
    weight : Tensor or array_like, shape (num_embeddings, embedding_dim)
        Its gradient is the sum of the rows of g that belong to each row, added up in the order of the indices.
    padding_idx : int, optional
        A row that gets no gradient; a negative one counts from the end.

    Returns
    -------
    Tensor, shape (*indices.shape, embedding_dim)

    Raises
    ------
    TypeError
        If the indices are no integers.
    ValueError
        If an index is no row (named with its place), or the weight is no matrix.

    Examples
    --------
    >>> embedding([[2, 0]], [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    Tensor([[[4., 5.],
             [0., 1.]]])
    """
    weight = as_tensor(weight)
    if weight.ndim != 2:
        raise ValueError(f"embedding: the weight has shape {weight.shape}, expected (num_embeddings, embedding_dim)")
    spared = -1 if padding_idx is None else padding_row(padding_idx, weight.shape[0], "embedding")
    given = as_numbers(indices, "embedding: indices")
    if given.dtype.kind not in "iu" and given.size:
        raise TypeError(f"embedding: the indices are {given.dtype} numbers, expected integers")
    try:
        return embedding_ops.embedding(weight, np.array(given, np.int64, order="C"), spared=spared)
    except IndexError:
        raise ValueError(_out_of_range(given, weight.shape[0])) from None


def padding_row(padding_idx: int, rows: int, who: str) -> int:
    """`padding_idx` as a number from 0 up."""
    row = check_count(padding_idx, f"{who}: padding_idx", least=-rows)
    if row >= rows:
        raise ValueError(f"{who}: padding_idx is {row}, expected {-rows} to {rows - 1}")
    return row % rows


def _out_of_range(given: Array, rows: int) -> str:
    bad = np.argwhere((given < 0) | (given >= rows))
    at = tuple(int(i) for i in bad[0])
    more = f" (and {len(bad) - 1} more such indices)" if len(bad) > 1 else ""
    return f"embedding: got the index {given[at]} at {at}{more}; expected 0 to {rows - 1}, the rows of the weight"
