"""The scikit-learn estimators."""

from skintricate.estimators.classifier import IntricateClassifier
from skintricate.estimators.ensemble import IntricateEnsembleClassifier, IntricateEnsembleRegressor
from skintricate.estimators.regressor import IntricateRegressor

__all__ = ["IntricateClassifier", "IntricateEnsembleClassifier", "IntricateEnsembleRegressor", "IntricateRegressor"]
