"""The losses as modules, named as in PyTorch: each keeps the settings of a function of `functional`, which has the formula."""
from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar, dataclass_transform

import numpy as np

from .. import functional as F
from ..checks import as_floats
from ..functional.loss import WEIGHTS, checked
from ..tensor import Tensor
from .module import Buffer, Module


@dataclass_transform()
class Loss(Module):
    """The base of the losses: a function of a prediction and a target, and the settings for it.

    A subclass names the function. Its settings are the parameters of the function after the first two, or those of them that it
    declares, for type checkers: ``reduction: str = "mean"``. They become attributes; weights become buffers, part of the state.

    >>> class ScaledError(nn.Loss):
    ...     function = lambda x, target, factor=1.0: factor * F.l1_loss(x, target)
    >>> ScaledError(factor=3.0)([1.0, 2.0], [1.0, 4.0]).item()
    3.0
    """

    function: Callable[..., Tensor]
    of_classes: ClassVar[bool] = False              # whether there is a weight for each class
    __signature__: ClassVar[inspect.Signature] = inspect.Signature()        # the settings
    _names: ClassVar[tuple[str, ...]] = ()                                  # their names

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "function" in vars(cls):
            function = cls.function
            _, _, *settings = inspect.signature(function).parameters.values()
            declared = inspect.get_annotations(cls)
            cls.function = staticmethod(function)
            cls.__signature__ = inspect.Signature([p for p in settings if p.name in declared or not declared])
            cls._names = tuple(cls.__signature__.parameters)
            formula = (inspect.getdoc(function) or "").split("\n\n")[0]
            example = f">>> nn.{cls.__name__}(reduction='sum')\n{cls.__name__}(reduction='sum')"
            own = inspect.cleandoc(cls.__doc__ or (example if cls.__module__ == __name__ else ""))
            cls.__doc__ = f"{formula}\n\nThe function `{function.__name__}` as a module.\n\n{own}\n"

    def __init__(self, *args: Any, **settings: Any) -> None:
        name = type(self).__name__
        if len(args) > 1 and np.ndim(args[1]):
            raise TypeError(f"{name}: got arrays, expected settings; make the loss, then call it: {name}()(x, target)")
        try:
            bound = self.__signature__.bind(*args, **settings)
        except TypeError as error:
            raise TypeError(f"{name}: {error}; expected {', '.join(self._names)}") from None
        bound.apply_defaults()
        for key, setting in bound.arguments.items():
            setting = checked(name, key, setting)
            if key in WEIGHTS and setting is not None:
                setting = Buffer(as_floats(setting, name=f"{name}: {key}"))
                if self.of_classes and setting.data.ndim != 1:
                    raise ValueError(f"{name}: {key} has shape {setting.data.shape}, expected (classes,)")
            setattr(self, key, setting)

    def forward(self, x: Any, target: Any) -> Any:
        return self.function(x, target, **{name: s.data if isinstance(s := getattr(self, name), Buffer) else s
                                           for name in self._names})


class CrossEntropyLoss(Loss):
    function = F.cross_entropy
    of_classes = True
    weight: Any = None
    ignore_index: int = -100
    reduction: str = "mean"
    label_smoothing: float = 0.0


class NLLLoss(Loss):
    function = F.nll_loss
    of_classes = True
    weight: Any = None
    ignore_index: int = -100
    reduction: str = "mean"


class MultiMarginLoss(Loss):
    function = F.multi_margin_loss
    of_classes = True
    p: int = 1
    margin: float = 1.0
    weight: Any = None
    reduction: str = "mean"


class MSELoss(Loss):
    function = F.mse_loss
    reduction: str = "mean"


class L1Loss(Loss):
    function = F.l1_loss
    reduction: str = "mean"


class HuberLoss(Loss):
    function = F.huber_loss
    reduction: str = "mean"
    delta: float = 1.0


class SmoothL1Loss(Loss):
    function = F.smooth_l1_loss
    reduction: str = "mean"
    beta: float = 1.0


class BCEWithLogitsLoss(Loss):
    function = F.binary_cross_entropy_with_logits
    weight: Any = None
    reduction: str = "mean"
    pos_weight: Any = None


class HingeEmbeddingLoss(Loss):
    function = F.hinge_embedding_loss
    margin: float = 1.0
    reduction: str = "mean"


# For `import *` (after a plain `__all__ = ...`, mypy would find no name here).
vars()["__all__"] = [name for name, cls in vars().items() if name[0] != "_" and isinstance(cls, type) and issubclass(cls, Loss)]
