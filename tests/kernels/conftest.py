"""What several tests of kernels need."""

import pytest

from skintricate.backend import list_devices, open_device
from skintricate.kernels import Program
from skintricate.kernels.specialized import Earnings
from skintricate.kernels.tile import tile_of


@pytest.fixture(scope="session")
def gpu():
    """Return the wish of a GPU with tensor cores."""
    if not any(info.runtime == "nvidia" for info in list_devices()):
        pytest.skip("This machine has no GPU of NVIDIA.")
    if not tile_of(open_device("gpu"), "float32").has_tensor_cores:
        pytest.skip("This GPU has no tensor cores.")
    return "gpu"


@pytest.fixture
def programs_pay_after(monkeypatch):
    """Return a function that lets plans earn programs of their own when they have trained for so many seconds.

    It returns the list of the plans whose programs gave a kernel from then on.
    """
    borrow = Program.borrow

    def use(seconds):
        # Whatever is on disk, where tests before may have left it.
        monkeypatch.setattr(Earnings, "suffice", lambda self, plan: self._seconds.get(plan.key, 0.0) >= seconds)
        plans = []

        def spy(self, name, plan=None):
            kernel = borrow(self, name, plan)
            plans.extend([] if plan is None else [plan])
            return kernel

        monkeypatch.setattr(Program, "borrow", spy)
        return plans

    return use
