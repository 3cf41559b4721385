"""The classifier: probabilities, class weights, losses, layers, and scikit-learn's ensembles around it."""

import functools

import numpy as np
import pytest
from problems import assert_same_model, classes, classifier, differ, labels
from sklearn.base import ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import AdaBoostClassifier, BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.feature_selection import RFE, SequentialFeatureSelector
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.utils.class_weight import compute_sample_weight

from skintricate import IntricateClassifier
from skintricate.layers import Dense, Dropout, ReLU, Sigmoid, SoftMax, TanH
from skintricate.losses import BY_NAME, CategoricalCrossEntropy
from skintricate.optimizers import Momentum

X, Y = classes(120)
TWO = (Y > 0).astype(int)
X_LABELS, Y_LABELS = labels(120)
TASKS = {"binary": (X, TWO), "multiclass": (X, Y), "multilabel": (X_LABELS, Y_LABELS)}
GOOD = {"learning_rate": 0.03, "max_iter": 150}


# Probabilities


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("task", TASKS)
def test_probabilities(task, dtype):
    X_task, y = TASKS[task]
    estimator = classifier(**GOOD, dtype=dtype).fit(X_task, y)
    probabilities = estimator.predict_proba(X_task)
    assert probabilities.dtype == dtype
    assert probabilities.shape == (len(y), 3 if task != "binary" else 2)
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    if task != "multilabel":
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
        np.testing.assert_array_equal(estimator.classes_[probabilities.argmax(axis=1)], estimator.predict(X_task))
    np.testing.assert_allclose(np.exp(estimator.predict_log_proba(X_task)), probabilities, rtol=1e-4, atol=1e-7)
    assert estimator.score(X_task, y) == np.mean((estimator.predict(X_task) == y).reshape(len(y), -1).all(axis=1))
    assert estimator.score(X_task, y) > 0.9


def test_far_away_inputs_have_sure_probabilities():
    estimator = classifier(**GOOD).fit(X, Y)
    for scale in (1e10, 1e30):
        probabilities = estimator.predict_proba(X * scale)
        assert np.isfinite(probabilities).all()
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
        with np.errstate(divide="ignore"):
            assert not np.isnan(estimator.predict_log_proba(X * scale)).any()


@pytest.mark.parametrize("task", TASKS)
def test_predictions_of_one_row_are_those_of_all(task):
    X_task, y = TASKS[task]
    estimator = classifier(**GOOD, dtype="float64").fit(X_task, y)
    together = estimator.predict_proba(X_task)
    alone = np.vstack([estimator.predict_proba(row[None]) for row in X_task])
    np.testing.assert_allclose(alone, together, rtol=1e-10, atol=1e-14)
    np.testing.assert_array_equal(
        np.concatenate([estimator.predict(row[None]) for row in X_task]), estimator.predict(X_task)
    )


# Weights of classes


@pytest.mark.parametrize("weight", [{0: 3.0, 1: 0.5, 2: 1.0}, {1: 4.0}, "balanced"])
@pytest.mark.parametrize("given", [None, np.arange(120) % 3 + 1.0])
def test_class_weight_is_sample_weight(weight, given):
    X_few, y_few = X[Y != 2], Y[Y != 2]
    for X_task, y in ((X, Y), (X_few[:50], y_few[:50])):
        if isinstance(weight, dict):
            weight = {key: value for key, value in weight.items() if key in y}
        own = None if given is None else given[: len(y)]
        weights = compute_sample_weight(weight, y) * (1 if own is None else own)
        found = classifier(class_weight=weight, batch_size=16).fit(X_task, y, sample_weight=own)
        assert_same_model(found, classifier(batch_size=16).fit(X_task, y, sample_weight=weights))


def test_class_weight_of_names_and_labels():
    names = np.array(["ash", "birch", "cedar"])[Y]
    assert_same_model(classifier(class_weight={"ash": 5.0}).fit(X, names), classifier(class_weight={0: 5.0}).fit(X, Y))
    per_label = [{0: 1.0, 1: 2.0}, {0: 1.0, 1: 1.0}, {0: 3.0, 1: 1.0}]
    found = classifier(class_weight=per_label).fit(X_LABELS, Y_LABELS)
    weight = compute_sample_weight(per_label, Y_LABELS)
    assert_same_model(found, classifier().fit(X_LABELS, Y_LABELS, sample_weight=weight))


def test_class_weight_moves_the_boundary():
    noise = np.random.default_rng(0).normal(size=X.shape)
    shares = [
        classifier(class_weight={0: weight}, max_iter=60, learning_rate=0.03).fit(noise, TWO).predict(noise).mean()
        for weight in (0.01, 100)
    ]
    assert shares[0] > 0.9
    assert shares[1] < 0.1


# Losses


@pytest.mark.parametrize("name", [name for name in BY_NAME if name != "mean_bias"])
@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_every_loss_learns(name, task):
    X_task, y = TASKS[task]
    estimator = classifier((16,), loss=name, learning_rate=0.03, max_iter=300).fit(X_task, y)
    assert estimator.score(X_task, y) > 0.85
    probabilities = estimator.predict_proba(X_task)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(estimator.classes_[probabilities.argmax(axis=1)], estimator.predict(X_task))
    assert estimator.loss_curve_[-1] < estimator.loss_curve_[0]


@pytest.mark.parametrize("name", ["binary_cross_entropy", "mean_squared", "huber"])
def test_losses_of_labels(name):
    estimator = classifier((16,), loss=name, learning_rate=0.03, max_iter=200).fit(X_LABELS, Y_LABELS)
    assert estimator.score(X_LABELS, Y_LABELS) > 0.85


def test_two_classes_with_two_outputs():
    estimator = classifier(loss="categorical_cross_entropy", **GOOD).fit(X, TWO)
    assert estimator.n_outputs_ == 2
    assert isinstance(estimator.model_.layers[-1], SoftMax)
    assert estimator.score(X, TWO) > 0.9
    assert_same_model(classifier(loss=CategoricalCrossEntropy(), **GOOD).fit(X, TWO), estimator)


def test_one_against_the_rest_in_one_network():
    estimator = classifier(loss="binary_cross_entropy", **GOOD).fit(X, Y)
    assert isinstance(estimator.model_.layers[-1], Sigmoid)
    assert estimator.n_outputs_ == 3
    assert estimator.score(X, Y) > 0.9


# Layers

# The parameter, and the layers that it makes for three classes.
SPECS = {
    "nothing": ((), [Dense(3), SoftMax()]),
    "a number": (4, [Dense(4), ReLU(), Dense(3), SoftMax()]),
    "numbers": ((4, 2), [Dense(4), ReLU(), Dense(2), ReLU(), Dense(3), SoftMax()]),
    "a list": ([4], [Dense(4), ReLU(), Dense(3), SoftMax()]),
    "an array": (np.array([4, 2]), [Dense(4), ReLU(), Dense(2), ReLU(), Dense(3), SoftMax()]),
    "names": ((4, "tanh"), [Dense(4), ReLU(), TanH(), Dense(3), SoftMax()]),
    "objects": ((Dense(4), TanH()), [Dense(4), TanH(), Dense(3), SoftMax()]),
    "pairs": (
        (("one", 4), ("two", Dense(5)), ("three", "tanh")),
        [Dense(4), ReLU(), Dense(5), TanH(), Dense(3), SoftMax()],
    ),
    "dropout": ((4, Dropout(0.2)), [Dense(4), ReLU(), Dropout(0.2), Dense(3), SoftMax()]),
    "an output": ((4, Dense(3)), [Dense(4), ReLU(), Dense(3), SoftMax()]),
    "an output with softmax": ((4, Dense(3), SoftMax()), [Dense(4), ReLU(), Dense(3), SoftMax()]),
    "an output by name": ((4, Dense(3), "softmax"), [Dense(4), ReLU(), Dense(3), SoftMax()]),
    "a named output": ((4, ("out", Dense(3, use_bias=False))), [Dense(4), ReLU(), Dense(3, use_bias=False), SoftMax()]),
    "sigmoid outputs": ((Dense(3), Sigmoid()), [Dense(3), Sigmoid()]),
    "as many units as classes": ((3,), [Dense(3), ReLU(), Dense(3), SoftMax()]),
    "no output yet": ((Dense(4),), [Dense(4), Dense(3), SoftMax()]),
}


@pytest.mark.parametrize(("layers", "expected"), SPECS.values(), ids=SPECS)
def test_layers(layers, expected):
    estimator = classifier(layers).fit(X, Y)
    assert estimator.model_.layers == expected
    np.testing.assert_allclose(estimator.predict_proba(X).sum(axis=1), 1, rtol=1e-5)
    assert [c.shape[1] for c in estimator.coefs_] == [layer.units for layer in expected if isinstance(layer, Dense)]
    assert [b.shape for b in estimator.intercepts_] == [(c.shape[1],) for c in estimator.coefs_]


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ((4,), [Dense(4), ReLU(), Dense(1), Sigmoid()]),
        ((4, Dense(1)), [Dense(4), ReLU(), Dense(1), Sigmoid()]),
        ((4, Dense(1), Sigmoid()), [Dense(4), ReLU(), Dense(1), Sigmoid()]),
        ((4, Dense(2), SoftMax()), [Dense(4), ReLU(), Dense(2), SoftMax()]),
    ],
)
def test_layers_of_two_classes(layers, expected):
    estimator = classifier(layers).fit(X, TWO)
    assert estimator.model_.layers == expected
    assert estimator.predict_proba(X).shape == (len(X), 2)


def test_layers_that_can_be_read_only_once_are_refused():
    with pytest.raises(TypeError, match="layers must be a sequence"):
        classifier(units for units in (4, 2)).fit(X, Y)


def test_the_layers_given_are_not_changed():
    given = (("hidden", Dense(4)), TanH())
    estimator = classifier(given).fit(X, Y)
    assert estimator.layers is given
    assert estimator.model_.layers[0] is not given[0][1]
    shared = Dense(4)
    twice = classifier((shared, TanH(), shared)).fit(X, Y)
    assert [c.shape for c in twice.coefs_] == [(5, 4), (4, 4), (4, 3)]


def test_dropout_trains_and_predicts_without_it():
    estimator = classifier((32, Dropout(0.3)), **GOOD).fit(X, Y)
    assert estimator.score(X, Y) > 0.9
    np.testing.assert_array_equal(estimator.predict_proba(X), estimator.predict_proba(X))
    assert differ(estimator, classifier((32, Dropout(0.0)), **GOOD).fit(X, Y))
    assert_same_model(estimator, classifier((32, Dropout(0.3)), **GOOD).fit(X, Y))


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_without_hidden_layers_it_is_logistic_regression(task, float64):
    y = np.random.default_rng(0).permutation(TASKS[task][1])
    expected = LogisticRegression(C=1e12, tol=1e-10, max_iter=10_000).fit(X, y)
    estimator = classifier((), dtype="float64", optimizer=Momentum(0.5), max_iter=4000, batch_size=len(y), tol=0.0).fit(
        X, y
    )
    np.testing.assert_allclose(estimator.predict_proba(X), expected.predict_proba(X), atol=1e-4)


# Determinism


@pytest.mark.parametrize("task", TASKS)
def test_the_same_seed_gives_the_same_model(task):
    params = {"batch_size": 16, "layers": (8, Dropout(0.2), 4), "early_stopping": True}
    first, second = (classifier(**params).fit(*TASKS[task]) for _ in range(2))
    assert_same_model(first, second)
    assert first.loss_curve_ == second.loss_curve_
    assert differ(classifier(**params, random_state=1).fit(*TASKS[task]), first)


def test_without_a_seed_every_model_is_another():
    first, second = (classifier(random_state=None).fit(X, Y) for _ in range(2))
    assert differ(first, second)


def test_the_global_seed_is_that_of_none():
    models = []
    for _ in range(2):
        np.random.seed(5)
        models.append(classifier(random_state=None).fit(X, Y))
    assert_same_model(*models)


def test_a_batch_larger_than_the_data_is_the_data():
    assert_same_model(classifier(batch_size=10**9).fit(X, Y), classifier(batch_size=len(X)).fit(X, Y))
    assert_same_model(classifier(batch_size="auto").fit(X, Y), classifier(batch_size=len(X)).fit(X, Y))


def test_l2_penalty_makes_weights_smaller():
    sizes = [np.square(classifier(alpha=alpha, **GOOD).fit(X, Y).coefs_[0]).sum() for alpha in (0.0, 1.0, 100.0)]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("verbose", [True, 1, 2, 5, np.int64(1)])
def test_verbosity(verbose, capsys):
    quiet = classifier().fit(X, Y)
    assert capsys.readouterr() == ("", "")
    assert_same_model(classifier(verbose=verbose).fit(X, Y), quiet)
    shown = "".join(capsys.readouterr())
    assert "loss" in shown
    assert "5/5" in shown


# Inside scikit-learn's meta-estimators

METAS = {
    "AdaBoost": lambda base: AdaBoostClassifier(base, n_estimators=5, random_state=0),
    "Bagging": lambda base: BaggingClassifier(base, n_estimators=4, max_features=0.9, random_state=0),
    "OneVsRest": OneVsRestClassifier,
    "OneVsOne": OneVsOneClassifier,
    "Calibrated": lambda base: CalibratedClassifierCV(base, cv=3),
    "Calibrated isotonic": lambda base: CalibratedClassifierCV(base, cv=3, method="isotonic"),
    "Voting": lambda base: VotingClassifier([("a", base), ("b", LogisticRegression())], voting="soft"),
    "Stacking": lambda base: StackingClassifier([("a", base), ("b", LogisticRegression())], cv=3),
    "stacked on": lambda base: StackingClassifier([("b", LogisticRegression())], base, cv=3),
    "Frozen": lambda base: FrozenEstimator(base.fit(X, Y)),
}


@pytest.mark.parametrize("make", METAS.values(), ids=METAS)
def test_meta_estimators(make):
    estimator = make(classifier((16,), learning_rate=0.05, max_iter=60)).fit(X, Y)
    assert estimator.score(X, Y) > 0.85


def test_several_targets():
    base = classifier((16,), learning_rate=0.05, max_iter=60)
    y = np.c_[Y, TWO]
    assert MultiOutputClassifier(base).fit(X, y).predict(X).shape == y.shape
    assert ClassifierChain(base).fit(X_LABELS, Y_LABELS).score(X_LABELS, Y_LABELS) > 0.7


def test_feature_selection_and_inspection():
    base = classifier((), learning_rate=0.05, max_iter=60)
    kept = RFE(base, n_features_to_select=3, importance_getter=lambda e: np.abs(e.coefs_[0]).sum(axis=1)).fit(X, Y)
    assert kept.support_.sum() == 3
    assert SequentialFeatureSelector(base, n_features_to_select=2, cv=2).fit(X, Y).transform(X).shape == (len(X), 2)
    importance = permutation_importance(base.fit(X, Y), X, Y, n_repeats=2, random_state=0)
    assert importance.importances_mean.shape == (5,)


def test_thresholds():
    base = classifier(**GOOD)
    found = FixedThresholdClassifier(base, threshold=0.9, response_method="predict_proba").fit(X, TWO)
    assert found.predict(X).mean() <= base.fit(X, TWO).predict(X).mean()


def test_default_parameters_fit_small_problems():
    estimator = IntricateClassifier(random_state=0, n_iter_no_change=None).fit(X, Y)
    assert estimator.score(X, Y) > 0.9
    assert estimator.n_iter_ == 200


NAMES = np.array(["a", "b", "c"])


TARGETS = {
    "int8": Y.astype(np.int8),
    "uint64": Y.astype(np.uint64),
    "bool": TWO.astype(bool),
    "float": Y.astype(float),
    "names": NAMES[Y],
    "objects": NAMES[Y].astype(object),
    "list": Y.tolist(),
}


@pytest.mark.parametrize("y", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("weighted", [False, True])
def test_scores_are_scikit_learns(y, weighted):
    weight = np.arange(len(X)) if weighted else None
    fitted = classifier((8,), max_iter=5).fit(X, y)
    assert fitted.score(X, y, sample_weight=weight) == ClassifierMixin.score(fitted, X, y, sample_weight=weight)
    assert type(fitted.score(X, y)) is float


def test_a_constructor_that_a_descriptor_makes():
    class Short(IntricateClassifier):
        __init__ = functools.partialmethod(IntricateClassifier.__init__, max_iter=5)

    assert clone(Short((3,))).get_params()["max_iter"] == 5
    assert clone(Short((3,))).layers == (3,)


def test_subclasses_have_parameters_and_predictions_of_their_own():
    class Own(IntricateClassifier):
        def __init__(self, layers=(8,), extra=3, max_iter=5):
            super().__init__(layers, max_iter=max_iter, random_state=0, n_iter_no_change=None)
            self.extra = extra

        @classmethod
        def _get_param_names(cls):
            names = super()._get_param_names()
            names.remove("extra")
            return [*names, "extra"]

        def predict(self, X):
            return list(super().predict(X))

    for _ in range(2):
        assert clone(Own(extra=5)).get_params() == {"layers": (8,), "extra": 5, "max_iter": 5}
    assert "extra" not in IntricateClassifier().get_params()
    fitted = Own().fit(X, Y)
    assert fitted.score(X, Y) == np.mean(fitted.predict(X) == Y)
