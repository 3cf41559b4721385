"""The scikit-learn estimators."""

from skintricate.estimators.classifier import IntricateClassifier
from skintricate.estimators.regressor import IntricateRegressor

__all__ = ["IntricateClassifier", "IntricateRegressor"]
