"""A unit with z = w.x + b < 0 on every sample has a gradient of exactly zero, and plain gradient descent never moves it.

The slope of ReLU is 0 on every sample, and every term of the gradient contains it as a factor. So the update is lr * 0: not one
bit of w or b changes, however long the training is, while the living units of the same layer learn.
"""
import numpy as np

from .... import data, lab, nn
from ..common import ALIVE, DEAD, Array, Claim, Experiment, Figure, Finding, Series, label, learn, say

UNITS, KILLED = 32, 12


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """A layer with dead units, under plain gradient descent on digits: how far each unit moves from where it started."""
    findings: list[Finding] = []
    for dtype in ("float32", "float64"):
        path, dead = _train(seed, dtype, 200 if fast else 2000)
        changed = (path[-1] != path[0]).any(axis=1)
        findings += [Finding(f"dead units of which a bit changed, {dtype}", 0, changed[dead].sum()),
                     Finding(f"living units that changed, {dtype}", (~dead).sum(), changed[~dead].sum())]
    return findings, {"moved": np.linalg.norm(path - path[0], axis=2), "dead": dead}


def _train(seed: int, dtype: str, steps: int) -> tuple[Array, Array]:
    """The weights and biases of all units at every step, (steps + 1, units, 65), and which units were dead."""
    digits, path = data.digits(dtype)[:300], []
    model = nn.MLP([64, UNITS, 10], rng=seed, dtype=dtype)
    lab.kill(model, digits.x, range(KILLED))
    weight, bias = model[0].weight, model[0].bias
    dead = (digits.x @ weight.data.T + bias.data).max(axis=0) <= 0          # those, and any that were born dead
    learn(model, digits, steps, lambda step: path.append(np.concatenate([weight.data, bias.data[:, None]], axis=1)), lr=0.1)
    return np.array(path), dead


def draw(figure: Figure, series: Series) -> None:
    axes, moved, dead = figure.subplots(), series["moved"], series["dead"]
    axes.plot(moved[:, ~dead], color=ALIVE, lw=0.9, alpha=0.7)
    axes.plot(moved[:, dead], color=DEAD, lw=2.4)
    say(axes, f"{(~dead).sum()} living units", (0.55 * len(moved), 1.05 * moved.max()), ALIVE)
    say(axes, f"{dead.sum()} dead units: exactly 0", (0.55 * len(moved), -0.11 * moved.max()), DEAD)
    label(axes, y="distance of (w, b) from its start", ylim=(-0.16 * moved.max(), 1.16 * moved.max()))


EXPERIMENT = Experiment("Plain gradient descent never moves a dead unit", run, draw, [
    Claim("D1", "If XW + b < 0 for every sample, plain gradient descent changes nothing, bit for bit.", "folklore")])
