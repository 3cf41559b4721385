"""Matrices by rows or in column panels: the same register tiles, checked against NumPy, then timed.

The best of many short bursts counts.

python benchmarks/layout.py
python benchmarks/layout.py --device pocl --sizes 1024,2048,2000
"""

import argparse
import time
from pathlib import Path

import numpy as np
from report import processor, table

from skintricate.backend import open_device
from skintricate.kernels import Tile
from skintricate.kernels.program import read_source


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--sizes", help="N,I,O of one product, instead of the three of the table")
    parser.add_argument("--bursts", type=int, default=50)
    arguments = parser.parse_args()
    sizes = ["1024,2048,2048", "1024,2048,2000", "256,784,512"]
    if arguments.sizes:
        sizes = [arguments.sizes]
    device = open_device(arguments.device)
    rows = []
    for text in sizes:
        N, I, O = map(int, text.split(","))  # noqa: E741
        generator = np.random.default_rng(0)
        A, B = generator.normal(size=(N, I)).astype(np.float32), generator.normal(size=(I, O)).astype(np.float32)
        rates = [rate(device, layout, A, B, arguments.bursts) for layout in ("rows", "panels")]
        rates.append(numpy_rate(A, B, arguments.bursts))
        time.sleep(1)  # until NumPy's threads have stopped spinning
        rows.append([f"{N} x {I} x {O}", *(f"{r:.0f}" for r in rates)])
    print(f"GFLOP/s, float32, {device.info}\n{processor()}\n")
    print(table(["N x I x O", "by rows", "column panels", "NumPy"], rows))


def rate(device, layout, A, B, bursts):
    """Return the GFLOP/s of a layout, after a check."""
    (N, I), O = A.shape, B.shape[1]  # noqa: E741
    tile = Tile.of(device, "float32")
    if N % tile.rows or I % tile.width or O % tile.width:
        raise ValueError(f"{N} x {I} x {O} is no multiple of the tile, {tile}.")
    by_rows = layout == "rows"
    step = "O_" if by_rows else "(VECTORS * WIDTH)"
    products = read_source("cpu/tile").replace("b += VECTORS * WIDTH", f"b += {step}")
    source = "\n".join([read_source("common"), products, Path(__file__).with_suffix(".cl").read_text()])
    options = [*tile.options("float32"), f"-DO_={O}", *(["-DROW_MAJOR"] if by_rows else [])]
    kernel = device.cl.Kernel(device.program(source, options), "product")

    def placed(matrix):
        flat = np.empty(matrix.size, np.float32)
        if by_rows:
            return matrix.ravel()
        tile.layout.pack(matrix, flat)
        return flat

    C = np.empty(N * O, np.float32)
    result = device.buffer(C.nbytes)
    buffers = device.buffer_of(placed(A)), device.buffer_of(placed(B)), result  # a kernel does not keep them alive
    kernel.set_args(*buffers, *map(np.int32, (N, I, O)))
    tiles = (N // tile.rows * -(-O // tile.layout.panel),)
    device.cl.enqueue_nd_range_kernel(device.queue, kernel, tiles, (1,))
    device.read(C, result)
    found = C.reshape(N, O) if by_rows else tile.layout.unpack(C, N, O)
    np.testing.assert_allclose(found, A.astype(float) @ B, atol=1e-3 * np.sqrt(I))
    time.sleep(1)  # until NumPy's threads have stopped spinning
    best = np.inf
    for _ in range(bursts):
        started = time.perf_counter()
        for _ in range(3):
            device.cl.enqueue_nd_range_kernel(device.queue, kernel, tiles, (1,))
        device.queue.finish()
        best = min(best, (time.perf_counter() - started) / 3)
    return 2 * N * I * O / best / 1e9


def numpy_rate(A, B, bursts):
    """Return the GFLOP/s of NumPy's product."""
    best = np.inf
    for _ in range(bursts):
        started = time.perf_counter()
        A @ B
        best = min(best, time.perf_counter() - started)
    return 2 * A.size * B.shape[1] / best / 1e9


if __name__ == "__main__":
    main()
