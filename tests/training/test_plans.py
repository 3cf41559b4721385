"""Plans that are kept: shared by equal networks, and never by others."""

import gc
import weakref

import numpy as np
import pytest

from skintricate import IntricateRegressor, Model
from skintricate.initializers import Initializer
from skintricate.layers import Activation, Dense, ReLU, TanH
from skintricate.losses import Huber, Loss
from skintricate.optimizers import Basic
from skintricate.training import Lowering, plans

X, Y = np.random.default_rng(0).normal(size=(2, 30, 3))


class Steep(Activation):
    """k x, k being no parameter."""

    value, derivative = "k * x", "(real)k"
    hyper_parameters = ("k",)
    k = 1
    __hash__ = None


class Weighted(Loss):
    """The squared error times the first of some numbers."""

    value, gradient = "first * (y - t) * (y - t)", "2 * first * (y - t)"
    hyper_parameters = ("first",)

    def __init__(self, numbers):
        self.numbers = numbers

    @property
    def first(self):
        return float(self.numbers[0])


class Given(Initializer):
    """Values of the caller."""

    def __init__(self, values):
        self.values = values

    def draw(self, generator, shape):
        return np.resize(self.values, shape)


@pytest.fixture
def lowered(monkeypatch):
    """Return a list with an entry for every plan that is made."""
    made, run = [], Lowering.run
    monkeypatch.setattr(Lowering, "run", lambda self: made.append(self) or run(self))
    monkeypatch.setattr(plans, "_plans", {})
    return made


def loss_of(network, device, loss="mean_squared", **options):
    """Return the loss of the first epoch, which the first weights decide, in one step."""
    model = Model(network, device=device, dtype="float32", random_state=0)
    return model.fit(X, Y, loss=loss, optimizer=Basic(1e-6), batch_size=30, max_iter=1, **options).loss[0]


def test_equal_networks_share_a_plan(device, lowered):
    for rate in (0.1, 0.2):
        Model([Dense(4), TanH(), Dense(3)], device=device).fit(X, Y, optimizer=Basic(rate), max_iter=1)
    assert len(lowered) == 1


@pytest.mark.parametrize("change", [{"alpha": 0.3}, {"loss": Huber(0.2)}, {"batch_size": 7}], ids=repr)
def test_others_do_not(change, device, lowered):
    for options in ({}, change):
        Model([Dense(4), TanH(), Dense(3)], device=device).fit(X, Y, **{"max_iter": 1, **options})
    assert len(lowered) == 2


def test_what_no_parameter_tells_counts(device):
    """State of users' own classes, arrays that change in place; a class without a hash is trained as any other."""
    numbers, network = np.ones(3000), [Dense(4), Steep(), Dense(3)]
    first = loss_of(network, device, Weighted(numbers))
    numbers[0] = 5
    assert loss_of(network, device, Weighted(numbers)) == pytest.approx(5 * first, rel=1e-5)
    network[1].k = 3
    assert loss_of(network, device, Weighted(numbers)) != pytest.approx(5 * first, rel=0.01)


def test_objects_that_change_after_a_fit(device, lowered, monkeypatch):
    """Neither the network that changed nor any other is hurt, however many plans come after."""
    monkeypatch.setattr(plans, "MOST_PLANS", 3)
    regressor = IntricateRegressor((4,), loss=Huber(), device=device, max_iter=1, n_iter_no_change=None)
    regressor.fit(X, Y).set_params(loss__delta=2.0).fit(X, Y)
    model = Model([Dense(4), ReLU(), Dense(3)], device=device)
    model.fit(X, Y, max_iter=1)
    model.layers[0].set_params(units=5)
    for batch_size in range(1, 9):
        Model([Dense(3)], device=device).fit(X, Y, max_iter=1, batch_size=batch_size)
    assert len(plans._plans) == 3
    assert len(lowered) == 11


def test_arrays_of_users_are_not_kept(device):
    values = np.linspace(0, 1, 1000)
    seen = weakref.ref(values)
    loss_of([Dense(3, Given(values))], device)
    del values
    gc.collect()
    assert seen() is None
