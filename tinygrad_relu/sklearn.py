"""Estimators for scikit-learn: `MLPClassifier` and `MLPRegressor`, with any activation, start, norm and optimizer of the package.

They take the place of scikit-learn's own in pipelines and searches. Shared settings and fitted attributes have the same names and
the same meaning.
"""
from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, is_classifier
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from . import functional as F
from . import optim
from .autodiff.node import Array, no_grad
from .checks import check_count, check_name, check_number, counted
from .lab import Census, Prognosis
from .lab import census as take_census
from .lab import prognosis as take_prognosis
from .lab.treatments import SCHEDULES
from .nn import MLP, Identity
from .nn.module import evaluating
from .tensor import Tensor
from .training import History, fit

SOLVERS: dict[str, Callable[[Any, Any], optim.Optimizer]] = {       # from the groups of parameters, and the estimator
    "adam": lambda groups, of: optim.Adam(groups, lr=of.learning_rate_init),
    "adamw": lambda groups, of: optim.AdamW(groups, lr=of.learning_rate_init),
    "sgd": lambda groups, of: optim.SGD(groups, lr=of.learning_rate_init, momentum=of.momentum,
                                        nesterov=of.nesterovs_momentum and of.momentum > 0)}
RATES: dict[str, Callable[[optim.Optimizer, int], Any]] = {         # from the optimizer and the number of epochs
    "constant": lambda optimizer, epochs: None,
    "adaptive": lambda optimizer, epochs: optim.ReduceLROnPlateau(optimizer, factor=0.2, patience=1), **SCHEDULES}
ROWS = 4096         # samples at a time in a prediction
OTHER_NAMES = {"logistic": "sigmoid", "identity": Identity}        # scikit-learn's, of activations
HORIZON = 1000      # of a prognosis, in steps: it may have to rehearse them


@dataclass(eq=False, repr=False)
class _MLP(BaseEstimator):          # type: ignore[misc]
    """What classifier and regressor share: the settings, the training, and the fitted attributes."""

    hidden_layer_sizes: int | Sequence[int] = (100,)
    activation: Any = "relu"
    _: KW_ONLY
    solver: Any = "adam"
    alpha: float = 1e-4
    batch_size: int | str = "auto"
    learning_rate: Any = "constant"
    learning_rate_init: float = 1e-3
    max_iter: int = 200
    shuffle: bool = True
    random_state: Any = None
    tol: float = 1e-4
    verbose: bool = False
    warm_start: bool = False
    momentum: float = 0.9
    nesterovs_momentum: bool = True
    early_stopping: bool = False
    validation_fraction: float = 0.1
    n_iter_no_change: int = 10
    init: Any = "he"
    norm: str | None = None
    dropout: float = 0.0
    _loss: ClassVar[Callable[..., Tensor]]
    _score_of: ClassVar[Callable[..., float]]

    # -- training -----------------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train until the loss (with `early_stopping`, the validation score) has not improved by `tol` in `n_iter_no_change`
        epochs, at most `max_iter` epochs. With `warm_start` a fitted network is trained on."""
        check_count(self.max_iter, "max_iter")
        again = self.warm_start and hasattr(self, "model_")
        X, y, weight = self._checked(X, y, sample_weight, reset=not again)
        self._train(X, self._targets(y, weight, reset=not again), weight, self.max_iter, again)
        self._trained_on: Array | None = X
        self._counted: Census | None = None
        self._foretold: Prognosis | None = None
        if self.n_iter_ == self.max_iter and not self._history.stopped:     # last, as a filter may make it an error
            warnings.warn(f"{type(self).__name__}: the loss was still falling after max_iter={self.max_iter} epochs",
                          ConvergenceWarning, stacklevel=2)
        return self

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """One epoch on these samples."""
        again = hasattr(self, "model_")
        X, y, weight = self._checked(X, y, sample_weight, reset=not again)
        self._train(X, self._targets(y, weight, reset=False), weight, 1, again, judge=False)
        self._trained_on = self._counted = self._foretold = None
        return self

    def _checked(self, X: Any, y: Any, sample_weight: Any, reset: bool) -> tuple[Array, Array, Array | None]:
        X, y = validate_data(self, X, y, reset=reset, dtype=(np.float64, np.float32), multi_output=True,
                             y_numeric=not is_classifier(self))
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=X.dtype, ensure_non_negative=True)
        return X, y, sample_weight

    def _targets(self, y: Array, weight: Array | None, reset: bool) -> Array:
        """The targets with the weights in them, as the loss takes them: labels or (samples, outputs or more). Sets n_outputs_."""
        raise NotImplementedError

    def _train(self, X: Array, targets: Array, weight: Array | None, epochs: int, again: bool, judge: bool = True) -> None:
        if targets.ndim == 2:                   # else they are labels
            targets = targets.astype(X.dtype, copy=False)
        validation = None
        if judge and self.early_stopping:
            split = train_test_split(X, targets, test_size=self.validation_fraction, random_state=self.random_state,
                                     stratify=_labels(targets) if is_classifier(self) else None)
            X, targets, validation = split[0], split[2], (split[1], split[3])
        size = min(200 if self.batch_size == "auto" else check_count(self.batch_size, "batch_size"), len(X))   # type: ignore[arg-type]
        if not again:
            self._begin(X, size if weight is None else size * float(np.mean(weight)))
        patience = _Patience(self) if judge else None
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self._history = fit(self.model_, self.optimizer_, self._loss, (X, targets), epochs=epochs, batch_size=size,
                                rng=self._rng, shuffle=self.shuffle, validation=validation,
                                metrics={"score": self._score_of} if validation else {}, schedule=self._schedule,
                                callbacks=[patience] if patience else [], quiet=not self.verbose,
                                drop_last=self.norm == "batch" and len(X) % size == 1)      # one sample has no variance
        if self._history.diverged:
            raise ValueError(f"{type(self).__name__}: {self._history.stopped}; scale X, or lower learning_rate_init "
                             f"(it is {self.learning_rate_init})")
        for warning in caught:
            warnings.warn(warning.message, stacklevel=3)
        if patience is not None and patience.weights:
            self.model_.load_state_dict(patience.weights)
        self._note(len(X), patience)

    def _begin(self, X: Array, size: float) -> None:
        """A new network, with its optimizer and schedule. `size` is the sum of the weights of a batch: alpha is a penalty on the
        sum of the losses."""
        self._rng = np.random.default_rng(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        widths = [X.shape[1], *np.atleast_1d(self.hidden_layer_sizes), self.n_outputs_]
        activation = OTHER_NAMES.get(str(self.activation), self.activation)
        self.model_ = MLP(widths, activation, init=self.init, dtype=X.dtype, rng=self._rng, norm=self.norm, dropout=self.dropout)
        decay = check_number(self.alpha, "alpha") / (1 if self.solver == "adamw" else size)
        groups = [{"params": [p for p in self.model_.parameters() if (p.kind == "weight") == decays],
                   "weight_decay": decay if decays else 0.0} for decays in (True, False)]
        groups = [group for group in groups if group["params"]]
        solver, rate = self.solver, self.learning_rate
        if callable(solver):
            self.optimizer_: optim.Optimizer = solver(groups)
        else:
            self.optimizer_ = SOLVERS[check_name(solver, SOLVERS, "solver")](groups, self)
        schedule = rate if callable(rate) else RATES[check_name(rate, RATES, "learning_rate")]
        self._schedule: Any = schedule(self.optimizer_, self.max_iter)
        self.loss_curve_: list[float] = []
        self.n_iter_ = self.t_ = 0
        self.n_layers_ = len(widths)

    def _note(self, samples: int, patience: _Patience | None) -> None:
        """The fitted attributes that tell of the training."""
        self.loss_curve_ += self._history["loss"]
        self.loss_ = self.loss_curve_[-1]
        self.n_iter_ = len(self._history) if patience else self.n_iter_ + 1
        self.t_ += samples * len(self._history)
        scores = self._history["valid_score"] if patience and self.early_stopping else None
        self.validation_scores_, self.best_validation_score_ = scores, None if scores is None else max(scores)
        self.best_loss_ = None if scores is not None else min(self.loss_curve_)

    def __getstate__(self) -> dict[str, Any]:
        """Without the training data: a copy from a pickle has a `prognosis_` only if it was computed before."""
        if getattr(self, "_trained_on", None) is not None:
            self._counted = self.census_
        return {**super().__getstate__(), "_trained_on": None}

    @property
    def census_(self) -> Census | None:
        """The units on the training data; None without a hidden layer.

        They are counted when first asked for: do so before you change the model, or the array of the training data.
        """
        check_is_fitted(self, "model_")
        if self._counted is None and self.n_layers_ > 2:
            self._counted = take_census(self.model_, self._training_data("census_"))
        return self._counted

    @property
    def prognosis_(self) -> Prognosis:
        """Which dead units would return if the training went on for as many steps as it took, at most 1000.

        It is computed when it is first asked for, because it may rehearse these steps.
        """
        check_is_fitted(self, "model_")
        if self._foretold is None:
            if self.n_layers_ == 2:
                raise AttributeError("prognosis_ needs a hidden layer")
            self._foretold = take_prognosis(self.model_, self._training_data("prognosis_"), self.optimizer_,
                                            horizon=min(self._history.steps, HORIZON))
        return self._foretold

    def _training_data(self, name: str) -> Array:
        if self._trained_on is None:
            raise AttributeError(f"{name} needs the training data, which a pickle or partial_fit does not keep")
        return self._trained_on

    # -- the fitted network ---------------------------------------------------------------------------------------------------

    @property
    def coefs_(self) -> list[Array]:
        """The weights of each layer, (inputs, outputs)."""
        return [p.data.T for p in self._of_layers("weight")]

    @property
    def intercepts_(self) -> list[Array]:
        return [p.data for p in self._of_layers("bias")]

    def _of_layers(self, name: str) -> list[Any]:
        return [found for layer in self.model_ if not layer.is_norm and (found := getattr(layer, name, None)) is not None
                and found.kind == name]

    def _scores(self, X: Any) -> Array:
        check_is_fitted(self, "model_")
        X = validate_data(self, X, reset=False, dtype=(np.float64, np.float32)).astype(self.coefs_[0].dtype, copy=False)
        with no_grad(), evaluating(self.model_):
            return np.concatenate([self.model_(X[start:start + ROWS]).data for start in range(0, len(X), ROWS)])


class _Patience:
    """Ends a training that no longer improves: a callback of `fit`. Keeps the best weights if there is a validation score."""

    def __init__(self, of: _MLP) -> None:
        self.of, self.best, self.waited = of, -np.inf, 0
        self.weights: dict[str, Any] = {}

    def __call__(self, history: History) -> bool:
        score = history["valid_score"][-1] if self.of.early_stopping else -history["loss"][-1]
        self.waited = 0 if score > self.best + self.of.tol else self.waited + 1
        if score > self.best:
            self.best = score
            self.weights = self.of.model_.state_dict() if self.of.early_stopping else {}
        return self.waited >= self.of.n_iter_no_change


@dataclass(eq=False, repr=False, kw_only=True)
class MLPClassifier(ClassifierMixin, _MLP):     # type: ignore[misc]
    """A classifier with hidden layers, trained by cross-entropy; for scikit-learn, in place of its own `MLPClassifier`.

    Beyond the settings of scikit-learn's:

    - `activation`, `init`, `norm`, `dropout`: as in `nn.MLP`: any name, module or function, such as "prelu", "maxout", or what
      `tg.activation` made; and scikit-learn's "logistic" and "identity".
    - `solver`: "adam", "adamw", "sgd", or a function from parameter groups to an optimizer.
    - `learning_rate`: "constant", "adaptive", "cosine", "linear", "step", "warmup", or a function from the optimizer and the
      number of epochs to a schedule of `optim.lr_scheduler`.
    - `class_weight`: "balanced", or a dict.

    Fitted: scikit-learn's attributes; `model_` (an `nn.MLP`) and `optimizer_`; after `fit` also `census_`, the units on X (None
    without a hidden layer), and `prognosis_`. float32 data train in float32, all others in float64.

    >>> from sklearn.datasets import make_moons
    >>> X, y = make_moons(200, noise=0.1, random_state=0)
    >>> found = MLPClassifier([16], "prelu", solver="sgd", learning_rate_init=0.1, max_iter=300, random_state=0).fit(X, y)
    >>> found.score(X, y) > 0.95, found.census_.dead
    (True, [0])
    """

    class_weight: Any = None
    out_activation_ = "softmax"
    _loss = staticmethod(F.cross_entropy)

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:  # type: ignore[override]
        """One epoch on these samples. The first call needs all `classes`, unless y has them all."""
        if not hasattr(self, "classes_"):
            self.classes_ = np.unique(y if classes is None else classes)
        elif classes is not None and not np.array_equal(self.classes_, np.unique(classes)):
            raise ValueError(f"partial_fit: classes are {np.unique(classes)}, expected those of the first call, {self.classes_}")
        return super().partial_fit(X, y, sample_weight)

    def _targets(self, y: Array, weight: Array | None, reset: bool) -> Array:
        """The labels; with weights a row for each sample, its weight at its class and 0 elsewhere."""
        check_classification_targets(y)
        if y.ndim == 2 and y.shape[1] == 1:
            warnings.warn("A column-vector y was passed when a 1d array was expected; it is flattened", DataConversionWarning,
                          stacklevel=4)
            y = y.ravel()
        if y.ndim > 1:
            raise ValueError(f"{type(self).__name__}: y has shape {y.shape}, expected one class for each sample")
        if reset:
            self.classes_ = np.unique(y)
        elif (unknown := np.setdiff1d(y, self.classes_)).size:
            raise ValueError(f"{type(self).__name__}: y has the classes {unknown}, expected those of the first call, "
                             f"{self.classes_}")
        if self.class_weight is not None:
            balance = compute_sample_weight(self.class_weight, y)
            weight = balance if weight is None else weight * balance
        self.n_outputs_, labels = len(self.classes_), np.searchsorted(self.classes_, y)
        if weight is None:
            return labels
        return np.eye(len(self.classes_))[labels] * (weight * len(weight) / weight.sum())[:, None]

    @staticmethod
    def _score_of(scores: Array, targets: Array) -> float:
        return float((scores.argmax(axis=1) == _labels(targets)).mean())

    def predict(self, X: Any) -> Array:
        winners = self._scores(X).argmax(axis=1)
        return np.asarray(self.classes_[winners])

    def predict_proba(self, X: Any) -> Array:
        """The probabilities of the classes, (samples, classes)."""
        return F.softmax(Tensor(self._scores(X))).data

    def predict_log_proba(self, X: Any) -> Array:
        return F.log_softmax(Tensor(self._scores(X))).data


class MLPRegressor(RegressorMixin, _MLP):       # type: ignore[misc]
    """A regressor with hidden layers, trained by half the mean squared error; in place of scikit-learn's own `MLPRegressor`.

    Settings and fitted attributes are those of `MLPClassifier`, without `class_weight`. y may have several columns.

    >>> X = np.linspace(0, 3, 100)[:, None]
    >>> found = MLPRegressor([16], "tanh", learning_rate_init=0.05, random_state=0).fit(X, np.sin(X[:, 0]))
    >>> found.score(X, np.sin(X[:, 0])) > 0.9
    True
    """

    out_activation_ = "identity"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _targets(self, y: Array, weight: Array | None, reset: bool) -> Array:
        """The columns of y, and one of weights."""
        outputs = 1 if y.ndim == 1 else y.shape[1]
        if reset or not hasattr(self, "model_"):
            self._axes, self.n_outputs_ = y.ndim, outputs
        elif outputs != self.n_outputs_:
            raise ValueError(f"{type(self).__name__}: y has {counted(outputs, 'column')}, expected {self.n_outputs_} as before")
        weight = np.ones(len(y)) if weight is None else weight * len(weight) / weight.sum()
        return np.column_stack([y, weight])

    @staticmethod
    def _loss(scores: Tensor, targets: Any) -> Tensor:
        return 0.5 * (targets[:, -1:] * (scores - targets[:, :-1]).square()).mean()

    @staticmethod
    def _score_of(scores: Array, targets: Array) -> float:
        return float(r2_score(targets[:, :-1], scores, sample_weight=targets[:, -1]))

    def predict(self, X: Any) -> Array:
        """Predictions, of the shape of the y that `fit` got."""
        scores = self._scores(X)
        return scores.ravel() if self._axes == 1 else scores


def _labels(targets: Array) -> Array:
    """The labels themselves, or the class in which each row has its weight."""
    return targets if targets.ndim == 1 else np.asarray(targets.argmax(axis=1))
