"""Fixtures of the whole suite: which device it runs on, and of which programs."""

import pytest

from skintricate.backend import list_devices, open_device
from skintricate.kernels.stage import OPTIONAL_ROW_STAGES
from skintricate.training import together, vocabulary


def pytest_addoption(parser):
    parser.addoption(
        "--one-program",
        action="store_true",
        help="all layers that not every network has are in one program, instead of one for each of their combinations, "
        "for which PoCL's compiler takes a quarter of a minute",
    )


def pytest_configure(config):
    if config.getoption("--one-program"):
        needed = vocabulary.optional_sources
        every = tuple(sorted(OPTIONAL_ROW_STAGES))
        vocabulary.optional_sources = lambda *arguments: every if needed(*arguments) else ()


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


@pytest.fixture
def served(monkeypatch):
    """Return the list of how many networks were trained together, one number for each time; any number may be."""
    numbers, fit = [], together.Together.fit

    def spy(self, requests):
        outcomes = fit(self, requests)
        if requests:
            numbers.append(sum(outcome is not None for outcome in outcomes))
        return outcomes

    monkeypatch.setattr(together.Together, "fit", spy)
    monkeypatch.setattr(together, "are_worth_a_launch", lambda device, n: True)
    return numbers
