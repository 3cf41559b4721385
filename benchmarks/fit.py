"""Time of training and predicting: skintricate beside scikit-learn's MLP, torch, skorch and JAX.

Same data (float32), network, batches, epochs, Adam and threads for all, in one process that takes turns:

    python benchmarks/fit.py                                      # everything that is installed
    python benchmarks/fit.py --device intel --only digits --rounds 9
    python benchmarks/fit.py --mnist mnist/ --housing housing.csv.gz --write

A time is that of a whole fit divided by its steps; a ratio a peer's time over skintricate's, the median over the
rounds. JAX's compilation is left out of its time and stands beside it. The share of the limit is the time that
the step's matrix products alone would take at the rate of a large sgemm of the same run. A loss is that of the last
epoch; peers that train the same thing agree on it. With --write the tables go into docs/benchmarks.md.
"""

import argparse
import functools
import gc
import os
import re
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path

import contenders
import datasets
import numpy as np
from cases import CASES, Case
from report import table, write_section
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from skintricate import IntricateClassifier, list_devices
from skintricate.training import ProgressLine

# Seconds for the threads of the contender before to stop spinning.
PAUSE = 0.3
# Slow contenders train only this share of the epochs of XOR.
SHORTER = {"scikit-learn": 0.1, "torch": 0.1, "skorch": 0.02}
PARTS = ("training", "parts", "rows", "epochs", "start", "predict")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="", help="comma-separated wishes; all CPU runtimes and GPUs if not given")
    parser.add_argument("--only", default="", help=f"comma-separated cases of {', '.join(c.name for c in CASES)}")
    parser.add_argument("--tables", default=",".join(PARTS), help=f"comma-separated, of {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mnist", metavar="FOLDER", help="the four idx .gz files; made-up data without it")
    parser.add_argument("--housing", metavar="FILE", help="California housing as .csv; made-up data without it")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    arguments = parser.parse_args()
    devices = arguments.device.split(",") if arguments.device else [device.runtime for device in list_devices()]
    devices = [device for device in devices if device != "oclgrind"]  # a simulator
    cases = [case for case in CASES if not arguments.only or case.name in arguments.only.split(",")]
    if not cases:
        parser.error(f"--only={arguments.only} names no case")
    if contenders.torch is not None:
        contenders.torch.set_num_threads(os.cpu_count())

    makers = {
        "training": lambda: training(cases, devices, arguments),
        "parts": lambda: overheads(cases, devices[0], arguments),
        "rows": lambda: growing_rows(devices, arguments),
        "epochs": lambda: growing_epochs(devices),
        "start": lambda: starts(devices),
        "predict": lambda: predictions(devices, arguments),
    }
    for name in arguments.tables.split(","):
        title, text = makers[name]()
        print(f"\n{title}\n\n{text}\n", flush=True)
        if arguments.write:
            write_section(title, "python benchmarks/fit.py --mnist FOLDER --housing FILE --write", text)


def training(cases, devices, arguments):
    """Time every contender on every case."""
    rows = [row for case in cases for row in compare(case, devices, arguments)]
    header = ["network, batch", "who", "us a step", f"times as long as {' / '.join(devices)}", "share of limit", "loss"]
    return "Time of training", f"Medians of {arguments.rounds} rounds.\n\n{table(header, rows)}"


def compare(case, devices, arguments):
    """Return the rows of a case."""
    X, y = case.data(arguments)
    own = [f"skintricate, {device}" for device in devices]
    fits = {name: contenders.ours(case, case.epochs, device) for name, device in zip(own, devices)}
    steps = dict.fromkeys(own, case.epochs * case.steps)

    def add(name, make, steps_an_epoch):
        epochs = max(1, int(case.epochs * (SHORTER.get(name, 1) if case.name == "xor" else 1)))
        fits[name], steps[name] = make(case, epochs), epochs * steps_an_epoch

    add("scikit-learn", contenders.scikit_learn, case.steps)
    if contenders.torch is not None:
        add("torch", contenders.plain_torch, case.steps)
    if contenders.skorch is not None:
        add("skorch", contenders.skorch_net, case.steps)
    if contenders.jax is not None:
        add("JAX", contenders.JaxScan, len(X) // case.batch)
        fits["JAX"].compile(X, y)

    times, losses, rates = {name: [] for name in fits}, {}, []
    for round_number in range(-1, arguments.rounds):
        for name, fit in fits.items():
            time.sleep(PAUSE)
            started = time.perf_counter()
            losses[name] = fit(X, y)
            if round_number >= 0:
                times[name].append((time.perf_counter() - started) / steps[name] * 1e6)
        rates.append(sgemm_rate())
    rows, limit = [], case.flops / statistics.median(rates) * 1e6
    for name in fits:
        median = statistics.median(times[name])
        ratios = ""
        if name not in own:
            ratios = " / ".join(f"{statistics.median(a / b for a, b in zip(times[name], times[o])):.2f}" for o in own)
        who = f"JAX, compiled in {fits[name].compile_seconds:.2f} s" if name == "JAX" else name
        rows.append([case.label, who, f"{median:.2f}", ratios, f"{limit / median:.0%}", f"{losses[name]:.4f}"])
        print(*rows[-1], sep="  ", flush=True)
    print(f"sgemm {statistics.median(rates) / 1e9:.0f} GFLOP/s", flush=True)
    return rows


def sgemm_rate(size=2048):
    """Return the operations a second of a large product in NumPy, the best of three."""
    a, best = np.random.default_rng(0).normal(size=(size, size)).astype(np.float32), np.inf
    for _ in range(3):
        started = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def overheads(cases, device, arguments):
    """Time what comes on top of the steps: shuffling, validation, stopping, callbacks."""
    rows = []
    for case in cases:
        X, y = case.data(arguments)
        held = max(4, len(X) // 10)
        validation = {"X_val": X[:held], "y_val": y[:held]}
        fits = {
            "bare": (contenders.ours(case, case.epochs, device, shuffle=False), {}),
            "shuffled": (contenders.ours(case, case.epochs, device), {}),
            "stopping": (contenders.ours(case, case.epochs, device, n_iter_no_change=case.epochs), {}),
            "validated": (contenders.ours(case, case.epochs, device), validation),
            "callback": (contenders.ours(case, case.epochs, device, verbose=[ProgressLine(10**9)]), {}),
        }
        times = {name: [] for name in fits}
        for round_number in range(-1, arguments.rounds):
            for name, (fit, extra) in fits.items():
                started = time.perf_counter()
                fit(X, y, **extra)
                if round_number >= 0:
                    times[name].append(time.perf_counter() - started)
        bare = times["bare"]
        shares = [statistics.median(b / a - 1 for a, b in zip(bare, times[name])) for name in list(fits)[1:]]
        rows.append([case.label, f"{statistics.median(bare) * 1e3:.1f} ms", *(f"{share:+.1%}" for share in shares)])
        print(*rows[-1], sep="  ", flush=True)
    header = ["network, batch", "fit, neither", "shuffled", "and stopping", "and 10 % validated", "and a callback"]
    text = f"On {device}; what each adds to a fit that keeps its loss history and does nothing else. The forward pass "
    text += (
        "over a tenth more rows alone is about 3 % of a fit; XOR validates all its four rows, and calls Python 10 000 "
    )
    text += "times.\n\n"
    return "What comes on top of the steps", text + table(header, rows)


def growing_rows(devices, arguments):
    """Time a sample from a thousand to a million rows, the samples trained on staying the same."""
    rows = []
    X, y = datasets.made_up(1_000_000, 20, 2)
    for n in (1_000, 10_000, 100_000, 1_000_000):
        case = Case("growing", (20, 100, 1), 200, n, max(1, 2_000_000 // n))
        cells = [f"{n:_}", str(case.epochs)]
        for device in devices:
            fit, times = contenders.ours(case, case.epochs, device), []
            for round_number in range(-1, max(3, arguments.rounds)):
                started = time.perf_counter()
                fit(X[:n], y[:n])
                if round_number >= 0:
                    times.append((time.perf_counter() - started) / n / case.epochs * 1e9)
            cells.append(f"{statistics.median(times):.0f}")
        rows.append(cells)
        print(*cells, sep="  ", flush=True)
    header = ["rows", "epochs", *(f"ns a sample, {device}" for device in devices)]
    return "Growing data", f"20-100-1, batches of 200, two million samples in all.\n\n{table(header, rows)}"


def growing_epochs(devices):
    """Measure the memory of a fit of few and of many epochs, each in a new process."""
    rows = []
    for device in devices:
        cells = [device]
        for epochs in (10, 100, 1_000, 10_000):
            command = [sys.executable, __file__, "--memory", device, str(epochs)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            cells.append(f"{float(done.stdout) / 1024:.1f} MB")
        rows.append(cells)
        print(*cells, sep="  ", flush=True)
    header = ["device", "10 epochs", "100", "1 000", "10 000"]
    text = "Digits, 64-100-10: what a process holds after a fit of so many epochs beyond what it holds after one. What "
    text += "grows is the record of every step's loss and accuracy, 8 bytes a step, and of every epoch.\n\n"
    return "Memory and epochs", text + table(header, rows)


def starts(devices):
    """Time the first fit of a new process, whose caches are warm."""
    rows = []
    for device in devices:
        seconds = []
        for _ in range(4):
            done = subprocess.run(
                [sys.executable, __file__, "--first-fit", device], capture_output=True, text=True, check=True
            )
            seconds.append(float(done.stdout))
        rows.append([device, f"{statistics.median(seconds[1:]):.2f} s"])
    return "First fit", table(["device", "first fit in a new process"], rows)


def predictions(devices, arguments):
    """Time predictions of one row and of many, beside MLPClassifier and the bare products."""
    rows, generator = [], np.random.default_rng(0)
    for sizes, n in (((64, 100, 10), 200_000), ((784, 512, 10), 20_000), ((784, 512, 512, 10), 20_000)):
        X = generator.normal(size=(n, sizes[0])).astype(np.float32)
        y = generator.integers(sizes[-1], size=1000)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            mlp = MLPClassifier(sizes[1:-1], max_iter=1).fit(X[:1000], y)
        estimators = {"scikit-learn": mlp}
        for device in devices:
            options = {"max_iter": 1, "n_iter_no_change": None, "device": device}
            estimators[device] = IntricateClassifier(sizes[1:-1], **options).fit(X[:1000], y)
        weights = [w.astype(np.float32) for w in mlp.coefs_]
        label = "-".join(map(str, sizes))
        bare = median(functools.partial(products, X, weights), 5)
        rows.append([label, "NumPy's products alone", "", "", f"{bare * 1e3:.1f} ms"])
        for name, estimator in estimators.items():
            time.sleep(PAUSE)
            few = [f"{median(functools.partial(estimator.predict, X[:k]), 300) * 1e6:.0f} us" for k in (1, 200)]
            many = f"{median(functools.partial(estimator.predict_proba, X), arguments.rounds) * 1e3:.1f} ms"
            rows.append([label, name, *few, many])
            print(*rows[-1], sep="  ", flush=True)
    header = ["network", "who", "predict 1 row", "200 rows", "predict_proba of 200 000 or 20 000"]
    return "Predictions", table(header, rows)


def products(X, weights):
    """Multiply X by all weights, one after the other."""
    for w in weights:
        X = X @ w
    return X


def median(function, times):
    """Return the median seconds of a call, after three that do not count."""
    seconds = []
    for number in range(-3, times):
        started = time.perf_counter()
        function()
        if number >= 0:
            seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def first_fit(device):
    """Print the seconds of this process's first fit."""
    X, y = datasets.digits()
    started = time.perf_counter()
    IntricateClassifier(100, max_iter=5, n_iter_no_change=None, device=device).fit(X, y)
    print(time.perf_counter() - started)


def memory(device, epochs):
    """Print the kilobytes that a fit of many epochs, kept, takes more than one of one epoch."""
    X, y = datasets.digits()
    used, kept = [], []
    for max_iter in (1, 1, epochs):
        kept.append(IntricateClassifier(100, max_iter=max_iter, n_iter_no_change=None, device=device).fit(X, y))
        gc.collect()
        used.append(int(re.search(r"VmRSS:\s*(\d+)", Path("/proc/self/status").read_text())[1]))
    print((used[2] - used[1]) - (used[1] - used[0]))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--first-fit"]:
        first_fit(sys.argv[2])
    elif sys.argv[1:2] == ["--memory"]:
        memory(sys.argv[2], int(sys.argv[3]))
    else:
        main()
