"""Learning rates of the schedules against their formulas, alone and through training."""

import numpy as np
import pytest
from contracts import model_with

from skintricate.layers import Dense
from skintricate.optimizers import Basic, ConstantRate, CosineRate, ExponentialRate, Schedule, StepRate

EPOCHS = np.array([0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.75, 3.0, 3.5, 4.0, 5.0, 7.5])


class Harmonic(Schedule):
    def __init__(self, rate=0.1):
        self.rate = rate

    def __call__(self, epoch):
        return self.rate / (1 + np.asarray(epoch))


def cosine(epoch, rate, epochs, warmup=0.0, final=0.0):
    """Return a rate of the cosine schedule."""
    if epoch < warmup:
        return rate * max(epoch / warmup, 0.01)
    progress = min((epoch - warmup) / (epochs - warmup), 1.0)
    return final + (rate - final) * (0.5 + 0.5 * np.cos(np.pi * progress))


SCHEDULES = [
    (ConstantRate(0.3), lambda e: 0.3),
    (StepRate(0.4, 0.5, 2), lambda e: 0.4 * 0.5 ** int(e // 2)),
    (StepRate(0.4, 0.1, 1), lambda e: 0.4 * 0.1 ** int(e)),
    (ExponentialRate(0.4, 0.9), lambda e: 0.4 * np.exp(e * np.log(0.9))),
    (CosineRate(0.4, 5), lambda e: cosine(e, 0.4, 5)),
    (CosineRate(0.4, 5, 1.5, 0.01), lambda e: cosine(e, 0.4, 5, 1.5, 0.01)),
    (Harmonic(0.2), lambda e: 0.2 / (1 + e)),
]


@pytest.mark.parametrize(("schedule", "formula"), SCHEDULES, ids=lambda v: repr(v) if isinstance(v, Schedule) else "")
def test_formula(schedule, formula):
    np.testing.assert_allclose(schedule(EPOCHS), [formula(e) for e in EPOCHS], rtol=1e-13)


@pytest.mark.parametrize(("schedule", "formula"), SCHEDULES, ids=lambda v: repr(v) if isinstance(v, Schedule) else "")
@pytest.mark.parametrize("fits", [(6,), (1, 2, 3)])
def test_training_follows_it(schedule, formula, fits, float64):
    """With a gradient of one, the weight falls by the sum of the rates; a later fit goes on where one ended."""
    model = model_with([Dense(1, use_bias=False)], [np.zeros((1, 1))], float64)
    optimizer = Basic(schedule)
    for epochs in fits:
        model.fit(np.ones((10, 1)), np.zeros(10), loss="mean_bias", optimizer=optimizer, batch_size=3, max_iter=epochs)
    rates = [formula(step / 4) for step in range(4 * sum(fits))]
    np.testing.assert_allclose(-model.coefs_[0][0, 0], sum(rates), rtol=1e-12)


def test_learning_rate_of_a_named_optimizer(float64):
    model = model_with([Dense(1, use_bias=False)], [np.zeros((1, 1))], float64)
    model.fit(
        [[1.0]], [0.0], loss="mean_bias", optimizer="sgd", learning_rate=StepRate(0.5, 0.5, 1), batch_size=1, max_iter=3
    )
    np.testing.assert_allclose(model.coefs_[0][0, 0], -(0.5 + 0.25 + 0.125), rtol=1e-14)
    assert model.optimizer == Basic(StepRate(0.5, 0.5, 1))
