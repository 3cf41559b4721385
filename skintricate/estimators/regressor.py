"""The regressor."""

import numpy as np
from sklearn.base import RegressorMixin

from skintricate.estimators.architecture import hidden_layers, with_output
from skintricate.estimators.base import BaseIntricate
from skintricate.layers import Activation, Exponential, Sigmoid, SoftMax
from skintricate.losses import MeanSquared
from skintricate.names import make_loss


class IntricateRegressor(RegressorMixin, BaseIntricate):
    """Neural-network regressor on OpenCL.

    One or many outputs; a network of any layers, trained by mini-batches on a GPU or on the CPU.

    Parameters
    ----------
    layers : int or sequence of int, str, Layer or (name, layer) pairs, default=(100,)
        The network without its output. A number is a ``Dense`` layer of that many units followed by
        ``activation``, a string an activation by name (``"tanh"``), an object of ``skintricate.layers`` itself:

        - ``Dense``; the activations and ``SoftMax``
        - convolutions: ``Conv2D`` of images, ``Conv1D`` of sequences
        - pooling: ``MaxPool2D``, ``AvgPool2D``, ``GlobalAvgPool2D``, ``MaxPool1D``, ``AvgPool1D``, ``GlobalAvgPool1D``
        - normalisation: ``BatchNorm``, ``LayerNorm``, ``Scale``
        - categories and texts: ``Embedding``, ``EmbeddingBag``
        - branches, layers made of layers: ``Residual``, ``Concatenate``
        - shapes: ``Reshape``, ``Flatten``, ``Columns``
        - noise: ``Dropout``, ``GaussianNoise``

        An X of images or sequences puts a ``Reshape`` in front. Parameters of layers in pairs are searched as
        ``layers__<name>__units``. The output layer is added, unless the layers end in a ``Dense`` object with a unit an
        output, with or without an activation after it.
    activation : str or Layer, default="relu"
        What follows each layer given as a number.
    loss : str or Loss, default="auto"
        ``"auto"`` is ``"mean_squared"``; others are ``"mean_absolute"``, ``"huber"``, ``"quantile"``, ``"poisson"``
        (with an exponential output), or an object.
    optimizer : str or Optimizer, default="adam"
        ``"sgd"``, ``"momentum"``, ``"nesterov"``, ``"adagrad"``, ``"rmsprop"``, ``"adam"``, ``"adamw"``, or an object,
        whose parameters are searched as ``optimizer__beta_1``.
    learning_rate : float or Schedule, default=None
        Replaces the default of an optimizer given by name.
    alpha : float, default=0.0
        L2 penalty ``alpha / 2 * sum(W^2)``, divided by the sum of a batch's sample weights.
    batch_size : int or "auto", default="auto"
        Samples of a step; ``"auto"`` is 200, or all where there are fewer.
    max_iter : int, default=200
        Most epochs.
    shuffle : bool, default=True
        Whether each epoch takes the samples in an order of its own.
    tol : float, default=1e-4
        Least improvement of the loss, or of the validation score, that counts.
    n_iter_no_change : int or None, default=10
        Epochs without improvement after which training stops; None never stops for that.
    early_stopping : bool, default=False
        Whether improvement is that of R^2 on validation data; the best weights are restored.
    validation_fraction : float, default=0.1
        Share of the samples held out for ``early_stopping`` where no ``X_val`` is given, in (0, 1).
    halting_condition : Halting or None, default=None
        ``MinLossReached(0.1)``, or several joined by ``&`` and ``|``.
    warm_start : bool, default=False
        Whether ``fit`` goes on from the weights and optimizer state of the last.
    random_state : int, RandomState instance or None, default=None
        Seeds the initial weights, shuffling, dropout and the held-out share. The same integer on the same
        device gives bitwise the same model.
    verbose : bool, int or Callback, default=False
        1 prints a line an epoch, 2 draws a progress bar, a callback (or a list) is told of every epoch.
    device : str, default="auto"
        ``"auto"`` (a GPU, then the fastest CPU runtime), ``"cpu"``, ``"gpu"``, ``"gpu:1"``, a runtime's name, or part
        of a device's; see ``skintricate.list_devices``. ``"gpu:all"`` and ``"gpu:0,gpu:1"`` let equal GPUs train one
        network together where its batches and layers are large; ``device_`` tells.
    dtype : {"float32", "float64"}, default="float32"
        Of weights, arithmetic and predictions.
    precision : {"highest", "high", "medium"}, default="highest"
        Of large products on an NVIDIA GPU's tensor cores: that of float32, operands rounded to tf32, or to bfloat16.
        Weights and sums are float32 always. Elsewhere it has no effect; ``device_`` tells.

    Attributes
    ----------
    n_features_in_ : int
        Number of features: of images height x width x channels, of sequences length x channels.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X had some.
    n_outputs_ : int
        Number of outputs.
    model_ : Model
        The trained network.
    coefs_ : list of ndarray
        Weights of each layer that has some, of shape (n_inputs, n_units). Kernels of ``Conv2D`` have the shape
        (height, width, channels / groups, filters), of ``Conv1D`` (length, channels / groups, filters), factors of
        normalisations (1, channels), vectors of embeddings (n_numbers, dimension).
    intercepts_ : list of ndarray of shape (n_units,)
        Biases of each layer that has weights, zeros without one; of filters, or shifts of normalisations, one each.
    n_iter_ : int
        Epochs of the last fit; ``partial_fit`` adds to it.
    loss_, best_loss_ : float
        Loss of the last epoch, and the least of all.
    loss_curve_ : list of float
        Loss of every epoch.
    validation_scores_ : list of float or None
        R^2 on the validation data after every epoch.
    best_validation_score_ : float or None
        The highest of them.
    history_ : History
        Loss of every epoch and step.
    device_ : str
        The device that trained the model.

    See Also
    --------
    IntricateClassifier : The same for classes.
    skintricate.layers : What ``layers`` may hold.

    Notes
    -----
    Where a method takes X, ``score`` too, that may be rows, dense or sparse, or images or sequences as in ``fit``.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skintricate import IntricateRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> network = IntricateRegressor((32,), learning_rate=0.01, n_iter_no_change=None, random_state=0)
    >>> regressor = make_pipeline(StandardScaler(), network).fit(X, y)
    >>> regressor.score(X, y) > 0.5
    True
    """

    _y_is_numeric = True
    _least_validation = 2  # R^2 of one sample is undefined

    def partial_fit(self, X, y, sample_weight=None):
        """Train one epoch on a chunk of the data; the optimizer's state is kept from chunk to chunk.

        ``early_stopping`` and ``max_iter`` have no effect here; call it again for more epochs.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or ndarray of shape (n_samples, ...)
            As in ``fit``.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If y has another number of outputs than at the first call.
        Exception
            What ``fit`` raises.
        """
        return self._partial_fit(X, y, sample_weight, hasattr(self, "model_"))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _check_target(self, y, goes_on):
        """Return the shape of one sample's target: ``()`` or ``(n_outputs,)``."""
        shape = np.shape(y)[1:]
        if goes_on and shape != self._target:
            raise ValueError(f"y has shape {np.shape(y)}, the model was fitted on {_described(self._target)}.")
        if not self._loss_is_auto:
            self._check_domain(y)
        return shape

    def _check_domain(self, y):
        """Raise where the loss has no meaning for a target."""
        loss = make_loss(self.loss)
        if loss.targets == "count" and np.min(y) < 0:
            raise ValueError(f"loss={self.loss!r} needs y >= 0, but y has {np.min(y)}.")
        if loss.targets == "probability" and (np.min(y) < 0 or np.max(y) > 1):
            raise ValueError(f"loss={self.loss!r} needs y in [0, 1], but y lies in [{np.min(y)}, {np.max(y)}].")

    def _encode(self, y, target):
        """Return the targets as a matrix."""
        if np.shape(y)[1:] != target:
            raise ValueError(f"y has shape {np.shape(y)}, expected {_described(target)} as in training.")
        return np.reshape(y, (len(y), -1))

    def _has_class_codes(self, target):
        """Regression targets are no classes."""
        return False

    def _network(self, target, loss):
        """Return the layers with their output, and the loss."""
        loss = MeanSquared() if loss is None else loss
        n_outputs = int(np.prod(target))
        network = hidden_layers(self.layers, self.activation)
        links = {"Exponential": Exponential, "Sigmoid": Sigmoid, "SoftMax": SoftMax}
        return with_output(network, self.layers, n_outputs, (Activation, SoftMax), links.get(loss.link_name)), loss

    def _strata(self, y, target):
        """Regression targets have no strata."""

    def _weight_samples(self, y, sample_weight, target):
        """Return the sample weights."""
        return sample_weight

    def _score(self, y, outputs, weight, target):
        """Return R^2 of outputs."""
        from sklearn.metrics import r2_score  # here, because importing it costs more than all of skintricate

        return r2_score(y, outputs.reshape(np.shape(y)), sample_weight=weight)

    def _target_attributes(self, target):
        """Return the fitted attributes that describe the target."""
        return {"n_outputs_": int(np.prod(target)), "_target": target}

    def _decode(self, outputs):
        """Return predictions of the shape of the training targets."""
        outputs = outputs.reshape(len(outputs), *self._target)
        # scikit-learn's common checks ask for float64 where there are several outputs.
        return outputs.astype(np.float64, copy=False) if self._target else outputs


def _described(target):
    """Return the shape of targets as text."""
    return f"shape (n_samples, {target[0]})" if target else "shape (n_samples,)"
