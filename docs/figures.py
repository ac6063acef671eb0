"""Draw the small figures of reviving-units.md and of the book, beside them: python docs/figures.py [FOLDER]

Lines are formulas. Dots are what an optimizer of the package does to a parameter whose gradient is zero; the functions check that
they lie on the lines.
"""
from __future__ import annotations

import math
import sys
from functools import reduce
from itertools import islice
from pathlib import Path

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.patches import Circle, Patch, Polygon, Rectangle

from tinygrad_relu import data, lab, nn, optim
from tinygrad_relu import functional as F
from tinygrad_relu.lab import laws
from tinygrad_relu.lab.drawing import ALIVE, BLUE, DASHES, DEAD, FAINT, INK, LIGHT, RETURN, label, page, say
from tinygrad_relu.lab.layers import State
from tinygrad_relu.lab.revive import main_job
from tinygrad_relu.lab.treatments import TREATMENTS

MOMENTUM, DECAY = 0.99, 5e-4
EDGE = laws.safe_rate(momentum=MOMENTUM, weight_decay=DECAY).item()        # 0.05025: at lower rates, never


def simulated(steps, rates=None, start=-1.0, **settings):
    """The values of a parameter that SGD moves by itself, since its gradient is zero: [start, after step 1, ...]."""
    theta = nn.Parameter(np.array([start]))
    sgd = optim.SGD([theta], **settings)
    theta.grad, values = np.zeros(1), [start]
    for step in range(steps):
        if rates is not None:
            sgd.param_groups[0]["lr"] = rates[step]
        sgd.step()
        values.append(theta.item())
    return np.array(values)


# -- section 6: the return ------------------------------------------------------------------------------------------------


def gentle_return():
    """The factor q of all weights of a dead unit until its return, and q^2, its weight in the next layer."""
    settings = {"lr": 0.1, "momentum": MOMENTUM, "weight_decay": DECAY}
    back, steps = laws.gentle_return(**settings), 560
    q = np.array([1.0, *(-float(z) for z in islice(lab.orbit(-1.0, **settings), steps))])
    observed = -simulated(steps, **settings)
    assert np.allclose(q, observed, rtol=1e-9, atol=1e-12) and int((observed < 0).argmax()) == back.step
    weaker = f"{round(1e-6 / back.weight)} million times weaker"
    figure = page(f"The return is gentle: at step {back.step} the unit is back, but {weaker}")
    left, right = figure.subplots(1, 2)
    for axes, curve, dots in ((left, q, observed), (right, q ** 2, observed ** 2)):
        axes.plot(curve, color=BLUE, linewidth=1.8, label="formula")
        axes.plot(np.arange(0, steps, 40), dots[:steps:40], "o", color=BLUE, markersize=4.5, label="the optimizer")
        axes.axvline(back.step, color=RETURN, linestyle=DASHES, linewidth=1.3)
    label(left, "all its weights and its bias are multiplied by q", y="q")
    left.axhline(0, color=FAINT, linewidth=0.8)
    say(left, f"step {back.step}: q < 0,\nso z > 0: alive", (back.step - 14, 0.75), RETURN, ha="right")
    left.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0, 0.12))
    label(right, "so it counts q² times as much as before (logarithmic)", y="q²")
    right.set_yscale("log")
    right.set_ylim(1e-9, 3)
    right.plot(back.step, back.weight, "o", color=RETURN, markersize=7, zorder=3)
    say(right, f"q² = {back.weight:.8f}\nat the return", (back.step - 22, 6e-8), RETURN, ha="right")
    return figure


def mirror():
    """A dead unit and its mirror image over a cloud of samples; and the accuracy with each."""
    samples = np.random.default_rng(3).multivariate_normal([0.6, 0.4], [[0.5, 0.2], [0.2, 0.4]], 70)
    weight = np.array([-0.8, -0.6])
    bias = -(samples @ weight).max() - 0.35
    figure = page("A dead unit that is mirrored by hand lives at once; left to swing, it takes 472 steps")
    before, after, accuracy = figure.subplots(1, 3, width_ratios=[1, 1, 1.3])
    for axes, sign, title in ((before, 1, "dead: z ≤ 0 on all samples"), (after, -1, "mirrored: z > 0 on all of them")):
        _half_plane(axes, samples, sign * weight, sign * bias)
        label(axes, title, "feature 1", "feature 2" if sign > 0 else "")
    say(before, "z > 0", (-1.75, -1.95), va="center")
    say(after, "z > 0", (-0.1, 2.4), va="center")
    run = main_job(data.digits(), [t for t in TREATMENTS if t.key in ("mirror", "heavy-l2")], steps=600)
    for outcome, colour, (step, height), name in zip(
            run.outcomes, (BLUE, ALIVE), ((110, 0.14), (210, 0.8)), ("left to swing", "mirrored\nby hand")):
        accuracy.plot(*zip(*outcome.accuracies), color=colour, linewidth=1.8)
        say(accuracy, name, (step, height), colour)
    step = run.outcomes[0].predicted_step
    accuracy.axvline(step, color=RETURN, linestyle=DASHES, linewidth=1.3)
    say(accuracy, f"step {step}:\nlayer 0\nreturns", (step - 12, 0.5), RETURN, ha="right")
    accuracy.set_ylim(0, 1.03)
    label(accuracy, "accuracy of the network of section 16")
    return figure


def _half_plane(axes, samples, weight, bias, half=2.6):
    """The samples, and the half-plane in which the unit is alive."""
    centre = samples.mean(axis=0)
    x = np.linspace(centre[0] - half, centre[0] + half, 200)
    y = np.linspace(centre[1] - half, centre[1] + half, 200)
    z = weight[0] * x + weight[1] * y[:, None] + bias
    axes.contourf(x, y, z, levels=[0, 1e9], colors=[LIGHT], alpha=0.55)
    axes.contour(x, y, z, levels=[0], colors=[INK], linewidths=1.2)
    axes.plot(*samples.T, "o", color=DEAD if (samples @ weight + bias).max() <= 0 else ALIVE, markersize=3.5)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])


def period():
    """A unit without a gradient, scaled by R^-t: a cosine, whose sign says when the unit is alive."""
    settings, steps = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.05}, 400
    turn, t = laws.period(**settings), np.arange(steps + 1)
    scale = 0.9 ** (-t / 2)
    z = np.array([-1.0, *map(float, islice(lab.orbit(-1.0, **settings), steps))]) * scale
    flips = [step for step in range(1, steps) if (z[step] > 0) != (z[step - 1] > 0)]
    height = abs(z).max()
    figure = page(f"Without a gradient, a unit is alive and dead in turn, with a period of {turn:.1f} steps", 3.2)
    axes = figure.subplots()
    for begin, end in zip([0, *flips], [*flips, steps]):
        lives = z[begin] > 0
        axes.axvspan(begin, end, color=LIGHT if lives else DEAD, alpha=0.45 if lives else 0.16, linewidth=0)
        say(axes, "alive" if lives else "dead", ((begin + end) / 2, 1.28 * height), ha="center", va="center", weight="bold")
    axes.plot(t, z, color=BLUE, linewidth=1.8, label="formula")
    observed = simulated(steps, **settings) * scale
    assert np.allclose(z, observed, atol=1e-9 * height)
    axes.plot(t[::8], observed[::8], "o", color=BLUE, markersize=4, label="the optimizer")
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.plot(flips, np.zeros(len(flips)), "o", color=RETURN, markersize=5, zorder=3)
    axes.annotate("", (flips[0], -1.2 * height), (flips[2], -1.2 * height), arrowprops={"arrowstyle": "<->", "color": INK})
    say(axes, f"{turn:.1f} steps", ((flips[0] + flips[2]) / 2, -1.27 * height), ha="center", va="top")
    for step in flips:
        rises = z[step] > 0
        say(axes, f"{step}", (step + 3, (-0.08 if rises else 0.08) * height), RETURN, va="top" if rises else "bottom")
    axes.set(xlim=(0, steps), ylim=(-1.6 * height, 1.5 * height), yticks=[0])
    label(axes, "", "step t (momentum 0.9, rate times decay 0.005)", "z, divided by 0.9487$^t$")
    axes.legend(frameon=False, fontsize=9, loc="lower right", ncols=2)
    return figure


# -- section 9: schedules --------------------------------------------------------------------------------------------------


def schedules(steps=1500):
    """Rates that change: below the edge the unit never returns, above it only if the rate stays there for long enough."""
    t = np.arange(steps)
    cosine, warm_up = (1 + np.cos(np.pi * t / steps)) / 2, np.minimum(1, (t + 1) / 500)
    figure = page("A schedule revives a dead unit only if the rate is above the edge, for long enough", 5.4)
    upper, lower = figure.subplots(2, 3, sharex=True, sharey="row")
    shapes = {"cosine": cosine, "warm-up": warm_up, "step decay": np.where(t < 600, 1, 0.1)}
    for rate, share, (name, shape) in zip(upper, lower, shapes.items()):
        rate.axhspan(0, EDGE, color=DEAD, alpha=0.14, linewidth=0)
        lines = [(0.1 * shape, ALIVE), (0.05 * shape, BLUE)]
        if name == "step decay":
            lines.append((np.where(t < 400, 0.1, 0.01), INK))
        for rates, colour in lines:
            when = laws.first_return(rates, MOMENTUM, DECAY)
            z = simulated(steps, rates, lr=0.1, momentum=MOMENTUM, weight_decay=DECAY)
            assert (int((z > 0).argmax()) or None) == when
            stop = when or steps
            rate.plot(t, rates, color=colour, linewidth=1.8)
            share.plot(t[:stop], 1 - z[1:stop + 1] / z[:stop], color=colour, linewidth=1.8)
            if when:
                share.plot(when - 1, 1 - z[when] / z[when - 1], "o", color=RETURN, markersize=7, zorder=3)
                say(share, f"returns at\nstep {when}", (when + 50, 0.12), ALIVE, va="center")
        say(share, "never", (900, {"cosine": 2e-4, "warm-up": 1.6e-3}.get(name, 9e-5)), BLUE, va="center", ha="center")
        label(rate, name, "", "learning rate" if name == "cosine" else "")
        label(share, y="share of its way to 0\nthat one step covers" if name == "cosine" else "")
        share.axhline(1, color=RETURN, linestyle=DASHES, linewidth=1.2)
        share.set(yscale="log", ylim=(1e-5, 20), yticks=[1e-4, 1e-2, 1])
        share.set_yticklabels(["0.01 %", "1 %", "100 %"])
        share.minorticks_off()
    say(upper[0], "momentum 0.99\ndecay 0.0005", (1500, 0.1), ha="right", va="top")
    say(upper[1], f"at or below {math.floor(1e5 * EDGE) / 1e5}:\nnever", (1480, 0.025), ha="right", va="center")
    say(lower[0], "from 100 % on, z passes 0", (1490, 5), RETURN, ha="right", va="center")
    say(lower[2], "falls at step 400,\ntoo early: never", (720, 9e-3), va="center")
    return figure


# -- section 11: Adam ------------------------------------------------------------------------------------------------------


def adam_edge():
    """The step at which Adam + L2 first flips a tiny weight, over the decay as a multiple of the edge."""
    figure = page("Adam + L2 flips the sign of a tiny weight only if the decay is above Adam's edge", 3.6)
    axes = figure.subplots()
    lr, eps, times = 1e-3, 1e-8, np.geomspace(1.02, 10, 25)
    for beta, colour in ((0.5, BLUE), (0.9, ALIVE), (0.95, DEAD)):
        edge = laws.adam_edge(lr, (beta, 0.999), eps)
        fine = np.geomspace(1.003, 10, 400)
        heavy_ball = {"lr": lr / eps, "momentum": beta, "dampening": beta}
        told = {m: lab.revival_step(-1.0, 0.0, weight_decay=m * edge, **heavy_ball) for m in (*fine, *times)}
        observed = [_first_flip(lr, beta, eps, m * edge) for m in times]
        assert observed == [told[m] for m in times]
        formula = [told[m] for m in fine]
        axes.plot(fine, formula, color=colour, linewidth=1.8, label=f"β1 = {beta}: edge at {edge:.3g}")
        axes.plot(times, observed, "o", color=colour, markersize=4.5)
        for m in (0.4, 0.6, 0.8, 0.98):
            assert _first_flip(lr, beta, eps, m * edge) is None
            axes.plot(m, 1500, "x", color=INK, markersize=6)
    axes.axvspan(0.3, 1, color=DEAD, alpha=0.14, linewidth=0)
    axes.axvline(1, color=INK, linewidth=1.2)
    axes.set(xscale="log", yscale="log", xlim=(0.3, 10), ylim=(1, 2000))
    axes.set_xticks([0.3, 0.5, 1, 2, 5, 10], ["0.3", "0.5", "1", "2", "5", "10"])
    axes.set_yticks([1, 10, 100, 1000], ["1", "10", "100", "1000"])
    axes.minorticks_off()
    say(axes, "never:\nthe weight shrinks,\nand keeps its sign", (0.55, 40), ha="center", va="center")
    say(axes, "no flip", (0.55, 900), ha="center", va="center")
    label(axes, "", "weight decay, as a multiple of the edge (ε/η) (1 - √β1)/(1 + √β1)", "step of the first flip")
    axes.legend(frameon=False, fontsize=9, title="lines: formula of heavy ball; dots: Adam", title_fontsize=9, loc="upper right")
    return figure


def _first_flip(lr, beta, eps, decay, steps=2000):
    """Adam after 300 steps, so that its bias correction of m is over, with a weight of -1e-6 and buffers of 0."""
    theta = nn.Parameter([0.0])
    adam = optim.Adam([theta], lr=lr, betas=(beta, 0.999), eps=eps, weight_decay=decay)
    theta.grad = np.zeros(1)
    for _ in range(300):
        adam.step()
    theta.data = [-1e-6]
    for step in range(1, steps):
        adam.step()
        if theta.item() > 0:
            return step
    return None


# -- section 13: other samples ---------------------------------------------------------------------------------------------


def hull():
    """The convex hull of the samples lies on the dead side; the least change that wakes the unit, in two norms."""
    samples = np.random.default_rng(5).multivariate_normal([0, 0], [[0.5, 0.1], [0.1, 0.35]], 40)
    weight, bias = np.array([0.8, 0.35]), 0.0
    bias = -(samples @ weight).max() - 0.75
    z = samples @ weight + bias
    nearest = samples[z.argmax()]
    figure = page("Mixing samples wakes no dead unit; a change of one sample does, if it exceeds |z|/‖w‖", 3.3)
    mixtures, euclid, largest = figure.subplots(1, 3)
    for axes in (mixtures, euclid, largest):
        _half_plane(axes, samples, weight, bias)
        axes.add_patch(Polygon(samples[_hull(samples)], fill=False, edgecolor=DEAD, linewidth=1.4))
    shares = np.random.default_rng(0).dirichlet(np.full(40, 0.03), 250)
    mixtures.plot(*(shares @ samples).T, ".", color=BLUE, markersize=2.5)
    least, box = (laws.wake_distance(z, weight, norm).min() for norm in (2, math.inf))
    euclid.add_patch(Circle(nearest, least, fill=False, edgecolor=RETURN, linewidth=1.6))
    largest.add_patch(Rectangle(nearest - box, 2 * box, 2 * box, fill=False, edgecolor=RETURN, linewidth=1.6))
    for axes in (euclid, largest):
        axes.plot(*nearest, "o", color=RETURN, markersize=5)
    say(mixtures, "z > 0", (2.5, 2.35), ha="right", va="top")
    say(mixtures, "z ≤ 0", (-2.4, -2.3))
    label(mixtures, "mixtures (blue) stay in the hull", "feature 1", "feature 2")
    label(euclid, f"by length: |z|/‖w‖$_2$ = {least:.2f}", "feature 1")
    label(largest, f"by feature: |z|/‖w‖$_1$ = {box:.2f}", "feature 1")
    return figure


def _hull(points):
    """The indices of the corners of the convex hull of points in the plane, in order (gift wrapping)."""
    corners = [int(points[:, 0].argmin())]
    while True:
        here = points - points[corners[-1]]
        following = 0 if corners[-1] else 1
        for i in range(len(points)):
            if here[following][0] * here[i][1] - here[following][1] * here[i][0] < 0:
                following = i
        if following == corners[0]:
            return corners
        corners.append(following)


# -- the book --------------------------------------------------------------------------------------------------------------


def exp_errors():
    """Chapter 9: the errors of exp with ln 2 in one part and in two, and of the engine's."""
    f = np.float32
    x = np.linspace(-87, 88, 60_001).astype(f)
    exact = np.exp(x.astype(float))
    n = np.rint(x / f(math.log(2)))
    high = f(45426 / 2**16)
    remainders = x - n * f(math.log(2)), (x - n * high) - n * f(math.log(2) - float(high))
    series = [reduce(lambda total, k: total * r + f(1 / math.factorial(k)), range(7, -1, -1), f(0)) for r in remainders]
    values = [np.ldexp(total, n.astype(int)) for total in series] + [F.exp(x).data]
    figure = page("ln 2 in two parts: the error of exp falls from 67 ulp to 1", 3.3)
    one, two = figure.subplots(1, 2)
    for axes, several in ((one, values[:1]), (two, values[1:])):
        for y, colour, name in zip(several, (DEAD if axes is one else BLUE, ALIVE), ("two parts", "the engine")):
            errors = abs(y - exact) / np.spacing(exact.astype(f))
            worst = errors[:60_000].reshape(200, 300).max(axis=1)        # of 300 neighbours
            axes.plot(x[150:60_000:300], worst, color=colour, linewidth=1.4, label=name)
    one.set_ylim(0)
    two.set_ylim(0, 1.5)
    label(one, "ln 2 rounded to float32", "x", "error in ulp (worst of 300)")
    label(two, "ln 2 in two parts, and the engine's exp", "x")
    two.legend(frameon=False, fontsize=9, loc="lower left")
    return figure


def differences():
    """Chapter 10: the error of forward and central differences over the step, and the laws of its two sides."""
    def f(x):
        return np.exp(np.sin(x * x))

    x, d, h = 1.5, 1e-3, np.geomspace(1e-15, 0.1, 400)
    first = f(x) * math.cos(x * x) * 2 * x
    second = (f(x + d) - 2 * f(x) + f(x - d)) / d**2
    third = (f(x + 2 * d) - 2 * f(x + d) + 2 * f(x - d) - f(x - 2 * d)) / (2 * d**3)
    figure = page("A step in both directions gives ten digits, a step in one direction eight", 3.6)
    axes = figure.subplots()
    for colour, name, found, law in ((DEAD, "forward", (f(x + h) - f(x)) / h, h / 2 * abs(second)),
                                     (BLUE, "central", (f(x + h) - f(x - h)) / (2 * h), h * h / 6 * abs(third))):
        axes.plot(h, abs(found - first), ".", color=colour, markersize=3.5, label=name)
        axes.plot(h, law, color=colour, linewidth=1.2)
    axes.plot(h, 2.0**-53 * f(x) / h, color=INK, linestyle=DASHES, linewidth=1.2)
    axes.set(xscale="log", yscale="log", xlim=(1e-15, 0.1), ylim=(1e-14, 10))
    say(axes, "rounding of f, divided by h", (3e-13, 2e-3))
    say(axes, "h f″ / 2", (2e-6, 1e-4), DEAD, ha="right")
    say(axes, "h² f‴ / 6", (1e-3, 2e-7), BLUE)
    label(axes, "", "step h", "error of the derivative")
    axes.legend(frameon=False, fontsize=9, loc="upper center")
    return figure


def signal(depth=20, width=100):
    """Chapter 12: the size of the outputs and of the gradients, layer by layer, for three scales of the weights."""
    figure = page("Only one scale of the weights carries the signal through many layers", 3.5)
    forward, backward = figure.subplots(1, 2, sharey=True)
    layer = np.arange(1, depth + 1)
    for scale, name, colour in ((1.0, "1", ALIVE), (math.sqrt(2 / width), "√(2/n)", BLUE), (0.1, "√(1/n)", DEAD)):
        rng = np.random.default_rng(0)
        weights = [scale * rng.standard_normal((width, width)) for _ in layer]
        h, outputs, gradients = rng.standard_normal((50, width)), [], []
        for weight in weights:
            h = np.maximum(h @ weight.T, 0)
            outputs.append(h)
        g = rng.standard_normal(h.shape)
        for weight, h in zip(weights[::-1], outputs[::-1]):
            gradients.insert(0, g)
            g = (g * (h > 0)) @ weight
        factor = scale * math.sqrt(width / 2)
        for axes, arrays, powers in ((forward, outputs, layer - 0.5), (backward, gradients, depth - layer)):
            sizes = [np.sqrt((array * array).mean()) for array in arrays]
            first = math.sqrt(width) * scale / factor ** 0.5 / math.sqrt(2) if axes is forward else 1.0
            axes.plot(layer, first * factor ** powers, color=colour, linewidth=1.6, label=name)
            axes.plot(layer, sizes, "o", color=colour, markersize=4)
    forward.set_yscale("log")
    label(forward, "outputs, on the way forward", "layer", "root mean square (logarithmic)")
    label(backward, "gradients, on the way back", "layer")
    for axes in (forward, backward):
        axes.set_xticks([1, 5, 10, 15, 20])
    forward.legend(frameon=False, fontsize=9, title="standard deviation of the weights,\nn = 100 inputs", title_fontsize=9)
    return figure


def valley():
    """Chapter 13: gradient descent and heavy ball in a valley that is a hundred times steeper across than along."""
    figure = page("Gradient descent zigzags and creeps; momentum gathers speed along the valley", 3.2)
    along, across = np.meshgrid(np.linspace(-0.25, 1.5, 200), np.linspace(-0.1, 0.3, 200))
    for axes, lr, momentum, title in zip(figure.subplots(1, 2, sharey=True), (0.019, 0.01), (0.0, 0.8), (
            "gradient descent, rate 0.019: 40 steps", "heavy ball, rate 0.01, momentum 0.8: 40 steps")):
        axes.contour(along, across, (100 * (across - 0.1) ** 2 + (along - 1) ** 2) / 2, np.geomspace(0.005, 2, 9), colors=[FAINT],
                     linewidths=0.8)
        w = nn.Parameter([0.0, 0.0])
        sgd, path = optim.SGD([w], lr=lr, momentum=momentum), [[0.0, 0.0]]
        for _ in range(40):
            w.grad = np.array([100, 1]) * (w.data - [0.1, 1])
            sgd.step()
            path.append(w.data.copy())
        axes.plot(*np.array(path).T[::-1], "o-", color=BLUE, markersize=3, linewidth=0.9)
        axes.plot(1, 0.1, "*", color=RETURN, markersize=11, zorder=3)
        label(axes, title, "second weight (along the valley)", "" if momentum else "first weight (across)")
    return figure


def deaths(steps=15):
    """Chapter 14 and 15: the lives of all hidden units of the network that stops."""
    digits = data.digits()[:600]
    model = nn.MLP([64, 32, 32, 10], init="he", rng=0, dtype="float64")
    recorder = _descend(model, digits, optim.SGD(model.parameters(), lr=5.0), steps)
    figure = page("A rate of 5 kills all hidden units within nine steps, and they stay dead", 3.6)
    for axes, changes, name in zip(figure.subplots(1, 2), recorder.changes(), ("first", "second")):
        dead = np.isin(changes.matrix(), (State.DEAD,))
        order = np.lexsort(dead[::-1])
        axes.imshow(dead[:, order].T, aspect="auto", interpolation="nearest", cmap=ListedColormap([LIGHT, DEAD]), vmin=0, vmax=1)
        label(axes, f"{name} hidden layer: {int(dead[-1].sum())} of 32 units are dead in the end", "step", "unit")
        axes.set_yticks([])
    figure.legend(handles=[Patch(color=DEAD, label="dead on all 600 images"), Patch(color=LIGHT, label="on for some image")],
                  loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def _descend(model, dataset, optimizer, steps):
    """Train on all samples, and record the states before the first step and after each."""
    recorder = lab.Recorder(model, dataset.x)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(recorder.forward(), dataset.y).backward()
        optimizer.step()
    recorder.observe()
    return recorder


def orbit(steps=540):
    """Chapter 16: z of one unit on one image, in training and by the formula."""
    digits = data.digits()[:600]
    model = nn.MLP([64, 32, 10], init="he", rng=0, dtype="float64")
    _descend(model, digits, optim.SGD(model.parameters(), lr=5.0), 15)
    settings = {"lr": 0.1, "momentum": MOMENTUM, "weight_decay": DECAY}
    sgd, seen = optim.SGD(model.parameters(), **settings), [model[0](digits.x[0]).data]
    for _ in range(steps):
        _descend(model, digits, sgd, 1)
        seen.append(model[0](digits.x[0]).data)
    back = lab.revival_step(-1.0, **settings)
    z = np.array(seen)
    unit = int(z[0].argmin())
    told = np.array([z[0, unit], *(float(value) for value in islice(lab.orbit(z[0, unit], **settings), steps))])
    assert np.allclose(z[:back, unit], told[:back], rtol=1e-6)
    figure = page(f"The pre-activation of a dead unit swings through 0 at step {back}, as predicted")
    axes, near = figure.subplots(1, 2, width_ratios=[1.5, 1])
    for part, every in ((axes, 20), (near, 4)):
        t = np.arange(0, steps, every)
        part.plot(told, color=BLUE, linewidth=1.6, label="formula")
        part.plot(t, z[t, unit], "o", color=ALIVE, markersize=4, label="the unit in training")
        part.axvline(back, color=RETURN, linestyle=DASHES, linewidth=1.3)
        part.axhline(0, color=INK, linewidth=0.8)
    near.set(xlim=(back - 40, steps), ylim=(-0.012 * abs(told[0]), 0.02 * abs(told[0])))
    label(axes, "from the death to the return", y="z on the first image")
    label(near, "near the return: the unit learns again")
    axes.legend(frameon=False, fontsize=9, loc="lower center")
    return figure


def threshold(momentum=0.5):
    """Chapter 17: the factor by which a step multiplies z, as a staircase, below the edge and inside the window."""
    figure = page("Below the edge the factors of z stop at a barrier; above it they fall until z changes its sign", 3.6)
    q = np.linspace(0.02, 1, 400)
    for axes, c in zip(figure.subplots(1, 2, sharey=True), (0.08, 0.12)):
        below = c < laws.safe_rate(momentum=momentum, weight_decay=1.0)
        axes.plot(q, q, color=INK, linewidth=0.8)
        axes.plot(q, 1 + momentum - c - momentum / q, color=BLUE, linewidth=1.8)
        stairs, here = [(1 - c, 1 - c)], 1 - c
        while len(stairs) < 100 and here > 0:
            following = 1 + momentum - c - momentum / here
            stairs += [(here, following), (following, following)]
            here = following
        axes.plot(*zip(*stairs), color=ALIVE, linewidth=1.3)
        axes.plot(1 - c, 1 - c, "o", color=ALIVE, markersize=5)
        say(axes, "start", (1 - c, 1.02 - c), ALIVE, ha="right")
        if below:
            r1 = max(np.roots([1, -(1 + momentum - c), momentum]))
            axes.plot(r1, r1, "o", color=RETURN, markersize=6, zorder=3)
            say(axes, "r₁: the barrier", (r1 - 0.03, r1 + 0.03), RETURN, ha="right")
        else:
            say(axes, "below 0: z changes its sign", (0.33, -0.45), RETURN)
        axes.axhline(0, color=FAINT, linewidth=0.8)
        label(axes, f"momentum {momentum}, c = {c}: {'below' if below else 'above'} the edge, 0.0858",
              "factor of one step", "factor of the next step" if below else "")
        axes.set(xlim=(0, 1), ylim=(-0.6, 1.05))
    return figure


def coasting(steps=150):
    """Chapter 18: z of each unit on its best image, after the shock; and the steps of return by the formula."""
    digits = data.digits()[:600]
    model = nn.MLP([64, 32, 32, 10], init="he", rng=0, dtype="float64")
    sgd = optim.SGD(model.parameters(), lr=0.01, momentum=MOMENTUM)
    _descend(model, digits, sgd, 60)
    lab.kill(model, digits.x, margin=0.2)
    weight, bias = (sgd.state_of(p)["momentum_buffer"] for p in (model[0].weight, model[0].bias))
    told = [life.step for life in lab.layer_revivals(
        model[0](digits.x).data, -0.01 * (digits.x @ weight.T + bias), lr=0.01, momentum=MOMENTUM)]
    best = [model[0](digits.x).data.max(axis=0)]
    for _ in range(steps):
        _descend(model, digits, sgd, 1)
        best.append(model[0](digits.x).data.max(axis=0))
    back = [step for step in told if step]
    figure = page(f"After the shock, momentum alone brings back {len(back)} of 32 units, each at its own step", 3.8)
    axes = figure.subplots()
    for z, step in zip(np.array(best).T, told):
        assert (int((z > 0).argmax()) or None) == step
        z = z[:step + 1] if step else z
        axes.plot(np.arange(len(z)), z, color=ALIVE if step else DEAD, linewidth=1.2)
    axes.plot(back, np.zeros(len(back)), "o", color=RETURN, markersize=5, zorder=3, label="return, by the formula")
    axes.plot([], color=ALIVE, label="a unit that returns")
    axes.plot([], color=DEAD, label="a unit that does not")
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set(xscale="symlog", xlim=(0, steps), ylim=(-1, 0.08))
    axes.set_xticks([0, 1, 2, 5, 10, 20, 50, 100], ["0", "1", "2", "5", "10", "20", "50", "100"])
    label(axes, "", "steps after the shock", "z on the unit's best image")
    axes.legend(frameon=False, fontsize=9, loc="lower left")
    return figure


FIGURES = {"gentle-return": gentle_return, "mirror": mirror, "period": period, "schedules": schedules, "adam-edge": adam_edge,
           "hull": hull, "book/exp-errors": exp_errors, "book/differences": differences, "book/signal": signal,
           "book/valley": valley, "book/deaths": deaths, "book/orbit": orbit, "book/threshold": threshold,
           "book/coasting": coasting}


def main(folder=Path(__file__).parent):
    for name, draw in FIGURES.items():
        file = Path(folder) / f"{name}.png"
        file.parent.mkdir(exist_ok=True)
        draw().savefig(file, metadata={"Software": None})


if __name__ == "__main__":
    main(*sys.argv[1:])
