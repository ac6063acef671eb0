"""The estimator for scikit-learn beside scikit-learn's own, at equal settings, on digits."""
from __future__ import annotations

import warnings

from sklearn import neural_network
from sklearn.datasets import load_digits

from tinygrad_relu.sklearn import MLPClassifier

KINDS = {"tinygrad_relu": MLPClassifier, "scikit-learn": neural_network.MLPClassifier}


class Digits:
    """One hidden layer of 100 units, Adam, batches of 200, 50 epochs; and how accurate it is on the last 597 images."""

    params = (tuple(KINDS), ("float32", "float64"))
    param_names = ("library", "dtype")
    timeout = 120

    def setup(self, library, dtype):
        x, y = load_digits(return_X_y=True)
        self.x, self.y = (x / 16).astype(dtype), y
        self.fitted(library, 0, epochs=2)

    def fitted(self, library, seed, epochs=50):
        model = KINDS[library](max_iter=epochs, tol=0, n_iter_no_change=1000, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")         # the number of epochs is what is compared, and not the end of learning
            return model.fit(self.x[:1200], self.y[:1200])

    def time_fit(self, library, dtype):
        self.fitted(library, 0)

    def track_accuracy(self, library, dtype):
        """The mean of five seeds."""
        return sum(self.fitted(library, seed).score(self.x[1200:], self.y[1200:]) for seed in range(5)) / 5
