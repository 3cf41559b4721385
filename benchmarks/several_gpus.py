"""One network on one GPU and on several: milliseconds a step, and whether the results are the same every time.

    python benchmarks/several_gpus.py --wishes gpu:0 gpu:all

Wishes take turns; a round's time is that of a fit less that of one of a quarter of its epochs.
"""

import argparse
import statistics

import numpy as np
from report import table

from skintricate import Model
from skintricate.layers import Dense, ReLU, SoftMax

NETWORKS = {
    "4096-4096-4096-10 @8192": ((4096, 4096, 4096, 10), 8192, 10),
    "784-2048-2048-10 @8192": ((784, 2048, 2048, 10), 8192, 60),
    "784-1024-1024-10 @8192": ((784, 1024, 1024, 10), 8192, 60),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wishes", nargs="+", default=["gpu:0", "gpu:all"])
    parser.add_argument("--only", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--precisions", nargs="+", default=["highest", "high"])
    parser.add_argument("--rows", type=int, default=32_768)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rows = [row(name, precision, arguments) for name in arguments.only for precision in arguments.precisions]
    header = ["network, batch", "precision", *arguments.wishes, "times as fast", "devices", "same bits again"]
    print(table(header, rows))


def row(name, precision, arguments):
    """Return a row of the table."""
    sizes, batch_size, epochs = NETWORKS[name]
    generator = np.random.default_rng(0)
    X = generator.random((arguments.rows, sizes[0]), np.float32) - np.float32(0.5)
    y = generator.integers(sizes[-1], size=arguments.rows)

    def fit(wish, max_iter):
        layers = [layer for units in sizes[1:-1] for layer in (Dense(units), ReLU())]
        model = Model([*layers, Dense(sizes[-1]), SoftMax()], device=wish, random_state=0, precision=precision)
        options = {"loss": "categorical_cross_entropy", "batch_size": batch_size, "max_iter": max_iter}
        return model, model.fit(X, y, **options).latest[-1].elapsed

    def round_of(wish):
        (_, short), (model, long) = fit(wish, epochs // 4), fit(wish, epochs)
        return model, (long - short) / (epochs - epochs // 4) / -(-len(X) // batch_size) * 1e3

    times, models = ({wish: [] for wish in arguments.wishes} for _ in range(2))
    for wish in times:
        fit(wish, 1)  # builds what there is to build
    for _ in range(arguments.rounds):
        for wish, some in times.items():
            model, milliseconds = round_of(wish)
            some.append(milliseconds)
            models[wish].append(model)
    medians = [statistics.median(some) for some in times.values()]
    last = models[arguments.wishes[-1]]
    same = all(np.array_equal(*pair) for one in last[1:] for pair in zip(one.state.weights, last[0].state.weights))
    cells = [f"{median:.2f}" for median in medians]
    return [name, precision, *cells, f"{medians[0] / medians[-1]:.2f}", last[0].device_.count("("), same]


if __name__ == "__main__":
    main()
