"""What tasks that run together ask for: the training of a network, or a prediction."""

from dataclasses import dataclass

from skintricate.training import rendezvous
from skintricate.training.data import Data
from skintricate.training.state import NetworkState


@dataclass
class FitRequest:
    """What ``fit_network`` was asked for."""

    device: object
    dtype: str
    network: list
    state: NetworkState
    data: Data
    options: object

    @property
    def batch_size(self):
        """The rows of a batch."""
        return self.options.batch_rows(self.data)


@dataclass
class PredictRequest:
    """The outputs of the last layer for the rows of ``X`` are wanted."""

    device: object
    dtype: str
    network: list
    state: NetworkState
    X: object
    precision: str = "highest"
    batch_size = 0  # its rows follow from the device's memory


def ask(request):
    """Return what a rendezvous makes of a request; None where there is none, or it cannot be served with others."""
    meeting = rendezvous.current()
    if meeting is None:
        return None
    (outcome,) = meeting.ask([request])
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome
