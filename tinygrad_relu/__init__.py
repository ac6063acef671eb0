"""tinygrad_relu: a reverse-mode autodiff engine on Numba kernels, and a laboratory for dead ReLU units."""
from . import functional, nn, optim
from .autodiff.gradcheck import GradcheckError, gradcheck
from .autodiff.node import no_grad
from .autodiff.tape import grad
from .checkpoint import load, save
from .derivatives import hessian, hvp, jacobian
from .functional import (
    abs,
    argmax,
    argmin,
    broadcast_to,
    clip,
    concatenate,
    cos,
    cumsum,
    einsum,
    exp,
    expand_dims,
    expm1,
    flatten,
    flip,
    from_dlpack,
    gather,
    log,
    log1p,
    logsumexp,
    matmul,
    max,
    maximum,
    mean,
    min,
    minimum,
    pad,
    permute,
    prod,
    reshape,
    sin,
    split,
    sqrt,
    square,
    squeeze,
    stack,
    std,
    sum,
    swapaxes,
    take_along_axis,
    transpose,
    unsqueeze,
    var,
    where,
)
from .inside import AnomalyError, detect_anomaly, explain, graph
from .kernels.machine.host import keep_freed_memory
from .kernels.machine.threads import get_num_threads, set_num_threads
from .parameters import Parameter
from .tensor import Tensor

keep_freed_memory()

__version__ = "0.1.0"
__all__ = ["AnomalyError", "GradcheckError", "Parameter", "Tensor", "abs", "argmax", "argmin", "broadcast_to", "clip",
           "concatenate", "cos", "cumsum", "detect_anomaly", "einsum", "exp", "expand_dims", "explain", "expm1", "flatten",
           "flip", "from_dlpack", "functional", "gather", "get_num_threads", "grad", "gradcheck", "graph", "hessian", "hvp",
           "jacobian", "load", "log", "log1p", "logsumexp", "matmul", "max", "maximum", "mean", "min", "minimum", "nn", "no_grad",
           "optim", "pad", "permute", "prod", "reshape", "save", "set_num_threads", "sin", "split", "sqrt", "square", "squeeze",
           "stack", "std", "sum", "swapaxes", "take_along_axis", "transpose", "unsqueeze", "var", "where"]
