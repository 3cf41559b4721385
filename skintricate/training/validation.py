"""Validation data, and how its score is counted on a device or on the host."""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from skintricate.training.data import Data


class ScoredRows(NamedTuple):
    """Rows that the device scores: which sum it counts, the factors of outputs in it, and how many rows there are."""

    sum: str
    factors: tuple
    n_rows: int


@dataclass
class Validation:
    """Validation data and its score after each epoch, accuracy or R^2; higher is better.

    Parameters
    ----------
    data : Data
    score : callable
        Takes ``predict`` (a function of X that returns outputs) and returns the score, on the host.
    is_accuracy : bool
        Whether the score is the share of rows whose class, or whose labels all, are right; else it is R^2.
    """

    data: Data
    score: object
    is_accuracy: bool

    @property
    def sum(self):
        """Which sum of ``validation.cl`` the score follows from."""
        if not self.is_accuracy:
            return "squared_errors"
        return "class_hits" if self.data.class_codes else "label_hits"

    @property
    def scored_rows(self):
        """What a plan has to know of the rows, which have linear terms."""
        *_, factors = self.linear_terms
        return ScoredRows(self.sum, tuple(factors), len(self.data))

    @functools.cached_property
    def linear_terms(self):
        """``(offset, divisor, output factors)``: the score is ``offset + sum / divisor``.

        Each output's squared errors are multiplied by its own factor before they are summed. None where R^2 is
        no such function: for a single row, or an output that varies too little or too much.
        """
        Y, weight = self.data.Y.astype(np.float64), self.data.sample_weight
        weight = np.ones(len(Y)) if weight is None else weight.astype(np.float64)
        if self.is_accuracy:
            return 0.0, float(weight.sum()), [1.0] * Y.shape[1]
        variation = weight @ np.square(Y - np.average(Y, axis=0, weights=weight))
        # Less than rounding makes of an output that does not vary, and factors that the float type cannot work with.
        too_little = variation <= 1e-24 * (weight @ np.square(Y))
        limit = float(np.sqrt(np.finfo(self.data.Y.dtype).max))
        if len(Y) < 2 or too_little.any() or not ((variation > 1 / limit) & (variation < limit)).all():
            return None
        return 1.0, -1.0, (1 / (Y.shape[1] * variation)).tolist()
