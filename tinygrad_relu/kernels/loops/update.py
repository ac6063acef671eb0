"""The optimizers' updates: one launch updates a whole flat buffer of parameters.

A buffer of running means fades while the gradient is exactly 0. It would end among the subnormal numbers, below 1.2e-38 in
float32, and stay there for ever: 0.9 times the smallest one rounds to itself. Arithmetic on subnormal numbers takes a hundred
times as long, so `flushed` makes them 0, as JAX and TensorFlow do. (On Fashion-MNIST, 5 % of the buffers of SGD with momentum 0.9
became subnormal in the second epoch, and the update took 390 us instead of 145.)
"""
from __future__ import annotations

import math

from ..formulas.bits import SMALLEST_NORMAL, pick
from ..machine.parallel import parallel
from ..machine.policy import Integers, Vector, kernel, rounded, scalar

GRAIN = 1 << 15         # parameters from which updates are shared among threads: about 20 us of one core


@rounded
def times(a, b):
    return a * b


@scalar
def flushed(x):
    """x, or 0 if it is subnormal."""
    return type(x)(0) if abs(x) < pick(x, *SMALLEST_NORMAL) else x


@scalar
def _plain(start, stop, begin, p, g, lr, coupled, shrink, decoupled):
    start, stop = begin + start, begin + stop
    p, g = p[start:stop], g[start:stop]
    for i in range(p.size):
        step = g[i] + coupled * p[i] if coupled else g[i]
        p[i] = (times(p[i], shrink) if decoupled else p[i]) - lr * step


@scalar
def _momentum(start, stop, begin, p, g, v, lr, mu, first, gain, coupled, shrink, decoupled, nesterov):
    start, stop = begin + start, begin + stop
    p, g, v = p[start:stop], g[start:stop], v[start:stop]
    for i in range(p.size):
        step = g[i] + coupled * p[i] if coupled else g[i]
        inertia = flushed(step if first else mu * v[i] + times(gain, step))
        v[i] = inertia
        p[i] = (times(p[i], shrink) if decoupled else p[i]) - lr * (step + mu * inertia if nesterov else inertia)


@scalar
def shared(update, size, cuts, arguments):
    """Call ``update(start, stop, begin, *arguments)`` for parts of each piece between the cuts. Threads share each piece, as they
    share the products of a layer: so a thread updates the rows whose gradient it has made, and that it multiplies with next."""
    begin = 0
    for i in range(cuts.size + 1):
        end = cuts[i] if i < cuts.size else size
        parallel(update, end - begin, GRAIN if end - begin <= GRAIN else GRAIN // 4, (begin,) + arguments)      # noqa: RUF005
        begin = end


@kernel
def sgd(p: Vector, g: Vector, v: Vector, cuts: Integers, lr: float, momentum: float, first: bool, one_minus_dampening: float,
        weight_decay: float, nesterov: bool, decoupled: bool):
    """``v = momentum v + (1 - dampening) g; p -= lr v``, with the decay ``weight_decay p`` added to g unless it is decoupled.

    At the first step the buffer starts as g itself, undampened (as in PyTorch). Without momentum `v` is empty.
    """
    T = p.dtype.type
    rate, mu, gain, decay = T(lr), T(momentum), T(one_minus_dampening), T(weight_decay)
    coupled, shrink = (T(0), T(1) - rate * decay) if decoupled else (decay, T(1))
    if v.size == 0:
        shared(_plain, p.size, cuts, (p, g, rate, coupled, shrink, decoupled))
    else:
        shared(_momentum, p.size, cuts, (p, g, v, rate, mu, first, gain, coupled, shrink, decoupled, nesterov))


@scalar
def _adam(start, stop, begin, p, g, m, v, beta1, beta2, eps, step_size, coupled, shrink, decoupled):
    start, stop = begin + start, begin + stop
    p, g, m, v = p[start:stop], g[start:stop], m[start:stop], v[start:stop]
    T = p.dtype.type
    new1, new2 = T(1) - beta1, T(1) - beta2
    for i in range(p.size):
        step = g[i] + coupled * p[i] if coupled else g[i]
        m[i] = flushed(beta1 * m[i] + times(new1, step))
        v[i] = flushed(beta2 * v[i] + times(times(new2, step), step))
        p[i] = (p[i] * shrink if decoupled else p[i]) - step_size * m[i] / (math.sqrt(v[i]) + eps)


@kernel
def adam(p: Vector, g: Vector, m: Vector, v: Vector, cuts: Integers, lr: float, beta1: float, beta2: float, eps: float,
         correction1: float, correction2_root: float, weight_decay: float, decoupled: bool):
    """Adam (Kingma & Ba 2015), with the decay added to g, or decoupled as in AdamW (Loshchilov & Hutter 2019).

    The correction of v multiplies lr and eps instead of dividing every number (the end of their section 2).
    """
    T = p.dtype.type
    rate, decay, root = T(lr), T(weight_decay), T(correction2_root)
    coupled, shrink = (T(0), T(1) - rate * decay) if decoupled else (decay, T(1))
    shared(_adam, p.size, cuts, (p, g, m, v, T(beta1), T(beta2), T(eps) * root, rate * root / T(correction1), coupled, shrink,
                             decoupled))
