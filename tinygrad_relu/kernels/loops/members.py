"""Kernels of populations: the kernels of one network, run for each of its members, which threads share.

Axis 0 of an array has an entry for each member. An input with one entry there is shared by all members. A member is computed by
the kernel of a network alone (`called`), so its bits are the same.
"""
from __future__ import annotations

import math

from ..formulas import ACTIVATIONS
from ..formulas.record import Elementwise
from ..machine.calling import called
from ..machine.parallel import parallel
from ..machine.policy import Array3, Booleans, Doubles, Integers, Matrix, Pair, Parameters, Vector, factory, kernel, pair, scalar
from . import affine, loss, update

# Least work of a slice, 10 to 20 us: multiplications of a matrix product, numbers of a loss, numbers of an update.
PRODUCTS, LOSSES, UPDATES = 1 << 18, 1 << 11, 1 << 14
CALL = 1 << 14          # what a call of a small matrix product takes, in multiplications

one_linear, one_linear_pullback = called(affine.linear), called(affine.linear_pullback)
one_loss, one_loss_pullback = called(loss.cross_entropy), called(loss.cross_entropy_pullback)
one_sgd, one_adam = called(update.sgd), called(update.adam)


# -- the affine layer ----------------------------------------------------------------------------------------------------


@scalar
def several(most):
    """How many members make a slice: a power of 2, so that the shares of threads begin at the same members in all loops."""
    return 1 << int(math.log2(max(1, most)))


@scalar
def grain_of(x, weight):
    return several(PRODUCTS // (CALL + x.shape[1] * weight.shape[1] * weight.shape[2]))


@scalar
def linears(start, stop, x, weight, bias, out):
    for k in range(start, stop):
        one_linear(x[k % x.shape[0]], weight[k], bias[k], out[k])


@kernel
def linear_of_members(x: Array3, weight: Array3, bias: Matrix, out: Array3):
    """See `affine.linear`."""
    parallel(linears, out.shape[0], grain_of(x, weight), (x, weight, bias, out))


@scalar
def gradients(k, gx, gw, gb, no_matrix, no_vector):
    """Where the gradients of member k go; nowhere if they are not needed."""
    return (gx[k % gx.shape[0]] if gx.shape[0] else no_matrix, gw[k] if gw.shape[0] else no_matrix,
            gb[k] if gb.shape[0] else no_vector)


@scalar
def again(k, gx):
    """1 if the gradient of x is to be added to that of the members before, which share x."""
    return 1 if gx.shape[0] == 1 and k > 0 else 0


@scalar
def linear_pullbacks(start, stop, g, x, weight, gx, gw, gb, add):
    no_matrix, no_vector = g[0][:0], g[0][0][:0]
    for k in range(start, stop):
        one_linear_pullback(g[k], x[k % x.shape[0]], weight[k], *gradients(k, gx, gw, gb, no_matrix, no_vector),
                            add | again(k, gx))


@kernel
def linear_pullback_of_members(g: Array3, x: Array3, weight: Array3, gx: Array3, gw: Array3, gb: Matrix, add: int):
    """See `affine.linear_pullback`; where x is shared, its gradient is the sum over the members, in order."""
    parallel(linear_pullbacks, g.shape[0], g.shape[0] if gx.shape[0] == 1 else grain_of(x, weight),
             (g, x, weight, gx, gw, gb, add))


@factory(ACTIVATIONS.values())
def linear_activation_of_members(activation: Elementwise[...]) -> Pair:
    """See `affine.linear_activation`."""
    one = affine.linear_activation(activation)
    one_forward, one_pullback = called(one.forward), called(one.pullback)

    def forwards(start, stop, x, weight, bias, p, z, out):
        for k in range(start, stop):
            one_forward(x[k % x.shape[0]], weight[k], bias[k], p, z[k], out[k])

    def pullbacks(start, stop, g, z, y, x, weight, p, gz, gx, gw, gb, add):
        no_matrix, no_vector = g[0][:0], g[0][0][:0]
        for k in range(start, stop):
            one_pullback(g[k], z[k], y[k], x[k % x.shape[0]], weight[k], p, gz[k],
                         *gradients(k, gx, gw, gb, no_matrix, no_vector), add | again(k, gx))

    forwards, pullbacks = scalar(forwards), scalar(pullbacks)

    def forward(x: Array3, weight: Array3, bias: Matrix, p: Parameters, z: Array3, out: Array3):
        parallel(forwards, out.shape[0], grain_of(x, weight), (x, weight, bias, p, z, out))

    def pullback(g: Array3, z: Array3, y: Array3, x: Array3, weight: Array3, p: Parameters, gz: Array3, gx: Array3, gw: Array3,
                 gb: Matrix, add: int):
        parallel(pullbacks, g.shape[0], g.shape[0] if gx.shape[0] == 1 else grain_of(x, weight),
                 (g, z, y, x, weight, p, gz, gx, gw, gb, add))

    return pair(f"linear_{activation.name}_of_members", activation, forward, pullback)


# -- cross-entropy: `labels` has those of each member, or of all together -------------------------------------------------------


@scalar
def losses_of(start, stop, x, labels, scale, slopes, losses):
    rows = x.shape[1]
    for k in range(start, stop):
        first = k * rows % labels.size
        one_loss(x[k], labels[first:first + rows], scale, slopes[k], losses[k:k + 1])


@kernel
def cross_entropy_of_members(x: Array3, labels: Integers, scale: float, slopes: Array3, losses: Vector):
    """See `loss.cross_entropy`: a loss for each member."""
    parallel(losses_of, x.shape[0], several(LOSSES // max(1, x[0].size)), (x, labels, scale, slopes, losses))


@scalar
def loss_pullbacks(start, stop, g, slopes, gx):
    for k in range(start, stop):
        one_loss_pullback(g[k:k + 1], slopes[k], False, gx[k])


@kernel
def cross_entropy_pullback_of_members(g: Vector, slopes: Array3, gx: Array3):
    """See `loss.cross_entropy_pullback`."""
    parallel(loss_pullbacks, gx.shape[0], several(UPDATES // max(1, gx[0].size)), (g, slopes, gx))


# -- updates: a flat buffer has the parameters one after the other, each with `sizes[i]` numbers for each member -----------------


@scalar
def unused(buffer):
    for number in buffer:       # noqa: SIM110      # Numba has no generators
        if number == number:
            return False
    return True


@scalar
def sgds(start, stop, p, g, v, sizes, lr, momentum, dampening, weight_decay, nesterov, decoupled):
    place = 0
    for size in sizes:
        for k in range(start, stop):
            first, last = place + k * size, place + (k + 1) * size
            own = v[first:last] if momentum[k] != 0 else v[:0]
            one_sgd(p[first:last], g[first:last], own, sizes[:0], lr[k], momentum[k], unused(own), 1.0 - dampening[k],
                    weight_decay[k], nesterov[k], decoupled[k])
        place += size * lr.size


@kernel
def sgd_of_members(p: Vector, g: Vector, v: Vector, sizes: Integers, lr: Doubles, momentum: Doubles, dampening: Doubles,
                   weight_decay: Doubles, nesterov: Booleans, decoupled: Booleans):
    """See `update.sgd`; every setting has an entry for each member. A buffer of NaN has not been used yet."""
    grain = several(UPDATES * lr.size // max(1, p.size))
    parallel(sgds, lr.size, grain, (p, g, v, sizes, lr, momentum, dampening, weight_decay, nesterov, decoupled))


@scalar
def adams(start, stop, p, g, m, v, sizes, lr, beta1, beta2, eps, t, weight_decay, decoupled):
    place = 0
    for size in sizes:
        for k in range(start, stop):
            first, last = place + k * size, place + (k + 1) * size
            one_adam(p[first:last], g[first:last], m[first:last], v[first:last], sizes[:0], lr[k], beta1[k], beta2[k],
                     eps[k], 1.0 - beta1[k] ** t, math.sqrt(1.0 - beta2[k] ** t), weight_decay[k], decoupled)
        place += size * lr.size


@kernel
def adam_of_members(p: Vector, g: Vector, m: Vector, v: Vector, sizes: Integers, lr: Doubles, beta1: Doubles, beta2: Doubles,
                    eps: Doubles, t: float, weight_decay: Doubles, decoupled: bool):
    """Step t of Adam (see `update.adam`); every setting has an entry for each member."""
    grain = several(UPDATES * lr.size // max(1, p.size))
    parallel(adams, lr.size, grain, (p, g, m, v, sizes, lr, beta1, beta2, eps, t, weight_decay, decoupled))


@scalar
def restarted(start, stop, p, g, m, v, steps, sizes, lr, beta1, beta2, eps, weight_decay, decoupled):
    place = 0
    for size in sizes:
        for k in range(start, stop):
            first, end = place + k * size, place + (k + 1) * size
            while first < end:                      # a run of entries with one count
                last = first + 1
                while last < end and steps[last] == steps[first]:
                    last += 1
                t = float(steps[first]) + 1.0
                one_adam(p[first:last], g[first:last], m[first:last], v[first:last], sizes[:0], lr[k], beta1[k], beta2[k],
                         eps[k], 1.0 - beta1[k] ** t, math.sqrt(1.0 - beta2[k] ** t), weight_decay[k], decoupled)
                for i in range(first, last):
                    steps[i] += 1
                first = last
        place += size * lr.size


@kernel
def adam_restarted(p: Vector, g: Vector, m: Vector, v: Vector, steps: Vector, sizes: Integers, lr: Doubles, beta1: Doubles,
                   beta2: Doubles, eps: Doubles, weight_decay: Doubles, decoupled: bool):
    """As `adam_of_members`, with a count of steps for each entry, since some have begun again (`Optimizer.reset`)."""
    grain = several(UPDATES * lr.size // max(1, p.size))
    parallel(restarted, lr.size, grain, (p, g, m, v, steps, sizes, lr, beta1, beta2, eps, weight_decay, decoupled))
