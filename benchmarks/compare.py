"""One training step of ours beside the same step in other libraries, in one run: for figures that can be compared.

usage: python benchmarks/compare.py [--peers numpy torch jax ...] [--python PATH] [--rounds N] [--write] [SIZE ...]

The step: forward through a ReLU MLP, softmax cross-entropy, backward, SGD with momentum and L2; float32, with the same
data and weights for all. Peers that are not installed are left out. `--write` writes the table and the picture of
docs/performance.md. How it is kept fair:

- Each library has its fastest ordinary options: PyTorch's optimizer is fused, and JAX gives the memory of old parameters to new
  ones (donation).
- Each library runs in a process of its own, where the threads of the others do not spin. Settings that force a processor
  family (OPENBLAS_CORETYPE) are removed from its environment, because they slow some libraries and not others.
- They take turns of a fraction of a second, so that a busy moment of the machine affects all of them. Between turns there is a
  pause, until the threads of the last one sleep; a turn begins with steps that are not timed, because caches and threads are cold
  after a pause. The figure of a turn is the least mean of ten pieces of it, and that of a library its least turn. The spread is
  how far the median of its turns is above that.
- Before the turns, each makes 20 steps in float64, and the first layer's weights must agree to a relative 1e-9. Rounding
  alone makes a difference of 1e-16; leaving out the weight decay, the smallest mistake, one of 1e-4. In float32 that
  check is impossible: in the 30 layers of "deep" a rounding error can push a pre-activation across the kink of a ReLU,
  and correct libraries end up 1e-4 apart. (scikit-learn does not decay biases, so it is checked to 1e-4 only.)
"""
from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

SIZES = {  # name: (batch, widths)
    "tiny": (32, [2, 16, 16, 2]),
    "digits": (32, [64, 64, 64, 10]),
    "deep": (64, [32] * 30 + [10]),
    "mnist": (64, [784, 256, 128, 10]),
    "mnist512": (512, [784, 512, 512, 10]),
    "wide": (256, [1024, 1024, 1024, 10]),
    "odd": (37, [13, 61, 47, 7]),
    "odd-mnist": (37, [784, 301, 151, 10]),
}
POPULATIONS = {"256 x tiny": ("tiny", 256), "64 x digits": ("digits", 64), "64 x deep": ("deep", 64)}    # networks at once
LR, MOMENTUM, DECAY = 0.01, 0.9, 1e-4
CHECKED, BOUND = 20, 1e-9                           # steps in float64, relative difference of the weights (see above)
BOUNDS = {"sklearn": 1e-4}                          # of those that do not do quite the same
ROUNDS, WARM, TURN, PAUSE = 9, 0.05, 0.2, 0.05      # turns of each; seconds before the timing, of it, and between turns
FORCED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")

Step = Callable[[], Any]
Weights = Callable[[], Any]                         # the first layer's weight, (inputs, outputs)


def problem(size: str, dtype: str = "float32") -> tuple[Any, Any, list[Any]]:
    """Data x, labels y, and a weight (inputs, outputs) for each layer; biases start at 0. Those of a population have one more
    axis in front."""
    import numpy as np

    base, members = POPULATIONS.get(size, (size, 0))
    batch, widths = SIZES[base]
    lead = (members,) if members else ()
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, widths[0]), dtype=np.float32)
    y = rng.integers(0, widths[-1], batch)
    weights = [(rng.standard_normal((*lead, n, m)) * np.sqrt(2 / n)).astype(np.float32) for n, m in zip(widths, widths[1:])]
    return x.astype(dtype), y, [weight.astype(dtype) for weight in weights]


# -- the peers: each gives a function that makes one step, and one that returns the first weight ------------------------


def our_step(x: Any, y: Any, weights: list[Any], captured: bool = False) -> tuple[Step, Weights]:
    import tinygrad_relu as tg
    from tinygrad_relu import functional as F
    from tinygrad_relu import nn, optim

    *lead, _, _ = weights[0].shape
    widths = [weights[0].shape[-2], *(w.shape[-1] for w in weights)]
    model = nn.MLP(widths, rng=0, dtype=x.dtype, **({"members": lead[0]} if lead else {}))
    linears = [layer for layer in model if isinstance(layer, nn.Linear)]
    for layer, weight in zip(linears, weights):
        layer.weight.data = weight.swapaxes(-1, -2)
    opt = optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=DECAY)
    loss = (lambda z, y: F.per_member(F.cross_entropy, z, y).sum()) if lead else F.cross_entropy

    def step(x: Any, y: Any) -> Any:
        opt.zero_grad()
        found = loss(model(x), y)
        found.backward()
        opt.step()
        return found

    run = tg.capture(step) if captured else step
    return lambda: run(x, y), lambda: linears[0].weight.data.swapaxes(-1, -2)


def our_captured_step(x: Any, y: Any, weights: list[Any]) -> tuple[Step, Weights]:
    return our_step(x, y, weights, captured=True)


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


def torch_step(x: Any, y: Any, weights: list[Any], compiled: bool = False) -> tuple[Step, Weights]:
    import torch

    layers: list[Any] = []
    for weight in weights:
        layer = torch.nn.Linear(*weight.shape, dtype=torch.from_numpy(weight).dtype)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight.T.copy()))
            layer.bias.zero_()
        layers += [layer, torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    opt = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=DECAY, fused=True)
    x, y, criterion = torch.from_numpy(x), torch.from_numpy(y), torch.nn.CrossEntropyLoss()
    loss = torch.compile(lambda: criterion(model(x), y)) if compiled else lambda: criterion(model(x), y)

    def step() -> None:
        opt.zero_grad()
        loss().backward()
        opt.step()

    return step, lambda: layers[0].weight.detach().numpy().T


def torch_compiled_step(x: Any, y: Any, weights: list[Any]) -> tuple[Step, Weights]:
    """Forward, loss and backward compiled."""
    return torch_step(x, y, weights, compiled=True)


def jax_step(x: Any, y: Any, weights: list[Any]) -> tuple[Step, Weights]:
    """The whole step compiled as one, which may reuse the memory of its arguments; that of a population with `vmap`."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", x.dtype.itemsize == 8)
    parameters = [(jnp.array(w), jnp.zeros((*w.shape[:-2], w.shape[-1]), w.dtype)) for w in weights]
    state = [parameters, jax.tree.map(jnp.zeros_like, parameters)]
    x, y = jnp.asarray(x), jnp.asarray(y)

    def loss(parameters: Any) -> Any:
        h = x
        for w, b in parameters[:-1]:
            h = jax.nn.relu(h @ w + b)
        z = h @ parameters[-1][0] + parameters[-1][1]
        return -jnp.mean(jax.nn.log_softmax(z)[jnp.arange(len(y)), y])

    def update(parameters: Any, buffers: Any) -> Any:
        gradients = jax.grad(loss)(parameters)
        buffers = jax.tree.map(lambda v, g, p: MOMENTUM * v + g + DECAY * p, buffers, gradients, parameters)
        return jax.tree.map(lambda p, v: p - LR * v, parameters, buffers), buffers

    compiled = jax.jit(jax.vmap(update) if weights[0].ndim == 3 else update, donate_argnums=(0, 1))

    def step() -> None:
        state[:] = compiled(*state)
        jax.block_until_ready(state)

    return step, lambda: state[0][0][0]


def autograd_step(x: Any, y: Any, weights: list[Any]) -> tuple[Step, Weights]:
    import autograd.numpy as anp
    import numpy as np
    from autograd import grad

    parameters = [p for w in weights for p in (w.copy(), np.zeros(w.shape[1], w.dtype))]
    buffers = [np.zeros_like(p) for p in parameters]
    rows = np.arange(len(x))

    def loss(parameters: Any) -> Any:
        h = x
        for w, b in zip(parameters[:-2:2], parameters[1:-2:2]):
            h = anp.maximum(h @ w + b, 0)
        z = h @ parameters[-2] + parameters[-1]
        z = z - anp.max(z, axis=1, keepdims=True)
        return anp.mean(anp.log(anp.sum(anp.exp(z), axis=1)) - z[rows, y])

    gradients = grad(loss)

    def step() -> None:
        for p, v, g in zip(parameters, buffers, gradients(parameters)):
            v *= MOMENTUM
            v += g + DECAY * p
            p -= LR * v

    return step, lambda: parameters[0]


def mygrad_step(x: Any, y: Any, weights: list[Any]) -> tuple[Step, Weights]:
    import mygrad as mg
    import numpy as np
    from mygrad.nnet.activations import relu
    from mygrad.nnet.losses import softmax_crossentropy

    mg.turn_memory_guarding_off()       # faster, as its documentation says
    parameters = [mg.tensor(p) for w in weights for p in (w.copy(), np.zeros(w.shape[1], w.dtype))]
    buffers = [np.zeros_like(p.data) for p in parameters]

    def step() -> None:
        h = x
        for w, b in zip(parameters[:-2:2], parameters[1:-2:2]):
            h = relu(h @ w + b)
        softmax_crossentropy(h @ parameters[-2] + parameters[-1], y).backward()
        for p, v in zip(parameters, buffers):
            v *= MOMENTUM
            v += p.grad + DECAY * p.data
            p.data -= LR * v
            p.null_grad()

    return step, lambda: parameters[0].data


def sklearn_step(x: Any, y: Any, weights: list[Any]) -> tuple[Step, Weights]:
    """`MLPClassifier.partial_fit`. For two classes it has one output, which is another network."""
    import numpy as np
    from sklearn.neural_network import MLPClassifier

    classes = weights[-1].shape[1]
    if classes == 2:
        raise ImportError("not the same network")
    model = MLPClassifier([w.shape[1] for w in weights[:-1]], solver="sgd", alpha=DECAY * len(x), batch_size=len(x),
                          learning_rate_init=LR, momentum=MOMENTUM, nesterovs_momentum=False, shuffle=False)
    model.partial_fit(x, y, classes=np.arange(classes))
    model.coefs_[:] = [w.copy() for w in weights]
    model.intercepts_[:] = [np.zeros(w.shape[1], w.dtype) for w in weights]
    model._optimizer.velocities[:] = [np.zeros_like(p) for p in model.coefs_ + model.intercepts_]
    return lambda: model.partial_fit(x, y), lambda: model.coefs_[0]


PEERS = {"captured": our_captured_step, "tinygrad_relu": our_step, "numpy": numpy_step, "torch": torch_step,
         "torch-compiled": torch_compiled_step, "jax": jax_step, "autograd": autograd_step, "mygrad": mygrad_step,
         "sklearn": sklearn_step}
OURS = "captured", "tinygrad_relu"
TOGETHER = "captured", "tinygrad_relu", "jax"       # those that train a population


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
    for _ in sys.stdin:
        print(turn(step), flush=True)


def turn(step: Step) -> float:
    """Microseconds per step: the least mean of about ten pieces of a turn, after steps that warm up."""
    steps, start = 0, time.perf_counter()
    while not steps or time.perf_counter() < start + WARM:
        step()
        steps += 1
    piece = max(1, int(steps * TURN / 10 / WARM))
    best, end = float("inf"), time.perf_counter() + TURN
    while best == float("inf") or time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(piece):
            step()
        best = min(best, (time.perf_counter() - start) / piece)
    return best * 1e6


class Figure(NamedTuple):
    """Microseconds per step (of a population: per network), and how far the median of the turns is above it."""

    best: float
    spread: float


def compare(size: str, peers: list[str], python: str, rounds: int = ROUNDS) -> dict[str, Figure]:
    """The figures of every peer that is installed."""
    environment = {name: value for name, value in os.environ.items() if name not in FORCED}
    workers: dict[str, subprocess.Popen[str]] = {}
    times: dict[str, list[float]] = {}
    learned: dict[str, float] = {}
    members = POPULATIONS[size][1] if size in POPULATIONS else 1
    try:
        for peer in peers:
            interpreter = sys.executable if peer in OURS else python
            worker = workers[peer] = subprocess.Popen(
                [interpreter, str(Path(__file__).resolve()), "--work", peer, size], env=environment, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=1)
            answer = worker.stdout.readline().strip()
            if answer and answer != "missing":
                learned[peer], times[peer] = float(answer), []
        if not set(OURS) & set(learned):
            sys.exit("compare: this Python cannot import tinygrad_relu; expected it to be installed (pip install .)")
        reference = next(learned[peer] for peer in OURS if peer in learned)
        for peer, found in learned.items():
            if abs(found - reference) > BOUNDS.get(peer, BOUND) * reference:
                raise RuntimeError(f"{peer} learns something else on {size}: weights sum to {found}, not {reference}")
        for i in range(rounds + 1):
            for peer in times:
                time.sleep(PAUSE)
                print("turn", file=workers[peer].stdin, flush=True)
                found = float(workers[peer].stdout.readline()) / members
                if i:           # the first turn compiles
                    times[peer].append(found)
    finally:
        for worker in workers.values():
            worker.stdin.close()
            worker.stdout.close()
            worker.wait()
    return {peer: Figure(min(found), median(found) / min(found) - 1) for peer, found in times.items()}


# -- the page ---------------------------------------------------------------------------------------------------------

NAMES = {"captured": "captured", "tinygrad_relu": "eager", "numpy": "NumPy", "torch": "PyTorch",
         "torch-compiled": "PyTorch, compiled", "jax": "JAX, compiled", "autograd": "autograd", "mygrad": "MyGrad",
         "sklearn": "scikit-learn"}
COLOURS = {"captured": "#d55e00", "tinygrad_relu": "#e69f00", "numpy": "#999999", "torch": "#0072b2", "torch-compiled": "#56b4e9",
           "jax": "#009e73", "autograd": "#cc79a7", "mygrad": "#f0e442", "sklearn": "#000000"}
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- written by benchmarks/compare.py -->", "<!-- end -->"


def described(size: str) -> str:
    """The size of a problem, as a reader of the page sees it."""
    base, members = POPULATIONS.get(size, (size, 1))
    batch, widths = SIZES[base]
    inner = "-".join(map(str, widths)) if len(set(widths[:-1])) > 1 or len(widths) < 6 else (
        f"{len(widths) - 1} layers of {widths[0]}")
    return f"{inner}, batch {batch}" + (f", {members} networks" if members > 1 else "")


def machine(peers: list[str], python: str) -> str:
    """The processor and the versions."""
    packages = ["numba", "numpy", *({"sklearn": "scikit-learn"}.get(peer, peer) for peer in peers
                                    if peer in ("torch", "jax", "autograd", "mygrad", "sklearn"))]
    script = (f"import importlib.metadata as m\nfor name in {packages}:\n try: print(name, m.version(name))\n"
              " except m.PackageNotFoundError: pass")
    versions = subprocess.run([python, "-c", script], capture_output=True, text=True).stdout.splitlines()
    model = next((line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
                 platform.processor())
    return f"{model}, {os.cpu_count()} cores; Python {platform.python_version()}, {', '.join(versions)}."


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def table(found: dict[str, dict[str, Figure]], peers: list[str]) -> str:
    """Rows of sizes; in brackets the spread, if it is more than 5 %."""
    rows = [["us per step", *(NAMES[peer] for peer in peers)], ["---"] * (len(peers) + 1)]
    for size, figures in found.items():
        best = min(figure.best for figure in figures.values())
        cells = []
        for peer in peers:
            text = "-"
            if figure := figures.get(peer):
                text = f"{figure.best:.4g}" if figure.best < 1000 else f"{figure.best:,.0f}"
                text = f"**{text}**" if figure.best == best else text
                text += f" (+{figure.spread:.0%})" if figure.spread > 0.05 else ""
            cells.append(text)
        rows.append([f"{size}: {described(size)}", *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def verdict(found: dict[str, dict[str, Figure]]) -> str:
    """How ours compare with the fastest other library, size by size; where ours are slower comes first."""
    lines = []
    for ours in OURS:
        slower, faster = [], []
        for size, figures in found.items():
            others = {peer: figure.best for peer, figure in figures.items() if peer not in OURS}
            if ours in figures and others:
                rival = min(others, key=lambda peer: others[peer])
                ratio = others[rival] / figures[ours].best
                text = f"{size} {ratio:.2f} ({NAMES[rival]})"
                (slower if ratio < 1 else faster).append(text)
        parts = [f"**slower** on {', '.join(slower)}"] * bool(slower) + [f"faster on {', '.join(faster)}"] * bool(faster)
        what = "Captured" if ours == "captured" else "Eager"
        lines.append(f"- {what}, times as fast as the fastest other library: {'; '.join(parts)}.")
    return "\n".join(lines)


def draw(found: dict[str, dict[str, Figure]], peers: list[str], file: Path) -> None:
    """Each library's time, as a multiple of the captured step's."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 0.45 * len(found) + 1.5), layout="constrained")
    for row, figures in enumerate(found.values()):
        base = figures.get("captured") or next(iter(figures.values()))
        axes.axhline(row, color="#eeeeee", zorder=0)
        for peer, one in figures.items():
            axes.scatter(one.best / base.best, row, color=COLOURS[peer], s=42, zorder=3, edgecolor="white", linewidth=0.5,
                         label=NAMES[peer] if row == 0 or peer not in next(iter(found.values())) else None)
    axes.set_xscale("log")
    axes.set_xticks([1, 2, 5, 10, 20, 50, 100], ["1", "2", "5", "10", "20", "50", "100"])
    axes.minorticks_off()
    axes.set_yticks(range(len(found)), [f"{size}\n{described(size)}" for size in found], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("time of a training step, as a multiple of the captured step's")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles))
    figure.legend(unique.values(), unique.keys(), loc="outside upper center", ncols=5, frameon=False, fontsize=8)
    figure.savefig(file, dpi=150)
    plt.close(figure)


def write(found: dict[str, dict[str, Figure]], peers: list[str], python: str) -> None:
    """Put the table, the picture, the machine and the verdict into the page."""
    draw(found, peers, PAGE.with_name("peers.png"))
    part = (f"{BEGIN}\n{table(found, peers)}\n\n![Time of a training step in each library](peers.png)\n\n"
            f"{verdict(found)}\n\n{machine(peers, python)}\n{END}")
    page = PAGE.read_text(encoding="utf-8")
    if page.count(BEGIN) != 1:
        sys.exit(f"compare: {PAGE} has no part that begins with {BEGIN}")
    PAGE.write_text(re.sub(f"{BEGIN}.*?{END}", lambda _: part, page, flags=re.DOTALL), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sizes", nargs="*", metavar="SIZE", help=f"{', '.join([*SIZES, *POPULATIONS])} (default: all)")
    parser.add_argument("--peers", nargs="+", choices=[peer for peer in PEERS if peer not in OURS],
                        default=[peer for peer in PEERS if peer not in OURS])
    parser.add_argument("--python", default=sys.executable, help="interpreter that has the peers (default: this one)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"turns of each library (default: {ROUNDS})")
    parser.add_argument("--write", action="store_true", help="write the table and the picture of docs/performance.md")
    parser.add_argument("--json", metavar="FILE", help="keep the figures in this file, and use those that it has")
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        return work(*arguments.work)
    sizes = arguments.sizes or [*SIZES, *POPULATIONS]
    if unknown := [size for size in sizes if size not in SIZES and size not in POPULATIONS]:
        parser.error(f"unknown size {unknown[0]}; expected some of: {', '.join([*SIZES, *POPULATIONS])}")
    peers = [*OURS, *arguments.peers]
    kept = Path(arguments.json) if arguments.json else None
    found = {size: {peer: Figure(*figure) for peer, figure in figures.items()}
             for size, figures in (json.loads(kept.read_text()) if kept and kept.exists() else {}).items()}
    print(f"{'us per step':12s}" + "".join(f"{NAMES[peer]:>20s}" for peer in peers))
    for size in sizes:
        if size not in found:
            chosen = [peer for peer in peers if size in SIZES or peer in TOGETHER]
            found[size] = compare(size, chosen, arguments.python, arguments.rounds)
            if kept:
                kept.write_text(json.dumps(found))
        figures = [found[size].get(peer) for peer in peers]
        cells = [f"{figure.best:.1f} +{figure.spread:.0%}" if figure else "-" for figure in figures]
        print(f"{size:12s}" + "".join(f"{cell:>20s}" for cell in cells), flush=True)
    print("(the least of the turns, and how far their median is above it; of a population, the time of one network)")
    if arguments.write:
        write(found, peers, arguments.python)


if __name__ == "__main__":
    main()
