"""The estimators pass scikit-learn's own checks, and behave as its users expect."""
from __future__ import annotations

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn import neural_network
from sklearn.base import clone
from sklearn.datasets import load_digits, make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import tinygrad_relu as tg
from tinygrad_relu import optim
from tinygrad_relu.sklearn import MLPClassifier, MLPRegressor

X, Y = make_classification(120, 6, random_state=0)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("estimator", [MLPClassifier(), MLPRegressor()], ids=lambda estimator: type(estimator).__name__)
def test_scikit_learns_own_checks(estimator):
    """With one thread: the checks fit a hundred networks of a few units."""
    threads = tg.get_num_threads()
    tg.set_num_threads(1)
    try:
        found = check_estimator(estimator, on_skip=None)
    finally:
        tg.set_num_threads(threads)
    assert {one["status"] for one in found} <= {"passed", "skipped"} and not any(one["expected_to_fail"] for one in found)


def test_searches_pipelines_and_copies():
    estimator = MLPClassifier([8], "prelu", max_iter=20, learning_rate_init=0.05, random_state=0)
    pipeline = make_pipeline(StandardScaler(), estimator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search = GridSearchCV(pipeline, {"mlpclassifier__activation": ["relu", "maxout"]}, n_jobs=2, cv=2).fit(X, Y)
        assert search.best_score_ > 0.7
        assert cross_val_predict(pipeline, X, Y, cv=2).shape == Y.shape
        fitted = estimator.fit(X, Y)
        again = clone(estimator).fit(X, Y)
    assert np.array_equal(again.predict_proba(X), fitted.predict_proba(X))      # the seed gives the bits
    assert np.array_equal(pickle.loads(pickle.dumps(fitted)).predict_proba(X), fitted.predict_proba(X))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_names_of_scikit_learn():
    """Those of its activations: "logistic" is the sigmoid, and with "identity" the network is linear."""
    fitted = {name: MLPRegressor([8], name, max_iter=20, random_state=0).fit(X, X @ np.arange(6.0)) for name in
              ("logistic", "sigmoid", "identity")}
    np.testing.assert_array_equal(fitted["logistic"].predict(X), fitted["sigmoid"].predict(X))
    assert fitted["logistic"].get_params()["activation"] == "logistic" and clone(fitted["identity"]).activation == "identity"
    y = fitted["identity"].predict(np.array([X[0], X[1], (X[0] + X[1]) / 2]))
    assert y[2] == pytest.approx((y[0] + y[1]) / 2)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_pandas():
    frame = pd.DataFrame(X, columns=list("abcdef"))
    found = MLPClassifier([8], random_state=0).fit(frame, pd.Series(Y).map({0: "no", 1: "yes"}))
    assert list(found.feature_names_in_) == list("abcdef") and set(found.predict(frame)) == {"no", "yes"}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_batch_norm_does_not_meet_a_last_batch_of_one_sample():
    """Which has no variance. (The folds of a search have sizes that nobody chose.)"""
    for samples in (65, 66):
        found = MLPClassifier([8], norm="batch", batch_size=64, max_iter=3, random_state=0).fit(X[:samples], Y[:samples])
        assert found.optimizer_.state_dict()["state"][0]["step"] == 3 * (samples - 64)
    assert MLPClassifier([8], norm="layer", batch_size=64, max_iter=3).fit(X[:65], Y[:65])._history.steps == 6


def test_fitted_attributes_are_those_of_scikit_learn():
    own = MLPClassifier([8, 4], early_stopping=True, random_state=0).fit(X, Y)
    theirs = neural_network.MLPClassifier([8, 4], early_stopping=True, random_state=0).fit(X, Y)
    names = {name for name in vars(theirs) if name.endswith("_") and not name.startswith("_")}
    assert all(hasattr(own, name) for name in names)
    assert [w.shape for w in own.coefs_] == [(6, 8), (8, 4), (4, 2)] and [b.shape for b in own.intercepts_] == [(8,), (4,), (2,)]
    assert len(own.validation_scores_) == own.n_iter_ and own.best_validation_score_ == max(own.validation_scores_)
    kept = pickle.loads(pickle.dumps(own))          # without the training data, but with their census
    assert own.census_.samples == 120 and len(own.census_.layers) == 2 and str(kept.census_) == str(own.census_)
    assert own.prognosis_ is not None
    with pytest.raises(AttributeError, match="prognosis_ needs the training data"):
        str(kept.prognosis_)
    with pytest.raises(AttributeError, match="census_ needs the training data"):
        str(own.partial_fit(X, Y).census_)


@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
def test_a_warning_that_is_an_error_leaves_a_fitted_network():
    own = MLPClassifier([8], max_iter=1, random_state=0)
    for samples in (120, 60):
        with pytest.raises(ConvergenceWarning):
            own.fit(X[:samples], Y[:samples])
        assert own.census_.samples == samples


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_weights_of_classes_and_samples():
    """A class of weight 0 is never predicted; a weight of 2 is a sample twice."""
    alone = MLPClassifier([8], class_weight={0: 0, 1: 1}, random_state=0).fit(X, Y)
    assert set(alone.predict(X)) == {1}
    settings = {"max_iter": 50, "tol": 0, "n_iter_no_change": 100, "random_state": 0, "shuffle": False}
    twice = MLPRegressor([8], **settings).fit(np.repeat(X[:100], 2, axis=0), np.repeat(X[:100, 0], 2))
    weighted = MLPRegressor([8], **settings).fit(X[:100], X[:100, 0], np.full(100, 2.0))
    np.testing.assert_allclose(weighted.predict(X), twice.predict(X), rtol=1e-9, atol=1e-9)


def test_training_goes_on():
    settings = {"max_iter": 3, "tol": 0, "random_state": 0}
    with pytest.warns(UserWarning, match="still falling"):
        warm = MLPClassifier([8], warm_start=True, **settings).fit(X, Y)
        first = warm.loss_
        assert warm.fit(X, Y).loss_ < first and len(warm.loss_curve_) == 6
    partial = MLPClassifier([8], random_state=0)
    losses = [partial.partial_fit(X[i::2], Y[i::2], classes=[0, 1]).loss_ for _ in range(20) for i in range(2)]
    assert losses[-1] < losses[0] and partial.n_iter_ == 40 and partial.t_ == 40 * 60
    with pytest.raises(ValueError, match="expected those of the first call"):
        partial.partial_fit(X, Y, classes=[0, 1, 2])


@pytest.mark.parametrize("settings", [
    {"solver": "adamw"}, {"solver": lambda groups: optim.Adam(groups, lr=0.01)}, {"solver": "sgd", "learning_rate": "cosine"},
    {"solver": "sgd", "learning_rate": "adaptive"}, {"learning_rate": lambda optimizer, epochs: optim.StepLR(optimizer, 10, gamma=0.8)},
    {"norm": "batch"}, {"dropout": 0.2}, {"activation": tg.functional.gelu}, {"init": "glorot", "activation": "tanh"}],
    ids=["adamw", "own solver", "cosine", "adaptive", "own schedule", "norm", "dropout", "function", "init"])
def test_settings(settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = MLPClassifier([16], **{"learning_rate_init": 0.01, "max_iter": 60, "random_state": 0, **settings}).fit(X, Y)
    assert found.score(X, Y) > 0.85


def test_errors():
    with pytest.raises(ValueError, match="solver"):
        MLPClassifier(solver="adma").fit(X, Y)
    with pytest.raises(TypeError, match=r"a width is np.float64\(2.5\), expected a whole number"):
        MLPClassifier([2.5]).fit(X, Y)
    for again in (MLPRegressor([4]).partial_fit, MLPRegressor([4], tol=1e9, n_iter_no_change=1, warm_start=True).fit):
        again(X, X)
        with pytest.raises(ValueError, match="y has 1 column, expected 6 as before"):      # NumPy would broadcast it
            again(X, X[:, 0])
    with pytest.raises(ValueError, match="learning_rate_init"):
        MLPRegressor([8], solver="sgd", learning_rate_init=1e6, random_state=0).fit(X, X[:, 0] * 1e6)


def test_digits_like_scikit_learn():
    """At equal settings as accurate: within 2 %, four standard errors of a share of 0.97 on 599 samples."""
    x, y = load_digits(return_X_y=True)
    settings = {"hidden_layer_sizes": [64], "max_iter": 30, "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        own, theirs = (kind(**settings).fit(x[::3] / 16, y[::3]).score(x[1::3] / 16, y[1::3])
                       for kind in (MLPClassifier, neural_network.MLPClassifier))
    assert own > theirs - 0.03
