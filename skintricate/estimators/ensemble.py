"""Ensembles of networks that are trained together."""

import functools

import numpy as np
from sklearn import config_context, get_config
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, RegressorMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import _num_samples, check_is_fitted

from skintricate.configurable import check_number
from skintricate.estimators.base import LARGEST_SEED
from skintricate.estimators.classifier import IntricateClassifier
from skintricate.estimators.regressor import IntricateRegressor
from skintricate.training.together import run_together


class BaseEnsemble(MetaEstimatorMixin, BaseEstimator):
    """What both ensembles share; a subclass says what a member is and how their predictions are joined."""

    _member_type = None

    def __init__(self, estimator=None, n_estimators=10, *, bootstrap=False, random_state=None):
        self.estimator = estimator
        self.n_estimators = n_estimators
        self.bootstrap = bootstrap
        self.random_state = random_state

    def fit(self, X, y, sample_weight=None):
        """Train the networks.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or ndarray of shape (n_samples, ...)
            Rows, dense or sparse, images or sequences; as in ``IntricateClassifier.fit``.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        self : object

        Raises
        ------
        TypeError
            If ``estimator`` is no network of the ensemble's kind, or another parameter of another type.
        ValueError
            If ``bootstrap`` is asked for with an ``estimator`` that stops early, or ``n_estimators`` is less than 1.
        Exception
            What the ``fit`` of a network raises, ``ShapeError`` and ``DivergenceError`` among them; see
            ``IntricateClassifier.fit``.
        """
        members, generator = self._make_members(), check_random_state(self.random_state)
        for member in members:
            member.set_params(random_state=generator.randint(LARGEST_SEED))
        weights = [sample_weight] * len(members)
        if self.bootstrap:
            weights = [_bootstrap_weight(member, X, sample_weight, generator) for member in members]
        self.estimators_ = _together([m.fit for m in members], [(X, y, weight) for weight in weights])
        first = self.estimators_[0]
        for name in ("n_features_in_", "feature_names_in_", "classes_", "n_outputs_"):
            self.__dict__.pop(name, None)
            if hasattr(first, name):
                setattr(self, name, getattr(first, name))
        return self

    def _make_members(self):
        """Return the unfitted networks, or raise for a bad parameter."""
        prototype = self._member_type() if self.estimator is None else self.estimator
        if not isinstance(prototype, self._member_type):
            raise TypeError(
                f"estimator must be None or an {self._member_type.__name__}, got {self.estimator!r}. Put what comes "
                "before the network into a Pipeline around the ensemble."
            )
        check_number(self, "n_estimators", self.n_estimators, 1, integer=True)
        if not isinstance(self.bootstrap, bool | np.bool_):
            raise TypeError(f"bootstrap must be True or False, got {self.bootstrap!r}.")
        if self.bootstrap and prototype.early_stopping:
            raise ValueError(
                "bootstrap=True weighs each network's samples by how often they were drawn, which leaves too few for "
                "early_stopping to hold out. Use bootstrap=False, or early_stopping=False with a fixed max_iter."
            )
        members = [clone(prototype) for _ in range(self.n_estimators)]
        members[0]._check_parameters()
        return members

    def _mean(self, method, X):
        """Return the mean of what a method of all members returns."""
        check_is_fitted(self)
        methods = [getattr(member, method) for member in self.estimators_]
        return np.mean(_together(methods, [(X,)] * len(methods)), axis=0)

    def __sklearn_is_fitted__(self):
        return "estimators_" in self.__dict__

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class IntricateEnsembleClassifier(ClassifierMixin, BaseEnsemble):
    """Networks that differ in their random numbers; their probabilities are averaged.

    All of them are trained in the same launches on the device.

    Parameters
    ----------
    estimator : IntricateClassifier, default=None
        What every network is a clone of, but for its ``random_state``; None takes one with default parameters. Its
        ``layers`` may be any of ``skintricate.layers``.
    n_estimators : int, default=10
        Networks.
    bootstrap : bool, default=False
        Whether each network has a sample of the data of its own, drawn with replacement: weights of the samples.
        Without it they differ in initial weights and the order of the samples, which is often enough. Not with
        networks that stop early.
    random_state : int, RandomState or None, default=None

    Attributes
    ----------
    estimators_ : list of IntricateClassifier
    classes_ : ndarray of shape (n_classes,)
    n_features_in_ : int
        Number of features: of images height x width x channels, of sequences length x channels.
    n_outputs_ : int
    feature_names_in_ : ndarray of str
        Where X has names of columns.

    Notes
    -----
    Where a method takes X, ``score`` too, that may be rows, dense or sparse, or images or sequences as in ``fit``.

    References
    ----------
    Breiman (1996): Bagging predictors. Lakshminarayanan, Pritzel, Blundell (2017): Simple and scalable predictive
    uncertainty estimation using deep ensembles.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skintricate import IntricateClassifier
    >>> from skintricate.estimators import IntricateEnsembleClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> network = IntricateClassifier((16,), learning_rate=0.01, max_iter=50, n_iter_no_change=None)
    >>> ensemble = IntricateEnsembleClassifier(network, n_estimators=5, random_state=0).fit(X, y)
    >>> bool(ensemble.score(X, y) > 0.9)
    True
    """

    _member_type = IntricateClassifier

    def predict_proba(self, X):
        """Return the means of the networks' probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or ndarray of shape (n_samples, ...)
            Rows, or images or sequences of the shape that was fitted; see ``fit``.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            For multilabel targets, of each label.
        """
        return self._mean("predict_proba", X)

    def predict_log_proba(self, X):
        """Return the logarithms of ``predict_proba``, which takes the same X."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def predict(self, X):
        """Return the most probable classes, or the labels more probable than not.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or ndarray of shape (n_samples, ...)
            Rows, or images or sequences of the shape that was fitted; see ``fit``.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_labels)
        """
        probabilities = self.predict_proba(X)
        if self.estimators_[0]._target.multilabel:
            return (probabilities > 0.5).astype(int)
        return self.classes_[probabilities.argmax(axis=1)]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class IntricateEnsembleRegressor(RegressorMixin, BaseEnsemble):
    """Networks that differ in their random numbers; their predictions are averaged.

    Parameters and attributes are those of ``IntricateEnsembleClassifier``, with an ``IntricateRegressor``.

    Examples
    --------
    >>> from sklearn.datasets import make_regression
    >>> from skintricate import IntricateRegressor
    >>> from skintricate.estimators import IntricateEnsembleRegressor
    >>> X, y = make_regression(200, 5, random_state=0)
    >>> network = IntricateRegressor((32,), learning_rate=0.02, batch_size=20, max_iter=100, n_iter_no_change=None)
    >>> ensemble = IntricateEnsembleRegressor(network, n_estimators=5, bootstrap=True, random_state=0).fit(X, y)
    >>> bool(ensemble.score(X, y) > 0.9)
    True
    """

    _member_type = IntricateRegressor

    def predict(self, X):
        """Return the means of the networks' predictions.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or ndarray of shape (n_samples, ...)
            Rows, or images or sequences of the shape that was fitted; see ``fit``.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        return self._mean("predict", X)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _bootstrap_weight(member, X, sample_weight, generator):
    """Return sample weights that stand for samples drawn with replacement: how often each was drawn."""
    try:
        n_samples = _num_samples(X)
    except TypeError:
        n_samples = 0
    if n_samples == 0:
        return sample_weight  # the network says what is wrong with X
    weight = member._check_weight(sample_weight, n_samples, "sample_weight")
    while True:
        drawn = generator.multinomial(n_samples, np.full(n_samples, 1 / n_samples)).astype(float)
        drawn = drawn if weight is None else drawn * weight
        if drawn.any():
            return drawn


def _together(methods, arguments):
    """Return what methods return, each called with arguments of its own under scikit-learn's configuration of now."""
    configuration = get_config()

    def call(method, values):
        with config_context(**configuration):
            return method(*values)

    return run_together([functools.partial(call, *each) for each in zip(methods, arguments)])
