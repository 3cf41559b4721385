"""Metrics of the user's choice while a model trains: scikit-learn's scorers by name, or functions."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from skintricate.training.validation import Validation


def make_metrics(metrics, data, validation):
    """Return the metrics of a fit and its scored validation data.

    Parameters
    ----------
    metrics : sequence of str or callable
    data : Data
    validation : Data or None

    Returns
    -------
    metrics : dict of str to callable
        Each takes ``predict`` and returns a number.
    validation : Validation or None
    """
    chosen = {}
    for metric in metrics:
        name, function = _resolve(metric)
        if name in chosen:
            raise ValueError(f"metrics has two of the name {name!r}; give them different names.")
        chosen[name] = _bound(function, data)
        if validation is not None:
            chosen[f"validation_{name}"] = _bound(function, validation)
    if validation is None:
        return chosen, None
    return chosen, Validation(validation, _bound(_default_score, validation), is_accuracy=validation.class_codes)


def _bound(function, data):
    """Return a metric of ``predict`` on fixed data."""
    return lambda predict: function(predict(data.X), data)


def _resolve(metric):
    """Return the name and the function of ``(outputs, data)`` that a user's metric means."""
    if isinstance(metric, str):
        from sklearn.metrics import get_scorer  # here, because importing it costs more than all of skintricate

        scorer = get_scorer(metric)
        return metric, lambda outputs, data: _scored(scorer, outputs, data)
    if not callable(metric):
        raise TypeError(
            f"metrics must be names of scikit-learn scorers or functions of (y_true, y_pred), got {metric!r}."
        )
    name = getattr(metric, "__name__", type(metric).__name__)
    return name, lambda outputs, data: metric(_target(data), _prediction(outputs, data))


def _scored(scorer, outputs, data):
    """Apply a scikit-learn scorer to outputs that are already there."""
    frozen = _FrozenClassifier(outputs) if data.class_codes else _FrozenRegressor(outputs)
    frozen.fit(None, None)
    return scorer(frozen, None, _target(data))


def _default_score(outputs, data):
    """Return accuracy for classes and R^2 for everything else."""
    from sklearn.metrics import r2_score

    if data.class_codes:
        return float(np.mean(_prediction(outputs, data) == _target(data)))
    return r2_score(data.Y, outputs)


def _target(data):
    """Return the target as the user knows it."""
    if data.class_codes:
        return data.Y[:, 0].astype(int)
    return data.Y[:, 0] if data.Y.shape[1] == 1 else data.Y


def _prediction(outputs, data):
    """Return classes or values of outputs."""
    if data.class_codes:
        return outputs.argmax(axis=1)
    return outputs[:, 0] if outputs.shape[1] == 1 else outputs


class _Frozen(BaseEstimator):
    """Looks to a scorer like a fitted estimator whose predictions are known."""

    def __init__(self, outputs=None):
        self.outputs = outputs

    def fit(self, X, y):
        self.n_features_in_ = 1
        return self


class _FrozenClassifier(ClassifierMixin, _Frozen):
    @property
    def classes_(self):
        return np.arange(self.outputs.shape[1])

    def predict_proba(self, X):
        return self.outputs

    def predict(self, X):
        return self.outputs.argmax(axis=1)


class _FrozenRegressor(RegressorMixin, _Frozen):
    def predict(self, X):
        return self.outputs[:, 0] if self.outputs.shape[1] == 1 else self.outputs
