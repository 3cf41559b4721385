"""Networks of other layers than dense ones, with peers in the same run, fits taking turns.

    python benchmarks/layers.py                        # made-up images and rows
    python benchmarks/layers.py --device nvidia --torch cuda

Images: 28 x 28 x 1, convolutions with pooling, Adam, batch 256; torch runs its own loop, with fused Adam. Sparse rows:
50 000 columns, 0.4 % entries, 100 hidden units, batch 200; `MLPClassifier` takes the same CSR matrix.
"""

import argparse
import itertools
import resource
import statistics
import time
import warnings

import numpy as np
import scipy.sparse
from report import processor, table
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from skintricate import IntricateClassifier, Model
from skintricate.layers import Conv2D, Dense, MaxPool2D, ReLU, Reshape, SoftMax

try:
    import torch
except ImportError:
    torch = None

BATCH, SPARSE_BATCH = 256, 200
NETWORKS = {"Conv2D(16, 3), pooling": (16,), "Conv2D(16, 3), pooling, Conv2D(32, 3), pooling": (16, 32)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--torch", default="cpu", help="torch's device")
    parser.add_argument("--steps", type=int, default=100, help="steps of an epoch of images")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    print(f"{processor()}, {arguments.device}\n")
    print(images(arguments))
    print()
    print(sparse_rows(arguments))


def images(arguments):
    """Return a table of convolutional networks, microseconds a step."""
    generator = np.random.default_rng(0)
    X = generator.random((arguments.steps * BATCH, 784), dtype=np.float32)
    y = generator.integers(10, size=len(X))
    steps, rows = arguments.steps * arguments.epochs, []
    for name, filters in NETWORKS.items():
        contenders = {"skintricate": our_network(filters, arguments)}
        if torch is not None:
            contenders["torch"] = torch_network(filters, arguments)
        medians = take_turns(contenders, X, y, arguments.rounds)
        ours = medians["skintricate"]
        rows.append(
            [name, *(f"{m / steps * 1e6:.0f}" for m in medians.values()), f"{medians.get('torch', 0) / ours:.2f}"]
        )
    return table(["images, us a step", *medians, "torch / ours"], rows)


def our_network(filters, arguments):
    """Return a fit of skintricate."""
    layers = [Reshape((28, 28, 1))]
    for count in filters:
        layers += [Conv2D(count, 3), ReLU(), MaxPool2D()]

    def fit(X, y):
        model = Model([*layers, Dense(10), SoftMax()], device=arguments.device, random_state=0)
        model.fit(X, y, loss="categorical_cross_entropy", batch_size=BATCH, max_iter=arguments.epochs)

    return fit


def torch_network(filters, arguments):
    """Return a fit of torch; the data are on its device."""
    sizes, layers, side = (1, *filters), [], 28
    for before, after in itertools.pairwise(sizes):
        layers += [torch.nn.Conv2d(before, after, 3), torch.nn.ReLU(), torch.nn.MaxPool2d(2)]
        side = (side - 2) // 2

    def fit(X, y):
        network = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(side * side * filters[-1], 10))
        network = network.to(arguments.torch)
        optimizer = torch.optim.Adam(network.parameters(), fused=True)
        X, y = (torch.from_numpy(array).to(arguments.torch) for array in (X.reshape(-1, 1, 28, 28), y))
        for _ in range(arguments.epochs):
            for rows in torch.randperm(len(X), device=arguments.torch).split(BATCH):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(network(X[rows]), y[rows]).backward()
                optimizer.step()
        if arguments.torch != "cpu":
            torch.cuda.synchronize()

    return fit


def sparse_rows(arguments):
    """Return a table of a sparse X, milliseconds a step."""
    generator = np.random.default_rng(0)
    X = scipy.sparse.random(2000, 50_000, density=0.004, format="csr", random_state=1, dtype=np.float32)
    X.data[:] = generator.integers(1, 5, X.nnz)
    y = generator.integers(2, size=2000)

    def ours(X, y):
        network = IntricateClassifier((100,), max_iter=arguments.epochs, n_iter_no_change=None, random_state=0)
        network.set_params(device=arguments.device).fit(X, y)

    def theirs(X, y):
        MLPClassifier((100,), max_iter=arguments.epochs, n_iter_no_change=1000, random_state=0).fit(X, y)

    medians = take_turns({"skintricate": ours, "MLPClassifier": theirs}, X, y, arguments.rounds)
    steps = arguments.epochs * -(-2000 // SPARSE_BATCH)
    ratio = medians["MLPClassifier"] / medians["skintricate"]
    cells = [f"{m / steps * 1e3:.1f}" for m in medians.values()]
    peak = f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:.0f}"
    return table(
        ["sparse rows, ms a step", *medians, "MLPClassifier / ours", "peak of both, MB"],
        [["50 000 columns, 100 units", *cells, f"{ratio:.2f}", peak]],
    )


def take_turns(contenders, X, y, rounds):
    """Return the median seconds of each contender's fits, which take turns; a first one of each does not count."""
    seconds = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, fit in contenders.items():
            started = time.perf_counter()
            fit(X, y)
            if number:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(times) for name, times in seconds.items()}


if __name__ == "__main__":
    main()
