"""MNIST with convolutions and pooling: the accuracy on its 10 000 test digits after three epochs, about 98.8 %.

python examples/mnist.py                       # downloads it once, through scikit-learn's fetch_openml
python examples/mnist.py --folder mnist/       # or reads its four idx .gz files from a folder
"""

import argparse
import gzip
import time
from pathlib import Path

import numpy as np
from sklearn.datasets import fetch_openml

from skintricate import IntricateClassifier
from skintricate.layers import Conv2D, MaxPool2D


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="folder with train-images-idx3-ubyte.gz and the other three files")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    X_train, X_test, y_train, y_test = read_folder(arguments.folder) if arguments.folder else download()

    network = IntricateClassifier(
        [Conv2D(16, 3), "relu", MaxPool2D(), Conv2D(32, 3), "relu", MaxPool2D(), 100],
        learning_rate=0.002,
        batch_size=128,
        max_iter=arguments.epochs,
        n_iter_no_change=None,
        random_state=0,
        verbose=1,
        device=arguments.device,
    )
    started = time.perf_counter()
    network.fit(X_train, y_train)
    seconds = time.perf_counter() - started
    accuracy = network.score(X_test, y_test)
    print(f"accuracy on the test set {accuracy:.4f}, trained in {seconds:.1f} s on {network.device_}")


def download():
    """Return MNIST from openml.org, in the original split."""
    X, y = fetch_openml("mnist_784", version=1, return_X_y=True, as_frame=False, parser="liac-arff")
    X, y = as_images(X), y.astype(int)
    return X[:60_000], X[60_000:], y[:60_000], y[60_000:]


def read_folder(folder):
    """Return MNIST from the four files of its authors."""
    images = [as_images(read_idx(folder / f"{part}-images-idx3-ubyte.gz", 16)) for part in ("train", "t10k")]
    labels = [read_idx(folder / f"{part}-labels-idx1-ubyte.gz", 8).astype(int) for part in ("train", "t10k")]
    return *images, *labels


def read_idx(path, header):
    """Return the bytes of an idx file after its header."""
    with gzip.open(path) as file:
        return np.frombuffer(file.read(), np.uint8, offset=header)


def as_images(X):
    """Return bytes as images of one channel, with values from 0 to 1."""
    return (X.reshape(-1, 28, 28, 1) / 255).astype(np.float32)


if __name__ == "__main__":
    main()
