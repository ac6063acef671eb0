"""tinygrad_relu: a reverse-mode autodiff engine on Numba kernels, and a laboratory for dead ReLU units."""
from . import functional, nn, optim
from .autodiff.gradcheck import GradcheckError, gradcheck
from .autodiff.higher import hessian, hvp, jacobian
from .autodiff.node import no_grad
from .autodiff.tape import grad
from .checkpoint import load, save
from .functional.activation import exp, expm1, log, log1p
from .functional.array import abs, clip, cos, maximum, minimum, sin, sqrt, square, where
from .functional.reduction import argmax, argmin, cumsum, logsumexp, max, mean, min, prod, std, sum, var
from .kernels.memory import keep_freed_memory
from .kernels.threads import get_num_threads, set_num_threads
from .nn.module import Parameter
from .tensor import Tensor

keep_freed_memory()

__version__ = "0.1.0"
__all__ = ["GradcheckError", "Parameter", "Tensor", "abs", "argmax", "argmin", "clip", "cos", "cumsum", "exp", "expm1",
           "functional", "get_num_threads", "grad", "gradcheck", "hessian", "hvp", "jacobian", "load", "log", "log1p",
           "logsumexp", "max", "maximum", "mean", "min", "minimum", "nn", "no_grad", "optim", "prod", "save", "set_num_threads",
           "sin", "sqrt", "square", "std", "sum", "var", "where"]
