"""The losses as modules, named as in PyTorch: a module checks and keeps the settings, `functional` has the formulas."""
from __future__ import annotations

from typing import Any

from .. import functional as F
from ..checks import as_floats, check_name, check_number
from ..functional.class_loss import check_ignore_index, check_power, check_smoothing
from ..functional.loss import check_constant, check_delta, check_margin
from .module import Buffer, Module


class Loss(Module):
    """The base of the losses: called with a prediction and what it should be.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
    """

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = check_name(reduction, F.REDUCTIONS, f"{type(self).__name__}: reduction")

    def _buffer(self, name: str, weight: Any) -> Buffer | None:
        name = f"{type(self).__name__}: {name}"
        return None if weight is None else Buffer(as_floats(check_constant(name, weight), name=name))

    def _class_weights(self, weight: Any) -> Buffer | None:
        buffer = self._buffer("weight", weight)
        if buffer is not None and buffer.data.ndim != 1:
            raise ValueError(f"{type(self).__name__}: weight has shape {buffer.data.shape}, expected (classes,)")
        return buffer

    def extra_repr(self) -> str:
        return "" if self.reduction == "mean" else f"reduction={self.reduction!r}"


def _data(buffer: Buffer | None) -> Any:
    return None if buffer is None else buffer.data


class CrossEntropyLoss(Loss):
    """``log sum_k exp(x_k) - x_label`` of logits, averaged: `functional.cross_entropy`.

    Called with logits, and with labels or class probabilities.

    Parameters
    ----------
    weight : array_like, shape (classes,), optional
        Of each class. A buffer: part of the state.
    ignore_index : int
    reduction : {"mean", "sum", "none"}
    label_smoothing : float from 0 to 1

    Examples
    --------
    >>> loss = CrossEntropyLoss(weight=[1.0, 3.0], label_smoothing=0.1)
    >>> round(loss([[0.0, 1.0], [2.0, 0.0]], [1, 1]).item(), 6)
    1.171092
    """

    def __init__(self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean",
                 label_smoothing: float = 0.0) -> None:
        super().__init__(reduction)
        self.weight = self._class_weights(weight)
        self.ignore_index = check_ignore_index("CrossEntropyLoss", ignore_index)
        self.label_smoothing = check_smoothing("CrossEntropyLoss", label_smoothing)

    def forward(self, x: Any, target: Any) -> Any:
        return F.cross_entropy(x, target, _data(self.weight), self.ignore_index, self.reduction, self.label_smoothing)


class NLLLoss(Loss):
    """``-w_label x_label`` of log-probabilities, averaged with the weights: `functional.nll_loss`.

    Parameters
    ----------
    weight : array_like, shape (classes,), optional
    ignore_index : int
    reduction : {"mean", "sum", "none"}

    Examples
    --------
    >>> NLLLoss()([[-0.5, -1.0]], [1]).item()
    1.0
    """

    def __init__(self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.weight, self.ignore_index = self._class_weights(weight), check_ignore_index("NLLLoss", ignore_index)

    def forward(self, x: Any, target: Any) -> Any:
        return F.nll_loss(x, target, _data(self.weight), self.ignore_index, self.reduction)


class MSELoss(Loss):
    """``(x - target)^2``, averaged: `functional.mse_loss`.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}

    Examples
    --------
    >>> MSELoss()([1.0, 2.0], [1.0, 4.0]).item()
    2.0
    """

    def forward(self, x: Any, target: Any) -> Any:
        return F.mse_loss(x, target, self.reduction)


class L1Loss(Loss):
    """``|x - target|``, averaged: `functional.l1_loss`.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}

    Examples
    --------
    >>> L1Loss(reduction="sum")([1.0, 2.0], [1.0, 4.0]).item()
    2.0
    """

    def forward(self, x: Any, target: Any) -> Any:
        return F.l1_loss(x, target, self.reduction)


class HuberLoss(Loss):
    """A parabola near 0 and a line beyond `delta`, averaged: `functional.huber_loss`.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
    delta : float, above 0

    Examples
    --------
    >>> HuberLoss(delta=2.0)([5.0], [0.0]).item()
    8.0
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = check_delta("HuberLoss", delta)

    def forward(self, x: Any, target: Any) -> Any:
        return F.huber_loss(x, target, self.reduction, self.delta)


class SmoothL1Loss(Loss):
    """Huber's loss divided by `beta`, averaged: `functional.smooth_l1_loss`.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
    beta : float, 0 or more

    Examples
    --------
    >>> SmoothL1Loss(beta=2.0)([5.0], [0.0]).item()
    4.0
    """

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        self.beta = check_number(beta, "SmoothL1Loss: beta")

    def forward(self, x: Any, target: Any) -> Any:
        return F.smooth_l1_loss(x, target, self.reduction, self.beta)


class BCEWithLogitsLoss(Loss):
    """The cross-entropy of sigmoid(x) against probabilities, averaged: `functional.binary_cross_entropy_with_logits`.

    Parameters
    ----------
    weight : array_like, optional
        Of each element; broadcasts to the shape of x.
    reduction : {"mean", "sum", "none"}
    pos_weight : array_like, optional
        Of the positive side; broadcasts to the shape of x.

    Examples
    --------
    >>> round(BCEWithLogitsLoss(pos_weight=2.0)([0.0], [1.0]).item(), 6)
    1.386294
    """

    def __init__(self, weight: Any = None, reduction: str = "mean", pos_weight: Any = None) -> None:
        super().__init__(reduction)
        self.weight, self.pos_weight = self._buffer("weight", weight), self._buffer("pos_weight", pos_weight)

    def forward(self, x: Any, target: Any) -> Any:
        return F.binary_cross_entropy_with_logits(x, target, _data(self.weight), self.reduction, _data(self.pos_weight))


class MultiMarginLoss(Loss):
    """``sum_c max(0, margin - x_label + x_c)^p / classes``, averaged: `functional.multi_margin_loss`.

    Parameters
    ----------
    p : {1, 2}
    margin : float
    weight : array_like, shape (classes,), optional
    reduction : {"mean", "sum", "none"}

    Examples
    --------
    >>> MultiMarginLoss()([[0.5, 1.0, -2.0]], [0]).item()
    0.5
    """

    def __init__(self, p: int = 1, margin: float = 1.0, weight: Any = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.p, self.margin = check_power("MultiMarginLoss", p), check_margin("MultiMarginLoss", margin)
        self.weight = self._class_weights(weight)

    def forward(self, x: Any, target: Any) -> Any:
        return F.multi_margin_loss(x, target, self.p, self.margin, _data(self.weight), self.reduction)


class HingeEmbeddingLoss(Loss):
    """``x`` where the target is 1, ``max(0, margin - x)`` where it is -1, averaged: `functional.hinge_embedding_loss`.

    Parameters
    ----------
    margin : float
    reduction : {"mean", "sum", "none"}

    Examples
    --------
    >>> HingeEmbeddingLoss()([0.25, 0.25], [1, -1]).item()
    0.5
    """

    def __init__(self, margin: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = check_margin("HingeEmbeddingLoss", margin)

    def forward(self, x: Any, target: Any) -> Any:
        return F.hinge_embedding_loss(x, target, self.margin, self.reduction)
