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
from .dropout import dropout
from .embedding import embedding
from .inputs import as_tensor
from .linear import linear
from .loss import REDUCTIONS, cross_entropy, mse_loss
from .normalization import batch_norm, layer_norm
from .reduction import argmax, argmin, cumsum, logsumexp, max, mean, min, prod, std, sum, var
from .softmax import log_softmax, softmax

__all__ = ["REDUCTIONS", "abs", "argmax", "argmin", "as_tensor", "batch_norm", "celu", "clip", "cos", "cross_entropy",
           "cumsum", "dropout", "elu", "embedding", "erf", "erfc", "exp", "expm1", "gelu", "gelu_erf", "gelu_tanh",
           "hardsigmoid", "hardswish", "hardtanh", "layer_norm", "leaky_relu", "linear", "log", "log1p", "log_softmax",
           "logsigmoid", "logsumexp", "max", "maximum", "maxout", "maxout_winners", "mean", "min", "minimum", "mish",
           "mse_loss", "prelu", "prod", "relu", "relu6", "rrelu", "selu", "sigmoid", "silu", "sin", "softmax", "softplus",
           "softsign", "sqrt", "square", "std", "step", "sum", "tanh", "var", "where"]
