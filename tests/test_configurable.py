"""What layers, losses, optimizers, initializers, schedules and conditions have in common."""

import copy
import pickle

import numpy as np
import pytest
from contracts import EVERYTHING
from sklearn.base import clone

from skintricate.configurable import Configurable, check_number, copy_of
from skintricate.initializers import Constant, GlorotUniform, HeNormal, LimitedRandom, NormalRandom, UniformRandom
from skintricate.layers import ELU, Dense, Dropout, LeakyReLU, TanH
from skintricate.losses import Huber, Quantile
from skintricate.optimizers import (
    Adagrad,
    Adam,
    AdamW,
    Basic,
    ConstantRate,
    CosineRate,
    ExponentialRate,
    Momentum,
    RMSprop,
    StepRate,
)
from skintricate.training import LossPlot, MinAccuracyReached, MinLossReached, ProgressLine

SCHEDULES = [ConstantRate(), StepRate(), ExponentialRate(), CosineRate()]
THINGS = [
    *EVERYTHING,
    *SCHEDULES,
    Adam(CosineRate(0.1, 7), clip_norm=2.0),
    Dense(3, HeNormal(), Constant(0.5)),
    MinLossReached(0.1) & MinAccuracyReached(0.5),
    ProgressLine(2),
    LossPlot(),
]
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("thing", THINGS, ids=repr)
@pytest.mark.parametrize(
    "duplicate",
    [
        copy.copy,
        copy.deepcopy,
        copy_of,
        clone,
        lambda thing: pickle.loads(pickle.dumps(thing)),
        lambda thing: type(thing)(**thing.get_params(deep=False)),
        lambda thing: thing.__class__(**thing.get_params(deep=False)).set_params(**thing.get_params(deep=False)),
    ],
    ids=["copy", "deepcopy", "copy_of", "clone", "pickle", "constructor", "set_params"],
)
def test_copies_are_equal(thing, duplicate):
    other = duplicate(thing)
    assert type(other) is type(thing)
    assert other == thing
    assert hash(other) == hash(thing)
    assert repr(other) == repr(thing)


@pytest.mark.parametrize("thing", [t for t in THINGS if "&" not in repr(t)], ids=repr)
def test_repr_makes_it_again(thing):
    import skintricate.training
    from skintricate import initializers, layers, losses, optimizers

    names = {}
    for module in (initializers, layers, losses, optimizers, skintricate.training):
        names.update(vars(module))
    assert eval(repr(thing), names) == thing


@pytest.mark.parametrize("thing", THINGS, ids=repr)
def test_every_parameter_is_stored_as_it_is(thing):
    params = thing.get_params(deep=False)
    assert set(params) == set(type(thing).parameter_names())
    for name, value in params.items():
        assert getattr(thing, name) is value


def test_equality_is_of_class_and_parameters():
    assert Dense(3) == Dense(3)
    assert Dense(3) != Dense(4)
    assert Dense(3) != Dense(3, use_bias=False)
    assert Dense(3, HeNormal()) == Dense(3, HeNormal())
    assert Dense(3, HeNormal()) != Dense(3, GlorotUniform())
    assert Adam(StepRate(0.1)) != Adam(StepRate(0.2))
    assert TanH() != LeakyReLU()
    assert Dense(3) != "Dense(3)"
    assert len({TanH(), TanH(), LeakyReLU(), LeakyReLU(0.2)}) == 3


def test_nested_parameters():
    layer = Dense(3, NormalRandom(0.0, 0.2))
    assert layer.get_params()["kernel_initializer__scale"] == 0.2
    assert "kernel_initializer__scale" not in layer.get_params(deep=False)
    assert layer.set_params(kernel_initializer__scale=0.4, units=5) is layer
    assert layer == Dense(5, NormalRandom(0.0, 0.4))
    optimizer = Adam(CosineRate(0.1, 5))
    optimizer.set_params(learning_rate__rate=0.3, beta_1=0.5)
    assert optimizer == Adam(CosineRate(0.3, 5), 0.5)


def test_an_object_and_its_parameter_in_one_call():
    old = Constant(1.0)
    layer = Dense(3, old).set_params(kernel_initializer=Constant(2.0), kernel_initializer__value=5.0)
    assert layer.kernel_initializer == Constant(5.0)
    assert old == Constant(1.0)


def test_set_params_checks_as_the_constructor_does():
    layer = Dropout(0.5)
    with pytest.raises(ValueError, match="Dropout: rate must lie in"):
        layer.set_params(rate=2.0)
    assert layer.rate == 0.5
    with pytest.raises(ValueError, match=r"Dropout has no parameter 'ratio'; it has \['rate'\]"):
        layer.set_params(ratio=0.1)


@pytest.mark.parametrize(
    ("make", "name", "error"),
    [
        (lambda: Dense(0), "units", ValueError),
        (lambda: Dense(-3), "units", ValueError),
        (lambda: Dense(2.5), "units", TypeError),
        (lambda: Dense("3"), "units", TypeError),
        (lambda: Dense(True), "units", TypeError),
        (lambda: Dense(None), "units", TypeError),
        (lambda: Dense(3, "he_normal"), "kernel_initializer", TypeError),
        (lambda: Dense(3, HeNormal), "kernel_initializer", TypeError),
        (lambda: Dense(3, None, 0.5), "bias_initializer", TypeError),
        (lambda: Dropout(1.0), "rate", ValueError),
        (lambda: Dropout(-0.1), "rate", ValueError),
        (lambda: Dropout("half"), "rate", TypeError),
        (lambda: Dropout(NAN), "rate", ValueError),
        (lambda: LeakyReLU(-1), "slope", ValueError),
        (lambda: ELU(0.0), "alpha", ValueError),
        (lambda: Huber(0), "delta", ValueError),
        (lambda: Quantile(0.0), "quantile", ValueError),
        (lambda: Quantile(1.0), "quantile", ValueError),
        (lambda: Basic(0.0), "learning_rate", ValueError),
        (lambda: Basic(-1.0), "learning_rate", ValueError),
        (lambda: Basic("fast"), "learning_rate", TypeError),
        (lambda: Basic(NAN), "learning_rate", ValueError),
        (lambda: Basic(0.1, clip_norm=0.0), "clip_norm", ValueError),
        (lambda: Basic(0.1, clip_norm="1"), "clip_norm", TypeError),
        (lambda: Momentum(0.1, 1.0), "momentum", ValueError),
        (lambda: Adagrad(0.1, 0.0), "epsilon", ValueError),
        (lambda: RMSprop(0.1, -0.1), "rho", ValueError),
        (lambda: Adam(0.1, beta_1=1.0), "beta_1", ValueError),
        (lambda: Adam(0.1, beta_2=-0.5), "beta_2", ValueError),
        (lambda: AdamW(weight_decay=-1.0), "weight_decay", ValueError),
        (lambda: ConstantRate(0.0), "rate", ValueError),
        (lambda: StepRate(0.1, 2.0), "factor", ValueError),
        (lambda: StepRate(0.1, 0.5, 0), "epochs", ValueError),
        (lambda: ExponentialRate(0.1, 0.0), "factor", ValueError),
        (lambda: CosineRate(0.1, 5, 5), "warmup_epochs", ValueError),
        (lambda: CosineRate(0.1, 5, 1, -1.0), "final_rate", ValueError),
        (lambda: Constant("1"), "value", TypeError),
        (lambda: UniformRandom(0.5, 0.1), "high", ValueError),
        (lambda: LimitedRandom(0.0), "limit", ValueError),
        (lambda: NormalRandom(0.0, -1.0), "scale", ValueError),
        (lambda: MinLossReached("low"), "loss", TypeError),
        (lambda: MinAccuracyReached(1.5), "accuracy", ValueError),
        (lambda: ProgressLine(0), "every", ValueError),
        (lambda: LossPlot(width=0), "width", ValueError),
    ],
)
def test_bad_parameters(make, name, error):
    with pytest.raises(error, match=rf"\b{name} must\b"):
        make()


@pytest.mark.parametrize(
    "make", [lambda: Basic(INF), lambda: Constant(INF), lambda: Huber(INF), lambda: NormalRandom(-INF)]
)
def test_infinite_parameters(make):
    with pytest.raises(ValueError, match="must lie in"):
        make()


def test_a_copy_shares_nothing_that_can_change():
    table = np.ones(2)

    class Own(Configurable):
        def __init__(self, table, inner):
            self.table, self.inner = table, inner

    for thing in (Dense(3, HeNormal(), Constant(0.5)), Own(table, Constant(0.5))):
        copied = copy_of(thing)
        assert copied == thing
        assert not {id(v) for v in vars(copied).values() if hasattr(v, "__dict__")} & {
            id(v) for v in vars(thing).values()
        }
    assert copied.table is not table


@pytest.mark.parametrize("value", [np.float32(0.5), np.float64(0.5), np.int64(1), 1])
def test_numpy_numbers_are_numbers(value):
    check_number("owner", "name", value, 0, 1)
    assert Huber(value).delta == value


def test_a_class_without_a_constructor_has_no_parameters():
    class Nothing(Configurable):
        pass

    assert Nothing().get_params() == {}
    assert repr(Nothing()) == "Nothing()"
    assert Nothing() == Nothing()


def test_names_follow_the_constructor():
    class Own(Configurable):
        def __init__(self, a=1):
            self.a = a

    class Derived(Own):
        pass

    assert Derived.parameter_names() == Own.parameter_names() == ("a",)
    Own.__init__ = lambda self, a=1, b=2: self.__dict__.update(a=a, b=b)
    assert Derived.parameter_names() == ("a", "b")
    assert Derived(b=3).get_params() == {"a": 1, "b": 3}
