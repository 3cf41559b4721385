"""The classifier."""

import numbers
from dataclasses import dataclass

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import column_or_1d

from skintricate.estimators.architecture import hidden_layers, output_activation, with_output
from skintricate.estimators.base import BaseIntricate
from skintricate.layers import Sigmoid, SoftMax
from skintricate.losses import BinaryCrossEntropy, CategoricalCrossEntropy
from skintricate.names import make_loss
from skintricate.training.shared_values import fix, once_for


@dataclass(frozen=True, eq=False)
class Classes:
    """What a classification target is; equal ones are one key of what is made for them."""

    classes: np.ndarray
    multilabel: bool

    def __eq__(self, other):
        return isinstance(other, Classes) and self._values == other._values

    def __hash__(self):
        return hash(self._values)

    @property
    def _values(self):
        """What equal ones have in common."""
        return self.classes.dtype, tuple(self.classes.tolist()), self.multilabel


class IntricateClassifier(ClassifierMixin, BaseIntricate):
    """Neural-network classifier on OpenCL.

    Binary, multiclass and multilabel targets; a network of any layers, trained by mini-batches on a GPU
    or on the CPU.

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
        ``layers__<name>__units``. The output layer is added, unless the layers end in a ``Dense`` object with the right
        number of units.
    activation : str or Layer, default="relu"
        What follows each layer given as a number: ``"relu"``, ``"tanh"``, ``"sigmoid"``, ``"identity"``, ``"gelu"``,
        ``"silu"``, ``"elu"``, ``"leaky_relu"``, ``"softplus"``, or an object.
    loss : str or Loss, default="auto"
        ``"auto"`` is cross-entropy: binary for two classes and multilabel targets, categorical for more.
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
        Whether improvement is that of the accuracy on validation data; the best weights are restored.
    validation_fraction : float, default=0.1
        Share of the samples held out for ``early_stopping`` where no ``X_val`` is given, in (0, 1).
    halting_condition : Halting or None, default=None
        ``MinLossReached(0.1)``, ``MinAccuracyReached(0.95)``, or several joined by ``&`` and ``|``.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, which multiply the sample weights.
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
        Of weights, arithmetic and probabilities.
    precision : {"highest", "high", "medium"}, default="highest"
        Of large products on an NVIDIA GPU's tensor cores: that of float32, operands rounded to tf32, or to bfloat16.
        Weights and sums are float32 always. Elsewhere it has no effect; ``device_`` tells.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes; for multilabel targets the labels' indices.
    n_features_in_ : int
        Number of features: of images height x width x channels, of sequences length x channels.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X had some.
    n_outputs_ : int
        Number of outputs of the network.
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
        Accuracy on the validation data after every epoch.
    best_validation_score_ : float or None
        The highest of them.
    history_ : History
        Loss and accuracy of every epoch and step.
    device_ : str
        The device that trained the model.

    See Also
    --------
    IntricateRegressor : The same for real targets.
    skintricate.layers : What ``layers`` may hold.

    Notes
    -----
    Where a method takes X, ``score`` too, that may be rows, dense or sparse, or images or sequences as in ``fit``.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skintricate import IntricateClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> network = IntricateClassifier((16,), learning_rate=0.01, n_iter_no_change=None, random_state=0)
    >>> classifier = make_pipeline(StandardScaler(), network).fit(X, y)
    >>> classifier.score(X, y) > 0.95
    True
    """

    _y_is_numeric = False
    _least_validation = 1

    def __init__(
        self,
        layers=(100,),
        *,
        activation="relu",
        loss="auto",
        optimizer="adam",
        learning_rate=None,
        alpha=0.0,
        batch_size="auto",
        max_iter=200,
        shuffle=True,
        tol=1e-4,
        n_iter_no_change=10,
        early_stopping=False,
        validation_fraction=0.1,
        halting_condition=None,
        class_weight=None,
        warm_start=False,
        random_state=None,
        verbose=False,
        device="auto",
        dtype="float32",
        precision="highest",
    ):
        super().__init__(
            layers=layers,
            activation=activation,
            loss=loss,
            optimizer=optimizer,
            learning_rate=learning_rate,
            alpha=alpha,
            batch_size=batch_size,
            max_iter=max_iter,
            shuffle=shuffle,
            tol=tol,
            n_iter_no_change=n_iter_no_change,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            halting_condition=halting_condition,
            warm_start=warm_start,
            random_state=random_state,
            verbose=verbose,
            device=device,
            dtype=dtype,
            precision=precision,
        )
        self.class_weight = class_weight

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Train one epoch on a chunk of the data; the optimizer's state is kept from chunk to chunk.

        ``early_stopping`` and ``max_iter`` have no effect here; call it again for more epochs.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or ndarray of shape (n_samples, ...)
            As in ``fit``.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
        classes : array-like of shape (n_classes,), default=None
            All classes that will ever come; needed at the first call, unless it has them all.
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If ``class_weight`` is ``"balanced"``, or y or ``classes`` has classes that the first call did not know.
        Exception
            What ``fit`` raises.
        """
        goes_on = hasattr(self, "model_")
        if self._is_balanced:
            raise ValueError(
                "class_weight='balanced' cannot be known from a chunk in partial_fit; pass a dict, such as "
                "dict(zip(classes, compute_class_weight('balanced', classes=classes, y=y)))."
            )
        if goes_on and classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(f"classes={classes!r} are not those of the first call to partial_fit, {self.classes_!r}.")
        return self._partial_fit(X, y, sample_weight, goes_on, None if classes is None else np.unique(classes))

    def predict_proba(self, X):
        """Predict the probabilities of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or ndarray of shape (n_samples, ...)
            Rows, or images or sequences of the shape that was fitted; see ``fit``.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            For multilabel targets, of each label.
        """
        return self._probabilities(self._outputs(X))

    def score(self, X, y, sample_weight=None):
        """Return the accuracy on samples.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Classes; of several labels, all have to be right.
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        score : float
            Share of samples whose prediction is right, in [0, 1].
        """
        predicted = self.predict(X)
        is_plain = type(y) is type(predicted) is np.ndarray and y.ndim == 1 and y.dtype.kind in "biu"
        if is_plain and (y.dtype, y.shape) == (predicted.dtype, predicted.shape) and sample_weight is None:
            return float(np.mean(predicted == y))  # scikit-learn's checks take longer than many a prediction
        return accuracy_score(y, predicted, sample_weight=sample_weight)

    def predict_log_proba(self, X):
        """Predict the logarithms of the probabilities of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or ndarray of shape (n_samples, ...)
            Rows, or images or sequences of the shape that was fitted; see ``fit``.

        Returns
        -------
        log_probabilities : ndarray of shape (n_samples, n_classes)
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def _check_target(self, y, goes_on, announced=None):
        """Return the ``Classes`` of a target."""
        self._check_class_weight()
        found = once_for(y, "classes", lambda: _classes_of_integers(y))
        try:
            kind = _kind_of_target(y, found)
            if kind not in ("binary", "multiclass", "multilabel-indicator"):
                check_classification_targets(y)  # scikit-learn's words for what it refuses
        except TypeError as error:
            raise ValueError(
                "Unknown label type: y has labels of several types, such as numbers and strings; make them one type."
            ) from error
        if kind == "multiclass-multioutput":
            raise ValueError(
                "y has several columns of classes (multiclass-multioutput), which is not supported; "
                "wrap the classifier in sklearn.multioutput.MultiOutputClassifier."
            )
        multilabel = kind == "multilabel-indicator"
        if multilabel:
            classes = np.arange(y.shape[1])
        elif goes_on or announced is not None:
            classes = self.classes_ if goes_on else announced
        else:
            classes = np.unique(_flat(y, warn=True)) if found is None else found
        if goes_on and (multilabel != self._target.multilabel or not np.array_equal(classes, self.classes_)):
            raise ValueError(f"y has other classes than the fitted model, which knows {self.classes_!r}.")
        if not multilabel and len(classes) < 2:
            raise ValueError(f"y has one class only, {classes.tolist()}; a classifier needs at least two classes.")
        target = Classes(classes, multilabel)
        if multilabel or goes_on or announced is not None:
            self._encode(y, target)
        return target

    def _check_class_weight(self):
        """Raise unless ``class_weight`` is None, "balanced", a dict of weights, or such a dict for every label."""
        if self.class_weight is None or self._is_balanced:
            return
        given = self.class_weight if isinstance(self.class_weight, list) else [self.class_weight]
        for weights in given:
            if not isinstance(weights, dict):
                raise ValueError(
                    "class_weight must be None, 'balanced', a dict of class to weight, or a list of such dicts for "
                    f"multilabel targets, got {self.class_weight!r}."
                )
            for label, weight in weights.items():
                if not isinstance(weight, numbers.Real) or not np.isfinite(weight) or weight < 0:
                    raise ValueError(
                        f"class_weight must be finite and zero or more for every class, got {weight!r} for {label!r}."
                    )
            if weights and not any(weights.values()):
                raise ValueError(f"class_weight={weights!r} is zero for every class.")

    @property
    def _is_balanced(self):
        """Whether the classes' weights follow from their frequencies."""
        return isinstance(self.class_weight, str) and self.class_weight == "balanced"

    def _encode(self, y, target):
        """Return the index of each sample's class in one column, or the labels."""
        if target.multilabel:
            if np.ndim(y) != 2 or y.shape[1] != len(target.classes):
                raise ValueError(f"y has shape {np.shape(y)}, expected {len(target.classes)} columns of labels.")
            labels = np.asarray(y)
            if not np.isin(labels, (0, 1)).all():
                raise ValueError("y has labels other than 0 and 1; multilabel targets are indicators.")
            return labels
        y = _flat(y)
        codes = np.searchsorted(target.classes, y)
        codes[codes == len(target.classes)] = 0
        unknown = target.classes[codes] != y
        if unknown.any():
            raise ValueError(
                f"y contains classes {np.unique(y[unknown])!r} that are not among the known classes {target.classes!r}."
            )
        return codes[:, None]

    def _has_class_codes(self, target):
        """Say whether a target is the index of a class among several outputs."""
        return (not target.multilabel and target.classes.size > 2) or self._binary_as_two(target)

    def _binary_as_two(self, target):
        """Say whether two classes have an output each, as the loss or the layers ask."""
        if target.multilabel or target.classes.size != 2:
            return False
        if not self._loss_is_auto and make_loss(self.loss).link_name == "SoftMax":
            return True
        network = hidden_layers(self.layers, self.activation)
        return self._loss_is_auto and bool(network) and isinstance(network[-1], SoftMax)

    def _network(self, target, loss):
        """Return the layers with their output, and the loss."""
        network = hidden_layers(self.layers, self.activation)
        two = self._binary_as_two(target)
        n_outputs = 1 if target.classes.size == 2 and not target.multilabel and not two else target.classes.size
        independent = target.multilabel or n_outputs == 1
        if loss is None:
            loss = BinaryCrossEntropy() if independent else CategoricalCrossEntropy()
        elif loss.link_name == "SoftMax" and target.multilabel:
            raise ValueError(
                f"loss={self.loss!r} takes one class a sample, but y is multilabel; use 'binary_cross_entropy'."
            )
        default = Sigmoid if independent or loss.link_name == "Sigmoid" else SoftMax
        network = with_output(network, self.layers, n_outputs, (Sigmoid, SoftMax), default)
        if output_activation(network) is SoftMax and n_outputs == 1:
            raise ValueError("layers end in a SoftMax of one output, which is always 1; use Sigmoid or two units.")
        if output_activation(network) is SoftMax and (independent or loss.link_name == "Sigmoid"):
            raise ValueError(
                f"layers end in SoftMax, but loss={self.loss!r} on this target takes independent outputs; end the "
                "layers in Sigmoid, or use 'categorical_cross_entropy' on one class a sample."
            )
        return network, loss

    def _strata(self, y, target):
        """Return what the held-out share is stratified by."""
        return None if target.multilabel else y

    def _weight_samples(self, y, sample_weight, target):
        """Return the sample weights times the classes' weights, or None."""
        if self.class_weight is None:
            return sample_weight
        named = self.class_weight if isinstance(self.class_weight, dict) else {}
        unknown = [label for label in named if label not in target.classes]
        if unknown:
            raise ValueError(f"class_weight names classes {unknown} that are not among {target.classes!r}.")
        weight = compute_sample_weight(self.class_weight, y)
        return weight if sample_weight is None else weight * sample_weight

    def _score(self, y, outputs, weight, target):
        """Return the accuracy of outputs."""
        from sklearn.metrics import accuracy_score  # here, because importing it costs more than all of skintricate

        return accuracy_score(y, self._labels(outputs, target), sample_weight=weight)

    def _target_attributes(self, target):
        """Return the fitted attributes that describe the target."""
        return {"classes_": target.classes.copy(), "n_outputs_": self._n_outputs(target), "_target": target}

    def _n_outputs(self, target):
        """Return the number of the network's outputs."""
        if target.multilabel or target.classes.size > 2 or self._binary_as_two(target):
            return int(target.classes.size)
        return 1

    def _probabilities(self, outputs):
        """Return probabilities of the classes from the network's outputs."""
        if self._target.multilabel:
            return outputs
        if outputs.shape[1] == 1:
            return np.hstack([1 - outputs, outputs])
        if output_activation(self.model_.layers) is SoftMax:
            return outputs
        total = outputs.sum(axis=1, keepdims=True)
        return np.where(total > 0, outputs / np.where(total > 0, total, 1), 1 / outputs.shape[1])

    def _decode(self, outputs):
        """Return classes from the network's outputs."""
        return self._labels(outputs, self._target)

    def _labels(self, outputs, target):
        """Return the most probable class, or the labels more probable than not."""
        if target.multilabel:
            return (outputs > 0.5).astype(int)
        if outputs.shape[1] == 1:
            return target.classes[(outputs[:, 0] > 0.5).astype(int)]
        return target.classes[outputs.argmax(axis=1)]


def _classes_of_integers(y):
    """Return the classes of a target of integers, sorted, and None of any other."""
    if type(y) is not np.ndarray or y.ndim != 1 or len(y) == 0 or y.dtype.kind not in "biu":
        return None
    low, high = int(y.min()), int(y.max())
    if high - low > len(y) or high > np.iinfo(np.intp).max:
        return fix(np.unique(y))
    # Counting takes a third of the time.
    return fix((np.flatnonzero(np.bincount(y.astype(np.intp) - low)) + low).astype(y.dtype))


def _kind_of_target(y, classes):
    """Return scikit-learn's word for the kind of a target; with classes of integers it skips most of its checks."""
    if classes is not None and 2 * len(classes) <= len(y):  # else it may warn
        return "binary" if len(classes) <= 2 else "multiclass"
    return type_of_target(y, input_name="y")


def _flat(y, warn=False):
    """Return a validated target of shape ``(n_samples,)``; the usual case skips scikit-learn's second validation."""
    return y if isinstance(y, np.ndarray) and y.ndim == 1 else column_or_1d(y, warn=warn)
