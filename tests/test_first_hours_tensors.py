"""What a newcomer trips over in the first hours with Tensors: each of these calls works, or names the way in one sentence."""
from __future__ import annotations

import numpy as np
import pytest

import tinygrad_relu as tg
from tinygrad_relu import Tensor

# -- dtypes ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("of", "to"), [("float32", "float64"), ("float64", "float32")])
def test_astype_casts_and_its_gradient_is_cast_back(of, to):
    x = Tensor([1.0, 2.0, 3.0], requires_grad=True, dtype=of)
    y = x.astype(to)
    assert y.dtype == to and y.requires_grad and y.data.flags.c_contiguous
    (y * y).sum().backward()
    assert x.grad.dtype == of
    np.testing.assert_array_equal(x.grad, [2.0, 4.0, 6.0])


def test_astype_of_its_own_dtype_is_the_tensor_itself():
    x = Tensor([1.0], requires_grad=True)
    assert x.astype("float64") is x and x.astype(np.float64) is x


def test_astype_has_second_derivatives():
    x = Tensor([1.0, 2.0], requires_grad=True)
    (slope,) = tg.grad((x.astype("float32") ** 3).sum(), x, create_graph=True)
    assert slope.dtype == np.float64
    (curvature,) = tg.grad(slope.sum(), x)
    np.testing.assert_allclose(curvature.data, [6.0, 12.0])


def test_astype_to_integers_names_the_array():
    with pytest.raises(ValueError, match=r"x\.data\.astype"):
        Tensor([1.0]).astype("int64")
