"""One training step of ours beside the same step in other libraries, in one run: for figures that can be compared.

usage: python benchmarks/compare.py [--peers numpy torch jax] [--python PATH] [SIZE ...]

The step: forward through a ReLU MLP, softmax cross-entropy, backward, SGD with momentum and L2; float32, with the same
data and weights for all. Peers that are not installed are left out. How it is kept fair:

- Each library runs in a process of its own, where the threads of the others do not spin. Settings that force a processor
  family (OPENBLAS_CORETYPE) are removed from its environment, because they slow some libraries and not others.
- They take turns of a fraction of a second, so that a busy moment of the machine affects all of them, and the median of
  each counts. After a turn there is a pause, until its threads sleep.
- Before the turns, each makes 20 steps in float64, and the first layer's weights must agree to a relative 1e-9. Rounding
  alone makes a difference of 1e-16; leaving out the weight decay, the smallest mistake, one of 1e-4. In float32 that
  check is impossible: in the 30 layers of "deep" a rounding error can push a pre-activation across the kink of a ReLU,
  and correct libraries end up 1e-4 apart.
"""
from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

SIZES = {  # name: (batch, widths)
    "tiny": (32, [2, 16, 16, 2]),
    "digits": (32, [64, 64, 64, 10]),
    "deep": (64, [32] * 30 + [10]),
    "mnist": (64, [784, 256, 128, 10]),
    "mnist512": (512, [784, 512, 512, 10]),
    "wide": (256, [1024, 1024, 1024, 10]),
}
LR, MOMENTUM, DECAY = 0.01, 0.9, 1e-4
CHECKED, BOUND = 20, 1e-9                           # steps in float64, relative difference of the weights (see above)
WARMUP, ROUNDS, TURN, PAUSE = 20, 9, 0.2, 0.05      # steps, turns of each, seconds of a turn, seconds between turns
FORCED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")

Step = Callable[[], Any]
Weights = Callable[[], Any]                         # the first layer's weight, (inputs, outputs)


def problem(size: str, dtype: str = "float32") -> tuple[Any, Any, list[Any]]:
    """Data x, labels y, and a weight (inputs, outputs) for each layer; biases start at 0."""
    import numpy as np

    batch, widths = SIZES[size]
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, widths[0]), dtype=np.float32)
    y = rng.integers(0, widths[-1], batch)
    weights = [(rng.standard_normal((n, m)) * np.sqrt(2 / n)).astype(np.float32) for n, m in zip(widths, widths[1:])]
    return x.astype(dtype), y, [weight.astype(dtype) for weight in weights]


# -- the peers: each gives a function that makes one step, and one that returns the first weight ------------------------


def our_step(x: Any, y: Any, weights: list[Any]) -> tuple[Step, Weights]:
    from tinygrad_relu import functional as F
    from tinygrad_relu import nn, optim

    model = nn.MLP([len(weights[0]), *(w.shape[1] for w in weights)], rng=0, dtype=x.dtype)
    linears = [layer for layer in model if isinstance(layer, nn.Linear)]
    for layer, weight in zip(linears, weights):
        layer.weight.data = weight.T
    opt = optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=DECAY)

    def step() -> None:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()

    return step, lambda: linears[0].weight.data.T


def numpy_step(x: Any, y: Any, weights: list[Any]) -> tuple[Step, Weights]:
    """Written by hand with care, without an engine."""
    import numpy as np

    parameters = [(w.copy(), np.zeros(w.shape[1], w.dtype)) for w in weights]
    buffers = [(np.zeros_like(w), np.zeros_like(b)) for w, b in parameters]
    n, rows = len(x), np.arange(len(x))

    def step() -> None:
        inputs = [x]
        for i, (w, b) in enumerate(parameters):
            z = inputs[-1] @ w
            z += b
            if i < len(parameters) - 1:
                np.maximum(z, 0, out=z)
            inputs.append(z)
        g = np.exp(inputs[-1] - inputs[-1].max(1, keepdims=True))
        g /= g.sum(1, keepdims=True)
        g[rows, y] -= 1
        g /= n
        for i in range(len(parameters) - 1, -1, -1):
            gradients = inputs[i].T @ g, g.sum(0)
            if i:
                g = g @ parameters[i][0].T
                g *= inputs[i] > 0
            for p, v, gp in zip(parameters[i], buffers[i], gradients):
                gp += DECAY * p
                v *= MOMENTUM
                v += gp
                p -= LR * v

    return step, lambda: parameters[0][0]


def torch_step(x: Any, y: Any, weights: list[Any]) -> tuple[Step, Weights]:
    import torch

    layers: list[Any] = []
    for weight in weights:
        layer = torch.nn.Linear(*weight.shape, dtype=torch.from_numpy(weight).dtype)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight.T.copy()))
            layer.bias.zero_()
        layers += [layer, torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    opt = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=DECAY)
    x, y, loss = torch.from_numpy(x), torch.from_numpy(y), torch.nn.CrossEntropyLoss()

    def step() -> None:
        opt.zero_grad()
        loss(model(x), y).backward()
        opt.step()

    return step, lambda: layers[0].weight.detach().numpy().T


def jax_step(x: Any, y: Any, weights: list[Any]) -> tuple[Step, Weights]:
    """The whole step compiled as one."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", x.dtype.itemsize == 8)
    parameters = [(jnp.asarray(w), jnp.zeros(w.shape[1], w.dtype)) for w in weights]
    state = [parameters, jax.tree.map(jnp.zeros_like, parameters)]
    x, y = jnp.asarray(x), jnp.asarray(y)

    def loss(parameters: Any) -> Any:
        h = x
        for w, b in parameters[:-1]:
            h = jax.nn.relu(h @ w + b)
        z = h @ parameters[-1][0] + parameters[-1][1]
        return -jnp.mean(jax.nn.log_softmax(z)[jnp.arange(len(y)), y])

    @jax.jit
    def update(parameters: Any, buffers: Any) -> Any:
        gradients = jax.grad(loss)(parameters)
        buffers = jax.tree.map(lambda v, g, p: MOMENTUM * v + g + DECAY * p, buffers, gradients, parameters)
        return jax.tree.map(lambda p, v: p - LR * v, parameters, buffers), buffers

    def step() -> None:
        state[:] = update(*state)
        jax.block_until_ready(state)

    return step, lambda: state[0][0][0]


PEERS = {"tinygrad_relu": our_step, "numpy": numpy_step, "torch": torch_step, "jax": jax_step}


# -- taking turns -----------------------------------------------------------------------------------------------------


def work(peer: str, size: str) -> None:
    """A worker: prints a sum of the weights after some steps in float64; then, for each line that it reads, times one turn."""
    import numpy as np

    try:
        step, weights = PEERS[peer](*problem(size, "float64"))
    except ImportError:
        print("missing", flush=True)
        return
    for _ in range(CHECKED):
        step()
    print(float(np.abs(np.asarray(weights())).sum()), flush=True)
    step, _ = PEERS[peer](*problem(size, "float32"))
    for _ in range(WARMUP):
        step()
    start = time.perf_counter()
    step()
    steps = max(1, min(20000, int(TURN / max(time.perf_counter() - start, 1e-6))))
    for _ in sys.stdin:
        start = time.perf_counter()
        for _ in range(steps):
            step()
        print((time.perf_counter() - start) / steps * 1e6, flush=True)


def compare(size: str, peers: list[str], python: str) -> dict[str, float]:
    """Microseconds per step of ours and of every peer that is installed."""
    environment = {name: value for name, value in os.environ.items() if name not in FORCED}
    workers: dict[str, subprocess.Popen[str]] = {}
    times: dict[str, list[float]] = {}
    learned: dict[str, float] = {}
    try:
        for peer in peers:
            interpreter = sys.executable if peer == "tinygrad_relu" else python
            worker = workers[peer] = subprocess.Popen(
                [interpreter, str(Path(__file__).resolve()), "--work", peer, size], env=environment, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=1)
            answer = worker.stdout.readline().strip()
            if answer and answer != "missing":
                learned[peer], times[peer] = float(answer), []
        if "tinygrad_relu" not in learned:
            sys.exit("compare: this Python cannot import tinygrad_relu; expected it to be installed (pip install .)")
        reference = learned["tinygrad_relu"]
        for peer, found in learned.items():
            if abs(found - reference) > BOUND * reference:
                raise RuntimeError(f"{peer} learns something else on {size}: weights sum to {found}, not {reference}")
        for _ in range(ROUNDS):
            for peer in times:
                time.sleep(PAUSE)
                print("turn", file=workers[peer].stdin, flush=True)
                times[peer].append(float(workers[peer].stdout.readline()))
    finally:
        for worker in workers.values():
            worker.stdin.close()
            worker.stdout.close()
            worker.wait()
    return {peer: median(found) for peer, found in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sizes", nargs="*", metavar="SIZE", help=f"{', '.join(SIZES)} (default: all)")
    parser.add_argument("--peers", nargs="+", choices=[peer for peer in PEERS if peer != "tinygrad_relu"],
                        default=["numpy", "torch", "jax"])
    parser.add_argument("--python", default=sys.executable, help="interpreter that has the peers (default: this one)")
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        return work(*arguments.work)
    unknown = [size for size in arguments.sizes if size not in SIZES]
    if unknown:
        parser.error(f"unknown size {unknown[0]}; expected some of: {', '.join(SIZES)}")
    peers = ["tinygrad_relu", *arguments.peers]
    print(f"{'us per step':12s}" + "".join(f"{peer:>20s}" for peer in peers))
    for size in arguments.sizes or SIZES:
        found = compare(size, peers, arguments.python)
        ours = found["tinygrad_relu"]
        cells = [f"{found[peer]:.1f} ({found[peer] / ours:.2f})" if peer in found else "-" for peer in peers]
        print(f"{size:12s}" + "".join(f"{cell:>20s}" for cell in cells), flush=True)
    print("(in brackets: how many times as long as ours)")


if __name__ == "__main__":
    main()
