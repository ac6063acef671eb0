"""A network that keeps learning new things loses units one by one, and with them its ability to learn. Recycling prevents this.

The slowly changing regression of Dohare et al. 2024: of 20 bits, 5 are random in every sample, and 15 stay the same, except that
one of them flips now and then. The target is a fixed random function of the bits, which a network of 5 hidden ReLU units follows
by SGD, one sample at a time. Here a bit flips every 500 samples (10,000 in the paper), and the rate is higher.
"""
import numpy as np

from .... import capture, lab, nn, optim
from ..common import COLUMN, Array, Claim, Experiment, Figure, Finding, Series, Tensor, at_least, at_most, label

BITS, SLOW, EVERY, UNITS, RATE, OBSERVED = 20, 15, 500, 5, 0.05, 100
METHODS = ("SGD", "SGD + L2", "ReDo", "continual backprop")


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """Several target functions, each followed by a network, under each method: the errors, and the dead units at each flip."""
    functions, flips = (6, 16) if fast else (8, 60)
    rng = np.random.default_rng(seed)
    x = _bits(rng, flips)
    y = np.array([_target(rng, x) for _ in range(functions)]).T[..., None, None]        # (samples, functions, 1, 1)
    error, dead = np.swapaxes([_follow(method, x, y, seed) for method in METHODS], 0, 1)        # (methods, flips, functions)
    early, late, gone = dead[0, :flips // 2].mean(), error[:, flips // 2:].mean(axis=1), dead[:, flips // 2:].mean(axis=(1, 2))
    less = late[1:] - late[0]                   # for each function
    noise = 2 * less.std(axis=1, ddof=1) / np.sqrt(functions)
    return [at_least("SGD: dead units of 5 in the second half, against the first", early, gone[0]),
            *[at_most(f"the same: {METHODS[i]}, against SGD", gone[0], gone[i]) for i in (2, 3)],
            at_most("error in the second half less that of SGD: SGD + L2", 0, less[0].mean(), noise[0]),
            *[at_most(f"the same: {METHODS[i]}", 0 if fast else -noise[i - 1], less[i - 1].mean()) for i in (2, 3)]], {
                "error": error.mean(axis=2), "dead": dead.mean(axis=2)}         # of 6 functions only the sign is sure


def _follow(method: str, x: Array, y: Array, seed: int) -> tuple[Array, Array]:
    """For each flip and network, the mean error, and the number of dead units."""
    models = nn.MLP([BITS + 1, UNITS, 1], rng=list(range(y.shape[1])), members=y.shape[1])
    optimizer = optim.SGD(models.parameters(), lr=RATE, weight_decay=1e-2 if "L2" in method else 0.0)
    backprop, rng = lab.ContinualBackprop(rate=0.025, maturity=5, decay=0.7), np.random.default_rng(seed)

    @capture
    def step(x: Array, y: Array) -> Tensor:
        optimizer.zero_grad()
        losses = ((models(x) - y) ** 2).mean(axis=(1, 2))
        losses.sum().backward()
        optimizer.step()
        return losses

    errors, dead = np.empty((len(x), y.shape[1])), []
    for t in range(len(x)):
        errors[t] = step(x[t:t + 1], y[t]).data
        if method == "continual backprop" and t % OBSERVED == OBSERVED - 1:
            backprop.observe(models, x[t - OBSERVED + 1:t + 1])
            backprop.apply(models, optimizer, rng=rng)
        if t % EVERY == EVERY - 1:
            found = lab.census(models, x[t - EVERY + 1:t + 1]).each
            dead.append([one.dead[0] for one in found])
            if method == "ReDo":
                lab.ReDo().apply(models, optimizer, [one.select("dormant") for one in found], rng)
    return errors.reshape(-1, EVERY, y.shape[1]).mean(axis=1), np.array(dead)


def _bits(rng: np.random.Generator, flips: int) -> Array:
    """The samples, float32: BITS bits, and a 1."""
    slow = np.cumsum(np.eye(SLOW, dtype=int)[rng.integers(SLOW, size=flips)], axis=0) % 2
    quick = rng.integers(2, size=(flips * EVERY, BITS - SLOW))
    return np.concatenate([np.repeat(slow, EVERY, axis=0), quick, np.ones((len(quick), 1))], axis=1).astype(np.float32)


def _target(rng: np.random.Generator, x: Array) -> Array:
    """A random network of 100 threshold units, each of which fires if enough of its bits agree, with variance 1 on x."""
    weights = rng.choice([-1.0, 1.0], (BITS + 1, 100))
    fires = x @ weights > 0.7 * (BITS + 1) - (weights < 0).sum(axis=0)
    y = fires @ rng.choice([-1.0, 1.0], 100)
    return ((y - y.mean()) / y.std()).astype(np.float32)


def draw(figure: Figure, series: Series) -> None:
    errors, units = figure.subplots(1, 2)
    width = max(1, series["error"].shape[1] // 8)
    for method, error, dead, colour in zip(METHODS, series["error"], series["dead"], COLUMN):
        flips = np.arange(1, len(error) + 1)
        errors.plot(flips[width - 1:], np.convolve(error, np.full(width, 1 / width), "valid"), color=colour, lw=1.6, label=method)
        units.plot(flips, dead, color=colour, lw=1.6)
    label(errors, f"mean error over {width} flips", "flips of a bit", "squared error (variance 1)", ylim=(0, None), legend="best")
    label(units, f"dead units of {UNITS}", "flips of a bit", ylim=(0, UNITS))


EXPERIMENT = Experiment("Learning for ever: units die, and recycling replaces them", run, draw, [
    Claim("N2", "In continual learning, networks lose their plasticity; L2 helps, and replacing little-used units keeps it.",
          "Dohare et al. 2024, Nature 632; ReDo: Sokar et al. 2023, arXiv 2302.12902",
          "Replacing units helps. In this small regression L2 helps little, if at all.")], also=["A24"])
