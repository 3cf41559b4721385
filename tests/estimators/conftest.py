"""Fixtures of the estimators' tests."""

import pytest


@pytest.fixture(autouse=True)
def _device_there(device):
    """Skip everything where there is no OpenCL device; SKINTRICATE_DEVICE says which one "auto" means."""
