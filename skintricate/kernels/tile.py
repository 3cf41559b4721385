"""The tile of a device: how stages are cut, and the sizes that kernels are compiled for, chosen by measurement.

A tile is what a work-group makes of a stage. On a CPU that is one work-item with vectors in registers (``Tile``), on
a GPU many that share local memory (``GroupTile``).
"""

from dataclasses import replace

import numpy as np

from skintricate.backend import cache
from skintricate.kernels.cpu_tile import Tile
from skintricate.kernels.group_tile import PASSES, GroupTile

# Sizes that may be tried on a device, and which values of them; see training/tuning.py.
TUNABLE = {
    "cpu": {"rows": (4, 8), "columns": (2, 3)},
    "gpu": {"narrow_weights": (4096, 8192, 16384, 32768), "sizes": ((16, 32), (16, 32, 64))},
}


def tile_of(device, dtype, precision="highest"):
    """Return the tile of a device for a float type and the precision of large products.

    Sizes are those that ``python -m skintricate tune`` found to be the fastest there, or the package's own.
    """
    tile = default_tile(device, dtype, precision)
    kept = {name: _as_size(value) for name, value in cache.read_settings(_settings_key(device, dtype)).items()}
    # What another version has kept may mean nothing here.
    return replace(
        tile, **{name: kept[name] for name, values in TUNABLE[tile.family].items() if kept.get(name) in values}
    )


def default_tile(device, dtype, precision="highest"):
    """Return the tile of a device with the package's own sizes."""
    return Tile.of(device, dtype) if device.is_cpu else GroupTile.of(device, dtype, precision)


def keep_sizes(device, dtype, sizes):
    """Let ``tile_of`` find these sizes of a device's tile, by the names of its fields, from now on."""
    cache.write_settings(_settings_key(device, dtype), sizes)
    device.forget((np.dtype(dtype).name, precision) for precision in PASSES)


def _settings_key(device, dtype):
    """Return the name under which the sizes of a device's tile are kept."""
    handle = device.handle
    units = str(device.info.compute_units)
    return cache.program_key("tile", np.dtype(dtype).name, handle.name, handle.driver_version, units)


def _as_size(value):
    """Return a size as it was before it became JSON."""
    return tuple(value) if isinstance(value, list) else value
