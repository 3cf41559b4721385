"""The regressor: losses, outputs, layers, and scikit-learn's tools around it."""

import numpy as np
import pytest
from problems import assert_same_model, classifier, differ, numbers, regressor
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import AdaBoostRegressor, BaggingRegressor, StackingRegressor, VotingRegressor
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.multioutput import MultiOutputRegressor, RegressorChain
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skintricate import IntricateRegressor
from skintricate.layers import Dense, Dropout, Exponential, ReLU, Sigmoid, SoftMax, TanH
from skintricate.losses import BY_NAME, Huber, MeanSquared, Poisson, Quantile
from skintricate.optimizers import Momentum

X, Y = numbers(150)
X_MANY, Y_MANY = numbers(150, n_outputs=3)
GOOD = {"learning_rate": 0.03, "max_iter": 200}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("data", "shape"), [((X, Y), (150,)), ((X_MANY, Y_MANY), (150, 3))])
def test_learns(data, shape, dtype):
    estimator = regressor((32,), **GOOD, dtype=dtype).fit(*data)
    predicted = estimator.predict(data[0])
    assert predicted.shape == shape
    assert predicted.dtype == (dtype if len(shape) == 1 else "float64")
    assert estimator.score(*data) == pytest.approx(r2_score(data[1], predicted), abs=1e-9)
    assert estimator.score(*data) > 0.95


# Losses


@pytest.mark.parametrize("name", ["auto", "mean_squared", "mean_absolute", "huber", "quantile"])
def test_losses(name):
    estimator = regressor((32,), loss=name, **GOOD).fit(X, Y)
    assert estimator.score(X, Y) > 0.9
    assert estimator.loss_curve_[-1] < estimator.loss_curve_[0]


def test_auto_is_mean_squared():
    for loss in ("mean_squared", MeanSquared()):
        assert_same_model(regressor(loss=loss).fit(X, Y), regressor().fit(X, Y))


def test_poisson_predicts_positive_rates():
    generator = np.random.default_rng(0)
    rate = np.exp(0.5 * X[:, 0] - 0.3 * X[:, 1] + 0.5)
    counts = generator.poisson(rate)
    estimator = regressor((), loss="poisson", optimizer=Momentum(0.02), max_iter=500).fit(X, counts)
    assert isinstance(estimator.model_.layers[-1], Exponential)
    predicted = estimator.predict(X)
    assert (predicted > 0).all()
    assert np.corrcoef(predicted, rate)[0, 1] > 0.95
    # The likelihood's equations hold at its maximum: predictions sum to the counts.
    assert predicted.sum() == pytest.approx(counts.sum(), rel=0.01)
    given = regressor((Dense(1), Exponential()), loss=Poisson(), optimizer=Momentum(0.02), max_iter=500).fit(X, counts)
    assert_same_model(given, estimator)


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_quantiles_cover_their_share(quantile):
    generator = np.random.default_rng(0)
    X_wide = generator.uniform(-1, 1, (1500, 1))
    y = X_wide[:, 0] + generator.normal(0, 0.5, 1500) * (1.5 + X_wide[:, 0])
    estimator = regressor((16,), loss=Quantile(quantile), learning_rate=0.01, max_iter=60).fit(X_wide, y)
    assert np.mean(y <= estimator.predict(X_wide)) == pytest.approx(quantile, abs=0.04)


def test_huber_minds_outliers_less():
    y = Y.copy()
    y[::10] += 30
    clean = np.arange(len(y)) % 10 > 0
    errors = [
        np.abs(regressor((), loss=loss, learning_rate=0.05, max_iter=300).fit(X, y).predict(X) - Y)[clean].mean()
        for loss in (Huber(0.5), "mean_squared")
    ]
    assert errors[0] < errors[1] / 3


def test_probabilities_as_targets():
    y = 1 / (1 + np.exp(-2 * X[:, 0]))
    estimator = regressor((), loss="binary_cross_entropy", learning_rate=0.1, max_iter=300).fit(X, y)
    predicted = estimator.predict(X)
    assert ((predicted >= 0) & (predicted <= 1)).all()
    np.testing.assert_allclose(predicted, y, atol=0.02)


def test_shares_as_targets():
    shares = np.exp(Y_MANY) / np.exp(Y_MANY).sum(axis=1, keepdims=True)
    estimator = regressor((), loss="categorical_cross_entropy", learning_rate=0.1, max_iter=300).fit(X_MANY, shares)
    predicted = estimator.predict(X_MANY)
    np.testing.assert_allclose(predicted.sum(axis=1), 1, rtol=1e-5)
    assert np.abs(predicted - shares).mean() < 0.05


@pytest.mark.parametrize("name", BY_NAME)
def test_every_loss_trains_or_says_why_not(name):
    bounded = (Y - Y.min()) / (Y.max() - Y.min())
    estimator = regressor(loss=name).fit(X, bounded)
    assert np.isfinite(estimator.predict(X)).all()
    assert len(estimator.loss_curve_) == 5


# Layers

SPECS = {
    "nothing": ((), [Dense(1)]),
    "numbers": ((4, 2), [Dense(4), ReLU(), Dense(2), ReLU(), Dense(1)]),
    "as many units as outputs": ((1,), [Dense(1), ReLU(), Dense(1)]),
    "an output": ((4, Dense(1)), [Dense(4), ReLU(), Dense(1)]),
    "a bounded output": ((4, Dense(1), Sigmoid()), [Dense(4), ReLU(), Dense(1), Sigmoid()]),
    "a bounded output by name": ((4, Dense(1), "tanh"), [Dense(4), ReLU(), Dense(1), TanH()]),
    "pairs": ((("one", 4), ("out", Dense(1))), [Dense(4), ReLU(), Dense(1)]),
    "dropout": ((4, Dropout(0.2)), [Dense(4), ReLU(), Dropout(0.2), Dense(1)]),
    "softmax inside": ((4, SoftMax()), [Dense(4), ReLU(), SoftMax(), Dense(1)]),
}


@pytest.mark.parametrize(("layers", "expected"), SPECS.values(), ids=SPECS)
def test_layers(layers, expected):
    estimator = regressor(layers).fit(X, Y)
    assert estimator.model_.layers == expected
    assert estimator.predict(X).shape == (len(X),)


@pytest.mark.parametrize(("data", "n_outputs"), [((X, Y), 1), ((X_MANY, Y_MANY), 3)])
def test_without_hidden_layers_it_is_linear_regression(data, n_outputs, float64):
    noise = np.random.default_rng(0).normal(size=np.shape(data[1]))
    target = data[1] + noise
    estimator = regressor((), dtype="float64", optimizer=Momentum(0.1), max_iter=2000, batch_size=150, tol=0.0)
    estimator.fit(data[0], target)
    expected = LinearRegression().fit(data[0], target)
    np.testing.assert_allclose(estimator.predict(data[0]), expected.predict(data[0]), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(estimator.coefs_[0], expected.coef_.reshape(n_outputs, -1).T, rtol=1e-6)


def test_the_l2_penalty_is_ridge(float64):
    target = Y + np.random.default_rng(0).normal(size=len(Y))
    centred, target = X - X.mean(axis=0), target - target.mean()
    layers = (Dense(1, use_bias=False),)
    estimator = regressor(layers, dtype="float64", alpha=20.0, optimizer=Momentum(0.1), max_iter=2000, batch_size=150)
    estimator.fit(centred, target)
    # mean((y - Xw)^2) + alpha / (2 n) w^2 against sum((y - Xw)^2) + alpha' w^2.
    expected = Ridge(10.0, fit_intercept=False).fit(centred, target)
    np.testing.assert_allclose(estimator.coefs_[0][:, 0], expected.coef_, rtol=1e-6)


# Determinism and edges


def test_the_same_seed_gives_the_same_model():
    params = {"batch_size": 16, "layers": (8, Dropout(0.2)), "early_stopping": True}
    assert_same_model(regressor(**params).fit(X, Y), regressor(**params).fit(X, Y))
    assert differ(regressor(**params, random_state=1).fit(X, Y), regressor(**params).fit(X, Y))
    assert differ(*(regressor(random_state=None).fit(X, Y) for _ in range(2)))


@pytest.mark.parametrize("n", [1, 2, 3, 7, 17])
def test_few_samples(n):
    estimator = regressor(batch_size=2).fit(X[:n], Y[:n])
    assert estimator.predict(X).shape == (len(X),)
    assert np.isfinite(estimator.predict(X)).all()


def test_one_feature():
    estimator = regressor((16,), **GOOD).fit(X[:, :1], X[:, 0] ** 2)
    assert estimator.score(X[:, :1], X[:, 0] ** 2) > 0.9


@pytest.mark.parametrize("scale", [1e-30, 1e-10, 1e10])
def test_targets_of_any_scale(scale):
    estimator = make_pipeline(
        StandardScaler(), TransformedTargetRegressor(regressor(**GOOD), transformer=StandardScaler())
    )
    assert estimator.fit(X * scale, Y * scale).score(X * scale, Y * scale) > 0.9


def test_predictions_do_not_depend_on_how_many_there_are():
    estimator = regressor(**GOOD, dtype="float64").fit(X, Y)
    many = np.tile(X, (40, 1))
    np.testing.assert_allclose(estimator.predict(many)[:150], estimator.predict(X), rtol=1e-10)
    np.testing.assert_allclose([estimator.predict(x[None])[0] for x in X], estimator.predict(X), rtol=1e-10)


# Inside scikit-learn's meta-estimators

METAS = {
    "AdaBoost": lambda base: AdaBoostRegressor(base, n_estimators=4, random_state=0),
    "Bagging": lambda base: BaggingRegressor(base, n_estimators=4, random_state=0),
    "Voting": lambda base: VotingRegressor([("a", base), ("b", LinearRegression())]),
    "Stacking": lambda base: StackingRegressor([("a", base), ("b", LinearRegression())], base, cv=3),
    "TransformedTarget": lambda base: TransformedTargetRegressor(base, transformer=StandardScaler()),
    "Pipeline": lambda base: make_pipeline(StandardScaler(), base),
}


@pytest.mark.parametrize("make", METAS.values(), ids=METAS)
def test_meta_estimators(make):
    assert make(regressor((16,), **GOOD)).fit(X, Y).score(X, Y) > 0.85


@pytest.mark.parametrize("meta", [MultiOutputRegressor, RegressorChain])
def test_several_targets(meta):
    assert meta(regressor((16,), **GOOD)).fit(X_MANY, Y_MANY).score(X_MANY, Y_MANY) > 0.85


def test_set_output_is_for_transformers_only():
    assert not hasattr(regressor(), "set_output")
    assert not hasattr(classifier(), "transform")


def test_default_parameters_fit_small_problems():
    estimator = IntricateRegressor(random_state=0, n_iter_no_change=None).fit(X, Y)
    assert estimator.score(X, Y) > 0.9
    assert estimator.n_iter_ == 200
