"""tinygrad_relu: a reverse-mode autodiff engine on Numba kernels, and a laboratory for dead ReLU units."""
from . import functional, nn, optim
from .autodiff.gradcheck import GradcheckError, gradcheck
from .autodiff.node import no_grad
from .autodiff.tape import grad
from .kernels.memory import keep_freed_memory
from .kernels.threads import get_num_threads, set_num_threads
from .nn.module import Parameter
from .tensor import Tensor

keep_freed_memory()

__version__ = "0.1.0"
__all__ = ["GradcheckError", "Parameter", "Tensor", "functional", "get_num_threads", "grad", "gradcheck", "nn", "no_grad",
           "optim", "set_num_threads"]
