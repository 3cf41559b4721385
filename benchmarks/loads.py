"""What a vector load written as ``vload`` costs, beside a plain load of an unaligned vector: one training step.

python benchmarks/loads.py --device pocl
python benchmarks/loads.py --device intel --sizes 64,100,10 --batch 200
"""

import argparse

from report import processor, table
from stages import open_trainer, timed

from skintricate.backend import open_device
from skintricate.kernels import program

PLAIN = {
    "load": "return *(const global stored_real *)p;",
    "store": "*(global stored_real *)p = x;",
}
BUILT_IN = {
    "load": "return JOIN(vload, WIDTH)(0, p);",
    "store": "JOIN(vstore, WIDTH)(x, 0, p);",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="784,512,10")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.sizes.split(",")]
    device = open_device(arguments.device)
    read_source, rows = program.read_source, []
    for name, bodies in (("vload, vstore", BUILT_IN), ("unaligned vectors", PLAIN)):
        program.read_source = lambda source, bodies=bodies: with_loads(read_source(source), bodies)
        device._made.clear()  # the program with the other loads
        trainer = open_trainer(device, "float32", sizes, arguments.batch)
        seconds = timed(device, trainer._arena.step_launchers(), 50)
        rows.append([name, f"{seconds * 1e6:.0f}"])
    print(f"{'-'.join(map(str, sizes))}, batch {arguments.batch}, on {device.info}\n{processor()}\n")
    print(table(["loads and stores", "us a step"], rows))


def with_loads(source, bodies):
    """Return a kernel source whose loads and stores have these bodies."""
    for name, body in PLAIN.items():
        source = source.replace(body, bodies[name])
    return source


if __name__ == "__main__":
    main()
