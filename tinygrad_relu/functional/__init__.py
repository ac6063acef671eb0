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
from .class_loss import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    hinge_embedding_loss,
    multi_margin_loss,
    nll_loss,
)
from .inputs import as_tensor
from .linear import linear
from .loss import REDUCTIONS, huber_loss, l1_loss, mse_loss, smooth_l1_loss
from .reduction import argmax, argmin, cumsum, logsumexp, max, mean, min, prod, std, sum, var
from .softmax import log_softmax, softmax

__all__ = ["REDUCTIONS", "abs", "argmax", "argmin", "as_tensor", "binary_cross_entropy_with_logits", "celu", "clip", "cos",
           "cross_entropy", "cumsum", "elu", "erf", "erfc", "exp", "expm1", "gelu", "gelu_erf", "gelu_tanh", "hardsigmoid",
           "hardswish", "hardtanh", "hinge_embedding_loss", "huber_loss", "l1_loss", "leaky_relu", "linear", "log", "log1p",
           "log_softmax", "logsigmoid", "logsumexp", "max", "maximum", "maxout", "maxout_winners", "mean", "min", "minimum",
           "mish", "mse_loss", "multi_margin_loss", "nll_loss", "prelu", "prod", "relu", "relu6", "rrelu", "selu", "sigmoid",
           "silu", "sin", "smooth_l1_loss", "softmax", "softplus", "softsign", "sqrt", "square", "std", "step", "sum",
           "tanh", "var", "where"]
