"""Searches and cross-validation whose networks are trained together."""

from skintricate.model_selection.search import (
    GridSearchCV,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    RandomizedSearchCV,
)
from skintricate.model_selection.together import train_together

__all__ = ["GridSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV", "RandomizedSearchCV", "train_together"]
