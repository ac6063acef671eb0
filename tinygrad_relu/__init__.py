"""tinygrad_relu: a reverse-mode autodiff engine on Numba kernels, and a laboratory for dead ReLU units."""
from . import functional as functional, nn as nn, optim as optim
from .autodiff.functions import GradcheckError as GradcheckError, gradcheck as gradcheck
from .autodiff.node import Op as Op, no_grad as no_grad
from .autodiff.tape import grad as grad
from .checkpoint import load as load, save as save
from .derivatives import hessian as hessian, hvp as hvp, jacobian as jacobian
from .functional.array import *  # noqa: F403        # the functions that are NumPy's too
from .inside import AnomalyError as AnomalyError, detect_anomaly as detect_anomaly, explain as explain, graph as graph
from .kernels.machine.host import keep_freed_memory as _keep_freed_memory
from .kernels.machine.threads import get_num_threads as get_num_threads, set_num_threads as set_num_threads
from .nn.own import activation as activation
from .parameters import Parameter as Parameter
from .tensor import Tensor as Tensor

_keep_freed_memory()

__version__ = "0.1.0"
