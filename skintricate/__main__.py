"""``python -m skintricate``: the devices of this machine, and where runtimes were looked for."""

from skintricate._version import __version__
from skintricate.backend import list_devices
from skintricate.backend.runtimes import searched_places


def main():
    """Print the table of devices and what was searched."""
    devices = list_devices()
    print(f"skintricate {__version__}")
    print(devices)
    if devices:
        print("\nSearched:")
        for place in searched_places():
            print(f"  {place}")


if __name__ == "__main__":
    main()
