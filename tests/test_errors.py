"""Bad input raises an error of the right type, in one sentence that names the place, the value found and the value expected."""
from __future__ import annotations

from functools import partial
from operator import ior

import numpy as np
import pytest

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import lab, nn, optim

nan = float("nan")


def T(*shape, dtype="float64"):
    return tg.Tensor(np.ones(shape), requires_grad=True, dtype=dtype)


def P(*values):
    return nn.Parameter(np.array(values or [1.0]))


def S():
    return optim.SGD([P()], lr=0.1)


def freed():
    y = (T(2) * 2).sum()
    y.backward()
    return y


def with_grad(p, grad):
    p.grad = grad
    return p


def set_option(key, value):
    optim.SGD([P()], lr=0.1).param_groups[0][key] = value


def assign(tensor, value):
    tensor[0] = value


def set_data(values):
    T(2).data = values


SHAPES = [      # (a call, the words of its error in order)
    (lambda: T(2, 3) + T(4), "add: shapes (2, 3) and (4,)"),
    (lambda: T(2, 3) * np.ones(5), "multiply: shapes (2, 3) and (5,)"),
    (lambda: np.ones(2) - T(3), "subtract: shapes (2,) and (3,)"),
    (lambda: T(2, 3) @ T(2, 3), "matmul: shapes (2, 3) and (2, 3)|3 and 2"),
    (lambda: T(2) @ T(3), "matmul: vectors of shapes (2,) and (3,)"),
    (lambda: T(2, 3) @ 2, "matmul: shapes (2, 3) and ()|use * instead"),
    (lambda: T(2, 2, 3) @ T(3, 3, 4), "matmul: the leading axes of (2, 2, 3) and (3, 3, 4)"),
    (lambda: T(2, 3).reshape(4), "reshape: 6 elements of shape (2, 3)|(4,)"),
    (lambda: T(2, 3).reshape(-1, -1), "reshape: 6 elements of shape (2, 3)|(-1, -1)"),
    (lambda: T(2, 3).reshape(np.array([4])), "reshape: 6 elements of shape (2, 3) do not fit shape (4,)"),
    (lambda: T(2, 3).transpose(0), "transpose: axes (0,)|shape (2, 3)"),
    (lambda: T(2, 3).transpose(0, 0), "transpose: got axis (0, 0) for shape (2, 3)"),
    (lambda: T(2, 3).transpose(3, 0), "transpose: got axis (3, 0) for shape (2, 3)"),
    (lambda: T(2, 3).sum(axis=2), "sum: got axis 2 for shape (2, 3)|-2 to 1"),
    (lambda: T(2, 3).mean(axis=(0, -2)), "mean: got axis (0, -2) for shape (2, 3)|distinct"),
    (lambda: tg.maximum(T(2, 3), T(4)), "maximum: shapes (2, 3) and (4,) cannot"),
    (lambda: T(2).clip(min=np.ones(3)), "maximum: shapes (2,) and (3,)"),
    (lambda: tg.where([True, False], T(3), T(2, 1)), "where: shapes (2,), (3,) and (2, 1) cannot"),
    (lambda: T(2, 3) < T(2), "less: shapes (2, 3) and (2,)"),
    (lambda: T(2, 3) == np.ones(2), "equal: shapes (2, 3) and (2,)"),
    (lambda: tg.var(T(2, 3), axis=2), "var: got axis 2 for shape (2, 3)|-2 to 1"),
    (lambda: tg.std(T(2, 3), axis=2), "std: got axis 2 for shape (2, 3)|-2 to 1"),
    (lambda: tg.max(T(2, 3), axis=(0, -2)), "max: got axis (0, -2) for shape (2, 3)|distinct"),
    (lambda: tg.max(T(0, 3), axis=0), "max: got shape (0, 3) and axis 0; expected at least one number"),
    (lambda: tg.min(T(0)), "min: got shape (0,) and axis None; expected at least one number"),
    (lambda: tg.argmin(T(2, 0), axis=1), "argmin: got shape (2, 0) and axis 1"),
    (lambda: tg.argmax(T(2, 3), axis=(0, 1)), "argmax: got axis (0, 1) for shape (2, 3); expected one axis"),
    (lambda: tg.cumsum(T(2, 3), axis=2), "cumsum: got axis 2 for shape (2, 3)"),
    (lambda: T(2, 3).cumsum(axis=(0, 1)), "cumsum: got axis (0, 1) for shape (2, 3); expected one axis"),
    (lambda: tg.prod(T(), axis=0), "prod: got axis 0 for shape ()|a number has no axes"),
    (lambda: tg.hessian(lambda x: x, T(2)), "hessian: f returned shape (2,); expected one number"),
    (lambda: tg.hvp(lambda x: x, T(2), np.ones(2)), "hvp: f returned shape (2,); expected one number"),
    (lambda: tg.hvp(tg.sum, T(2), np.ones(3)), "hvp: vector 0 has shape (3,); expected (2,)"),
    (lambda: tg.hvp(lambda x, y: x.sum(), [T(2), T(1)], [np.ones(2)]), "hvp: got 1 vector for 2 inputs"),
    (lambda: set_data([1, 2, 3]), "data: got values of shape (3,); expected (2,)"),
    (lambda: F.softmax(T(2, 3), axis=2), "softmax: got axis 2 for shape (2, 3)|-2 to 1"),
    (lambda: F.softmax(T(2, 3), axis=(0, 1)), "softmax: got axis (0, 1) for shape (2, 3); expected one axis"),
    (lambda: F.log_softmax(T(2, 3), axis=None), "log_softmax: got axis None for shape (2, 3); expected one axis"),
    (lambda: F.softmax(T(), axis=1), "softmax: got axis 1 for shape (1,); expected distinct axes from -1 to 0"),
    (lambda: F.softmax(T(2, 0)), "softmax: got shape (2, 0); expected at least one entry"),
    (lambda: F.linear(T(2, 3), T(4, 5)), "linear: x has shape (2, 3), the weight (4, 5)|expected x (..., 5)"),
    (lambda: F.linear(T(2, 3), T(4, 3), T(3)), "linear: x has shape (2, 3), the weight (4, 3), the bias (3,)"),
    (lambda: F.linear(T(2, 3), T(3)), "linear: x has shape (2, 3), the weight (3,)"),
    (lambda: F.linear(T(), T(4, 3)), "linear: x has shape (), the weight (4, 3)"),
    (lambda: nn.MLP([3, 4, 2], rng=0)(np.ones((5, 2))), "linear: x has shape (5, 2), the weight (4, 3)"),
    (lambda: F.prelu(T(2, 3), T(2)), "prelu: got a weight of shape (2,) for x of shape (2, 3)"),
    (lambda: nn.PReLU(3)(np.ones((2, 4))), "prelu: got a weight of shape (3,) for x of shape (2, 4)"),
    (lambda: F.maxout(T(2, 3), 2), "maxout: got x of shape (2, 3) and 2 pieces"),
    (lambda: F.maxout_winners(T(2, 3), 2), "maxout: got x of shape (2, 3) and 2 pieces"),
    (lambda: F.maxout(T(), 1), "maxout: got x of shape ()"),
    (lambda: F.mse_loss(T(2, 3), T(2)), "mse_loss: got x of shape (2, 3) and a target of shape (2,)"),
    (lambda: F.huber_loss(T(2, 3), T(2)), "huber_loss: got x of shape (2, 3) and a target of shape (2,)"),
    (lambda: F.l1_loss(T(2), T(2), weight=[1.0]), "l1_loss: got x of shape (2,) and a weight of shape (1,)"),
    (lambda: F.hinge_embedding_loss(T(2), [1]), "hinge_embedding_loss: got x of shape (2,) and a target of shape (1,)"),
    (lambda: F.binary_cross_entropy_with_logits(T(2, 3), T(2)), "binary_cross_entropy_with_logits: got x of shape (2, 3)"),
    (lambda: F.binary_cross_entropy_with_logits(T(2), T(2), pos_weight=[1, 2, 3]),
     "binary_cross_entropy_with_logits: pos_weight has shape (3,), which does not broadcast to that of x, (2,)"),
    (lambda: F.binary_cross_entropy_with_logits(T(2), T(2), [[1], [2]]),
     "binary_cross_entropy_with_logits: weight has shape (2, 1), which does not broadcast"),
    (lambda: F.nll_loss(T(3), [0]), "nll_loss: x has shape (3,), the labels (1,); expected labels of shape ()"),
    (lambda: F.nll_loss(T(), 0), "nll_loss: x has shape (), expected (rows, classes)"),
    (lambda: F.nll_loss(T(2, 3, 4), np.zeros((2, 3), int)), "nll_loss: x has shape (2, 3, 4), the labels (2, 3)|(2, 4)"),
    (lambda: F.nll_loss(T(2, 0), [0, 0]), "nll_loss: x has shape (2, 0), expected (rows, classes), with at least one class"),
    (lambda: F.multi_margin_loss(T(3), [0, 1]), "multi_margin_loss: x has shape (3,), the labels (2,); expected one label"),
    (lambda: F.multi_margin_loss(T(), 0), "multi_margin_loss: x has shape (), expected (rows, classes)"),
    (lambda: F.cross_entropy(T(2, 3), np.ones((2, 4))),
     "cross_entropy: got x of shape (2, 3) and class probabilities of shape (2, 4); expected one shape"),
    (lambda: F.cross_entropy(T(2, 0), T(2, 0)), "cross_entropy: got x of shape (2, 0)|at least one class"),
    (lambda: F.cross_entropy(T(), T()), "cross_entropy: got x of shape () and class probabilities of shape ()"),
    (lambda: F.cross_entropy(T(2, 3, 4), T(2, 3, 4), weight=np.ones(4)),
     "cross_entropy: got a weight of shape (4,) for 3 classes"),
    (lambda: F.nll_loss(T(2, 3), [0]), "nll_loss: labels holds 1 label for 2 samples"),
    (lambda: F.cross_entropy(T(2, 3), [0, 1], weight=[1.0]), "cross_entropy: got a weight of shape (1,) for 3 classes"),
    (lambda: F.cross_entropy(T(2, 3), [[0], [1, 2]]), "cross_entropy: labels is ragged"),
    (lambda: nn.Linear(2, 3, rng=0, init=lambda *_: (np.zeros((3, 2)), np.zeros(2))),
     "init gave a bias of shape (2,); expected (3,)"),
    (lambda: F.cross_entropy(T(4, 2, 3), np.zeros((4, 2), int)), "cross_entropy: x has shape (4, 2, 3)|of shape (4, 3), as classes are on axis 1|x.reshape(-1, 3)"),
    (lambda: F.cross_entropy(T(4, 2, 3), np.zeros(2, int)), "cross_entropy: x has shape (4, 2, 3)|; of a population? F.per_member(F.cross_entropy, x, labels)"),
    (lambda: F.cross_entropy(T(3), [0]), "cross_entropy: x has shape (3,), the labels (1,); expected labels of shape ()"),
    (lambda: F.cross_entropy(T(), 0), "cross_entropy: x has shape (), expected (rows, classes)"),
    (lambda: F.cross_entropy(T(2, 3), [0]), "cross_entropy: labels holds 1 label for 2 samples"),
    (lambda: F.cross_entropy(T(2, 3), np.eye(3, dtype=int)[:2]),
     "cross_entropy: labels has shape (2, 3)|labels.argmax(axis=1)"),
    (lambda: T(2).backward(), "backward: a result of shape (2,) is not a scalar; take its sum() or mean(), or pass a gradient"),
    (lambda: T(2).backward(np.ones(3)), "backward: the gradient has shape (3,), expected (2,)"),
    (lambda: tg.grad(T(2) * 2, T(2)), "grad: a result of shape (2,) is not a scalar; take its sum() or mean(), or pass grad_outputs"),
    (lambda: tg.grad(x := T(2), x, T(3), create_graph=True), "grad: the gradient has shape (3,), expected (2,)"),
    (lambda: optim.SGD([with_grad(P(1, 2), np.ones(3))]), "a parameter of shape (2,) has a gradient of shape (3,)"),
    (lambda: nn.Linear(2, 3, rng=0, init=lambda *_: np.zeros((1, 1))),
     "init gave a weight of shape (1, 1); expected (3, 2)"),
    (lambda: tg.Tensor([[1, 2], [3]]), "Tensor is ragged"),
    (lambda: nn.Linear(2, 3, rng=0)([[1, 2], [3]]), "linear: x is ragged"),
]

VALUES = [
    (lambda: lab.revival(nan, lr=0.1), "z holds nan, expected finite numbers"),
    (lambda: tg.Tensor([1.0], dtype="float16"), "dtype is 'float16', expected 'float32' or 'float64'"),
    (lambda: nn.Linear(2, 3, rng=0, dtype=int), "dtype is <class 'int'>, expected 'float32' or 'float64'"),
    (lambda: F.cross_entropy(T(2, 3), [0, 3]), "cross_entropy: labels holds 3 at row 1; expected labels from 0 to 2"),
    (lambda: F.cross_entropy(T(3, 3), np.array([0, -1, 5])),
     "cross_entropy: labels holds -1 at row 1 (and 1 more|0 to 2"),
    (lambda: F.cross_entropy(T(0, 3), np.zeros(0, int)), "cross_entropy: labels is empty"),
    (lambda: F.mse_loss(T(0), T(0)), "mse_loss: the batch is empty"),
    (lambda: F.cross_entropy(T(2, 3), [0, 3], label_smoothing=0.1), "cross_entropy: labels holds 3 at row 1; expected labels"),
    (lambda: F.cross_entropy(T(2, 3), [-100, 3]), "cross_entropy: labels holds 3 at row 1"),
    (lambda: F.cross_entropy(T(2, 3), [-100, -1]), "cross_entropy: labels holds -1 at row 1"),
    (lambda: F.cross_entropy(T(2, 3, 2), [[0, 1], [2, 3]]),
     "cross_entropy: labels holds 3 at (1, 1); expected labels from 0 to 2"),
    (lambda: F.nll_loss(T(3), -1), "nll_loss: labels holds -1 at (); expected labels from 0 to 2"),
    (lambda: F.cross_entropy(T(2, 3), np.ones((2, 3)), ignore_index=0), "cross_entropy: ignore_index is 0|class probabilities"),
    (lambda: F.cross_entropy(T(2, 3), np.ones((2, 3)), label_smoothing=2), "cross_entropy: label_smoothing is 2, expected"),
    (lambda: F.cross_entropy(T(0, 3), np.ones((0, 3))), "cross_entropy: the batch is empty"),
    (lambda: F.cross_entropy(T(2, 3), [-100, -100]), "cross_entropy: the labels that are not ignored have a total weight of 0"),
    (lambda: F.nll_loss(T(1, 2), [0], weight=[0.0, 1.0]), "nll_loss: the labels that are not ignored have a total weight of 0"),
    (lambda: F.nll_loss(T(0, 3), np.zeros(0, int)), "nll_loss: labels is empty"),
    (lambda: F.relu(T(2), 2.0), "relu: got at_zero 2; expected a slope at 0 from 0 to 1"),
    (lambda: nn.ReLU(at_zero=nan), "ReLU: got at_zero nan; expected a slope at 0 from 0 to 1"),
    (lambda: nn.Hardtanh(2, 1), "Hardtanh: got min_val 2 and max_val 1; expected min_val <= max_val"),
    (lambda: F.celu(T(2), alpha=0), "celu: got alpha 0; expected an alpha other than 0"),
    (lambda: F.softplus(T(2), beta=0), "softplus: got beta 0|expected a beta other than 0"),
    (lambda: F.multi_margin_loss(T(2, 3), [0, 5]), "multi_margin_loss: labels holds 5 at row 1"),
    (lambda: F.cross_entropy(T(1, 2), [0], label_smoothing=1.5), "cross_entropy: label_smoothing is 1.5, expected a number from"),
    (lambda: F.cross_entropy(T(1, 2), [0], label_smoothing=nan), "cross_entropy: label_smoothing is nan"),
    (lambda: F.multi_margin_loss(T(1, 2), [0], p=3), "multi_margin_loss: p is 3, expected 1 or 2"),
    (lambda: F.multi_margin_loss(T(1, 2), [0], margin=nan), "multi_margin_loss: margin is nan, expected a finite number"),
    (lambda: F.hinge_embedding_loss(T(2), [1, 0]), "hinge_embedding_loss: the target holds 0, expected 1 and -1"),
    (lambda: F.huber_loss(T(2), T(2), delta=0), "huber_loss: delta is 0, expected a finite number above 0"),
    (lambda: F.huber_loss(T(2), T(2), delta=float("inf")), "huber_loss: delta is inf, expected a finite number above 0"),
    (lambda: F.huber_loss(T(2), T(2), delta=nan), "huber_loss: delta is nan"),
    (lambda: F.smooth_l1_loss(T(2), T(2), beta=-1), "smooth_l1_loss: beta is -1, expected a finite number, 0 or more"),
    (lambda: F.smooth_l1_loss(T(2), T(2), beta=nan), "smooth_l1_loss: beta is nan"),
    (lambda: F.l1_loss(T(0), T(0)), "l1_loss: the batch is empty"),
    (lambda: F.binary_cross_entropy_with_logits(T(0), T(0)), "binary_cross_entropy_with_logits: the batch is empty"),
    (lambda: F.mse_loss(T(2), T(2), weight=[0, 0]), "mse_loss: the weights sum to 0"),
    (lambda: nn.init.calculate_gain("rleu"), "calculate_gain: nonlinearity is 'rleu'|did you mean 'relu'?"),
    (lambda: nn.Linear(2, 3, rng=0, init=partial(nn.init.kaiming_normal, mode="fan_inn")), "kaiming: mode is 'fan_inn'"),
    (lambda: nn.utils.clip_grad_norm_([P()], -1), "clip_grad_norm_: max_norm is -1, expected a number, 0 or more"),
    (lambda: nn.utils.clip_grad_norm_([P()], nan), "clip_grad_norm_: max_norm is nan"),
    (lambda: nn.utils.clip_grad_norm_([P()], 1, 0), "clip_grad_norm_: norm_type is 0, expected a number above 0"),
    (lambda: nn.utils.clip_grad_value_([P()], -1), "clip_grad_value_: clip_value is -1, expected a number, 0 or more"),
    (lambda: nn.utils.clip_grad_norm_([with_grad(P(), np.broadcast_to(1.0, 1))], 1),
     "clip_grad_norm_: the gradient of a parameter of shape (1,) is not a writable array of floats"),
    (lambda: optim.StepLR(S(), 0), "StepLR: step_size is 0, expected at least 1"),
    (lambda: optim.StepLR(S(), 1, gamma=nan), "StepLR: gamma is nan"),
    (lambda: optim.MultiStepLR(S(), [-1]), "MultiStepLR: a milestone is -1, expected at least 0"),
    (lambda: optim.CosineAnnealingLR(S(), 0), "CosineAnnealingLR: T_max is 0, expected at least 1"),
    (lambda: optim.LinearLR(S(), 0.0), "LinearLR: start_factor is 0.0, expected a number above 0, up to 1"),
    (lambda: optim.LinearLR(S(), end_factor=1.5), "LinearLR: end_factor is 1.5, expected a number from 0 to 1"),
    (lambda: optim.LambdaLR(S(), [abs, abs]), "LambdaLR: got 2 functions for 1 group"),
    (lambda: optim.LambdaLR(S(), lambda step: -1.0), "SGD: lr is -"),
    (lambda: optim.SequentialLR(S(), [], []), "SequentialLR: got 0 schedules and the milestones []"),
    (lambda: optim.SequentialLR(s := S(), [optim.StepLR(s, 1), optim.StepLR(s, 2), optim.StepLR(s, 3)], [5, 3]),
     "SequentialLR: got 3 schedules and the milestones [5, 3]; expected one milestone fewer than schedules, in increasing order"),
    (lambda: optim.SequentialLR(S(), [optim.StepLR(S(), 1)], []), "SequentialLR: got a StepLR of another optimizer"),
    (lambda: optim.ReduceLROnPlateau(S(), factor=1.0), "ReduceLROnPlateau: factor is 1.0, expected a number from 0 up to"),
    (lambda: optim.ReduceLROnPlateau(S(), min_lr=[0.1, 0.1]), "ReduceLROnPlateau: got 2 values of min_lr for 1 group"),
    (lambda: optim.StepLR(S(), 1).load_state_dict({"gamma": 1}), "StepLR: the state does not fit: missing step_size, last_epoch, base_lrs, _last_lr"),
    (lambda: F.rrelu(T(2), 0.5, 0.1), "rrelu: got lower 0.5 and upper 0.1"),
    (lambda: nn.RReLU(0.5, 0.1, rng=0), "RReLU: got lower 0.5 and upper 0.1"),
    (lambda: F.maxout(T(2, 3), 0), "maxout: pieces is 0, expected at least 1"),
    (lambda: nn.Linear(0, 1, rng=0), "Linear: in_features is 0, expected at least 1"),
    (lambda: nn.Linear(2, 3, rng=-1), "Linear got the seed rng=-1, expected 0 or more"),
    (lambda: nn.Maxout(2, 3, pieces=0, rng=0), "Maxout: pieces is 0, expected at least 1"),
    (lambda: nn.MLP([3], rng=0), "MLP: got widths [3]; expected at least two"),
    (lambda: nn.MLP([3, -1], rng=0), "MLP: a width is -1, expected at least 1"),
    (lambda: nn.PReLU(0), "PReLU: num_parameters is 0, expected at least 1"),
    (lambda: optim.SGD([]), "SGD: got no parameters"),
    (lambda: optim.SGD([P()], lr=-1), "SGD: lr is -1, expected a finite number, 0 or more"),
    (lambda: optim.Adam([P()], lr=nan), "Adam: lr is nan"),
    (lambda: optim.SGD([P()], momentum=1), "SGD: momentum is 1, expected a number from 0 up to, but not including, 1"),
    (lambda: optim.SGD([P()], momentum=-0.1), "SGD: momentum is -0.1"),
    (lambda: optim.SGD([P()], momentum=nan), "SGD: momentum is nan"),
    (lambda: optim.SGD([P()], dampening=nan), "SGD: dampening is nan"),
    (lambda: optim.AdamW([P()], weight_decay=-1), "AdamW: weight_decay is -1"),
    (lambda: optim.SGD([P()], nesterov=True), "SGD: nesterov got momentum 0.0 and dampening 0.0"),
    (lambda: optim.SGD([P()], nesterov=True, momentum=0.9, dampening=0.1),
     "SGD: nesterov got momentum 0.9 and dampening 0.1"),
    (lambda: optim.Adam([P()], betas=0.9), "Adam: betas is 0.9, expected two numbers"),
    (lambda: optim.Adam([P()], betas=(0.9, 1.0)), "Adam: betas is (0.9, 1.0), expected two numbers from 0 up to"),
    (lambda: optim.Adam([P()], eps=-1), "Adam: eps is -1"),
    (lambda: optim.SGD([p := P(), p]), "SGD: a parameter is in two groups, or twice in one"),
    (lambda: optim.SGD([P()]).terms(P()), "SGD: this parameter of shape (1,) is not one of this optimizer's"),
    (lambda: optim.SGD([p := P()]).terms(p), "terms: no gradient has arrived at this parameter of shape (1,)"),
    (lambda: set_option("lr", -1), "SGD: lr is -1"),
    (lambda: set_option("momentum", 1), "SGD: momentum is 1"),
    (lambda: set_option("params", [P()]), "the params of a group were moved into flat buffers|make a new optimizer"),
    (lambda: optim.SGD([P()]).param_groups[0].update(lr=-1), "SGD: lr is -1"),
    (lambda: ior(optim.SGD([P()]).param_groups[0], {"lr": -1}), "SGD: lr is -1"),
    (lambda: tg.grad(T(1), tg.Tensor([1.0])), "grad: input 0 does not require a gradient"),
    (lambda: tg.gradcheck(F.relu, T(2), order=3), "gradcheck: order is 3, expected 1 or 2"),
    (lambda: tg.gradcheck(F.relu, tg.Tensor([1.0])), "gradcheck: no input requires a gradient"),
    (lambda: tg.set_num_threads(0), "set_num_threads: n is 0, expected at least 1"),
    (lambda: tg.set_num_threads(10**6), "set_num_threads: n is 1000000, expected at most 1024"),
    (lambda: F.leaky_relu([1.0], float("nan")), "leaky_relu: got negative_slope nan; expected numbers"),
    (lambda: nn.Softplus(beta=float("nan")), "Softplus: got beta nan and threshold inf; expected numbers"),
]

NAMES = [       # a misspelling, and the name that the error must suggest
    (lambda: nn.MLP([3, 4, 2], activation="rleu", rng=0), "activation is 'rleu'|did you mean 'relu'?"),
    (lambda: nn.MLP([3, 4, 2], activation="leakyrelu", rng=0), "activation is 'leakyrelu'|did you mean 'leaky_relu'?"),
    (lambda: nn.MLP([3, 4, 2], activation="max_out", rng=0), "activation is 'max_out'|did you mean 'maxout'?"),
    (lambda: nn.Linear(2, 3, rng=0, init="glorott"), "init is 'glorott', expected one of: he|did you mean 'glorot'?"),
    (lambda: F.cross_entropy(T(2, 3), [0, 1], reduction="maen"),
     "cross_entropy: reduction is 'maen'|did you mean 'mean'?"),
    (lambda: F.mse_loss(T(2), T(2), "som"), "mse_loss: reduction is 'som'|did you mean 'sum'?"),
    (lambda: F.nll_loss(T(1, 2), [0], reduction="maen"), "nll_loss: reduction is 'maen'|did you mean 'mean'?"),
    (lambda: nn.HuberLoss("maen"), "HuberLoss: reduction is 'maen'|did you mean 'mean'?"),
    (lambda: optim.ReduceLROnPlateau(S(), "mim"), "ReduceLROnPlateau: mode is 'mim'|did you mean 'min'?"),
    (lambda: F.gelu(T(2), "than"), "gelu: approximate is 'than'|did you mean 'tanh'?"),
    (lambda: nn.Parameter([1.0], kind="wieght"), "Parameter: kind is 'wieght'|did you mean 'weight'?"),
    (lambda: optim.SGD([{"params": [P()], "momentun": 0.9}]),
     "SGD: an option of a group is 'momentun'|did you mean 'momentum'?"),
    (lambda: set_option("weight_deca", 1),
     "an option of a parameter group is 'weight_deca'|did you mean 'weight_decay'?"),
]

KINDS = [
    (lambda: tg.save("a.npz", model=nn.Linear), "got the class Linear, expected an object of it"),
    (lambda: tg.graph(T()).to_svg(3), "the picture: the path is 3, expected a string or a Path"),
    (lambda: lab.Units(type("Net", (nn.Module,), {})()), "the laboratory got Net without data, expected samples x for which it runs: lab.Units(model, x)"),
    (lambda: lab.revival(-1.0, lr=0.1, momentum=0.9, nesterov="yes"), "nesterov is 'yes', expected True or False"),
    (lambda: tg.Tensor("abc"), "Tensor holds text"),
    (lambda: tg.Tensor([1.0, T()]), "Tensor is a list that holds a Tensor which requires a gradient|tg.stack"),
    (lambda: T(2) + [[0.0], (T(), 1.0)], "operand is a list that holds a Tensor which requires a gradient"),
    (lambda: tg.mean((T(), T())), "x is a tuple that holds a Tensor which requires a gradient"),
    (lambda: tg.Tensor([1, None]), "Tensor holds Python objects (dtype object)"),
    (lambda: tg.Tensor(1j), "Tensor holds complex numbers (dtype complex128)"),
    (lambda: tg.Tensor(np.ma.array([1, 2], mask=[0, 1])), "Tensor is a masked array"),
    (lambda: tg.Tensor(np.array(["2020-01-01"], "datetime64[D]")), "Tensor holds dates"),
    (lambda: T(2) + "a", "operand holds text"),
    (lambda: None * T(2), "operand is None, expected real numbers"),
    (lambda: T(2) ** 1j, "operand holds complex numbers"),
    (lambda: T(2) @ "a", "operand holds text"),
    (lambda: F.relu("a"), "x holds text"),
    (lambda: tg.maximum(T(2), "a"), "operand holds text"),
    (lambda: tg.sqrt(None), "x is None, expected real numbers"),
    (lambda: T(2).clip("a"), "operand holds text"),
    (lambda: tg.where("a", T(2), 0), "where: condition holds text"),
    (lambda: T(2) < "a", "'<' not supported between instances of 'Tensor' and 'str'"),
    (lambda: tg.var(T(2), ddof="a"), "var: ddof is 'a', expected a number"),
    (lambda: tg.argmax(T(2), axis=1.5), "argmax: got axis 1.5; expected whole numbers"),
    (lambda: tg.jacobian(lambda x: x, np.ones(2)), "jacobian: input 0 is ndarray; expected a Tensor"),
    (lambda: tg.jacobian(lambda x: 3.0, T(2)), "jacobian: f returned float; expected one Tensor"),
    (lambda: tg.hessian(lambda x: (x, x), T(2)), "hessian: f returned tuple; expected one Tensor"),
    (lambda: tg.hvp(tg.sum, T(2), "a"), "hvp: vector 0 holds text"),
    (lambda: tg.hvp(tg.sum, 3, 3), "hvp: got int; expected a Tensor, or several"),
    (lambda: tg.hvp(lambda x: x.sum(), [T(2)], 3), "hvp: the vectors are int"),
    (lambda: F.linear("a", T(4, 3)), "linear: x holds text"),
    (lambda: F.linear(T(2, 3), "a"), "linear: weight holds text"),
    (lambda: F.prelu("a", T(1)), "prelu: x holds text"),
    (lambda: F.mse_loss(T(2), "a"), "mse_loss: target holds text"),
    (lambda: F.linear(T(2, 3), T(4, 3, dtype="float32")),
     "linear: x is float64, the weight float32|expected one dtype"),
    (lambda: F.prelu(T(2, 3), T(1, dtype="float32")), "prelu: x is float64, the slopes float32; expected one dtype"),
    (lambda: T(2, 3).sum(axis="a"), "sum: got axis 'a'; expected whole numbers"),
    (lambda: T(2, 3).sum(axis=1.5), "sum: got axis 1.5; expected whole numbers"),
    (lambda: T(2).backward("a"), "gradient holds text"),
    (lambda: set_data("a"), "data holds text"),
    (lambda: F.cross_entropy(T(2, 3), [0.0, 1.0]),
     'cross_entropy: labels holds float64 numbers|pass np.asarray(labels).astype("int64")'),
    (lambda: F.cross_entropy(T(2, 3, 2), np.zeros((2, 2))), 'cross_entropy: labels holds float64 numbers|.astype("int64")'),
    (lambda: F.cross_entropy(T(2, 3), T(2)), "cross_entropy: labels holds float64 numbers"),
    (lambda: F.cross_entropy(T(2, 3), T(2, 3, dtype="float32")), "cross_entropy: x is float64, the target float32; expected one"),
    (lambda: F.cross_entropy(T(2, 3), np.ones((2, 3)), weight=T(3)), "cross_entropy: weight requires a gradient"),
    (lambda: F.cross_entropy(T(2, 3), ["a", "b"]), "cross_entropy: labels holds text"),
    (lambda: F.cross_entropy(T(1, 2), [0], weight=T(2)), "cross_entropy: weight requires a gradient, which the loss"),
    (lambda: F.cross_entropy(T(1, 2), [0], ignore_index=1.5), "cross_entropy: ignore_index is 1.5, expected a whole number"),
    (lambda: F.cross_entropy(T(1, 2), [0], label_smoothing="a"), "cross_entropy: label_smoothing is 'a', expected a number"),
    (lambda: F.cross_entropy(T(1, 2), [0], weight="ab"), "cross_entropy: weight holds text"),
    (lambda: F.nll_loss(T(1, 2), [0.5]), "nll_loss: labels holds float64 numbers"),
    (lambda: F.huber_loss(T(2), T(2), delta="a"), "huber_loss: delta is 'a', expected a number"),
    (lambda: F.l1_loss(T(2), T(2, dtype="float32")), "l1_loss: x is float64, the target float32; expected one dtype"),
    (lambda: nn.CrossEntropyLoss(weight="ab"), "CrossEntropyLoss: weight holds text"),
    (lambda: nn.utils.clip_grad_norm_([np.ones(2)], 1), "clip_grad_norm_: got ndarray among the parameters; expected Tensors"),
    (lambda: nn.utils.clip_grad_norm_([P()], "a"), "clip_grad_norm_: max_norm is 'a', expected a number"),
    (lambda: optim.StepLR(P(), 1), "StepLR: got Parameter; expected an Optimizer"),
    (lambda: optim.SGD([with_grad(P(), "a")]), "the .grad of a parameter of shape (1,)"),
    (lambda: optim.ReduceLROnPlateau(S()).step("a"), "ReduceLROnPlateau: step got 'a', expected a number"),
    (lambda: optim.ReduceLROnPlateau(P()), "ReduceLROnPlateau: got Parameter; expected an Optimizer"),
    (lambda: optim.MultiStepLR(S(), 3), "MultiStepLR: milestones is 3, expected several whole numbers"),
    (lambda: optim.LambdaLR(S(), 3), "LambdaLR: lr_lambda is 3, expected a function, or one for each group"),
    (lambda: optim.SequentialLR(S(), 5, []), "SequentialLR: schedulers is 5, expected several"),
    (lambda: optim.SequentialLR(s := S(), [optim.StepLR(s, 1)], 5), "SequentialLR: milestones is 5, expected several"),
    (lambda: optim.SequentialLR(s := S(), [optim.ReduceLROnPlateau(s)], []), "SequentialLR: got ReduceLROnPlateau; expected"),
    (lambda: F.relu(T(2), 1, 2), "relu: got 2 parameters; expected at most 1: at_zero"),
    (lambda: F.leaky_relu(T(2), negative_slop=1),
     "leaky_relu: got an unknown parameter 'negative_slop'; expected negative_slope"),
    (lambda: F.leaky_relu([1.0], 0.1, negative_slope=0.2), "leaky_relu: got two values of negative_slope; expected one"),
    (lambda: F.leaky_relu(T(2), "a"), "leaky_relu: negative_slope is 'a', expected a number"),
    (lambda: nn.ELU(alpha=None), "ELU: alpha is None, expected a number"),
    (lambda: F.rrelu(T(2), "a", 1), "rrelu: lower is 'a', expected a number"),
    (lambda: F.rrelu(T(2), training=True), "rrelu in training needs rng"),
    (lambda: F.maxout(T(2, 4), 2.0), "maxout: pieces is 2.0, expected a whole number"),
    (lambda: nn.Linear(2.5, 1, rng=0), "Linear: in_features is 2.5, expected a whole number"),
    (lambda: nn.MLP(3, rng=0), "MLP: widths is 3, expected several"),
    (lambda: nn.MLP([3, 4, 2]), "MLP needs rng: an integer seed or a numpy Generator"),
    (lambda: nn.MLP([3, 4, 2], activation=lambda: 3, rng=0), "activation: |made int, expected a Module"),
    (lambda: nn.Sequential(nn.ReLU), "Sequential: got ReLU, expected modules"),
    (lambda: nn.PReLU("a"), "PReLU: num_parameters is 'a', expected a whole number"),
    (lambda: nn.Module()(3), "Module defines no forward"),
    (lambda: optim.SGD(None), "SGD: got NoneType; expected several Parameters"),
    (lambda: optim.SGD(nn.Linear(2, 3, rng=0)),
     "SGD: got Linear; expected several Parameters, such as model.parameters()"),
    (lambda: optim.SGD([T(2)]), "SGD: got Tensor among the parameters; expected Parameters, such as model.parameters() or "
     "[nn.Parameter(values)]"),
    (lambda: optim.SGD([{"params": [np.ones(2)]}]), "SGD: got ndarray among the parameters"),
    (lambda: optim.SGD([{"lr": 1}]), "SGD: got dict among the groups; expected dicts with 'params'"),
    (lambda: optim.SGD([{"params": [P()]}, P()]), "SGD: got Parameter among the groups"),
    (lambda: optim.SGD([P()], lr="a"), "SGD: lr is 'a', expected a number"),
    (lambda: optim.SGD([P()], momentum="a"), "SGD: momentum is 'a', expected a number"),
    (lambda: optim.SGD([P()], momentum=0.9, nesterov="no"), "SGD: nesterov is 'no', expected True or False"),
    (lambda: optim.Adam([P()], betas=("a", 0.9)), "Adam: a beta is 'a', expected a number"),
    (lambda: tg.grad(T(1), None), "grad: got Tensor and NoneType"),
    (lambda: tg.grad(3, T(1)), "grad: got int and Tensor"),
    (lambda: tg.gradcheck(F.relu, T(1, dtype="float32")),
     "gradcheck: input 0 is float32; finite differences need float64"),
    (lambda: tg.set_num_threads(1.5), "set_num_threads: n is 1.5, expected a whole number"),
]

STRUCTURE = [
    (lambda: tg.matmul(T(2, 2, 3), T(2, 4)), "matmul: shapes (2, 2, 3) and (2, 4) do not fit|3 and 2"),
    (lambda: T(2) @ T(2, 3, 4), "matmul: shapes (2,) and (2, 3, 4) do not fit|2 and 3"),
    (lambda: tg.matmul(T(), T(3)), "matmul: shapes () and (3,)|use * instead"),
    (lambda: T(2, 3).permute(0), "transpose: axes (0,)|shape (2, 3)"),
    (lambda: tg.swapaxes(T(2, 3), 0, 2), "swapaxes: got axis 2 for shape (2, 3)|-2 to 1"),
    (lambda: T(2, 1).squeeze(0), "squeeze: got axis 0 for shape (2, 1); expected axes of size 1"),
    (lambda: T(2, 1).squeeze((1, -1)), "squeeze: got axis (1, -1) for shape (2, 1); expected distinct"),
    (lambda: T(2, 3).unsqueeze(3), "expand_dims, unsqueeze: got axis 3 for x of shape (2, 3)|-3 to 2"),
    (lambda: T(2, 3).flatten(1, 0), "flatten: got start_axis 1 and end_axis 0 for shape (2, 3)"),
    (lambda: T(2, 3).flatten(2), "flatten: got axis 2 for shape (2, 3)"),
    (lambda: tg.broadcast_to(T(2, 3), (2, 4)), "broadcast_to: shape (2, 3) cannot be broadcast to (2, 4)"),
    (lambda: tg.broadcast_to(T(2, 3), 3), "broadcast_to: shape (2, 3) cannot be broadcast to (3,)"),
    (lambda: tg.flip(T(2, 3), 2), "flip: got axis 2 for shape (2, 3)"),
    (lambda: tg.pad(T(2, 3), [[1, 1]] * 3), "pad: got widths of shape (3, 2) for shape (2, 3)"),
    (lambda: tg.pad(T(2, 3), -1), "pad: got the width -1; expected 0 or more"),
    (lambda: tg.concatenate([]), "concatenate: got no arrays"),
    (lambda: tg.concatenate([T(2, 3), T(3, 2)]), "concatenate: shapes (2, 3) and (3, 2) along axis 0"),
    (lambda: tg.concatenate([T(2, 3), T(3)]), "concatenate: shapes (2, 3) and (3,)|the same number of axes"),
    (lambda: tg.concatenate([T(), T()]), "concatenate: shapes () and ()|at least one"),
    (lambda: tg.concatenate([T(2, 3)], axis=2), "concatenate: got axis 2 for shape (2, 3)"),
    (lambda: tg.stack([]), "stack: got no arrays"),
    (lambda: tg.stack([T(2, 3), T(3, 2)]), "stack: got shapes (2, 3) and (3, 2); expected one shape"),
    (lambda: tg.stack([T(2, 3)] * 4, axis=3), "stack: got axis 3|-3 to 2"),
    (lambda: tg.split(T(5, 2), 2), "split: axis 0 of shape (5, 2) cannot be split into 2 sections of one length"),
    (lambda: tg.split(T(5, 2), 0), "split: axis 0 of shape (5, 2) cannot be split into 0"),
    (lambda: tg.split(T(5, 2), 1, axis=2), "split: got axis 2 for shape (5, 2)"),
    (lambda: tg.split(T(), 1), "split: got axis 0 for shape ()"),
    (lambda: tg.take_along_axis(T(2, 3), [0, 1]), "take_along_axis: got indices of shape (2,) for shape (2, 3)"),
    (lambda: tg.gather(T(2, 3), 0, [0, 1]), "gather: got indices of shape (2,) for shape (2, 3)"),
    (lambda: tg.gather(T(2, 3), 0, [[0, 1, 0, 1]]), "gather: got an index of shape (1, 4) for shape (2, 3)|except axis 0"),
    (lambda: tg.gather(T(2, 3), 2, [[0]]), "gather: got axis 2 for shape (2, 3)"),
    (lambda: tg.einsum("ij,jk->ik", T(2, 3)), "einsum: 'ij,jk->ik' is for 2 operands; got 1"),
    (lambda: tg.einsum("ij", T(2, 3, 4)), "einsum: 'ij' in 'ij' does not fit an operand of shape (2, 3, 4)"),
    (lambda: tg.einsum("...ij", T(2)), "einsum: '...ij' in '...ij' does not fit an operand of shape (2,)"),
    (lambda: tg.einsum("ij,jk", T(2, 3), T(4, 5)), "einsum: shapes (2, 3), (4, 5) do not fit 'ij,jk'|the sizes 3 and 4"),
    (lambda: tg.einsum("ii->i", T(1, 3)), "einsum: shapes (1, 3) do not fit 'ii->i'|3 and 1"),
    (lambda: tg.einsum("ij->ik", T(2, 3)), "einsum: the result of 'ij->ik' needs letters of the operands, each once"),
    (lambda: tg.einsum("ij->ii", T(2, 3)), "einsum: the result of 'ij->ii' needs|once"),
    (lambda: tg.einsum("...j->j", T(2, 3)), "einsum: the result of '...j->j' has no place for the axes of the ellipsis"),
    (lambda: tg.einsum("i1", T(2, 3)), "einsum: got 'i1' in 'i1'; expected letters"),
    (lambda: tg.einsum("i.j", T(2, 3)), "einsum: got 'i.j' in 'i.j'; expected letters"),
    (lambda: tg.einsum("i->j->k", T(2)), "einsum: got 'j->k' in 'i->j->k'; expected letters"),
    (lambda: tg.einsum("......", T(2)), "einsum: got '......' in '......'; expected letters, and at most one ellipsis"),
    (lambda: T(2)[::0], "index: slice step cannot be zero"),
    (lambda: T(2)[[[0], [0, 1]]], "index is ragged"),
]

STRUCTURE_KINDS = [
    (lambda: T(2, 3)[1.0], "index: got float64 numbers; expected integers, slices, None, Ellipsis, or arrays"),
    (lambda: T(2, 3)[[1.0]], "index: got float64 numbers"),
    (lambda: T(2, 3)[T(2)], "index: got float64 numbers"),
    (lambda: T(2, 3)[0, T(0)], "index: got float64 numbers"),
    (lambda: T(2, 3)[np.zeros((0,))], "index: got float64 numbers"),
    (lambda: T(2, 3)["a"], "index holds text"),
    (lambda: T(2, 3)[{}], "index is {}, expected integers"),
    (lambda: T(2, 3)[0.5:], "index: slice indices must be integers|0.5"),
    (lambda: tg.take_along_axis(T(2, 3), [[0.5]]), "index: got float64 numbers"),
    (lambda: tg.stack(3.0), "stack: got float; expected several Tensors or arrays"),
    (lambda: tg.concatenate(["a", T(2)]), "concatenate holds text"),
    (lambda: tg.concatenate([T(2)], axis=1.5), "concatenate: got axis 1.5; expected whole numbers"),
    (lambda: tg.stack([T(2)], axis=None), "stack: got axis None; expected one whole number"),
    (lambda: tg.split(T(4), 1.5), "split: got 1.5; expected a number of sections, or several indices"),
    (lambda: tg.split(T(4), [1.5]), "split: got [1.5]; expected a number of sections, or several indices"),
    (lambda: tg.pad(T(4), 1.5), "pad: the widths are float64 numbers, expected integers"),
    (lambda: tg.pad(T(4), 1, "a"), "pad: constant_values is 'a', expected a number"),
    (lambda: tg.einsum(T(2), "i"), "einsum: the subscripts are Tensor; expected text, such as 'ij,jk->ik'"),
    (lambda: tg.swapaxes(T(2, 3), 0, None), "swapaxes: got axis None; expected one whole number"),
    (lambda: T(2, 3).permute("a", 0), "transpose: got axis ('a', 0); expected whole numbers"),
]

INDICES = [
    (lambda: T(3, 4)[5], "index: index 5 is out of bounds for axis 0 with size 3, in shape (3, 4)"),
    (lambda: T(3, 4)[1, -5], "index: index -5 is out of bounds for axis 1 with size 4, in shape (3, 4)"),
    (lambda: T(3, 4)[[0, 3]], "index: index 3 is out of bounds for axis 0 with size 3, in shape (3, 4)"),
    (lambda: T(3, 4)[:, [0, -5]], "index: index -5 is out of bounds for axis 1 with size 4, in shape (3, 4)"),
    (lambda: T(3, 4)[0, 0, 0], "index: got indices for 3 axes in shape (3, 4); expected at most 2"),
    (lambda: T()[0], "index: got indices for 1 axes in shape (); expected at most 0"),
    (lambda: T(3, 4)[..., ...], "index: got 2 Ellipses in shape (3, 4); expected at most one"),
    (lambda: T(3, 4)[[True, False]], "index: boolean index did not match|in shape (3, 4)"),
    (lambda: T(3, 4)[np.ones((3, 4, 1), bool)], "index: got indices for 3 axes in shape (3, 4); expected at most 2"),
    (lambda: T(3, 4)[[0, 1], [0, 1, 2]], "index: shape mismatch|in shape (3, 4)"),
    (lambda: tg.take_along_axis(T(2, 3), [[3], [0]], 1), "index: index 3 is out of bounds for axis 1 with size 3, in shape (2, 3)"),
    (lambda: tg.gather(T(2, 3), 0, [[2]]), "index: index 2 is out of bounds for axis 0 with size 2, in shape (2, 3)"),
]

STATES = [
    (lambda: freed().backward(), "backward: the graph of this result has been freed|retain_graph=True"),
    (lambda: tg.grad(freed(), T(2)), "grad: the graph of this result has been freed|retain_graph=True"),
    (lambda: tg.grad(tg.Tensor(1.0), T(2)), "grad: the result does not require a gradient"),
    (lambda: nn.utils.clip_grad_norm_([with_grad(P(), np.array([nan]))], 1, error_if_nonfinite=True),
     "clip_grad_norm_: the norm of the gradients is nan; nothing has been changed"),
    (lambda: tg.Tensor(1.0).backward(), "backward: the result does not require a gradient"),
    (lambda: tg.no_grad()(lambda: T(2).sum())().backward(), "backward: the result does not require a gradient|no_grad"),
    (lambda: assign(T(2), 1.0), "assigning into a Tensor that requires a gradient"),
    (lambda: assign(T(2) * 2, 1.0), "assigning into a Tensor that requires a gradient"),
]


@pytest.mark.parametrize("kind, bad, words", [
    pytest.param(kind, bad, words, id=words[:60]) for kind, table in
    ((ValueError, SHAPES), (ValueError, VALUES), (ValueError, NAMES), (TypeError, KINDS), (RuntimeError, STATES),
     (ValueError, STRUCTURE), (TypeError, STRUCTURE_KINDS), (IndexError, INDICES))
    for bad, words in table])
def test_bad_input_gets_one_sentence(kind, bad, words):
    with pytest.raises(kind) as caught:
        bad()
    assert type(caught.value) is kind
    sentence = str(caught.value)
    assert "\n" not in sentence and len(sentence) < 400 and not sentence.endswith(".")
    assert sentence.startswith(words.split("|")[0])
    assert all(part in sentence for part in words.split("|"))


def test_nothing_is_half_done_after_an_error():
    """A step that fails moves no parameter of any group; a label out of range leaves no gradient."""
    p, q = P(1, 2), P(3, 4)
    opt = optim.SGD([p, q], lr=0.1)
    p.grad, q.grad = np.ones(2), np.ones(3)
    with pytest.raises(ValueError, match=r"a parameter of shape \(2,\) has a gradient of shape \(3,\)"):
        opt.step()
    assert p.data.tolist() == [1, 2] and q.data.tolist() == [3, 4]
    x = T(2, 3)
    with pytest.raises(ValueError):
        F.cross_entropy(x, [0, 3])
    assert x.grad is None


def test_misfits_are_refused_before_memory_is_touched():
    """Wrong shapes that would make a kernel read foreign memory are refused before the launch, in every layer."""
    for bad in (lambda: F.linear(T(5, 3), T(4, 3), T(5)), lambda: T(5, 3) @ np.ones((2, 4)),
                lambda: F.linear(T(5, 2), T(4, 3))):
        with pytest.raises(ValueError):
            bad()
