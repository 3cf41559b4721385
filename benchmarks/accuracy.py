"""Test scores over five seeds, beside scikit-learn's MLP at the same settings, and MNIST in five epochs.

    python benchmarks/accuracy.py
    python benchmarks/accuracy.py --device pocl --mnist mnist/     # a folder with the four idx .gz files
    python benchmarks/accuracy.py --mnist openml                    # or from openml.org

Each seed splits, initialises and shuffles anew. The last column says whether skintricate's mean is at least
the peer's less one standard deviation of the peer's scores.
"""

import argparse
import time
import warnings

import datasets
import numpy as np
from report import table, write_section
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skintricate import IntricateClassifier, IntricateRegressor

SEEDS = range(5)
# Data, and the settings that both get; the targets of the regression are scaled too.
CASES = {
    "digits": (load_digits, {"learning_rate": 0.001, "batch_size": 200, "max_iter": 60}),
    "breast cancer": (load_breast_cancer, {"learning_rate": 0.001, "batch_size": 32, "max_iter": 60}),
    "wine": (load_wine, {"learning_rate": 0.001, "batch_size": 32, "max_iter": 100}),
    "diabetes": (load_diabetes, {"learning_rate": 0.001, "batch_size": 32, "max_iter": 60}),
}
MNIST_FLOOR = 0.975


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--mnist", metavar="FOLDER", help="a folder with the four idx .gz files, or 'openml'")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    arguments = parser.parse_args()
    place = {"device": arguments.device, "dtype": arguments.dtype}

    rows = []
    for name, (load, settings) in CASES.items():
        rows.append(compare(name, load, settings, place))
        print(*rows[-1], sep="  ", flush=True)
    text = table(["data", "skintricate", "scikit-learn", "within one standard deviation"], rows)
    if arguments.mnist:
        text += f"\n\n{mnist(arguments.mnist, place)}"
    print(f"\n{text}")
    if arguments.write:
        write_section("Accuracy", "python benchmarks/accuracy.py --mnist FOLDER --write", text)


def compare(name, load, settings, place):
    """Return the row of a data set."""
    X, y = load(return_X_y=True)
    is_regression = load is load_diabetes
    if is_regression:
        y = (y - y.mean()) / y.std()
    ours, theirs = [], []
    for seed in SEEDS:
        X_train, X_test, y_train, y_test = train_test_split(
            X, y, test_size=0.25, random_state=seed, stratify=None if is_regression else y
        )
        for scores, network in (
            (ours, our_network(is_regression, settings, seed, place)),
            (theirs, their_network(is_regression, settings, seed)),
        ):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is fixed
                model = make_pipeline(StandardScaler(), network).fit(X_train, y_train)
            scores.append(model.score(X_test, y_test))
    within = np.mean(ours) >= np.mean(theirs) - np.std(theirs, ddof=1)
    return [name, *(f"{np.mean(s):.4f} ± {np.std(s, ddof=1):.4f}" for s in (ours, theirs)), "yes" if within else "NO"]


def our_network(is_regression, settings, seed, place):
    """Return skintricate's estimator."""
    cls = IntricateRegressor if is_regression else IntricateClassifier
    return cls((100,), **settings, n_iter_no_change=None, random_state=seed, **place)


def their_network(is_regression, settings, seed):
    """Return scikit-learn's estimator."""
    cls = MLPRegressor if is_regression else MLPClassifier
    return cls(
        hidden_layer_sizes=(100,),
        learning_rate_init=settings["learning_rate"],
        batch_size=settings["batch_size"],
        max_iter=settings["max_iter"],
        n_iter_no_change=settings["max_iter"],
        tol=0.0,
        alpha=0.0,
        random_state=seed,
    )


def mnist(folder, place):
    """Return a line on 784-512-10 after five epochs."""
    X_train, y_train, X_test, y_test = datasets.mnist(None if folder == "openml" else folder)
    network = IntricateClassifier((512,), batch_size=256, max_iter=5, n_iter_no_change=None, random_state=0, **place)
    started = time.perf_counter()
    network.fit(X_train, y_train)
    seconds = time.perf_counter() - started
    accuracy = network.score(X_test, y_test)
    verdict = "at least" if accuracy >= MNIST_FLOOR else "BELOW"
    return (
        f"MNIST, 784-512-10, batch 256, five epochs in {seconds:.1f} s: test accuracy {accuracy:.4f}, "
        f"{verdict} {MNIST_FLOOR}."
    )


if __name__ == "__main__":
    main()
