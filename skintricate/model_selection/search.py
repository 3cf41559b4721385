"""scikit-learn's searches over networks that are trained together."""

import contextlib
import logging

from sklearn import model_selection
from sklearn.base import BaseEstimator
from sklearn.experimental import enable_halving_search_cv  # noqa: F401  (makes the Halving classes importable)

from skintricate.estimators.base import BaseIntricate
from skintricate.model_selection.shared_steps import with_shared_steps, without_shared_steps
from skintricate.model_selection.together import train_together

log = logging.getLogger("skintricate")

DOCSTRING = """{summary}

    All candidates on all folds are trained in the same launches on the device, as many as fit into its memory; rows of X
    are there once. A Pipeline's earlier steps are fitted once for each fold and setting. What cannot be trained with
    others (networks with callbacks or sparse X, estimators of other packages) is trained candidate by candidate; the
    logger ``skintricate`` tells why. Scores are those of ``sklearn.model_selection.{name}``.

    Parameters, attributes and results are those of ``sklearn.model_selection.{name}``, with two differences: ``n_jobs``
    has no meaning, since the device's cores are all at work, unless one of joblib's backends for several machines is
    active (``parallel_config(backend="dask")``), whose workers then get a share of the candidates each; and the times in
    ``cv_results_`` are from the begin of a fit to its end, during which others are trained, too.

    See Also
    --------
    train_together : The same for cross-validation and meta-estimators.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skintricate import IntricateClassifier
    >>> from skintricate.model_selection import {name}
    >>> X, y = load_iris(return_X_y=True)
    >>> network = IntricateClassifier((16,), max_iter=30, n_iter_no_change=None, random_state=0)
    >>> search = {name}(network, {{"learning_rate": [1e-5, 1e-2]}}{arguments}).fit(X, y)
    >>> search.best_params_
    {{'learning_rate': 0.01}}
    """


class _TogetherMixin:
    """Lets a search of scikit-learn train its candidates together."""

    def fit(self, X, y=None, **params):
        """Run the search; see the class of the same name in scikit-learn.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        **params : dict
            ``sample_weight``, ``groups`` and other metadata.

        Returns
        -------
        self : object
        """
        if not any(map(_has_network, (self.estimator, *_values(self)))):
            log.info("%s has no network of skintricate to train; it runs as in scikit-learn.", type(self).__name__)
            return super().fit(X, y, **params)
        with train_together(), self._sharing_steps():
            return super().fit(X, y, **params)

    @contextlib.contextmanager
    def _sharing_steps(self):
        """Let the clones of a Pipeline share the steps they have in common, inside the block."""
        estimator = self.estimator
        self.estimator = with_shared_steps(estimator)
        try:
            yield
        finally:
            self.estimator = estimator
            without_shared_steps(getattr(self, "best_estimator_", None))


def _has_network(value):
    """Say whether an estimator is, or has among its parameters, a network of ours."""
    if isinstance(value, BaseIntricate):
        return True
    if not isinstance(value, BaseEstimator) or isinstance(value, type):
        return False
    return any(isinstance(part, BaseIntricate) for part in value.get_params(deep=True).values())


def _values(search):
    """Return all values that a search lists for its parameters."""
    grids = getattr(search, "param_grid", None) or getattr(search, "param_distributions", None) or []
    grids = [grids] if isinstance(grids, dict) else grids
    listed = [values for grid in grids if isinstance(grid, dict) for values in grid.values()]
    return [value for values in listed if isinstance(values, list | tuple) for value in values]


class GridSearchCV(_TogetherMixin, model_selection.GridSearchCV):
    __doc__ = DOCSTRING.format(
        name="GridSearchCV", summary="Exhaustive search over a grid of parameters of networks.", arguments=""
    )


class RandomizedSearchCV(_TogetherMixin, model_selection.RandomizedSearchCV):
    __doc__ = DOCSTRING.format(
        name="RandomizedSearchCV",
        summary="Search over parameters of networks that are drawn at random.",
        arguments=", n_iter=2, random_state=0",
    )


class HalvingGridSearchCV(_TogetherMixin, model_selection.HalvingGridSearchCV):
    __doc__ = DOCSTRING.format(
        name="HalvingGridSearchCV",
        summary="Search over a grid of parameters of networks, whose better half gets more resources.",
        arguments=", factor=2, random_state=0",
    )


class HalvingRandomSearchCV(_TogetherMixin, model_selection.HalvingRandomSearchCV):
    __doc__ = DOCSTRING.format(
        name="HalvingRandomSearchCV",
        summary="Search over parameters of networks drawn at random, whose better half gets more resources.",
        arguments=", factor=2, random_state=0",
    )
