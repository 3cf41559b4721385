"""Time of training: skintricate beside scikit-learn's MLP and a plain torch loop.

Same data (float32), network, batches, epochs and Adam for all, in one process that takes turns, with all cores:

    python benchmarks/fit.py
    python benchmarks/fit.py --device intel,pocl --only digits --epochs 40
    python benchmarks/fit.py --mnist mnist/ --write     # and puts the tables into docs/benchmarks.md

A time is that of a whole fit divided by its steps. A ratio is a peer's time over skintricate's, the median
over the rounds. A loss is that of the last epoch; peers that train the same thing agree on it.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass

import datasets
import numpy as np
from report import table, write_section
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

from skintricate import IntricateClassifier, IntricateRegressor, list_devices

try:
    import torch
except ImportError:
    torch = None

# Seconds for the threads of the contender before to stop spinning.
PAUSE = 0.3


@dataclass(frozen=True)
class Case:
    """A network, its data and how long it trains; two classes are one logistic output for everyone."""

    name: str
    sizes: tuple
    batch: int
    samples: int
    epochs: int
    activation: str = "relu"
    rate: float = 0.001

    @property
    def label(self):
        return f"{self.name} {'-'.join(map(str, self.sizes))} @{self.batch}"

    @property
    def hidden(self):
        return self.sizes[1:-1]

    @property
    def is_regression(self):
        return self.name == "curve"

    def data(self, mnist_folder):
        if self.name == "xor":
            return np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32), np.array([0, 1, 1, 0])
        if self.name == "digits":
            return datasets.digits()
        if self.name == "curve":
            return datasets.curve(self.samples, self.sizes[0])
        if self.sizes[0] == 784 and mnist_folder:
            X, y, *_ = datasets.mnist(mnist_folder)
            return X[: self.samples], y[: self.samples]
        return datasets.made_up(self.samples, self.sizes[0], max(2, self.sizes[-1]))


CASES = (
    Case("xor", (2, 3, 1), 4, 4, 2000, "tanh", 0.01),
    Case("two-classes", (20, 100, 1), 200, 2000, 60),
    Case("digits", (64, 100, 10), 200, 1797, 40),
    Case("curve", (8, 64, 64, 1), 256, 4096, 40),
    Case("mnist", (784, 512, 10), 256, 60_000, 2),
    Case("mnist-deep", (784, 512, 512, 10), 1024, 20_480, 5),
    Case("wide", (100, 2048, 2048, 10), 1024, 10_240, 3),
)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="", help="comma-separated wishes; all CPU runtimes and GPUs if not given")
    parser.add_argument("--only", default="", help=f"comma-separated cases of {', '.join(c.name for c in CASES)}")
    parser.add_argument("--epochs", type=int, help="instead of the case's own")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--mnist", metavar="FOLDER", help="the four idx .gz files; made-up data of that size without it"
    )
    parser.add_argument("--skip-start", action="store_true", help="leave out cold start and prediction")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    arguments = parser.parse_args()
    devices = arguments.device.split(",") if arguments.device else [device.runtime for device in list_devices()]
    if torch is not None:
        torch.set_num_threads(os.cpu_count())

    rows = []
    for case in CASES:
        if not arguments.only or case.name in arguments.only.split(","):
            rows += compare(case, devices, arguments)
    if not rows:
        parser.error(f"--only={arguments.only} names no case")
    header = ["network, batch", "who", "us a step", f"times as long as {' / '.join(devices)}", "loss"]
    text = f"Medians of {arguments.rounds} rounds.\n\n{table(header, rows)}"
    if not arguments.skip_start:
        text += f"\n\n{table(['device', 'first fit in a new process', 'predict of one row'], starts(devices))}"
    print(f"\n{text}")
    if arguments.write:
        write_section("Time of training", "python benchmarks/fit.py --mnist FOLDER --write", text)


def compare(case, devices, arguments):
    """Return the rows of a case."""
    epochs = arguments.epochs or case.epochs
    X, y = case.data(arguments.mnist)
    contenders = {f"skintricate, {device}": ours(case, epochs, device) for device in devices}
    own = list(contenders)
    contenders["scikit-learn"] = sklearns(case, epochs)
    if torch is not None:
        contenders["torch"] = torchs(case, epochs)
    steps = epochs * -(-len(X) // case.batch)
    times = {name: [] for name in contenders}
    losses = {}
    for round_number in range(-1, arguments.rounds):
        for name, fit in contenders.items():
            time.sleep(PAUSE)
            started = time.perf_counter()
            losses[name] = fit(X, y)
            if round_number >= 0:
                times[name].append((time.perf_counter() - started) / steps * 1e6)
    rows = []
    for name in contenders:
        ratios = ""
        if name not in own:
            ratios = " / ".join(f"{statistics.median(a / b for a, b in zip(times[name], times[o])):.2f}" for o in own)
        rows.append([case.label, name, f"{statistics.median(times[name]):.1f}", ratios, f"{losses[name]:.4f}"])
        print(*rows[-1], sep="  ", flush=True)
    return rows


def ours(case, epochs, device):
    """Return a function that fits with skintricate and returns the last loss."""
    cls = IntricateRegressor if case.is_regression else IntricateClassifier

    def fit(X, y):
        network = cls(
            case.hidden,
            activation=case.activation,
            learning_rate=case.rate,
            batch_size=case.batch,
            max_iter=epochs,
            n_iter_no_change=None,
            random_state=0,
            device=device,
        )
        return network.fit(X, y).loss_

    return fit


def sklearns(case, epochs):
    """Return a function that fits with scikit-learn and returns the last loss."""
    cls = MLPRegressor if case.is_regression else MLPClassifier

    def fit(X, y):
        network = cls(
            hidden_layer_sizes=case.hidden,
            activation=case.activation,
            learning_rate_init=case.rate,
            batch_size=case.batch,
            max_iter=epochs,
            n_iter_no_change=epochs,
            tol=0.0,
            alpha=0.0,
            random_state=0,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is fixed
            network.fit(X, y)
        # MLPRegressor's loss is half the mean of the squares.
        return network.loss_curve_[-1] * (2 if case.is_regression else 1)

    return fit


def torchs(case, epochs):
    """Return a function that fits with a plain torch loop and returns the last loss."""
    n_outputs = case.sizes[-1]
    activation = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}[case.activation]
    criterion = (
        torch.nn.MSELoss()
        if case.is_regression
        else (torch.nn.BCEWithLogitsLoss() if n_outputs == 1 else torch.nn.CrossEntropyLoss())
    )

    def fit(X, y):
        torch.manual_seed(0)
        layers = []
        for n_inputs, units in zip(case.sizes, case.sizes[1:]):
            dense = torch.nn.Linear(n_inputs, units)
            torch.nn.init.xavier_uniform_(dense.weight)
            torch.nn.init.zeros_(dense.bias)
            layers += [dense, activation()]
        network = torch.nn.Sequential(*layers[:-1])
        X = torch.from_numpy(X)
        y = torch.from_numpy(y)
        y = y.float()[:, None] if n_outputs == 1 else y
        adam = torch.optim.Adam(network.parameters(), lr=case.rate, fused=True)
        for _ in range(epochs):
            total = torch.zeros(())
            order = torch.randperm(len(X))
            for begin in range(0, len(X), case.batch):
                rows = order[begin : begin + case.batch]
                adam.zero_grad()
                loss = criterion(network(X[rows]), y[rows])
                loss.backward()
                adam.step()
                total += loss.detach() * len(rows)
            last = total.item() / len(X)
        return last

    return fit


def starts(devices):
    """Return rows of the first fit in a new process, whose caches are warm, and of predicting one row."""
    rows = []
    X, y = datasets.digits()
    for device in devices:
        seconds = []
        for _ in range(4):
            done = subprocess.run(
                [sys.executable, __file__, "--first-fit", device], capture_output=True, text=True, check=True
            )
            seconds.append(float(done.stdout))
        estimator = IntricateClassifier(100, max_iter=5, n_iter_no_change=None, device=device).fit(X, y)
        rows.append([device, f"{statistics.median(seconds[1:]):.2f} s", f"{one_row(estimator, X) * 1e6:.0f} us"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator = MLPClassifier(100, max_iter=5).fit(X, y)
    rows.append(["scikit-learn", "", f"{one_row(estimator, X) * 1e6:.0f} us"])
    return rows


def one_row(estimator, X):
    """Return the median seconds of predicting one row."""
    times = []
    for row in range(300):
        started = time.perf_counter()
        estimator.predict(X[row : row + 1])
        times.append(time.perf_counter() - started)
    return statistics.median(times[10:])


def first_fit(device):
    """Print the seconds of this process's first fit."""
    X, y = datasets.digits()
    started = time.perf_counter()
    IntricateClassifier(100, max_iter=5, n_iter_no_change=None, device=device).fit(X, y)
    print(time.perf_counter() - started)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--first-fit"]:
        first_fit(sys.argv[2])
    else:
        main()
