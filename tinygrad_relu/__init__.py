"""Automatic differentiation and neural networks on a CPU, and a laboratory for dead ReLU units.

Differentiate:

>>> import tinygrad_relu as tg
>>> x = tg.Tensor([1.0, 2.0], requires_grad=True)
>>> (x * x).sum().backward()
>>> x.grad
array([2., 4.])

Train:

>>> from tinygrad_relu import data, functional as F, nn, optim
>>> digits = data.digits()
>>> model = nn.MLP([64, 32, 10], rng=0)
>>> opt = optim.Adam(model.parameters(), lr=0.01)
>>> for x, y in digits.batches(64, rng=0):
...     opt.zero_grad()
...     F.cross_entropy(model(x), y).backward()
...     opt.step()

Save and look inside: `tg.save`, `tg.load`, `model.summary`, `tg.explain`, `tg.detect_anomaly`; `lab.census` and `lab.prognosis`
after ``from tinygrad_relu import lab``. On the command line: ``tinygrad-relu revive``.

To learn more: ``help(tg.Tensor)``, ``help(nn.MLP)``, ...; docs/training.md, docs/api.md (all names, by task), docs/coming-from.md
(from PyTorch, NumPy or MyGrad).
"""
from .cli import VERSION as _VERSION, begin as _begin_command

__version__ = _VERSION
_begin_command()        # if this process is the command, --help and --version print and exit here

from . import functional as functional, nn as nn, onnx as onnx, optim as optim
from .autodiff.guard import CaptureError as CaptureError
from .autodiff.node import Op as Op, no_grad as no_grad
from .autodiff.tape import grad as grad
from .capture import capture as capture
from .checkpoint import load as load, save as save
from .derivatives import GradcheckError as GradcheckError, gradcheck as gradcheck, hessian as hessian, hvp as hvp
from .derivatives import jacobian as jacobian, jvp as jvp, value_and_grad as value_and_grad, vjp as vjp
from .functional.array import *  # noqa: F403        # the functions that are NumPy's too
from .inside import AnomalyError as AnomalyError, detect_anomaly as detect_anomaly, explain as explain, graph as graph
from .kernels.machine.host import keep_freed_memory as _keep_freed_memory
from .kernels.machine.pool import get_num_threads as get_num_threads, set_num_threads as set_num_threads
from .missing import elsewhere as _elsewhere, present as _present
from .nn.activations import activation as activation
from .nn.utils import functional_call as functional_call
from .parameters import Parameter as Parameter
from .profile import profile as profile
from .tensor import Tensor as Tensor
from .training import evaluate as evaluate, fit as fit

_keep_freed_memory()
vars().pop("tensor")                                # the submodule; without it, `tg.tensor` raises with a hint
vars()["__getattr__"] = _elsewhere(__name__)        # through vars(), so that mypy still rejects unknown names
for _room in (functional, nn, nn.init, nn.utils, optim, optim.lr_scheduler):
    vars(_room)["__getattr__"] = _elsewhere(_room.__name__)
vars()["__dir__"] = _present(__name__, "data", "functional", "lab", "nn", "onnx", "optim", "sklearn")
for _room in (functional, nn, nn.init, nn.utils, onnx, optim, optim.lr_scheduler):
    vars(_room)["__dir__"] = _present(_room.__name__, "init", "utils", "lr_scheduler",
                                      own=_room is onnx or not hasattr(_room, "__path__"))
