"""Data of the benchmarks: bundled with scikit-learn, made up, or from files: MNIST, California housing."""

import csv
import gzip
from pathlib import Path

import numpy as np
from sklearn.datasets import fetch_openml, load_digits


def digits():
    """Return scikit-learn's 1 797 digits of 8 x 8 pixels, scaled to [0, 1]."""
    X, y = load_digits(return_X_y=True)
    return (X / 16).astype(np.float32), y


def made_up(n_samples, n_features, n_classes, seed=0):
    """Return classes that overlap: normal clouds, one a class, whose centres are close."""
    generator = np.random.default_rng(seed)
    y = generator.integers(n_classes, size=n_samples)
    centres = generator.normal(size=(n_classes, n_features)) * 3 / np.sqrt(n_features)
    return (centres[y] + generator.normal(size=(n_samples, n_features))).astype(np.float32), y


def curve(n_samples, n_features, seed=0):
    """Return a smooth function of several features with noise."""
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(n_samples, n_features))
    y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2] / 2 + generator.normal(scale=0.1, size=n_samples)
    return X.astype(np.float32), y.astype(np.float32)


def california(path):
    """Return eight features and the house value of California housing, standardised, from a .csv or .csv.gz file."""
    with gzip.open(path, "rt") if str(path).endswith(".gz") else open(path) as file:
        rows = [[float(cell or "nan") for cell in row[:9]] for row in list(csv.reader(file))[1:]]
    values = np.array(rows)
    values = np.where(np.isnan(values), np.nanmedian(values, axis=0), values)
    values = ((values - values.mean(axis=0)) / values.std(axis=0)).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(values))
    return values[order, :8], values[order, 8]


def mnist(folder=None):
    """Return ``(X_train, y_train, X_test, y_test)`` of MNIST, from the four idx .gz files of a folder or openml.org."""
    if folder is None:
        X, y = fetch_openml("mnist_784", version=1, return_X_y=True, as_frame=False, parser="liac-arff")
        X, y = (X / 255).astype(np.float32), y.astype(int)
        return X[:60_000], y[:60_000], X[60_000:], y[60_000:]
    parts = []
    for part in ("train", "t10k"):
        images = _read_idx(Path(folder) / f"{part}-images-idx3-ubyte.gz", 16).reshape(-1, 784)
        labels = _read_idx(Path(folder) / f"{part}-labels-idx1-ubyte.gz", 8)
        parts += [(images / 255).astype(np.float32), labels.astype(int)]
    return parts


def _read_idx(path, header):
    """Return the bytes of an idx file after its header."""
    with gzip.open(path) as file:
        return np.frombuffer(file.read(), np.uint8, offset=header)
