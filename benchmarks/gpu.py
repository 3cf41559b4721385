"""Time of a training step on a GPU, beside torch (a plain loop, and a step as a CUDA graph), JAX and skorch.

    python benchmarks/gpu.py                                       # four minutes; what is not installed is a dash
    python benchmarks/gpu.py --device gpu:0,gpu:1 --mnist mnist/ --write
    python benchmarks/gpu.py --device intel --only xor,digits --rounds 2

Same data (float32), network, batches and Adam for all, in one process that takes turns. A step's time is that of a
long fit less that of a short one, divided by the steps between them: compilation, first calls and the data's way to the
GPU cancel. Small networks of ours are timed in programs of their own, which they get when they have trained for some
seconds and which are kept on disk, and in the program that all begin with. Before ours is timed, its losses of three
epochs are compared with those of NumPy in float64 from the same weights in the same order; what is further away than
its precision grants is not timed. Peers multiply in float32 where the precision is "highest" and in tf32 where it is
"high". With --write the tables go into docs/benchmarks.md, a section a GPU.
"""

import argparse
import contextlib
import functools
import gc
import math
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from unittest import mock

import contenders
import numpy as np
import reference
from cases import GPU_CASES
from contenders import jax, skorch, torch
from report import driver, machine, table, write_section

from skintricate.backend import open_device
from skintricate.kernels import specialized
from skintricate.training.together import run_together

OURS, FIRST = "skintricate", "in the program of all"
PEERS = (FIRST, "torch", "torch, CUDA graph", "JAX", "skorch")
CASES = {case.name: case for case in GPU_CASES}
NAMES = (*CASES, "models", "predict")
# Seconds that a long fit takes beyond a short one, and after which a row begins no further round.
LONG, BUDGET = 0.4, 15.0
# Largest relative error of a loss, or of a probability.
TOLERANCE = {"highest": 1e-3, "high": 1e-2}
# Steps of one of JAX's scans.
SCAN_STEPS = 200
# skorch's loader gathers a batch row by row; larger ones are not timed.
LARGEST_SKORCH_BATCH = 256
MODELS = 500
# Those with products that are launches of their own have no program of their own.
LARGE = ("mnist-deep", "square")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="gpu", help="comma-separated wishes")
    parser.add_argument("--only", default=",".join(NAMES), help=f"comma-separated, of {', '.join(NAMES)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mnist", metavar="FOLDER", help="the four idx .gz files; made-up data without it")
    parser.add_argument("--predict-rows", type=int, default=10_000_000)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    arguments = parser.parse_args()
    arguments.only = arguments.only.split(",")
    if unknown := set(arguments.only) - set(NAMES):
        parser.error(f"--only names {', '.join(sorted(unknown))}; choose of {', '.join(NAMES)}")
    started, failures = time.perf_counter(), []
    for wish in arguments.device.split(","):
        with Place(wish) as place:
            text = report(place, arguments, failures)
            print(f"\n{place.title}\n\n{text}\n\n{machine()}\n", flush=True)
            if arguments.write:
                write_section(place.title, "python benchmarks/gpu.py --mnist FOLDER --write", text)
    print(f"{time.perf_counter() - started:.0f} s")
    if failures:
        sys.exit(f"skintricate failed or was wrong in {', '.join(failures)}")


class Place:
    """A device of ours with torch's and JAX's names of it, None where they are not to be had.

    Inside ``with``, JAX computes there.
    """

    def __init__(self, wish):
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # leaves the GPU's memory to the others
        self.wish, self.device = wish, open_device(wish)
        info = self.device.info
        number = info.index if info.kind == "gpu" else 0
        self.title = f"On a {info.kind.upper()}: {info.name}" + (f" (number {number})" if number else "")
        self.torch = self.jax = None
        if torch is not None:
            self.torch = f"cuda:{number}" if torch.cuda.is_available() else "cpu"
        if jax is not None and (devices := attempt("JAX", jax.devices)):
            self.jax = devices[min(number, len(devices) - 1)]
        self._context = contextlib.ExitStack()

    def __enter__(self):
        if self.jax is not None:
            self._context.enter_context(jax.default_device(self.jax))
        return self

    def __exit__(self, *_):
        self._context.close()

    def __str__(self):
        peers = [f"{name} on {where}" for name, where in (("torch", self.torch), ("JAX", self.jax)) if where]
        return ", ".join([driver(self.device), *peers])


@dataclass
class Contender:
    """Someone who trains a number of laps, each of so many steps; ``times`` are microseconds a step."""

    fit: Callable
    steps: int
    laps: int = 2
    loss: float = math.nan
    times: list = field(default_factory=list)

    def warm_up(self):
        """Make the first calls, and choose a fit that is long enough to be timed."""
        self.fit(1)
        short = min(self._seconds(1), self._seconds(1))
        while (longer := self._seconds(self.laps) - short) < 0.7 * LONG:
            factor = min(20, max(2, LONG / max(longer, 1e-9)))
            self.laps = 1 + math.ceil((self.laps - 1) * factor)
        return self

    def take_turn(self):
        """Time a short and a long fit."""
        short = self._seconds(1)
        self.times.append((self._seconds(self.laps) - short) / (self.laps - 1) / self.steps * 1e6)
        return self

    @property
    def median(self):
        return statistics.median(self.times)

    def _seconds(self, laps):
        started = time.perf_counter()
        self.loss = self.fit(laps)
        return time.perf_counter() - started


def report(place, arguments, failures):
    """Measure everything that was asked for, and return it as text."""
    rows, parts = [], []
    for name, case in CASES.items():
        if name in arguments.only:
            rows += training(case, place, arguments, failures)
    if "models" in arguments.only:
        rows.append(models(place, arguments))
    if rows:
        header = ["network, batch", "precision", OURS, "TFLOP/s", "loss error", *PEERS]
        text = f"Microseconds a step, medians of up to {arguments.rounds} rounds; in brackets, how many times ours. "
        text += "TFLOP/s and the loss error, the largest of three epochs, are ours.\n\n"
        parts.append(text + table(header, rows))
    if "predict" in arguments.only:
        text = attempt("predict", predictions, place, arguments, failures)
        if text is None:
            failures.append("predict")
        else:
            parts.append(text)
    return "\n\n".join([*parts, f"{place}."])


def training(case, place, arguments, failures):
    """Return the rows of a case, one a precision."""
    X, y = case.data(arguments)
    n = min(len(X), max(2000, case.batch * 9 // 8))  # of the large networks, two batches
    expected = reference.losses(case, contenders.our_first_weights(case), X[:n], y[:n], 3)
    rows = []
    for precision in case.precisions:
        makers = peers(case, precision, place, X, y)
        has_program = case.name not in LARGE
        error = attempt(OURS, loss_error, case, precision, place, X[:n], y[:n], expected, has_program)
        right = error is not None and error <= TOLERANCE[precision]
        if right:
            mine = {OURS: functools.partial(ours, case, precision, place, X, y)}
            if has_program:
                mine[FIRST] = functools.partial(ours, case, precision, place, X, y, has_program=False)
            makers = mine | makers
        measured = take_turns(makers, arguments.rounds)
        speed = "-"
        if OURS in measured:
            speed = f"{case.flops / measured[OURS].median / 1e6:.2f}"
        else:
            failures.append(f"{case.label}, {precision}")
        error = "-" if error is None else f"{error:.0e}" if right else f"WRONG: {error:.0e}"
        names = cells(measured)
        rows.append([case.label, precision, names[OURS], speed, error, *(names[name] for name in PEERS)])
        print(*rows[-1], sep="  ", flush=True)
    return rows


def models(place, arguments):
    """Return the row of many networks that are trained at once."""
    case = CASES["digits"]
    X, y = case.data(arguments)
    makers = {
        OURS: functools.partial(our_models, case, place, X, y),
        FIRST: functools.partial(our_models, case, place, X, y, has_program=False),
    }
    if place.jax is not None:
        makers["JAX"] = functools.partial(jax_scan, contenders.JaxScan(case, 1, "highest", MODELS), X, y, MODELS)
    names = cells(take_turns(makers, arguments.rounds))
    names = [names[name] for name in (OURS, *PEERS)]
    row = [f"{MODELS} x {case.label}, a model's step", "highest", names[0], "-", "-", *names[1:]]
    print(*row, sep="  ", flush=True)
    return row


def own_programs(has_program):
    """Let networks have programs of their own at once, or never, inside ``with``."""
    seconds = 0.0 if has_program else math.inf
    return mock.patch.multiple(specialized, BUILD_SECONDS=seconds, LOAD_SECONDS=seconds)


def our_models(case, place, X, y, has_program=True):
    """Return our contender that trains networks together, many epochs a lap: making them takes as long as some."""
    epochs_of_a_lap = 1000

    def fit(laps):
        train = contenders.our_model(case, laps * epochs_of_a_lap, place.wish, "highest")
        with own_programs(has_program):
            return run_together([functools.partial(train, X, y)] * MODELS)[0].history_.latest[-1].loss

    return Contender(fit, case.steps * MODELS * epochs_of_a_lap)


def loss_error(case, precision, place, X, y, expected, has_program):
    """Return the largest relative error of our losses."""
    with own_programs(has_program):
        losses = contenders.our_model(case, len(expected), place.wish, precision)(X, y).history_.loss
    return np.abs(losses / expected - 1).max()


def ours(case, precision, place, X, y, has_program=True):
    """Return our contender."""

    def fit(epochs):
        with own_programs(has_program):
            return contenders.our_model(case, epochs, place.wish, precision)(X, y).history_.latest[-1].loss

    return Contender(fit, case.steps)


def peers(case, precision, place, X, y):
    """Return a function for each peer that is here, which makes its contender."""
    makers = {}
    if place.torch is not None:
        torch.set_float32_matmul_precision(precision)
        makers["torch"] = lambda: Contender(
            lambda epochs: contenders.plain_torch(case, epochs, place.torch)(X, y), case.steps
        )
        if place.torch != "cpu":
            makers["torch, CUDA graph"] = lambda: torch_graph(contenders.TorchGraph(case, place.torch), X, y)
    if place.jax is not None:
        precision = precision if precision == "highest" else None
        scan = contenders.JaxScan(case, max(1, SCAN_STEPS // case.steps), precision)
        makers["JAX"] = lambda: jax_scan(scan, X, y)
    if place.torch is not None and skorch is not None and case.batch <= LARGEST_SKORCH_BATCH:
        makers["skorch"] = lambda: Contender(
            lambda epochs: contenders.skorch_net(case, epochs, place.torch)(X, y), case.steps
        )
    return makers


def torch_graph(graph, X, y):
    """Return the contender that replays a step of torch."""
    graph.compile(X, y)
    return Contender(graph, len(X) // graph.case.batch)


def jax_scan(scan, X, y, models=1):
    """Return the contender that runs a scan of JAX over and over, on so many models at once."""
    scan.compile(X, y)
    steps = scan.epochs * (len(X) // scan.case.batch)
    return Contender(functools.partial(scan, X, y), steps * models)


def take_turns(makers, rounds):
    """Return the contenders by name, timed; without those that failed."""
    field = {name: attempt(name, lambda make=make: make().warm_up()) for name, make in makers.items()}
    started = time.perf_counter()
    for _ in range(rounds):
        for name, contender in field.items():
            if contender is not None:
                field[name] = attempt(name, contender.take_turn)
        if time.perf_counter() - started > BUDGET:
            break
    gc.collect()
    if torch is not None and torch.cuda.is_available():
        attempt("torch", torch.cuda.empty_cache)
    measured = {name: contender for name, contender in field.items() if contender is not None}
    print("  losses:", *(f"{name} {contender.loss:.4f}" for name, contender in measured.items()), flush=True)
    return measured


def cells(measured):
    """Return the text of each contender's time, a dash for who is not there."""
    texts = dict.fromkeys((OURS, *PEERS), "-")
    for name, contender in measured.items():
        texts[name] = f"{contender.median:.2f}"
        if name != OURS and OURS in measured:
            ratio = statistics.median(a / b for a, b in zip(contender.times, measured[OURS].times))
            texts[name] += f" ({ratio:.2f})"
    return texts


def attempt(name, call, *arguments):
    """Return what a call returns, or None after a line that says why it failed."""
    try:
        return call(*arguments)
    except Exception as error:  # whatever a peer raises, the other columns are wanted
        print(f"  {name}: {type(error).__name__}: {str(error).strip()[:300]}", flush=True)
        return None


def predictions(place, arguments, failures):
    """Return a table of a long prediction from the host's memory, beside bare copies of its rows to the device."""
    case = CASES["two-classes"]
    model = contenders.our_model(case, 1, place.wish)(*case.data(arguments))
    generator = np.random.default_rng(0)
    X = generator.standard_normal((arguments.predict_rows, case.sizes[0]), dtype=np.float32)
    calls = {
        OURS: functools.partial(model.predict, X),
        "pageable": attempt("pageable", pageable_copy, place.device, X),
        "pinned": attempt("pinned", pinned_copy, place.device, X),
    }
    seconds = {name: [] for name, call in calls.items() if call is not None}
    for number in range(-1, arguments.rounds):
        for name, times in seconds.items():
            started = time.perf_counter()
            calls[name]()
            if number >= 0:
                times.append(time.perf_counter() - started)
    rates = {name: X.nbytes / statistics.median(times) / 1e9 for name, times in seconds.items()}
    rate, error = rates[OURS], probability_error(case, model, X)
    right = error <= TOLERANCE["highest"]
    if not right:
        failures.append("predict")
    row = [case.label.split(" @")[0], f"{len(X):_}", f"{rate * 1e3 / X[0].nbytes:.1f}" if right else "-"]
    row.append(f"{rate:.2f}" if right else "-")
    for name in ("pageable", "pinned"):
        row.append(f"{rates[name]:.2f} ({rate / rates[name]:.0%})" if name in rates else "-")
    row.append(f"{error:.0e}" if right else f"WRONG: {error:.0e}")
    print(*row, sep="  ", flush=True)
    header = ["predict", "rows", "million rows/s", "GB/s of X", "copy of X, pageable", "copy of X, pinned", "error"]
    text = "A prediction of rows in the host's memory, and what a bare copy of them to the device takes, in GB/s; in "
    text += "brackets, the prediction's share of that rate.\n\n"
    return text + table(header, [row])


def probability_error(case, model, X, some=1000):
    """Return the largest relative error of the probabilities of the first and the last rows."""
    found = model.predict(X)
    error = 0.0
    for rows in (slice(some), slice(-some, None)):
        z = reference.layer_outputs(case, model.state.weights, X[rows])[-1]
        error = max(error, np.abs(found[rows] / reference.probabilities(z) - 1).max())
    return error


def pageable_copy(device, X):
    """Return a call that copies X from where it lies."""
    target = device.buffer(X.nbytes)
    return lambda: device.cl.enqueue_copy(device.queue, target, X, is_blocking=True)


def pinned_copy(device, X):
    """Return a call that copies X from memory that the driver has pinned."""
    cl = device.cl
    target = device.buffer(X.nbytes)
    flags = cl.mem_flags.READ_WRITE | cl.mem_flags.ALLOC_HOST_PTR
    pinned = cl.Buffer(device.context, flags, X.nbytes)
    mapped, _ = cl.enqueue_map_buffer(device.queue, pinned, cl.map_flags.WRITE, 0, X.shape, X.dtype)
    mapped[:] = X
    return lambda: cl.enqueue_copy(device.queue, target, mapped, is_blocking=True)


if __name__ == "__main__":
    main()
