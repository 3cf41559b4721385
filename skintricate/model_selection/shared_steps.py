"""The earlier steps of a Pipeline, fitted once for all candidates of a search that have them in common."""

import copy
import pickle

import joblib
import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from skintricate.training.shared_values import shared


class SharedSteps:
    """What a Pipeline takes as its ``memory``: keeps fitted transformers and what they made of X, in this process.

    Equal arrays that networks are trained on become one again where these are checked.
    """

    def __init__(self):
        self._known = {}

    def cache(self, func, ignore=()):
        """Return the function with a memory; scikit-learn calls it for the function that fits a transformer.

        Results do not depend on the arguments named in ``ignore``.
        """

        def remembered(transformer, X, *args, **kwargs):
            if _draws_anew(transformer):
                return func(transformer, X, *args, **kwargs)
            named = {name: value for name, value in kwargs.items() if name not in ignore}
            X, args = shared(X), tuple(map(shared, args))
            try:
                key = _key(X), tuple(map(_key, args)), joblib.hash([transformer, named])
            except (pickle.PicklingError, AttributeError, TypeError):
                return func(transformer, X, *args, **kwargs)  # such as a lambda, which cannot be told from others
            if key not in self._known:
                result = func(transformer, X.copy() if hasattr(X, "copy") else X, *args, **kwargs)
                # X and the others are kept, since the key names them by their place in memory.
                self._known[key] = result, X, args
            # Copies, as of a memory on disk: the next step may write into them.
            return copy.deepcopy(self._known[key][0])

        return remembered

    def clear(self):
        """Forget everything."""
        self._known.clear()

    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        return SharedSteps, ()


def with_shared_steps(estimator):
    """Return a clone of a Pipeline whose clones share what they fit, or any other estimator itself."""
    if isinstance(estimator, Pipeline) and estimator.memory is None:
        return clone(estimator).set_params(memory=SharedSteps())
    return estimator


def forget_shared_steps(estimator):
    """Let a Pipeline have no memory any more, and its clones forget what they shared."""
    if isinstance(estimator, Pipeline) and isinstance(estimator.memory, SharedSteps):
        estimator.memory.clear()
        estimator.set_params(memory=None)


def _draws_anew(transformer):
    """Say whether a transformer, or one inside it, draws random numbers that are others in every fit."""
    parameters = transformer.get_params(deep=True)
    return any(name.split("__")[-1] == "random_state" and value is None for name, value in parameters.items())


def _key(value):
    """Return what tells an argument from others; arrays are known by their place."""
    return ("array", id(value)) if isinstance(value, np.ndarray) else joblib.hash(value)
