"""The optimizers' updates: one launch updates a whole flat buffer of parameters."""
from __future__ import annotations

import math

from ..machine.policy import Vector, kernel


@kernel
def sgd(p: Vector, g: Vector, v: Vector, lr: float, momentum: float, first: bool, one_minus_dampening: float,
        weight_decay: float, nesterov: bool, decoupled: bool):
    """``v = momentum v + (1 - dampening) g; p -= lr v``, with the decay ``weight_decay p`` added to g unless it is decoupled.

    At the first step the buffer starts as g itself, undampened (as in PyTorch). Without momentum `v` is empty.
    """
    T = p.dtype.type
    lr, mu, gain, decay = T(lr), T(momentum), T(one_minus_dampening), T(weight_decay)
    shrink = T(1) - lr * decay if decoupled else T(1)
    coupled = T(0) if decoupled else decay
    if v.size == 0:
        for i in range(p.size):
            step = g[i] + coupled * p[i] if coupled else g[i]
            p[i] = (p[i] * shrink if decoupled else p[i]) - lr * step
        return
    for i in range(p.size):
        step = g[i] + coupled * p[i] if coupled else g[i]
        inertia = step if first else mu * v[i] + gain * step
        v[i] = inertia
        p[i] = (p[i] * shrink if decoupled else p[i]) - lr * (step + mu * inertia if nesterov else inertia)


@kernel
def adam(p: Vector, g: Vector, m: Vector, v: Vector, lr: float, beta1: float, beta2: float, eps: float, correction1: float,
         correction2_root: float, weight_decay: float, decoupled: bool):
    """Adam (Kingma & Ba 2015), with the decay added to g, or decoupled as in AdamW (Loshchilov & Hutter 2019)."""
    T = p.dtype.type
    lr, beta1, beta2, eps, decay = T(lr), T(beta1), T(beta2), T(eps), T(weight_decay)
    new1, new2, step_size, root = T(1) - beta1, T(1) - beta2, T(lr) / T(correction1), T(correction2_root)
    shrink = T(1) - lr * decay if decoupled else T(1)
    coupled = T(0) if decoupled else decay
    for i in range(p.size):
        step = g[i] + coupled * p[i] if coupled else g[i]
        m[i] = beta1 * m[i] + new1 * step
        v[i] = beta2 * v[i] + new2 * step * step
        p[i] = (p[i] * shrink if decoupled else p[i]) - step_size * m[i] / (math.sqrt(v[i]) / root + eps)
