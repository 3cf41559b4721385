"""``python -m skintricate``: the devices of this machine; ``tune`` finds the fastest sizes for one of them."""

import argparse

from skintricate._version import __version__
from skintricate.backend import list_devices, open_device
from skintricate.backend.runtimes import searched_places
from skintricate.training.tuning import tune


def main(arguments=None):
    """Print the table of devices and what was searched, or tune a device."""
    parser = argparse.ArgumentParser("python -m skintricate", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    of_tune = commands.add_parser(
        "tune", help="time sizes of tiles on a device, some minutes, and keep the fastest for every later process"
    )
    of_tune.add_argument("--device", default="auto", help="as in the estimators")
    of_tune.add_argument("--dtype", default="float32", choices=("float32", "float64"))
    of_tune.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    if options.command == "tune":
        _tune(options)
    else:
        _show_devices()


def _show_devices():
    """Print the table of devices and what was searched."""
    devices = list_devices()
    print(f"skintricate {__version__}")
    print(devices)
    if devices:
        print("\nSearched:")
        for place in searched_places():
            print(f"  {place}")


def _tune(options):
    """Tune a device and print what was tried, and kept."""
    device = open_device(options.device)
    print(f"{device.info}, {options.dtype}")
    sizes = tune(device, options.dtype, rounds=options.rounds)
    print(f"kept: {sizes or 'the sizes that the package has for this device'}")


if __name__ == "__main__":
    main()
