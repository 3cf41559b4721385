"""Handwritten digits through a pipeline and a grid search, with scikit-learn's MLPClassifier beside it.

Both get the same data, network, batches, epochs, optimizer and search over learning rates:

    python examples/digits.py
"""

import time
import warnings

import numpy as np
from sklearn import model_selection
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler

from skintricate import IntricateClassifier
from skintricate.model_selection import GridSearchCV

EPOCHS = 60
BATCH = 200
RATES = [0.0003, 0.001, 0.003, 0.01]


def main():
    X, y = load_digits(return_X_y=True)
    data = model_selection.train_test_split(X.astype(np.float32), y, test_size=0.25, stratify=y, random_state=0)

    # The first fit of a machine compiles the kernels; later ones, in any process, find them in a cache.
    started = time.perf_counter()
    first = IntricateClassifier(100, max_iter=1, n_iter_no_change=None).fit(data[0], data[2])
    print(f"device: {first.device_}")
    print(f"ready after {time.perf_counter() - started:.1f} s\n")

    print(f"IntricateClassifier, {len(RATES)} learning rates x 3 folds and the best once more, {EPOCHS} epochs each:")
    ours = IntricateClassifier((100,), batch_size=BATCH, max_iter=EPOCHS, n_iter_no_change=None, random_state=0)
    seconds = search(GridSearchCV, ours, "learning_rate", data)

    print("\nMLPClassifier, the same:")
    theirs = MLPClassifier(
        (100,), batch_size=BATCH, max_iter=EPOCHS, n_iter_no_change=EPOCHS, alpha=0.0, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it trains for a fixed number of epochs
        their_seconds = search(model_selection.GridSearchCV, theirs, "learning_rate_init", data)
    print(
        f"\nIntricateClassifier took {seconds:.2f} s, MLPClassifier {their_seconds:.2f} s: "
        f"{their_seconds / seconds:.1f} times as long."
    )


def search(cls, network, rate, data):
    """Search the learning rate, print what came of it and return the seconds it took."""
    X_train, X_test, y_train, y_test = data
    pipeline = Pipeline([("scale", MinMaxScaler()), ("network", network)])
    grid = cls(pipeline, {f"network__{rate}": RATES}, cv=3)
    started = time.perf_counter()
    grid.fit(X_train, y_train)
    seconds = time.perf_counter() - started
    best = grid.best_params_[f"network__{rate}"]
    print(f"best learning rate {best}, accuracy on the test set {grid.score(X_test, y_test):.3f}, {seconds:.2f} s")
    return seconds


if __name__ == "__main__":
    main()
