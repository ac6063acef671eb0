"""Indexing, joining and einsum are PyTorch's: values, gradients and second derivatives."""
from __future__ import annotations

import numpy as np
import pytest
import torch
from parity.test_functions import agree, every_type, ours_and_theirs

import tinygrad_relu as tg

RNG = np.random.default_rng(0)
ROWS, MASK = np.array([2, 0, 2, 2]), np.array([True, False, True])


def both(f):
    """One function for Tensors of either kind."""
    return f, f


CASES = {       # name: (ours, theirs, shapes)
    "rows": (*both(lambda x: x[ROWS]), [(3, 4)]),
    "mask": (*both(lambda x: x[MASK]), [(3, 4)]),
    "pairs": (*both(lambda x: x[ROWS, [1, 1, 0, 1]]), [(3, 4, 2)]),
    "array, slice, array": (*both(lambda x: x[[0, 1], 1:, [1, 1]]), [(3, 4, 2)]),
    "slices": (*both(lambda x: x[..., 1::2, None, 0]), [(3, 4, 2)]),
    "iteration": (*both(lambda x: sum((k + 1) * row for k, row in enumerate(x))), [(3, 4)]),
    "permute": (*both(lambda x: x.permute(2, 0, 1)), [(2, 3, 4)]),
    "swapaxes": (*both(lambda x: x.swapaxes(0, -1)), [(2, 3, 4)]),
    "unsqueeze, squeeze": (*both(lambda x: x.unsqueeze(1).squeeze(0)), [(1, 3)]),
    "flatten": (*both(lambda x: x.flatten(1)), [(2, 3, 4)]),
    "flatten the middle": (*both(lambda x: x.flatten(1, 2)), [(2, 3, 4, 2)]),
    "broadcast_to": (lambda x: tg.broadcast_to(x, (2, 3, 4)), lambda x: torch.broadcast_to(x, (2, 3, 4)), [(3, 1)]),
    "concatenate": (lambda *x: tg.concatenate(x, 1), lambda *x: torch.cat(x, 1), [(2, 3), (2, 1)]),
    "stack": (lambda *x: tg.stack(x, -1), lambda *x: torch.stack(x, -1), [(2, 3), (2, 3)]),
    "split": (lambda x: tg.split(x, [1, 3])[1], lambda x: torch.tensor_split(x, [1, 3])[1], [(5, 2)]),
    "flip": (lambda x: tg.flip(x, (0, 1)), lambda x: torch.flip(x, (0, 1)), [(2, 3)]),
    "pad": (lambda x: tg.pad(x, ((1, 0), (2, 3)), 5.0), lambda x: torch.nn.functional.pad(x, (2, 3, 1, 0), value=5.0), [(2, 3)]),
    "gather": (lambda x: tg.gather(x, 1, [[2, 2], [0, 1]]), lambda x: torch.gather(x, 1, torch.tensor([[2, 2], [0, 1]])), [(3, 4)]),
    "take_along_axis": (lambda x: tg.take_along_axis(x, [[1], [0], [1]], 1),
                        lambda x: torch.take_along_dim(x, torch.tensor([[1], [0], [1]]), 1), [(3, 4)]),
    "matmul of stacks": (*both(lambda a, b: a @ b), [(2, 1, 3, 4), (5, 4, 2)]),
    "matmul of a stack": (*both(lambda a, b: a @ b), [(2, 3, 4), (4, 2)]),
    "matmul of a vector": (*both(lambda a, b: a @ b), [(4,), (2, 4, 3)]),
    **{f"einsum {text}": (lambda *x, t=text: tg.einsum(t, *x), lambda *x, t=text: torch.einsum(t, *x), shapes)
       for text, *shapes in [("ij,jk->ik", (2, 3), (3, 4)), ("bqhd,bkhd->bhqk", (2, 3, 2, 4), (2, 4, 2, 4)), ("ii->i", (3, 3)),
                             ("...ij,...kj->...ik", (2, 1, 3, 4), (3, 2, 4)), ("ij,jk,kl->il", (2, 3), (3, 4), (4, 2)),
                             ("i,j->ji", (2,), (3,)), ("ij,ij->", (2, 3), (2, 3))]},
}


@every_type
@pytest.mark.parametrize("name", CASES)
def test_structure(name, dtype):
    f, g, shapes = CASES[name]
    arrays = [RNG.standard_normal(shape) for shape in shapes]
    square = lambda h: lambda *x: (lambda y: y * y)(h(*x))        # so that the second derivative is not zero
    agree(ours_and_theirs(square(f), square(g), arrays, dtype, order=2), dtype, ulps=256)


def test_where_the_two_differ_on_purpose():
    """NumPy's rules, where PyTorch's differ: squeezing an axis of another size is an error; split takes a number of parts."""
    x, t = np.zeros((4, 2)), torch.zeros(4, 2)
    assert t.squeeze(0).shape == (4, 2) and len(torch.split(t, 1)) == 4
    with pytest.raises(ValueError, match="squeeze"):
        tg.squeeze(x, 0)
    assert len(tg.split(x, 1)) == 1
    assert torch.einsum("...i->i", t).shape == (2,)
    with pytest.raises(ValueError, match="ellipsis"):
        tg.einsum("...i->i", x)
