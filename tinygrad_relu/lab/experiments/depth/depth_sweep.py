"""Gradients vanish or explode with depth: each layer multiplies them by a factor that its activation and its start decide.

Let the weights of a layer of n units have the variance s/n. In a wide network a pre-activation z is N(0, q), with q = s E[h^2] of
the layer before, and a gradient is multiplied by sqrt(s E[f'(z)^2]) a layer on its way back. ReLU keeps it with He's start
(s = 2), SELU with LeCun's (s = 1), which is Glorot's in a square layer. A sigmoid network loses it with all of these. With
weights from N(0, 1) (s = n) it explodes, even through tanh, which saturates.
"""
import numpy as np

from .... import functional as F, nn
from ..common import Array, Claim, Experiment, Figure, Finding, Series, grad, normal_mean, slope

DEPTH = 10
STARTS = {"pytorch": 1 / 3, "glorot": 1.0, "orthogonal": 1.0, "he": 2.0, "normal": None}       # s; None: the width n
ACTIVATIONS = ("relu", "leaky_relu", "elu", "selu", "gelu", "mish", "softplus", "tanh", "hardtanh", "sigmoid", "hardsigmoid",
               "relu6", "softsign", "silu", "hardswish")


def predicted(name: str, s: float) -> float:
    """The geometric mean of the factors from the last hidden layer to the first, for inputs of mean square 1."""
    f, q, logs = getattr(F, name), s, []
    for _ in range(DEPTH - 1):
        logs.append(np.log(s * normal_mean(lambda z: np.square(slope(f, z)), np.sqrt(q))) / 2)
        q = s * normal_mean(lambda z: np.square(f(z).data), np.sqrt(q))         # of the next layer
    return float(np.exp(np.mean(logs)))


def measured(model: nn.MLP, x: Array, labels: Array) -> float:
    """The same in an MLP, by autodiff: the gradients of the outputs of the first and the last affine map of a hidden layer."""
    h, z = x, []
    for layer in model:
        h = layer(h)
        if isinstance(layer, (nn.Linear, nn.Maxout)):
            z.append(h)
    first, last = grad(F.cross_entropy(h, labels), [z[0], z[-2]])
    return float((np.linalg.norm(first.data) / np.linalg.norm(last.data)) ** (1 / (len(z) - 2)))


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """Ten hidden layers with each activation and each start, on Gaussian samples."""
    n, rng = 100 if fast else 256, np.random.default_rng(seed)
    x, labels = rng.standard_normal((64, n)), rng.integers(10, size=64)
    told, found = (np.zeros((len(ACTIVATIONS), len(STARTS))) for _ in range(2))
    for k, (start, s) in enumerate(STARTS.items()):
        weights = nn.MLP([n] * (DEPTH + 1) + [10], "relu", start, "float64", seed).state_dict()
        for i, name in enumerate(ACTIVATIONS):
            model = nn.MLP([n] * (DEPTH + 1) + [10], name, 0.0, "float64", seed)
            model.load_state_dict(weights)
            told[i, k], found[i, k] = predicted(name, s or n), measured(model, x, labels)
    # In the limit of wide layers; the logarithm of a layer's factor varies by about 1/sqrt(n), of the mean of 9 by 1/sqrt(9 n).
    noise, findings = 4 / np.sqrt(9 * n), []
    for name, start in (("relu", "he"), ("selu", "glorot"), ("tanh", "glorot"), ("sigmoid", "glorot"), ("sigmoid", "he"),
                        ("relu", "normal"), ("tanh", "normal")):
        i, k = ACTIVATIONS.index(name), list(STARTS).index(start)
        findings.append(Finding(f"{name}, {start}: factor a layer", told[i, k], found[i, k], noise * told[i, k]))
    apart = np.abs(np.log(found / told))
    findings.append(Finding(f"{apart.size} pairs: largest |ln of measured over predicted|", 0, apart.max(), noise))
    return findings, {"told": told, "found": found}


def draw(figure: Figure, series: Series) -> None:
    figure.set_figheight(7.4)
    axes = figure.subplots()
    found = np.asarray(series["found"])
    axes.imshow(np.log10(found), cmap="RdBu_r", vmin=-1.1, vmax=1.1, aspect="auto")
    for (i, k), value in np.ndenumerate(found):
        axes.text(k, i, f"{value:.2f}  ({series['told'][i][k]:.2f})", ha="center", va="center", fontsize=9,
                  color="white" if abs(np.log10(value)) > 0.75 else "black")
    axes.set_yticks(range(len(ACTIVATIONS)), ACTIVATIONS, fontsize=9)
    axes.set_xticks(range(len(STARTS)), ["pytorch, s = 1/3", "glorot, s = 1", "orthogonal, s = 1", "he, s = 2", "normal, s = n"],
                    fontsize=9)
    axes.set_title("factor of the gradient a layer, measured (predicted): blue vanishes, red explodes", fontsize=9.5, loc="left")
    axes.tick_params(length=0)


EXPERIMENT = Experiment("Depth: vanishing and exploding gradients", run, draw, [
    Claim("C7", "The gradient of an early layer is a product over the later ones: it vanishes or explodes with depth.",
          "Hochreiter 1991; Schoenholz et al. 2016, arXiv 1611.01232"),
    Claim("C11", "Large weights make it explode.", "textbook")], also=["A16", "C13"])
