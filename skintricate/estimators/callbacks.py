"""scikit-learn's callbacks (``sklearn.callback``, from 1.9) around and inside a fit."""

from skintricate.training import Callback

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn before 1.9

    class CallbackSupportMixin:
        """Stands in where scikit-learn has no callbacks."""

    def with_callbacks(method):
        """Return the method itself."""
        return method


def open_context(estimator, max_iter):
    """Return the callback context of a fit, or None where nobody listens."""
    if not getattr(estimator, "_skl_callbacks", None):
        return None
    return estimator._init_callback_context(max_subtasks=max_iter)


class SklearnCallbacks(Callback):
    """Tells scikit-learn's callbacks about every epoch, and honours their wish to stop.

    Parameters
    ----------
    context : sklearn.callback.CallbackContext
    estimator : estimator
    X, y : array-like
    sample_weight : array-like or None
    fitted_attributes : callable
        Takes a ``NetworkState`` and returns the fitted attributes, called only if a callback asks.
    """

    def __init__(self, context, estimator, X, y, sample_weight, fitted_attributes):
        self.context = context
        self.estimator = estimator
        self.task = {"estimator": estimator, "X": X, "y": y}
        if sample_weight is not None:
            self.task["metadata"] = {"sample_weight": sample_weight}
        self.fitted_attributes = fitted_attributes

    def on_fit_begin(self, max_iter):
        self.context.call_on_fit_task_begin(**self.task)

    def on_epoch_begin(self):
        self._epoch = self.context.subcontext(task_name="epoch")
        self._epoch.call_on_fit_task_begin(**self.task)

    def on_epoch_end(self, epoch, weights):
        stop = self._epoch.call_on_fit_task_end(
            **self.task, reconstruction_attributes=lambda: self.fitted_attributes(weights())
        )
        return bool(stop)

    def finish(self):
        """Tell that the fit is over; the estimator has its fitted attributes by now."""
        self.context.call_on_fit_task_end(**self.task, reconstruction_attributes=dict)
