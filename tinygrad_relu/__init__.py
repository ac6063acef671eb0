"""tinygrad_relu: a reverse-mode autodiff engine on Numba kernels, and a laboratory for dead ReLU units."""
from . import functional as functional, nn as nn, optim as optim
from .autodiff.gradcheck import GradcheckError as GradcheckError, gradcheck as gradcheck
from .autodiff.node import Op as Op, no_grad as no_grad
from .autodiff.tape import grad as grad
from .checkpoint import load as load, save as save
from .derivatives import hessian as hessian, hvp as hvp, jacobian as jacobian
from .functional import (
    abs as abs,
    argmax as argmax,
    argmin as argmin,
    broadcast_to as broadcast_to,
    clip as clip,
    concatenate as concatenate,
    cos as cos,
    cumsum as cumsum,
    einsum as einsum,
    exp as exp,
    expand_dims as expand_dims,
    expm1 as expm1,
    flatten as flatten,
    flip as flip,
    from_dlpack as from_dlpack,
    gather as gather,
    log as log,
    log1p as log1p,
    logsumexp as logsumexp,
    matmul as matmul,
    max as max,
    maximum as maximum,
    mean as mean,
    min as min,
    minimum as minimum,
    pad as pad,
    permute as permute,
    prod as prod,
    reshape as reshape,
    sin as sin,
    split as split,
    sqrt as sqrt,
    square as square,
    squeeze as squeeze,
    stack as stack,
    std as std,
    sum as sum,
    swapaxes as swapaxes,
    take_along_axis as take_along_axis,
    transpose as transpose,
    unsqueeze as unsqueeze,
    var as var,
    where as where,
)
from .inside import AnomalyError as AnomalyError, detect_anomaly as detect_anomaly, explain as explain, graph as graph
from .kernels.machine.host import keep_freed_memory as _keep_freed_memory
from .kernels.machine.threads import get_num_threads as get_num_threads, set_num_threads as set_num_threads
from .nn.own import activation as activation
from .parameters import Parameter as Parameter
from .tensor import Tensor as Tensor

_keep_freed_memory()

__version__ = "0.1.0"
