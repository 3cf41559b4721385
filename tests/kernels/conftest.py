"""What several tests of kernels need."""

import pytest

from skintricate.backend import list_devices, open_device
from skintricate.kernels.tile import tile_of


@pytest.fixture(scope="session")
def gpu():
    """Return the wish of a GPU with tensor cores."""
    if not any(info.runtime == "nvidia" for info in list_devices()):
        pytest.skip("This machine has no GPU of NVIDIA.")
    if not tile_of(open_device("gpu"), "float32").has_tensor_cores:
        pytest.skip("This GPU has no tensor cores.")
    return "gpu"
