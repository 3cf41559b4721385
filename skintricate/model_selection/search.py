"""scikit-learn's searches over networks that are trained together."""

import contextlib
import logging

from sklearn import model_selection
from sklearn.base import BaseEstimator
from sklearn.experimental import enable_halving_search_cv  # noqa: F401  (makes the Halving classes importable)

from skintricate.estimators.base import BaseIntricate
from skintricate.estimators.ensemble import BaseEnsemble
from skintricate.model_selection.shared_steps import forget_shared_steps, with_shared_steps
from skintricate.model_selection.together import train_together

log = logging.getLogger("skintricate")


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
        estimator, sharing = self.estimator, with_shared_steps(self.estimator)
        self.estimator = sharing
        try:
            yield
        finally:
            self.estimator = estimator
            forget_shared_steps(sharing)
            forget_shared_steps(getattr(self, "best_estimator_", None))


def _has_network(value):
    """Say whether an estimator is, or has among its parameters, a network of ours."""
    if isinstance(value, type) or not isinstance(value, BaseEstimator):
        return False
    parts = [value, *value.get_params(deep=True).values()]
    return any(isinstance(part, BaseIntricate | BaseEnsemble) for part in parts)


def _values(search):
    """Return all values that a search lists for its parameters."""
    grids = getattr(search, "param_grid", None) or getattr(search, "param_distributions", None) or []
    grids = [grids] if isinstance(grids, dict) else grids
    listed = [values for grid in grids if isinstance(grid, dict) for values in grid.values()]
    return [value for values in listed if isinstance(values, list | tuple) for value in values]


class GridSearchCV(_TogetherMixin, model_selection.GridSearchCV):
    """Exhaustive search over a grid of parameters, whose networks are trained together.

    All candidates on all folds are trained in the same launches on the device, as many as fit into its memory, and
    rows of X are there once. A Pipeline's earlier steps are fitted once for each fold and setting. What cannot be
    trained with others (networks with callbacks or sparse X, estimators of other packages) is trained candidate by
    candidate; the logger ``skintricate`` tells why.

    Parameters, attributes and scores are those of ``sklearn.model_selection.GridSearchCV``, with two differences:

    - ``n_jobs`` has no meaning, since all cores of the device are at work; unless one of joblib's backends for
      several processes or machines is active, such as ``joblib.parallel_config(backend="dask")``: its workers get a
      share of the candidates each.
    - Fits go on beside each other. The times in ``cv_results_`` are from the beginning of a fit to its end; all fits
      draw from NumPy's global random state before any scorer does; a transformer that candidates share warns once.

    See Also
    --------
    train_together : The same for cross-validation and meta-estimators.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skintricate import IntricateClassifier
    >>> from skintricate.model_selection import GridSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> network = IntricateClassifier((16,), max_iter=30, n_iter_no_change=None, random_state=0)
    >>> search = GridSearchCV(network, {"learning_rate": [1e-5, 1e-4, 1e-2]}).fit(X, y)
    >>> search.best_params_
    {'learning_rate': 0.01}
    """


class RandomizedSearchCV(_TogetherMixin, model_selection.RandomizedSearchCV):
    """Search over parameters that are drawn at random, whose networks are trained together; see ``GridSearchCV``.

    Examples
    --------
    >>> from scipy.stats import loguniform
    >>> from sklearn.datasets import load_iris
    >>> from skintricate import IntricateClassifier
    >>> from skintricate.model_selection import RandomizedSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> network = IntricateClassifier((16,), max_iter=30, n_iter_no_change=None, random_state=0)
    >>> rates = {"learning_rate": loguniform(1e-4, 1e-1)}
    >>> search = RandomizedSearchCV(network, rates, n_iter=5, random_state=0).fit(X, y)
    >>> len(search.cv_results_["params"])
    5
    """


class HalvingGridSearchCV(_TogetherMixin, model_selection.HalvingGridSearchCV):
    """Search over a grid in rounds, each for fewer candidates with more resources; see ``GridSearchCV``.

    The networks of a round are trained together.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skintricate import IntricateClassifier
    >>> from skintricate.model_selection import HalvingGridSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> network = IntricateClassifier((16,), n_iter_no_change=None, random_state=0)
    >>> rates = {"learning_rate": [1e-5, 1e-4, 1e-3, 1e-2]}
    >>> search = HalvingGridSearchCV(network, rates, resource="max_iter", max_resources=40, factor=2).fit(X, y)
    >>> search.n_iterations_
    3
    """


class HalvingRandomSearchCV(_TogetherMixin, model_selection.HalvingRandomSearchCV):
    """Search over parameters drawn at random in rounds; see ``HalvingGridSearchCV``.

    Examples
    --------
    >>> from scipy.stats import loguniform
    >>> from sklearn.datasets import load_iris
    >>> from skintricate import IntricateClassifier
    >>> from skintricate.model_selection import HalvingRandomSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> network = IntricateClassifier((16,), n_iter_no_change=None, random_state=0)
    >>> rates = {"learning_rate": loguniform(1e-4, 1e-1)}
    >>> search = HalvingRandomSearchCV(network, rates, n_candidates=6, resource="max_iter", max_resources=40)
    >>> search.fit(X, y).n_candidates_
    [6, 2]
    """
