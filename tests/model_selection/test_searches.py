"""Searches and cross-validation give scikit-learn's results, whatever is trained together."""

import logging
import pickle
import signal
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy.sparse import csr_matrix
from scipy.stats import loguniform
from sklearn import model_selection
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.datasets import load_iris, make_classification, make_regression
from sklearn.ensemble import BaggingClassifier, VotingClassifier
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import make_scorer, recall_score
from sklearn.model_selection import GroupKFold, ShuffleSplit, cross_val_predict, cross_validate, learning_curve
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor, RegressorChain
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler

import skintricate.model_selection as ours
from skintricate import IntricateClassifier, IntricateRegressor
from skintricate.backend import open_device
from skintricate.estimators import IntricateEnsembleClassifier
from skintricate.exceptions import DivergenceError
from skintricate.initializers import HeUniform, NormalRandom
from skintricate.layers import Dense, Dropout, TanH
from skintricate.model_selection.shared_steps import SharedSteps
from skintricate.optimizers import Adam, Momentum, RMSprop
from skintricate.training import Callback, MinLossReached, cohort, together

pytestmark = pytest.mark.filterwarnings("ignore:Maximum iterations:sklearn.exceptions.ConvergenceWarning")
X, y = load_iris(return_X_y=True)
SHORT = {"max_iter": 5, "batch_size": 32, "random_state": 0}


def classifier(device, **options):
    return IntricateClassifier((8,), device=device, **{**SHORT, **options})


def agree(mine, wanted, device):
    """Check that results have the same keys, and the same values but for times; every bit of them on a CPU."""
    assert mine.keys() == wanted.keys()
    tolerance = {"rtol": 0, "atol": 0} if open_device(device).is_cpu else {"rtol": 1e-4, "atol": 0.02}
    for name, values in wanted.items():
        if name == "params":
            assert list(map(str, mine[name])) == list(map(str, values))
        elif name.startswith("param_"):
            assert np.ma.getmaskarray(mine[name]).tolist() == np.ma.getmaskarray(values).tolist()
            assert list(map(str, mine[name])) == list(map(str, values))
        elif "time" in name:
            assert np.shape(mine[name]) == np.shape(values)
        elif "rank" not in name or open_device(device).is_cpu:
            np.testing.assert_allclose(mine[name], values, **tolerance, err_msg=name)


def check(name, estimator, space, device, data=(X, y), fit_params=None, **options):
    """Run a search of ours and scikit-learn's; return ours."""
    mine = getattr(ours, name)(clone(estimator), space, **options)
    wanted = getattr(model_selection, name)(clone(estimator), space, **options)
    for search in (mine, wanted):
        search.fit(*data, **(fit_params or {}))
    agree(mine.cv_results_, wanted.cv_results_, device)
    for attribute in ("n_splits_", "multimetric_", "best_index_"):
        assert getattr(mine, attribute, None) == getattr(wanted, attribute, None)
    assert str(getattr(mine, "best_params_", None)) == str(getattr(wanted, "best_params_", None))
    if options.get("refit", True):
        np.testing.assert_array_equal(mine.predict(data[0]), wanted.predict(data[0]))
    return mine


VALUES = {
    "learning_rate": [1e-3, 1e-2, 0.1, None],
    "alpha": [0.0, 0.01, 1.0],
    "layers": [(4,), (9, 5), (Dense(6, kernel_initializer=HeUniform()), TanH(), Dropout(0.3)), ("tanh", Dense(7))],
    "activation": ["relu", "tanh", "sigmoid", "elu"],
    "batch_size": [7, 32, 150, "auto"],
    "max_iter": [1, 3, 6],
    "random_state": [0, 1, 2],
    "shuffle": [True, False],
    "early_stopping": [False, True],
    "n_iter_no_change": [1, 2, None],
    "class_weight": [None, "balanced", {0: 1.0, 1: 2.0, 2: 0.5}],
    "halting_condition": [None, MinLossReached(0.9)],
}


@pytest.mark.filterwarnings("ignore:Training halted:skintricate.exceptions.HaltingWarning")
@pytest.mark.parametrize("seed", range(26))
def test_random_spaces(seed, device, served):
    generator = np.random.default_rng(seed)
    names = generator.choice(list(VALUES), size=2, replace=False)
    space = {name: [VALUES[name][k] for k in generator.permutation(len(VALUES[name]))[:3]] for name in names}
    options = {"cv": int(generator.integers(2, 5)), "return_train_score": bool(seed % 2)}
    check("GridSearchCV", classifier(device), space, device, **options)
    n_fits = options["cv"] * int(np.prod([len(values) for values in space.values()]))
    assert served[0] == n_fits


@pytest.mark.parametrize("seed", range(4))
def test_random_spaces_of_a_regressor(seed, device, served):
    data = make_regression(60, 6, n_targets=1 + seed % 2, noise=1.0, random_state=seed)
    generator = np.random.default_rng(seed)
    space = {
        "loss": ["mean_squared", "mean_absolute", "huber"],
        "optimizer": [Adam(0.01), Momentum(1e-3), RMSprop(1e-3, clip_norm=1.0)],
        "dtype": [("float32", "float64")[seed % 2 and open_device(device).has_float64]],
        "layers": [(Dense(int(generator.integers(1, 9)), kernel_initializer=NormalRandom()), "elu"), ()],
    }
    check("GridSearchCV", IntricateRegressor(device=device, **SHORT), space, device, data, cv=3)
    assert served[0] == 54


def test_multilabel(device, served):
    labels = np.column_stack([y == 0, y == 2]).astype(int)
    check("GridSearchCV", classifier(device), {"learning_rate": [0.01, 0.1]}, device, (X, labels), cv=3)
    assert served == [6]


def test_two_classes_and_data_frames(device, served):
    frame = pd.DataFrame(X, columns=list("abcd"))
    names = np.array(["no", "yes"])[(y == 1).astype(int)]
    search = check("GridSearchCV", classifier(device), {"alpha": [0, 1]}, device, (frame, names), cv=3)
    assert search.feature_names_in_.tolist() == list("abcd")
    assert search.best_estimator_.feature_names_in_.tolist() == list("abcd")


FITS = []


class Counting(StandardScaler):
    """Counts how often it is fitted."""

    def fit(self, X, y=None, sample_weight=None):
        FITS.append(len(X))
        return super().fit(X, y)


def test_pipeline_steps_are_fitted_once_a_fold_and_setting(device, served):
    FITS.clear()
    pipeline = Pipeline(
        [("first", Counting(copy=False)), ("second", StandardScaler()), ("network", classifier(device))]
    )
    space = {"first__with_mean": [True, False], "network__learning_rate": [1e-3, 1e-2, 0.1]}
    check("GridSearchCV", pipeline, space, device, cv=5, refit=False)
    assert len(FITS) == 5 * 2 + 5 * 6
    assert served == [30]


def test_a_pipeline_forgets_what_it_shared(device, served):
    pipeline = make_pipeline(StandardScaler(), classifier(device))
    mine = check("GridSearchCV", pipeline, {"intricateclassifier__alpha": [0, 1]}, device, cv=3)
    assert mine.best_estimator_.memory is None
    assert mine.estimator is not pipeline
    assert mine.estimator.memory is None


def test_steps_that_cannot_be_told_apart(device, served):
    pipeline = make_pipeline(FunctionTransformer(lambda X: 2 * X), classifier(device))
    check("GridSearchCV", pipeline, {"intricateclassifier__learning_rate": [1e-2, 0.1]}, device, cv=3)
    assert served == [6]


class Noise(TransformerMixin, BaseEstimator):
    """Adds noise that is another one in each of six fits, as that of a global generator would be."""

    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, X, y=None):
        FITS.append(len(X))
        self.noise_ = np.random.RandomState(len(FITS) % 6).normal(size=X.shape[1])
        return self

    def transform(self, X):
        return X + self.noise_


def test_steps_that_draw_are_fitted_every_time(device, served):
    pipeline = make_pipeline(Noise(), classifier(device))
    FITS.clear()
    check("GridSearchCV", pipeline, {"intricateclassifier__learning_rate": [0.01, 0.1]}, device, cv=3, refit=False)
    assert len(FITS) == 6 + 6


def test_weights_and_groups(device, served):
    weight, groups = np.linspace(0, 2, len(y)), np.arange(len(y)) % 7
    options = {"cv": GroupKFold(3), "return_train_score": True}
    params = {"sample_weight": weight, "groups": groups}
    space = {"learning_rate": [0.01, 0.1], "class_weight": [None, "balanced"]}
    check("GridSearchCV", classifier(device), space, device, fit_params=params, **options)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = classifier(device).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        check("GridSearchCV", routed, space, device, fit_params=params, **options)
        scaled = make_pipeline(StandardScaler().set_fit_request(sample_weight=True), routed)
        if hasattr(scaled, "set_score_request"):  # scikit-learn before 1.8
            scaled.set_score_request(sample_weight=True)
        space = {f"intricateclassifier__{name}": values for name, values in space.items()}
        check("GridSearchCV", scaled, space, device, fit_params=params, **options)
    assert served == [12, 12, 12]


@pytest.mark.parametrize("refit", ["recall", lambda results: int(np.argmin(results["mean_test_accuracy"])), False])
def test_several_metrics(refit, device, served):
    scoring = {"accuracy": "accuracy", "recall": make_scorer(recall_score, average="macro"), "loss": "neg_log_loss"}
    check("GridSearchCV", classifier(device), {"alpha": [0.0, 10.0]}, device, scoring=scoring, refit=refit, cv=3)
    assert served == [6]


def test_scoring_by_a_function(device, served):
    def scoring(estimator, X, y):
        return {"score": estimator.score(X, y), "largest": estimator.predict_proba(X).max()}

    check("GridSearchCV", classifier(device), {"alpha": [0, 1]}, device, scoring=scoring, refit="largest", cv=3)
    assert served == [6]


@pytest.mark.parametrize("error_score", [np.nan, -1.0])
def test_candidates_that_fail(error_score, device, served):
    space = {"optimizer": ["adam", Momentum(1e30), "no such"]}
    with warnings.catch_warnings():
        for category in (FitFailedWarning, UserWarning, RuntimeWarning, ConvergenceWarning):
            warnings.simplefilter("ignore", category)
        estimator = IntricateRegressor((4,), device=device, **SHORT)
        mine = check("GridSearchCV", estimator, space, device, (X, y), error_score=error_score, cv=3)
    assert np.isfinite(mine.cv_results_["mean_test_score"][0])
    search = ours.GridSearchCV(estimator, space, error_score=error_score, cv=3)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "One or more of the test scores", UserWarning)
        with pytest.warns(FitFailedWarning, match="6 fits failed out of a total of 9"):
            search.fit(X, y)


def test_errors_that_are_raised(device, served):
    estimator = IntricateRegressor((4,), device=device, **SHORT)
    with pytest.raises(DivergenceError, match="Lower learning_rate"):
        ours.GridSearchCV(estimator, {"optimizer": ["adam", Momentum(1e30)]}, error_score="raise", cv=3).fit(X, y)
    with pytest.raises(ValueError, match="no such"):
        ours.GridSearchCV(estimator, {"optimizer": ["adam", "no such"]}, error_score="raise", cv=3).fit(X, y)
    assert ours.GridSearchCV(estimator, {"alpha": [0, 1]}, cv=3).fit(X, y).best_score_ <= 1


def test_randomized_search(device, served):
    space = {"learning_rate": loguniform(1e-4, 1e-1), "layers": [(4,), (5, 3)]}
    check("RandomizedSearchCV", classifier(device), space, device, n_iter=6, random_state=1, cv=3)
    assert served == [18]


@pytest.mark.parametrize("resource", ["n_samples", "max_iter"])
def test_halving_grid(resource, device, served):
    space, options = {"learning_rate": [1e-4, 1e-3, 1e-2, 0.1]}, {"factor": 2, "random_state": 0, "cv": 3}
    if resource == "max_iter":
        options |= {"resource": "max_iter", "max_resources": 8}
    mine = check("HalvingGridSearchCV", classifier(device), space, device, **options)
    assert served == [3 * n for n in mine.n_candidates_]


def test_halving_random(device, served):
    space = {"learning_rate": loguniform(1e-4, 1e-1)}
    check("HalvingRandomSearchCV", classifier(device), space, device, n_candidates=6, random_state=2, cv=3)


def test_networks_beside_other_estimators(device, served):
    pipeline = Pipeline([("scale", StandardScaler()), ("last", LogisticRegression())])
    space = [{"last": [classifier(device)], "last__alpha": [0, 1]}, {"last__C": [0.1, 1.0]}]
    check("GridSearchCV", pipeline, space, device, cv=3)
    assert served == [6]


def test_without_any_network(caplog, served, device):
    with caplog.at_level(logging.INFO, "skintricate"):
        check("GridSearchCV", LogisticRegression(max_iter=1000), {"C": [0.1, 1.0]}, device, cv=3)
    assert served == []
    assert "GridSearchCV has no network of skintricate" in caplog.text


class Watcher(Callback):
    """A callback, which makes a network train by itself."""


def test_networks_with_callbacks_train_by_themselves(device, served, caplog):
    with caplog.at_level(logging.INFO, "skintricate"):
        check("GridSearchCV", classifier(device, verbose=[Watcher()]), {"alpha": [0, 1]}, device, cv=3)
    assert served == [0]
    assert "A network trains by itself: callbacks" in caplog.text


def test_global_random_numbers_come_in_the_same_order(device, served):
    searches = []
    for module in (ours, model_selection):
        np.random.seed(3)
        search = module.GridSearchCV(classifier(device, random_state=None), {"alpha": [0, 1]}, cv=3)
        searches.append(search.fit(X, y).cv_results_)
    agree(*searches, device)


def test_searches_are_cloned_and_pickled(device, served):
    search = ours.GridSearchCV(classifier(device), {"alpha": [0, 1]}, cv=3).fit(X, y)
    again = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(again.predict(X), search.predict(X))
    assert type(clone(search)) is ours.GridSearchCV
    assert clone(search).get_params()["estimator__max_iter"] == 5


@pytest.mark.filterwarnings("ignore:.*n_jobs:UserWarning")
def test_nested_search_trains_all_of_its_folds_together(device, served):
    search = ours.GridSearchCV(classifier(device), {"alpha": [0, 1]}, cv=3)
    wanted = model_selection.cross_val_score(
        model_selection.GridSearchCV(classifier(device), {"alpha": [0, 1]}, cv=3), X, y
    )
    with ours.train_together():
        scores = model_selection.cross_val_score(search, X, y)
    np.testing.assert_allclose(scores, wanted, atol=0 if open_device(device).is_cpu else 0.1)
    assert served == [30, 5]


USES = {
    "cross_validate": lambda e: cross_validate(e, X, y, cv=4, return_train_score=True)["train_score"],
    "cross_val_predict": lambda e: cross_val_predict(e, X, y, cv=4, method="predict_proba"),
    "shuffled": lambda e: cross_validate(e, X, y, cv=ShuffleSplit(4, random_state=0))["test_score"],
    "learning_curve": lambda e: np.hstack(
        learning_curve(e, X, y, cv=2, train_sizes=[0.5, 1.0], shuffle=True, random_state=0)[1:]
    ),
    "OneVsRest": lambda e: OneVsRestClassifier(e).fit(X, y).predict_proba(X),
    "MultiOutput": lambda e: np.hstack(MultiOutputClassifier(e).fit(X, np.column_stack([y, y == 1])).predict_proba(X)),
    "Bagging": lambda e: BaggingClassifier(e, 4, random_state=0).fit(X, y).predict_proba(X),
    "Voting": lambda e: VotingClassifier([("a", e), ("b", clone(e))], voting="soft").fit(X, y).predict_proba(X),
}


@pytest.mark.parametrize("name", USES)
def test_what_uses_joblib(name, device, served):
    wanted = USES[name](classifier(device))
    with ours.train_together():
        result = USES[name](classifier(device))
    np.testing.assert_allclose(result, wanted, atol=0 if open_device(device).is_cpu else 1e-4)
    assert max(served) >= 2


def test_one_after_the_other_inside(device, served):
    Y = np.column_stack([X[:, 0], X[:, 1]])
    with ours.train_together():
        chain = RegressorChain(IntricateRegressor((4,), device=device, **SHORT)).fit(X, Y)
    assert chain.predict(X).shape == Y.shape


def test_memory_makes_waves(device, served, monkeypatch):
    monkeypatch.setattr("skintricate.model_selection.together.free_host_memory", lambda: 4 * 5 * X.nbytes)
    check("GridSearchCV", classifier(device), {"alpha": [0, 1, 2, 3]}, device, cv=3)
    assert served == [5, 5, 2]


def test_interrupted(device, monkeypatch):
    def interrupt(self, requests):
        raise KeyboardInterrupt

    search = ours.GridSearchCV(
        make_pipeline(StandardScaler(), classifier(device)), {"intricateclassifier__alpha": [0, 1]}
    )
    monkeypatch.setattr(together.Together, "fit", interrupt)
    with pytest.raises(KeyboardInterrupt):
        search.fit(X, y)
    assert search.estimator.memory is None
    monkeypatch.undo()
    assert search.fit(X, y).best_score_ >= 0


def test_larger_problem(device, served):
    data = make_classification(300, 12, n_informative=8, n_classes=4, random_state=0)
    space = {"layers": [(20,), (30, 10), (100,)], "learning_rate": [1e-3, 1e-2]}
    check("GridSearchCV", classifier(device, max_iter=10), space, device, data, cv=3)


def test_sparse_validation_data(device, served):
    fit_params = {"X_val": csr_matrix(X[::3]), "y_val": y[::3]}
    check("GridSearchCV", classifier(device), {"alpha": [0, 1]}, device, cv=3, fit_params=fit_params)
    assert served == [0]


def test_a_search_over_ensembles_of_default_networks(device, served):
    ensemble = IntricateEnsembleClassifier(n_estimators=1, random_state=0)
    search = ours.GridSearchCV(ensemble, {"n_estimators": [1, 2]}, cv=2, refit=False)
    search.fit(X[::5], y[::5])
    assert served == [6]


def test_configuration_reaches_the_networks_of_an_ensemble(device):
    ensemble = IntricateEnsembleClassifier(classifier(device), n_estimators=2, random_state=0)
    with sklearn.config_context(enable_metadata_routing=True):
        ensemble.fit(X, y)
        assert ensemble.predict(X).shape == y.shape


def test_what_was_shared_is_forgotten(device, served):
    search = ours.GridSearchCV(
        make_pipeline(StandardScaler(), classifier(device)), {"intricateclassifier__alpha": [0, 1]}, cv=3
    ).fit(X, y)
    assert search.scorer_._estimator.memory is None or not search.scorer_._estimator.memory._known


def test_an_array_that_changes_between_fits(device, served):
    data, target = X.astype(np.float32), np.column_stack([X[:, 0], X[:, 1]])
    network = IntricateRegressor((4,), device=device, **SHORT)
    wanted = [MultiOutputRegressor(network).fit(k * data, target).predict(data) for k in (1, 3)]
    with ours.train_together():
        results = [MultiOutputRegressor(network).fit(data, target).predict(X)]
        data *= 3
        results.append(MultiOutputRegressor(network).fit(data, target).predict(X))
    np.testing.assert_allclose(results, wanted, atol=0 if open_device(device).is_cpu else 1e-3)


@pytest.mark.parametrize("kind", [pd.Series, pd.Categorical, list])
def test_targets_of_other_types(kind, device, served):
    check("GridSearchCV", classifier(device), {"alpha": [0, 1]}, device, (X, kind(y)), cv=3, refit=False)


def test_a_last_step_that_writes_into_its_data(device, served):
    data = (X + 3, X[:, 0])
    pipeline = Pipeline([("scale", MinMaxScaler()), ("last", IntricateRegressor((8,), device=device, **SHORT))])
    space = [{"last": [Ridge(copy_X=False)], "last__alpha": [0.01, 0.02, 0.03]}, {"last": [pipeline[-1]]}]
    check("GridSearchCV", pipeline, space, device, data, cv=3, refit=False)


class Stateful(TransformerMixin, BaseEstimator):
    """Transforms otherwise each time."""

    count = 0

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        self.count += 1
        return X * self.count


def test_a_transformer_that_changes_when_it_transforms(device, served):
    pipeline = make_pipeline(Stateful(), classifier(device, max_iter=20))
    space = {"intricateclassifier__alpha": [0, 0.01]}
    check("GridSearchCV", pipeline, space, device, cv=3, return_train_score=True, refit=False)


def test_a_memory_of_functions_with_other_results():
    def function(transformer, X, y):
        return X, y, transformer

    remembered = SharedSteps().cache(function)
    for _ in range(2):
        first, second, third = remembered(StandardScaler(), X, y)
        np.testing.assert_array_equal(first, X)
        np.testing.assert_array_equal(second, y)
        assert isinstance(third, StandardScaler)


def test_interrupted_in_the_last_launch(device, monkeypatch):
    launch = cohort.Cohort._launch

    def interrupted(self, members, *arguments):
        launch(self, members, *arguments)
        if not any(member.steps_left for member in self.members):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(cohort.Cohort, "_launch", interrupted)
    monkeypatch.setattr(together, "are_worth_a_launch", lambda device, n: True)
    with pytest.raises(KeyboardInterrupt):
        ours.GridSearchCV(classifier(device), {"alpha": [0, 1]}, cv=3).fit(X, y)
