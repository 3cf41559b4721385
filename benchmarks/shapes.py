"""Time of a training step of networks that nothing was tuned for, beside scikit-learn, torch and JAX.

    python benchmarks/shapes.py                              # on the preferred device; four minutes
    python benchmarks/shapes.py --device gpu --rounds 1
    python benchmarks/shapes.py --device pocl --only 0,3,12

Everyone trains the same made-up data with Adam, as in gpu.py: torch by a CUDA graph where there is a GPU, by a plain
loop on a CPU, where scikit-learn takes part, too. Ours is timed in the program that all networks begin with. Its losses
of three epochs are compared with NumPy's in float64 first.
"""

import argparse
import functools

import contenders
import gpu
import reference
from cases import Case
from report import machine, table

# Layers, batch and activation; there are data for some steps of an epoch.
SHAPES = (
    *[((30, 10, 2), 1), ((4, 8, 3), 16), ((10, 32, 2), 32), ((64, 100, 10), 32), ((300, 30, 1), 64, "tanh")],
    *[((30, 64, 32, 2), 64), ((13, 50, 50, 4), 100, "tanh"), ((100, 256, 3), 128), ((784, 128, 10), 128)],
    *[((784, 256, 128, 10), 128), ((784, 800, 800, 10), 128), ((784, 1000, 1000), 128), ((100,) * 8 + (2,), 200)],
    *[((50, 200, 200, 200, 4), 256), ((2000, 300, 2), 256), ((784, 4096, 10), 256), ((200, 1024, 5), 512)],
    *[((40, 512, 512, 512, 512, 3), 512), ((3072, 512, 256, 10), 512), ((500, 500, 500, 20), 1000)],
    *[((5, 1000, 2), 1000), ((64, 100, 10), 1024), ((1000, 2000, 100), 2000), ((784, 512, 10), 2048)],
    *[((128, 64, 2), 4096), ((20, 100, 2), 10_000), ((8, 16, 2), 50_000)],
)
LEAST_SAMPLES, STEPS = 500, 8
PEERS = ("scikit-learn", "torch", "torch, CUDA graph", "JAX")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--only", help="comma-separated numbers of networks, from 0 on")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    numbers = range(len(SHAPES)) if arguments.only is None else map(int, arguments.only.split(","))
    rows = []
    with gpu.Place(arguments.device) as place:
        for number in numbers:
            rows.append(row_of(case_of(*SHAPES[number]), place, arguments))
            print(*rows[-1], sep="  ", flush=True)
        print(f"\n{table(['network, batch', 'skintricate', 'loss error', *PEERS], rows)}\n\n{place}.\n\n{machine()}")


def case_of(sizes, batch, activation="relu"):
    """Return a case of some steps an epoch."""
    samples = -(-max(LEAST_SAMPLES, STEPS * batch) // batch) * batch
    return Case("", sizes, batch, samples, 1, activation)


def row_of(case, place, arguments):
    """Return the row of a case: times in us a step, of others in brackets how many times ours."""
    X, y = case.data(argparse.Namespace(mnist=None))
    n = min(len(X), max(2 * case.batch, LEAST_SAMPLES))
    expected = reference.losses(case, contenders.our_first_weights(case), X[:n], y[:n], 3)
    error = gpu.loss_error(case, "highest", place, X[:n], y[:n], expected, has_program=False)
    makers = {gpu.OURS: functools.partial(gpu.ours, case, "highest", place, X, y, has_program=False)}
    makers |= {name: make for name, make in gpu.peers(case, "highest", place, X, y).items() if name in PEERS}
    if place.device.is_cpu:
        makers["scikit-learn"] = lambda: gpu.Contender(
            lambda epochs: contenders.scikit_learn(case, epochs)(X, y), case.steps
        )
    else:
        makers.pop("torch", None)
    texts = gpu.cells(gpu.take_turns(makers, arguments.rounds))
    return [case.label.strip(), texts[gpu.OURS], f"{error:.0e}", *(texts.get(name, "-") for name in PEERS)]


if __name__ == "__main__":
    main()
