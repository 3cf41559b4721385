"""Fixtures of the whole suite: which device it runs on."""

import pytest

from skintricate.backend import list_devices, open_device


@pytest.fixture(scope="session")
def device():
    """Return the device wish of every test; SKINTRICATE_DEVICE says which runtime "auto" means."""
    if not list_devices():
        pytest.skip("This machine has no OpenCL device.")
    open_device("auto")
    return "auto"


@pytest.fixture(scope="session")
def float64(device):
    """Return the device wish of a test that needs double precision."""
    if not open_device(device).has_float64:
        pytest.skip("This device has no float64.")
    return device
