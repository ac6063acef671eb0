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
from .inputs import as_tensor
from .linear import linear
from .loss import REDUCTIONS, cross_entropy, mse_loss
from .softmax import log_softmax, softmax

__all__ = ["REDUCTIONS", "as_tensor", "celu", "cross_entropy", "elu", "erf", "erfc", "exp", "expm1", "gelu", "gelu_erf",
           "gelu_tanh",
           "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "linear", "log", "log1p", "log_softmax", "logsigmoid",
           "maxout", "maxout_winners", "mish", "mse_loss", "prelu", "relu", "relu6", "rrelu", "selu", "sigmoid", "silu",
           "softmax", "softplus", "softsign", "step", "tanh"]
