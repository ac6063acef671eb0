"""The losses as modules, named as in PyTorch: each keeps the settings of a function of `functional`, which has the formula."""
from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar, dataclass_transform

from .. import functional as F
from ..checks import as_floats
from ..functional.loss import SETTINGS, check_constant
from ..tensor import Tensor
from .module import Buffer, Module

WEIGHTS = ("weight", "pos_weight")      # these settings become buffers


@dataclass_transform()
class Loss(Module):
    """The base of the losses: a function of a prediction and a target, and the settings for it.

    A subclass names the function. Its settings are the parameters of the function after the first two, or those of them that it
    declares, which type checkers then see: ``reduction: str = "mean"``. They are checked here, and become attributes (weights
    become buffers, which are part of the state).

    >>> class ScaledError(nn.Loss):
    ...     function = lambda x, target, factor=1.0: factor * F.l1_loss(x, target)
    >>> ScaledError(factor=3.0)([1.0, 2.0], [1.0, 4.0]).item()
    3.0
    """

    function: Callable[..., Tensor]
    __signature__: ClassVar[inspect.Signature]      # the settings

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "function" in vars(cls):
            function = cls.function
            _, _, *settings = inspect.signature(function).parameters.values()
            declared = inspect.get_annotations(cls)
            cls.function = staticmethod(function)
            cls.__signature__ = inspect.Signature([p for p in settings if p.name in declared or not declared])
            formula = (inspect.getdoc(function) or "").split("\n\n")[0]
            cls.__doc__ = f"{formula}\n\nThe function `{function.__name__}` as a module.\n\n{inspect.cleandoc(cls.__doc__ or '')}"

    def __init__(self, *args: Any, **settings: Any) -> None:
        name, bound = type(self).__name__, self.__signature__.bind(*args, **settings)
        bound.apply_defaults()
        for key, value in bound.arguments.items():
            if key in WEIGHTS:
                weight = check_constant(f"{name}: {key}", value)
                value = None if weight is None else Buffer(as_floats(weight, name=f"{name}: {key}"))
            setattr(self, key, SETTINGS[key](name, value) if key in SETTINGS else value)

    def forward(self, x: Any, target: Any) -> Any:
        settings = {key: getattr(self, key) for key in self.__signature__.parameters}
        for key in WEIGHTS:
            if settings.get(key) is not None:
                settings[key] = settings[key].data
        return self.function(x, target, **settings)


class _ClassLoss(Loss):
    """The base of the losses whose weights are one per class."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        weight = vars(self)["weight"]
        if weight is not None and weight.data.ndim != 1:
            raise ValueError(f"{type(self).__name__}: weight has shape {weight.data.shape}, expected (classes,)")


class CrossEntropyLoss(_ClassLoss):
    """
    >>> loss = CrossEntropyLoss(weight=[1.0, 3.0], label_smoothing=0.1)
    >>> round(loss([[0.0, 1.0], [2.0, 0.0]], [1, 1]).item(), 6)
    1.171092
    """

    function = F.cross_entropy
    weight: Any = None
    ignore_index: int = -100
    reduction: str = "mean"
    label_smoothing: float = 0.0


class NLLLoss(_ClassLoss):
    """
    >>> NLLLoss()([[-0.5, -1.0]], [1]).item()
    1.0
    """

    function = F.nll_loss
    weight: Any = None
    ignore_index: int = -100
    reduction: str = "mean"


class MultiMarginLoss(_ClassLoss):
    """
    >>> MultiMarginLoss()([[0.5, 1.0, -2.0]], [0]).item()
    0.5
    """

    function = F.multi_margin_loss
    p: int = 1
    margin: float = 1.0
    weight: Any = None
    reduction: str = "mean"


class MSELoss(Loss):
    """
    >>> MSELoss()([1.0, 2.0], [1.0, 4.0]).item()
    2.0
    """

    function = F.mse_loss
    reduction: str = "mean"


class L1Loss(Loss):
    """
    >>> L1Loss(reduction="sum")([1.0, 2.0], [1.0, 4.0]).item()
    2.0
    """

    function = F.l1_loss
    reduction: str = "mean"


class HuberLoss(Loss):
    """
    >>> HuberLoss(delta=2.0)([5.0], [0.0]).item()
    8.0
    """

    function = F.huber_loss
    reduction: str = "mean"
    delta: float = 1.0


class SmoothL1Loss(Loss):
    """
    >>> SmoothL1Loss(beta=2.0)([5.0], [0.0]).item()
    4.0
    """

    function = F.smooth_l1_loss
    reduction: str = "mean"
    beta: float = 1.0


class BCEWithLogitsLoss(Loss):
    """
    >>> round(BCEWithLogitsLoss(pos_weight=2.0)([0.0], [1.0]).item(), 6)
    1.386294
    """

    function = F.binary_cross_entropy_with_logits
    weight: Any = None
    reduction: str = "mean"
    pos_weight: Any = None


class HingeEmbeddingLoss(Loss):
    """
    >>> HingeEmbeddingLoss()([0.25, 0.25], [1, -1]).item()
    0.5
    """

    function = F.hinge_embedding_loss
    margin: float = 1.0
    reduction: str = "mean"


# What `import *` takes. (Assigned to a name, a list that is computed would hide everything from mypy.)
vars()["__all__"] = [name for name, cls in vars().items() if name[0] != "_" and isinstance(cls, type) and issubclass(cls, Loss)]
