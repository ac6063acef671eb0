"""What users call: every function takes Tensors or arrays and returns a Tensor."""
from .activation import (
    celu,
    elu,
    erf,
    erfc,
    exp,
    expm1,
    gelu,
    gelu_erf,
    gelu_tanh,
    hardsigmoid,
    hardswish,
    hardtanh,
    leaky_relu,
    log,
    log1p,
    logsigmoid,
    maxout,
    maxout_winners,
    mish,
    prelu,
    relu,
    relu6,
    rrelu,
    selu,
    sigmoid,
    silu,
    softplus,
    softsign,
    step,
    tanh,
)
from .array import abs, clip, cos, maximum, minimum, sin, sqrt, square, where
from .class_loss import cross_entropy, multi_margin_loss, nll_loss
from .dropout import dropout
from .embedding import embedding
from .inputs import as_tensor, from_dlpack
from .linear import linear
from .loss import (
    REDUCTIONS,
    binary_cross_entropy_with_logits,
    hinge_embedding_loss,
    huber_loss,
    l1_loss,
    mse_loss,
    smooth_l1_loss,
)
from .normalization import batch_norm, layer_norm
from .reduction import argmax, argmin, cumsum, logsumexp, max, mean, min, prod, std, sum, var
from .shapes import (
    broadcast_to,
    expand_dims,
    flatten,
    flip,
    pad,
    permute,
    reshape,
    squeeze,
    swapaxes,
    transpose,
    unsqueeze,
)
from .softmax import log_softmax, softmax
from .structure import concatenate, einsum, gather, matmul, split, stack, take_along_axis

__all__ = ["REDUCTIONS", "abs", "argmax", "argmin", "as_tensor", "batch_norm", "binary_cross_entropy_with_logits",
           "broadcast_to", "celu", "clip", "concatenate", "cos", "cross_entropy", "cumsum", "dropout", "einsum", "elu",
           "embedding", "erf", "erfc", "exp", "expand_dims", "expm1", "flatten", "flip", "from_dlpack", "gather", "gelu",
           "gelu_erf", "gelu_tanh", "hardsigmoid", "hardswish", "hardtanh", "hinge_embedding_loss", "huber_loss", "l1_loss",
           "layer_norm", "leaky_relu", "linear", "log", "log1p", "log_softmax", "logsigmoid", "logsumexp", "matmul", "max",
           "maximum", "maxout", "maxout_winners", "mean", "min", "minimum", "mish", "mse_loss", "multi_margin_loss", "nll_loss",
           "pad", "permute", "prelu", "prod", "relu", "relu6", "reshape", "rrelu", "selu", "sigmoid", "silu", "sin",
           "smooth_l1_loss", "softmax", "softplus", "softsign", "split", "sqrt", "square", "squeeze", "stack", "std", "step",
           "sum", "swapaxes", "take_along_axis", "tanh", "transpose", "unsqueeze", "var", "where"]
