"""Functions that multiply along axes, join, take apart, and take by index. All return numbers of their own."""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..autodiff.node import Node
from ..ops import einsum as contraction
from ..ops import indexing, joining, linalg
from ..tensor import Tensor, operand_array
from .inputs import Input, as_tensor


def _together(name: str, operands: Iterable[Input]) -> list[Any]:
    """Operands that meet in one operation: arrays take the dtype of the first Tensor."""
    if not isinstance(operands, Iterable):
        raise TypeError(f"{name}: got {type(operands).__name__}; expected several Tensors or arrays")
    found = list(operands)
    like = next((x for x in found if isinstance(x, Node)), None)
    return [as_tensor(x) if like is None else operand_array(x, like, name) for x in found]


# -- products ---------------------------------------------------------------------------------------------------------

def matmul(a: Input, b: Input) -> Tensor:
    """``a @ b``: of vectors, matrices, and stacks of matrices, whose leading axes broadcast.

    Parameters
    ----------
    a : Tensor or array_like, shape (..., rows, inner) or (inner,)
    b : Tensor or array_like, shape (..., inner, columns) or (inner,)

    Returns
    -------
    Tensor, shape (..., rows, columns), without the axis that a vector has not

    Raises
    ------
    ValueError
        If the inner sizes differ, the leading axes do not broadcast, or one of them is a number.

    Examples
    --------
    >>> matmul([[1.0, 2.0]], [[3.0], [4.0]])
    Tensor([[11.]])
    >>> matmul([[[1.0, 2.0]], [[3.0, 4.0]]], [10.0, 1.0])
    Tensor([[12.],
            [34.]])
    """
    return linalg.matmul(*_together("matmul", (a, b)))


def einsum(subscripts: str, *operands: Input) -> Tensor:
    """Sums of products, in Einstein's notation: ``einsum("ij,jk->ik", a, b)`` is ``a @ b``.

    Every axis has a letter. Axes of one letter run together, and what the result has not is summed. A letter that stands
    twice in one operand takes its diagonal; ``...`` stands for all other axes, which broadcast. Without ``->`` the result
    has the axes of the ellipsis, then all letters that stand only once, in the order of the alphabet.

    Parameters
    ----------
    subscripts : str
    *operands : Tensor or array_like

    Returns
    -------
    Tensor

    Raises
    ------
    ValueError
        If the subscripts cannot be read, or do not fit the shapes.
    TypeError
        If they are no text (NumPy's form with lists of integers is not known here).

    Notes
    -----
    Computed by products of matrices, two operands at a time, in the order that np.einsum_path finds.

    Examples
    --------
    >>> x = Tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> einsum("ii", x).item(), einsum("ij->j", x), einsum("...j,j", x, [1.0, 10.0])
    (5.0, Tensor([4., 6.]), Tensor([21., 43.]))
    """
    if not isinstance(subscripts, str):
        raise TypeError(f"einsum: the subscripts are {type(subscripts).__name__}; expected text, such as 'ij,jk->ik'")
    return contraction.einsum(subscripts, *_together("einsum", operands))


# -- joining and splitting --------------------------------------------------------------------------------------------

def concatenate(tensors: Iterable[Input], axis: int | None = 0) -> Tensor:
    """Tensors one behind the other along an axis that they have.

    Parameters
    ----------
    tensors : iterable of Tensor or array_like
        Of one shape, except along `axis`. Arrays take the dtype of the first Tensor; of two Tensors the wider wins.
    axis : int, optional
        None: the numbers of all in one row.

    Raises
    ------
    ValueError
        If the shapes do not fit, or there is nothing to join.

    Examples
    --------
    >>> concatenate([[1.0, 2.0], [3.0]])
    Tensor([1., 2., 3.])
    """
    return joining.concatenate(_together("concatenate", tensors), axis)


def stack(tensors: Iterable[Input], axis: int = 0) -> Tensor:
    """Tensors of one shape side by side along a new axis, which is axis `axis` of the result.

    Parameters
    ----------
    tensors : iterable of Tensor or array_like
        All of one shape. Dtypes as in `concatenate`.
    axis : int

    Raises
    ------
    ValueError
        If the shapes differ, or there is nothing to stack.

    Examples
    --------
    >>> stack([[1.0, 2.0], [3.0, 4.0]], axis=1)
    Tensor([[1., 3.],
            [2., 4.]])
    """
    return joining.stack(_together("stack", tensors), axis)


def split(x: Input, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """The parts of `x` along an axis, as np.split.

    Parameters
    ----------
    x : Tensor or array_like
    indices_or_sections : int or sequence of int
        A number of parts of one length (PyTorch's split takes that length instead); or where each part but the first begins.
    axis : int

    Raises
    ------
    ValueError
        If the axis cannot be split into so many parts of one length.

    Examples
    --------
    >>> split([1.0, 2.0, 3.0, 4.0], 2)
    [Tensor([1., 2.]), Tensor([3., 4.])]
    >>> split([1.0, 2.0, 3.0, 4.0, 5.0], [1, 3])
    [Tensor([1.]), Tensor([2., 3.]), Tensor([4., 5.])]
    """
    return joining.split(as_tensor(x), indices_or_sections, axis)


# -- by index ---------------------------------------------------------------------------------------------------------

def take_along_axis(x: Input, indices: Any, axis: int | None = -1) -> Tensor:
    """One number for each index, from its own line along `axis`: ``y[i, j] = x[i, indices[i, j]]`` for the last of two axes.

    Parameters
    ----------
    x : Tensor or array_like
    indices : array_like of int
        With as many axes as `x`; along the others it broadcasts with it. Negative ones count from the end.
    axis : int, optional
        None: `x` is taken as one row.

    Returns
    -------
    Tensor
        The gradient of a number that is taken several times is the sum.

    Raises
    ------
    IndexError
        If an index is out of range.
    ValueError
        If the indices have another number of axes.
    TypeError
        If they are no integers.

    Examples
    --------
    >>> take_along_axis([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], [[2], [0]], axis=1)
    Tensor([[3.],
            [4.]])
    """
    return indexing.take_along_axis(as_tensor(x), indices, axis)


def gather(x: Input, axis: int, index: Any) -> Tensor:
    """PyTorch's `take_along_axis`: `index` may be shorter than `x` along the other axes, and does not broadcast.

    Parameters
    ----------
    x : Tensor or array_like
    axis : int
        PyTorch calls it dim.
    index : array_like of int, with as many axes as `x`

    Returns
    -------
    Tensor, of the shape of `index`

    Raises
    ------
    IndexError
        If an index is out of range.
    ValueError
        If `index` has another number of axes, or is longer than `x` along another axis than `axis`.
    TypeError
        If it holds no integers.

    Examples
    --------
    >>> gather([[1.0, 2.0], [3.0, 4.0]], 1, [[1, 1, 0]])
    Tensor([[2., 2., 1.]])
    """
    return indexing.gather(as_tensor(x), axis, index)
