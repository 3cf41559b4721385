"""Ways of rows from the host's memory to a device: the rates of bare copies, and of threads that stage them.

    python benchmarks/copies.py --device gpu

Each way is checked by reading back what it brought. See "Rows from the host" in docs/design.md.
"""

import argparse
import functools
import time

import numpy as np

from skintricate.backend import open_device
from skintricate.backend.staging import Staging, finish

THREADS, SLICE_MEGABYTES = (1, 2, 4, 8), (1, 4, 16, 64)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="gpu")
    parser.add_argument("--megabytes", type=int, default=800)
    arguments = parser.parse_args()
    device = open_device(arguments.device)
    X = np.random.default_rng(0).random(arguments.megabytes * 2**18, np.float32)
    target = device.buffer(X.nbytes)
    print(device.info)
    report("pageable", device, target, X, lambda: device.write(target, X))
    pinned = device.pinned(X.nbytes).view(np.float32)
    report("the host's own copy, one thread", device, None, X, lambda: np.copyto(pinned, X))
    report("pinned", device, target, X, lambda: device.write(target, pinned, is_pinned=True))
    for source in (X, X.astype(np.float64)):
        for n_threads in THREADS:
            for megabytes in SLICE_MEGABYTES:
                staging = Staging(device, n_threads)
                call = functools.partial(stage, device, staging, target, source, megabytes * 2**18)
                report(f"{source.dtype}, {n_threads} threads, slices of {megabytes} MB", device, target, X, call)


def stage(device, staging, target, source, size):
    """Bring an array in slices of so many numbers."""

    def bring(begin):
        part = source[begin : begin + size]
        array = staging.array(part.shape, np.float32)
        np.copyto(array, part, casting="same_kind")
        staging.write(target, array, 4 * begin)

    finish(staging.begin(bring, range(0, len(source), size)))


def report(name, device, target, X, call, repeats=3):
    """Print the rate of the fastest of some calls."""
    if target is not None:
        device.write(target, np.zeros(len(X), np.float32))
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        device.finish()
        seconds.append(time.perf_counter() - started)
    if target is not None and not np.array_equal(device.read(np.empty_like(X), target), X):
        raise SystemExit(f"{name}: the device has other numbers")
    print(f"{X.nbytes / min(seconds) / 1e9:7.1f} GB/s  {name}", flush=True)


if __name__ == "__main__":
    main()
