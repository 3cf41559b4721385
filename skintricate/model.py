"""The engine without scikit-learn's estimators: a list of layers that trains and predicts."""

import math
import threading
import warnings

import numpy as np
import scipy.sparse

from skintricate.backend import open_device, open_devices
from skintricate.backend.context import guard_fork
from skintricate.configurable import NotPlain, check_number, snapshot
from skintricate.exceptions import (
    DeviceError,
    ModelFileError,
    ShapeError,
    SkintricateError,
    TrainingInterruptedWarning,
)
from skintricate.kernels.tile import PASSES, tile_of
from skintricate.losses import CategoricalCrossEntropy
from skintricate.metrics import make_metrics
from skintricate.names import make_layer, make_loss, make_optimizer
from skintricate.optimizers import Optimizer
from skintricate.serialization import read_model, write_model
from skintricate.training import (
    Callback,
    FitOptions,
    Forward,
    Halting,
    History,
    NetworkState,
    ProgressBar,
    ProgressLine,
    devices_of_training,
    fit_network,
    infer_shapes,
    require_parameters,
)
from skintricate.training.data import Data
from skintricate.training.images import as_rows, image_shape, rows_of, with_shape
from skintricate.training.network import matrices, walk
from skintricate.training.rendezvous import current
from skintricate.training.requests import PredictRequest, ask
from skintricate.training.shared_values import kept, once_for

_lock = threading.Lock()


class Model:
    """A network as a list of layers, in the way of Intricate and Keras.

    Parameters
    ----------
    layers : sequence of Layer or str
        Input sizes are inferred from the data. The model keeps copies.
    device : str, default="auto"
        Which device to run on; see ``skintricate.list_devices``. ``"gpu:all"`` and ``"gpu:0,gpu:1"`` let equal GPUs
        train together, each with a part of every batch, where batches and layers are so large that this is faster;
        predictions are the first one's.
    dtype : {"float32", "float64"}, default="float32"
        Of parameters, arithmetic and outputs.
    random_state : int or None, default=None
        Seed of the initial parameters, shuffling and dropout; None draws one.
    precision : {"highest", "high", "medium"}, default="highest"
        Of large products on an NVIDIA GPU's tensor cores: that of float32; operands rounded to tf32 (10 bits of the
        fraction); operands rounded to bfloat16 (7 bits). Weights and sums are float32 always. Elsewhere, and in
        small products, all of them are float32.

    Attributes
    ----------
    layers : list of Layer
    history_ : History
        What the last ``fit`` recorded.
    n_features_in_ : int

    Examples
    --------
    >>> from skintricate import Model
    >>> from skintricate.layers import Dense, TanH
    >>> X = [[0, 0], [0, 1], [1, 0], [1, 1]]
    >>> y = [[0], [1], [1], [0]]
    >>> xor = Model([Dense(3), TanH(), Dense(1), TanH()], random_state=1)
    >>> history = xor.fit(X, y, loss="mean_squared", optimizer="sgd", learning_rate=0.1, max_iter=10_000)
    >>> xor.predict(X).round().ravel().tolist()
    [0.0, 1.0, 1.0, 0.0]
    """

    def __init__(self, layers, *, device="auto", dtype="float32", random_state=None, precision="highest"):
        if isinstance(layers, str) or not hasattr(layers, "__iter__"):
            raise TypeError(f"layers must be a sequence of layers, got {layers!r}.")
        self.layers = [make_layer(layer) for layer in layers]
        if not isinstance(device, str):
            raise TypeError(f"device must be a string such as 'auto', 'gpu' or 'cpu', got {device!r}.")
        if random_state is not None:
            check_number(self, "random_state", random_state, 0, integer=True)
        self.device = device
        self.dtype = check_dtype(dtype)
        self.precision = check_precision(precision)
        self.random_state = None if random_state is None else int(random_state)
        self.state = None
        self.optimizer = None
        self.n_features_in_ = None
        self.history_ = History()
        self.device_ = None
        self._forward = None

    def fit(
        self,
        X,
        y,
        *,
        loss="mean_squared",
        optimizer="adam",
        learning_rate=None,
        alpha=0.0,
        batch_size=200,
        max_iter=200,
        shuffle=True,
        tol=1e-4,
        n_iter_no_change=None,
        early_stopping=False,
        halting_condition=None,
        validation_data=None,
        metrics=(),
        callbacks=(),
        sample_weight=None,
        verbose=0,
    ):
        """Train the model; called again, training goes on from the weights and optimizer state it has.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (N, I), or ndarray of shape (N, height, width, channels)
            Images, and sequences of shape (N, length, channels), put a ``Reshape`` in front of the layers. A sparse X
            is read by the rule of ``EmbeddingBag``.
        y : array-like of shape (N,) or (N, O)
            Targets; for ``CategoricalCrossEntropy`` a one-dimensional array of integers is taken as classes.
        loss : str or Loss, default="mean_squared"
        optimizer : str or Optimizer, default="adam"
        learning_rate : float or Schedule, default=None
            Replaces a named optimizer's default.
        alpha : float, default=0.0
            L2 penalty ``alpha / 2 * sum(W^2)``, divided by the sum of a batch's sample weights.
        batch_size : int, default=200
            Cut down to the number of samples.
        max_iter : int, default=200
            Epochs.
        shuffle : bool, default=True
        tol : float, default=1e-4
            Least improvement that counts.
        n_iter_no_change : int or None, default=None
            Epochs without improvement after which training stops.
        early_stopping : bool, default=False
            Whether improvement is that of the validation score (R^2, or accuracy for classes), whose best
            weights are restored; needs ``validation_data``.
        halting_condition : Halting or None, default=None
        validation_data : tuple (X, y) or None, default=None
            Rows of X, or samples of the shape that was fitted.
        metrics : sequence of str or callable, default=()
            Names of scikit-learn scorers, or functions of ``(y_true, y_pred)``, recorded after each epoch on the
            training data and, as ``validation_<name>``, on the validation data.
        callbacks : sequence of Callback, default=()
        sample_weight : array-like of shape (N,) or None, default=None
        verbose : bool or int, default=0
            1 prints a line an epoch, 2 draws a progress bar.

        Returns
        -------
        history : History

        Raises
        ------
        TypeError, ValueError
            If a parameter is of another type or outside of its range, or X, y or weights have NaN.
        ShapeError
            If shapes do not fit together; a ``ValueError`` too.
        DivergenceError
            If the loss is not finite; the model keeps the weights it had.
        DeviceError
            If there is no device, it fails, lacks ``dtype``, has too little memory (``DeviceMemoryError``), or an
            expression of one's own does not compile (``KernelBuildError``).
        """
        loss, optimizer = make_loss(loss), make_optimizer(optimizer, learning_rate)
        metrics, callbacks = check_list("metrics", metrics), check_list("callbacks", callbacks)
        X, shape = as_rows(X) if self.n_features_in_ is None else (self._rows_of(X, "X"), None)
        data = make_data(X, y, sample_weight, loss, self.dtype)
        options = FitOptions(
            loss=loss,
            optimizer=optimizer,
            alpha=alpha,
            batch_size=batch_size,
            max_iter=max_iter,
            shuffle=shuffle,
            tol=tol,
            n_iter_no_change=n_iter_no_change,
            early_stopping=early_stopping,
            halting_condition=halting_condition,
            callbacks=[*callbacks, *progress_callbacks(verbose)],
        )
        check_options(options)
        validation = None
        if validation_data is not None:
            if not isinstance(validation_data, tuple | list) or len(validation_data) != 2:
                raise TypeError("validation_data must be a pair (X, y).")
            X_val, y_val = validation_data
            validation = make_data(self._rows_of(X_val, "X_val", shape), y_val, None, loss, self.dtype)
            if validation.n_features != data.n_features or validation.Y.shape[1] != data.Y.shape[1]:
                raise ShapeError(
                    f"validation_data has {validation.n_features} features and {validation.Y.shape[1]} targets, the "
                    f"training data {data.n_features} and {data.Y.shape[1]}; they must agree."
                )
        elif early_stopping:
            raise ValueError("early_stopping=True needs validation_data=(X, y).")
        options.metrics, options.validation = make_metrics(metrics, data, validation)
        before = self.layers
        self.layers = with_shape(before, shape)
        try:
            return self.fit_data(data, options)
        except BaseException:
            self.layers = before
            raise

    def fit_data(self, data, options):
        """Train on prepared ``Data`` with ``FitOptions``; see ``fit``. On any error the model stays as it was."""
        shapes = self._check_shapes(data, options.loss)
        options.precision = self.precision
        device, *_ = devices = self._open_devices()
        state = self._state_to_train(device, shapes, options.optimizer)
        options.devices = devices_of_training(devices, self.dtype, self.layers, data, options)
        history = fit_network(device, self.dtype, self.layers, state, data, options)
        self.state, self.optimizer, self.history_ = state, options.optimizer, history
        self.n_features_in_ = data.n_features
        self.device_ = self._describe(*options.devices)
        self._forward = None
        if history.stopped_by == "interrupted":
            warnings.warn(
                f"Training interrupted after {len(history)} epochs; the weights so far are kept.",
                TrainingInterruptedWarning,
                stacklevel=3,
            )
        return history

    def predict(self, X):
        """Return the outputs of the last layer.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (N, I), or ndarray of the shape that was fitted

        Returns
        -------
        outputs : ndarray of shape (N, O), of the model's dtype
        """
        if self.state is not None and current() is not None:
            outputs = self._ask_for_outputs(self._check_input(X))
            if outputs is not None:
                return outputs
        return self._run_forward("predict", X)

    def outputs(self, X):
        """Return the outputs of every layer for X, a list of arrays of shape ``(N, O)``, of images ``(N, *shape)``."""
        return self._run_forward("outputs", X)

    @property
    def coefs_(self):
        """Weights of each layer that has some, in the order of the layers, those inside of a layer after it.

        Arrays of shape ``(I, O)``; of ``Conv2D`` ``(height, width, channels / groups, O)``, of ``Conv1D``
        ``(length, channels / groups, O)``. Those of normalisations are their factors, ``(1, O)``, of embeddings their
        vectors.
        """
        return [weights[: first.rows].reshape(first.shape) for weights, (first, *_) in self._weights()]

    @property
    def intercepts_(self):
        """Biases of each layer that has weights, arrays of shape ``(O,)``; zeros without a bias."""
        return [
            weights[-1] if others else np.zeros(weights.shape[1], self.dtype)
            for weights, (_, *others) in self._weights()
        ]

    def save(self, path):
        """Write the model, with its optimizer's state, to one file that holds no pickle.

        Parameters
        ----------
        path : str or path-like
        """
        description = {
            "layers": self.layers,
            "device": self.device,
            "dtype": self.dtype,
            "random_state": self.random_state,
            "precision": self.precision,
            "n_features_in": self.n_features_in_,
            "optimizer": self.optimizer,
        }
        write_model(path, description, self.state)

    @classmethod
    def load(cls, path, *, custom_objects=None, device=None):
        """Read a model that ``save`` wrote; it predicts, or goes on training, at once.

        Parameters
        ----------
        path : str or path-like
        custom_objects : dict of str to class, default=None
            Classes of one's own that the file names.
        device : str, default=None
            Replaces the device that the model was made for.

        Returns
        -------
        model : Model

        Raises
        ------
        ModelFileError
            If the file is truncated, foreign, or of an unknown version.
        """
        description, state = read_model(path, custom_objects)
        try:
            model = cls(
                description["layers"],
                device=device or description["device"],
                dtype=description["dtype"],
                random_state=description["random_state"],
                precision=description.get("precision", "highest"),
            )
            model.n_features_in_ = description["n_features_in"]
            model.optimizer = description["optimizer"]
            model.state = state
            model._check_state()
        except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
            if isinstance(error, SkintricateError):
                raise
            raise ModelFileError(f"{path!r} does not describe a model: {error}.") from error
        return model

    def __getstate__(self):
        return {**self.__dict__, "_forward": None}

    def __setstate__(self, state):
        self.__dict__.update({"precision": "highest", **state})

    def __repr__(self):
        return f"Model([{', '.join(map(repr, self.layers))}])"

    def _open_devices(self):
        """Return the devices that may train together, or raise if one lacks the model's dtype."""
        meeting = current()
        devices = open_devices(self.device) if meeting is None else [open_device(self.device, next(meeting.turns))]
        for device in devices:
            if self.dtype == "float64" and not device.has_float64:
                raise DeviceError(f"{device.info} has no float64; use dtype='float32' or another device.")
        return devices

    def _open_device(self):
        """Return the first device."""
        return self._open_devices()[0]

    def _describe(self, device, *others):
        """Return the devices' names, and how large products are made where ``precision`` asks for less than float32."""
        if others:
            return ", ".join(map(self._describe, (device, *others)))
        if self.precision == "highest":
            return str(device.info)
        has_tensor_cores = tile_of(device, self.dtype, self.precision).has_tensor_cores
        products = {"high": "tf32", "medium": "bfloat16"}[self.precision] if has_tensor_cores else self.dtype
        return f"{device.info}, {products} products"

    def _open_forward(self):
        """Return the forward pass on the device, made on first use in this process."""
        if self.state is None:
            raise SkintricateError("This model has no weights yet; call fit first, or load a saved model.")
        guard_fork()
        with _lock:
            if self._forward is None:
                device = self._open_device()
                self.device_ = self._describe(device)
                self._forward = Forward(
                    device, self.dtype, self.layers, self.n_features_in_, self.state, precision=self.precision
                )
            return self._forward

    def _ask_for_outputs(self, X):
        """Return the outputs that are predicted together with those of other tasks, or None."""
        device = self._open_device()
        self.device_ = self._describe(device)
        return ask(PredictRequest(device, self.dtype, self.layers, self.state, X, self.precision))

    def _run_forward(self, method, X):
        """Run the forward pass; after a device failed, the next call opens it anew."""
        forward = self._open_forward()
        try:
            return getattr(forward, method)(self._check_input(X))
        except DeviceError:
            self._forward = None
            raise

    def _check_input(self, X):
        """Return X as a two-dimensional array or CSR matrix of the fitted number of columns."""
        X = as_matrix(self._rows_of(X, "X"), self.dtype)
        if X.shape[1] != self.n_features_in_:
            raise ShapeError(f"X has {X.shape[1]} features, the model was fitted on {self.n_features_in_}.")
        return X

    def _rows_of(self, X, name, shape=None):
        """Return X with a row for each sample; samples have this shape, or where a model is fitted the network's."""
        if self.n_features_in_ is not None:
            shape = image_shape(self.layers, self.n_features_in_)
        return rows_of(X, name, shape)

    def _check_shapes(self, data, loss):
        """Return the shapes between layers, or raise where data, layers and loss do not fit together."""
        if self.n_features_in_ is not None and data.n_features != self.n_features_in_:
            raise ShapeError(f"X has {data.n_features} features, the model was fitted on {self.n_features_in_}.")
        shapes = infer_shapes(self.layers, data.n_features)
        outputs = math.prod(shapes[-1])
        nodes = walk(self.layers, shapes[0])
        if not any(p.is_trained for node in nodes for p in node.layer.parameters(node.input_shape)):
            raise ShapeError(f"layers={self.layers!r} have no parameters to train; add a Dense layer.")
        if data.class_codes:
            low, high = once_for(data.Y, "range", lambda: (int(data.Y.min()), int(data.Y.max())))
            if high >= outputs or low < 0:
                raise ShapeError(
                    f"y has classes {low} to {high}, but the last layer "
                    f"({self.layers[-1]!r}) has {outputs} outputs; give it one output a class."
                )
        elif data.Y.shape[1] != outputs:
            raise ShapeError(
                f"y has {data.Y.shape[1]} columns, but the last layer ({self.layers[-1]!r}) has {outputs} "
                "outputs; give it as many units as y has columns."
            )
        return shapes

    def _state_to_train(self, device, shapes, optimizer):
        """Return a state that training may change: a new one, or a copy of the one there is."""
        if self.state is None:
            return self._first_state(device, shapes, optimizer)
        state = NetworkState(
            self.state.weights, self.state.optimizer_states, self.state.step, self.state.epoch, self.state.seed
        )
        if type(self.optimizer) is not type(optimizer):
            state.optimizer_states, state.step = [], 0
        return state

    def _first_state(self, device, shapes, optimizer):
        """Return a new state; it is drawn once where many networks of a search begin with the same."""
        seed = self.random_state
        if seed is None:
            seed = int(np.random.SeedSequence().generate_state(1)[0])

        def draw():
            require_parameters(device, self.dtype, self.layers, shapes, optimizer)
            return NetworkState.initial(self.layers, shapes, seed, self.dtype)

        if current() is None or self.random_state is None:
            return draw()
        try:
            key = device.info.name, type(optimizer), snapshot(self.layers), tuple(shapes), seed, self.dtype
            return kept(key, draw).copy()
        except NotPlain:
            return draw()

    def _weights(self):
        """Yield each matrix of what layers have learned, with its parameters."""
        if self.state is None:
            raise AttributeError("This model has no weights yet; call fit first, or load a saved model.")
        return ((weights, p) for weights, p in zip(self.state.weights, self._matrices()) if p[0].is_trained)

    def _matrices(self):
        """Return the parameters of every matrix of the state."""
        nodes = walk(self.layers, (self.n_features_in_,))
        return [parameters for node in nodes for parameters in matrices(node.layer, node.input_shape)]

    def _check_state(self):
        """Raise ``ModelFileError`` unless the state's arrays fit the layers."""
        if self.state is None:
            return
        expected = [(sum(p.rows for p in parameters), parameters[0].shape[-1]) for parameters in self._matrices()]
        arrays = [self.state.weights]
        if self.state.optimizer_states:
            arrays += [list(states) for states in zip(*self.state.optimizer_states, strict=True)]
        for found in arrays:
            if [a.shape for a in found] != expected or any(a.dtype != self.dtype for a in found):
                described = ", ".join(f"{a.dtype} {a.shape}" for a in found)
                raise ModelFileError(
                    f"The file's arrays are {described}; its layers need {self.dtype} of shapes {expected}."
                )
        n_states = len(arrays) - 1
        if not isinstance(self.optimizer, Optimizer) or n_states not in (0, len(self.optimizer.states)):
            raise ModelFileError(f"The file has {n_states} optimizer states, which {self.optimizer!r} does not keep.")


def as_matrix(X, dtype):
    """Return X as a two-dimensional float array or CSR matrix, or raise ``ShapeError``."""
    if scipy.sparse.issparse(X):
        if X.dtype.kind == "c":
            raise ValueError("X is complex; only real numbers are supported.")
        return X.tocsr().astype(dtype, copy=False)
    X = as_numbers("X", X, dtype)
    if X.ndim != 2:
        raise ShapeError(
            f"X must have two dimensions (n_samples, n_features), got shape {X.shape}. "
            "Use X.reshape(-1, 1) for one feature or X.reshape(1, -1) for one sample."
        )
    return X


def as_numbers(name, array, dtype):
    """Return an array of the model's dtype, or raise ``ValueError`` that names the argument."""
    try:
        array = np.asarray(array)
        if array.dtype.kind == "c":
            raise ValueError("complex numbers are not supported")
        with np.errstate(over="ignore"):
            return array.astype(dtype, copy=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array of real numbers: {error}.") from error


def check_dtype(dtype):
    """Return ``"float32"`` or ``"float64"``, or raise."""
    name = dtype.name if isinstance(dtype, np.dtype) else dtype
    if name not in ("float32", "float64"):
        raise ValueError(f"dtype must be 'float32' or 'float64', got {dtype!r}.")
    return name


def check_precision(precision):
    """Return the precision, or raise."""
    if not isinstance(precision, str) or precision not in PASSES:
        raise ValueError(f"precision must be one of {', '.join(map(repr, PASSES))}, got {precision!r}.")
    return precision


def check_list(name, value):
    """Return a list, or raise for what is no sequence of several."""
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        raise TypeError(f"{name} must be a sequence, got {value!r}; put it in a list.")
    return list(value)


def make_data(X, y, sample_weight, loss, dtype):
    """Return the ``Data`` of arrays, checked.

    Raises
    ------
    ShapeError
        If the lengths differ or there is no sample.
    ValueError
        If a value is NaN or infinite, or a weight is negative or all are zero.
    """
    X = as_matrix(X, dtype)
    codes = isinstance(loss, CategoricalCrossEntropy) and np.ndim(y) == 1 and np.asarray(y).dtype.kind in "iub"
    y = as_numbers("y", y, dtype)
    Y = y[:, None] if y.ndim == 1 else y
    if Y.ndim != 2 or len(Y) != X.shape[0]:
        raise ShapeError(f"X has {X.shape[0]} samples but y has shape {y.shape}; y needs a row a sample.")
    if X.shape[0] == 0 or X.shape[1] == 0:
        raise ShapeError(f"X is empty: its shape is {X.shape}. At least one sample and one feature are needed.")
    for name, array in (("X", X.data if scipy.sparse.issparse(X) else X), ("y", Y)):
        if not np.isfinite(array).all():
            raise ValueError(f"{name} contains NaN or infinity; remove or impute those samples.")
    if sample_weight is not None:
        sample_weight = as_numbers("sample_weight", sample_weight, dtype)
        if sample_weight.shape != (len(Y),):
            raise ShapeError(f"sample_weight has shape {sample_weight.shape}, expected ({len(Y)},).")
        if not np.isfinite(sample_weight).all() or (sample_weight < 0).any() or not sample_weight.any():
            raise ValueError("sample_weight must be finite, not negative, and not zero everywhere.")
    return Data(X, Y, sample_weight, codes)


def check_options(options):
    """Raise where an option is of the wrong type or out of range; NumPy's integers become Python's."""
    owner = "fit"
    check_number(owner, "alpha", options.alpha, 0)
    check_number(owner, "batch_size", options.batch_size, 1, integer=True)
    check_number(owner, "max_iter", options.max_iter, 1, integer=True)
    options.batch_size, options.max_iter = int(options.batch_size), int(options.max_iter)
    check_number(owner, "tol", options.tol, 0)
    if options.n_iter_no_change is not None and options.n_iter_no_change != np.inf:
        check_number(owner, "n_iter_no_change", options.n_iter_no_change, 1, integer=True)
    for name in ("shuffle", "early_stopping"):
        if not isinstance(getattr(options, name), bool | np.bool_):
            raise TypeError(f"{name} must be True or False, got {getattr(options, name)!r}.")
    if options.halting_condition is not None and not isinstance(options.halting_condition, Halting):
        raise TypeError(
            "halting_condition must be None or a condition such as MinLossReached(0.1), "
            f"got {options.halting_condition!r}."
        )
    for callback in options.callbacks:
        if not isinstance(callback, Callback):
            raise TypeError(f"callbacks must be skintricate.training.Callback objects, got {callback!r}.")


def progress_callbacks(verbose):
    """Return the callbacks that a verbosity means: nothing, a line an epoch, a progress bar, or the user's own."""
    given = verbose if isinstance(verbose, list | tuple) else [verbose]
    if all(isinstance(item, Callback) for item in given) and given:
        return list(given)
    if not isinstance(verbose, bool | np.bool_ | int | np.integer) or verbose < 0:
        raise ValueError(
            f"verbose must be False, True, 0, 1 (a line an epoch), 2 (a bar), a Callback or several, got {verbose!r}."
        )
    return [[], [ProgressLine()], [ProgressBar()]][min(int(verbose), 2)]
