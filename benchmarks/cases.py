"""The networks that are timed, with their data."""

from dataclasses import dataclass

import datasets
import numpy as np


@dataclass(frozen=True)
class Case:
    """A network, its data, how long it trains and the precisions of float32 products that are timed."""

    name: str
    sizes: tuple
    batch: int
    samples: int
    epochs: int
    activation: str = "relu"
    rate: float = 0.001
    precisions: tuple = ("highest",)

    @property
    def label(self):
        return f"{self.name} {'-'.join(map(str, self.sizes))} @{self.batch}"

    @property
    def hidden(self):
        return self.sizes[1:-1]

    @property
    def is_regression(self):
        return self.name == "housing"

    @property
    def steps(self):
        """Steps of an epoch."""
        return -(-self.samples // self.batch)

    @property
    def flops(self):
        """Operations of a step's matrix products; the first layer's input needs no gradient."""
        pairs = list(zip(self.sizes, self.sizes[1:]))
        return sum(2 * self.batch * i * o * (3 if k else 2) for k, (i, o) in enumerate(pairs))

    def data(self, arguments):
        """Return ``(X, y)``: from the files named on the command line, bundled, or made up in that size."""
        if self.name == "xor":
            return np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32), np.array([0, 1, 1, 0])
        if self.name == "digits":
            return datasets.digits()
        if self.name == "housing":
            X, y = datasets.california(arguments.housing) if arguments.housing else datasets.curve(self.samples, 8)
        elif self.sizes[0] == 784 and arguments.mnist:
            X, y, *_ = datasets.mnist(arguments.mnist)
        else:
            X, y = datasets.made_up(self.samples, self.sizes[0], max(2, self.sizes[-1]))
        return X[: self.samples], y[: self.samples]


# Two classes are one logistic output for everyone.
CASES = (
    Case("xor", (2, 3, 1), 4, 4, 10_000, "tanh", 0.01),
    Case("two-classes", (20, 100, 1), 200, 2000, 100),
    Case("digits", (64, 100, 10), 200, 1797, 100),
    Case("mnist", (784, 512, 10), 256, 60_000, 2),
    Case("mnist-deep", (784, 512, 512, 10), 1024, 20_480, 5),
    Case("wide", (100, 2048, 2048, 10), 1024, 10_240, 3),
    Case("housing", (8, 64, 64, 1), 256, 20_480, 10),
)
# Two classes are two outputs for everyone. Wide layers learn at a rate at which their losses fall.
GPU_CASES = (
    CASES[0],
    Case("two-classes", (20, 100, 2), 200, 2000, 100),
    CASES[2],
    CASES[3],
    Case("many-rows", (20, 100, 2), 10_000, 100_000, 20),
    Case("mnist-deep", (784, 512, 512, 10), 4096, 40_960, 4, precisions=("highest", "high")),
    Case("square", (4096, 4096, 4096, 10), 4096, 8192, 4, rate=0.0001, precisions=("highest", "high")),
)
