"""What both estimators share; they differ in targets and score alone."""

import contextlib
import functools
import numbers
import warnings
import weakref

import numpy as np
import scipy.sparse
from sklearn.base import BaseEstimator, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from skintricate.configurable import check_number
from skintricate.estimators.architecture import hidden_layers, named_layers
from skintricate.estimators.callbacks import CallbackSupportMixin, SklearnCallbacks, open_context, with_callbacks
from skintricate.layers import Layer
from skintricate.model import Model, check_dtype, check_options, progress_callbacks
from skintricate.names import make_layer, make_loss, make_optimizer
from skintricate.training import FitOptions, Halting
from skintricate.training.data import Data
from skintricate.training.images import as_rows, image_shape, rows_of, with_shape
from skintricate.training.shared_values import fix, once_for, shared
from skintricate.training.validation import Validation

LARGEST_SEED = 2**31 - 1
# Those of constructors that are alive.
_parameter_names = weakref.WeakKeyDictionary()
DEFAULT_PATIENCE = 10


class BaseIntricate(CallbackSupportMixin, BaseEstimator):
    """Fits, checks and stores; subclasses say what a target is.

    A subclass implements ``_check_target`` (remember the target's kind), ``_encode`` (a target as an array of
    the model), ``_network`` (the layers with their output), ``_score`` and ``_target_attributes``.
    """

    _doc_link_module = "skintricate"
    _doc_link_template = "https://skintricate.readthedocs.io/en/latest/{estimator_module}.{estimator_name}.html"

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
        n_iter_no_change=DEFAULT_PATIENCE,
        early_stopping=False,
        validation_fraction=0.1,
        halting_condition=None,
        warm_start=False,
        random_state=None,
        verbose=False,
        device="auto",
        dtype="float32",
        precision="highest",
    ):
        self.layers = layers
        self.activation = activation
        self.loss = loss
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.alpha = alpha
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.halting_condition = halting_condition
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose
        self.device = device
        self.dtype = dtype
        self.precision = precision

    @with_callbacks
    def fit(self, X, y, sample_weight=None, X_val=None, y_val=None, sample_weight_val=None):
        """Train the network from new weights, or with ``warm_start`` from those it has.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or ndarray of shape (n_samples, ...)
            Training data: rows; or images of shape (n_samples, height, width, channels) or sequences of shape
            (n_samples, length, channels), a NumPy array that puts a ``Reshape`` in front of ``layers``, unless they
            begin with the same.

            A sparse X is read entry by entry where the first layer is ``Dense`` (which a number in ``layers`` is) or
            ``EmbeddingBag``, at most a tenth of X are entries, and these fit into the device's memory. Otherwise its
            rows become dense, a slice at a time. Predictions read it entry by entry, however many there are, where
            the first layer is one of the two.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples in the loss.
        X_val : {array-like, sparse matrix} of shape (n_val, n_features), or ndarray of shape (n_val, ...), default=None
            Validation data, rows or samples of the shape that those of X have; without it ``early_stopping`` holds out
            a share of X.
        y_val : array-like of shape (n_val,) or (n_val, n_outputs), default=None
            Targets of ``X_val``.
        sample_weight_val : array-like of shape (n_val,), default=None
            Weights of ``X_val`` in the validation score.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        TypeError
            If a parameter is of another type than it has to be.
        ValueError
            If a parameter is outside of its range, if X, y or weights have other lengths, NaN, or values that the loss
            or the float type has no place for, or if too few samples are left to validate.
        ShapeError
            If a layer cannot take the shape of its input, or samples of ``X_val`` have another shape than those of X; a
            ``ValueError`` too. The message names the layer, its input's shape and a remedy.
        DivergenceError
            If the loss becomes infinite or NaN; a ``ValueError`` too.
        KernelBuildError
            If an expression in a class of one's own does not compile; a ``DeviceError`` too.
        DeviceMemoryError
            If not even one batch fits into the device's memory; a ``DeviceError`` too.
        DeviceError
            If there is no device, or it fails, or it lacks ``dtype``.

        Warns
        -----
        ConvergenceWarning
            If the last of ``max_iter`` epochs still improved.
        HaltingWarning
            If ``halting_condition`` ended training.
        DeviceFallbackWarning
            If the device asked for is not there, and another one is taken.
        TrainingInterruptedWarning
            If Ctrl-C ended training; the weights so far are kept.

        Notes
        -----
        After an exception the estimator is as it was before.
        """
        with self._unchanged_on_error():
            loss, optimizer, callbacks = self._check_parameters()
            X, shape = as_rows(X)
            X, y, sample_weight = self._check_training_data(X, y, sample_weight, reset=True)
            goes_on = self.warm_start and hasattr(self, "model_")
            target = self._check_target(y, goes_on)
            seed = self._draw_seed()
            validation = self._check_validation(X_val, y_val, sample_weight_val, target, shape)
            if validation is None and self.early_stopping:
                X, y, sample_weight, validation = self._hold_out(X, y, sample_weight, target, seed)
            data = self._make_data(X, y, sample_weight, target)
            network, loss = self._network(target, loss)
            model = self._model_to_train(with_shape(network, shape), seed, goes_on)
            options = self._options(loss, optimizer, callbacks, data, self.max_iter)
            if validation is not None:
                options.validation = self._validation(validation, target)
            context = open_context(self, self.max_iter)
            if context is not None:
                listener = self._sklearn_callbacks(context, X, y, sample_weight, target, model)
                options.callbacks.append(listener)
            history = model.fit_data(data, options)
            self._store(model, target, history, validation is not None)
            if context is not None:
                listener.finish()
            self._warn_unless_converged(history)
        return self

    def predict(self, X):
        """Predict the targets of samples.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or ndarray of shape (n_samples, ...)
            Rows, or images or sequences of the shape that was fitted; see ``fit``.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)

        Raises
        ------
        NotFittedError
            If ``fit`` has not been called.
        ShapeError
            If images or sequences have another shape than those fitted; a ``ValueError`` too.
        ValueError
            If X has another number of features, or NaN.
        DeviceError
            If there is no device, or it fails.
        """
        return self._decode(self._outputs(X))

    @property
    def coefs_(self):
        """Weights of each layer that has some, arrays of shapes of its kind; see ``Model.coefs_``."""
        return self._fitted_model().coefs_

    @property
    def intercepts_(self):
        """Biases of each layer that has weights, arrays of shape ``(n_units,)``; zeros without one."""
        return self._fitted_model().intercepts_

    @property
    def history_(self):
        """What the last fit recorded of every epoch and step."""
        return self._fitted_model().history_

    @classmethod
    def _get_param_names(cls):
        """Return the names of the parameters; a search asks for them three times a fit."""
        init = cls.__init__  # which stays alive here; a descriptor may make it anew
        if init not in _parameter_names:
            _parameter_names[init] = super()._get_param_names()
        return list(_parameter_names[init])

    def get_params(self, deep=True):
        """Return the parameters, those of nested objects and named layers included.

        Parameters
        ----------
        deep : bool, default=True
            Whether to include the parameters of layers (``layers__<name>__units``), optimizer and loss.

        Returns
        -------
        params : dict
        """
        params = super().get_params(deep=deep)
        if deep:
            for name, layer in named_layers(self.layers):
                params[f"layers__{name}"] = layer
                if isinstance(layer, Layer):
                    params.update({f"layers__{name}__{key}": value for key, value in layer.get_params().items()})
        return params

    def set_params(self, **params):
        """Set parameters; ``layers__<name>`` replaces a named layer, ``layers__<name>__units`` changes one.

        Parameters
        ----------
        **params : dict

        Returns
        -------
        self : object
        """
        own = {key: value for key, value in params.items() if not key.startswith("layers__")}
        super().set_params(**own)
        # Layers are replaced before parameters of the new ones are set.
        for key in sorted(params.keys() - own.keys(), key=lambda key: key.count("__")):
            self._set_layer(key, params[key])
        return self

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _partial_fit(self, X, y, sample_weight, goes_on, *announced):
        """Train one epoch on a chunk, with the optimizer's state kept from chunk to chunk.

        ``announced`` goes to ``_check_target``: the classes that will ever come.
        """
        with self._unchanged_on_error():
            loss, optimizer, callbacks = self._check_parameters()
            X, shape = as_rows(X)
            X, y, sample_weight = self._check_training_data(X, y, sample_weight, reset=not goes_on)
            target = self._check_target(y, goes_on, *announced)
            seed = self._draw_seed()
            data = self._make_data(X, y, sample_weight, target)
            network, loss = self._network(target, loss)
            model = self._model_to_train(with_shape(network, shape), seed, goes_on)
            options = self._options(loss, optimizer, callbacks, data, max_iter=1)
            options.early_stopping, options.n_iter_no_change = False, None
            n_iter, curve = (self.n_iter_, self.loss_curve_) if goes_on else (0, [])
            history = model.fit_data(data, options)
            self._store(model, target, history, False)
            self.n_iter_ = n_iter + len(history)
            self.loss_curve_ = [*curve, *self.loss_curve_]
            self.best_loss_ = min(self.loss_curve_, default=float("nan"))
        return self

    def _check_parameters(self):
        """Return loss (None for "auto"), optimizer and callbacks, or raise for the first bad parameter."""
        check_dtype(self.dtype)
        loss = None if self._loss_is_auto else make_loss(self.loss)
        optimizer = make_optimizer(self.optimizer, self.learning_rate)
        make_layer(self.activation, "activation")
        if not self._batch_size_is_auto:
            check_number(self, "batch_size", self.batch_size, 1, integer=True)
        check_number(self, "validation_fraction", self.validation_fraction, 0, 1, low_open=True, high_open=True)
        if self.halting_condition is not None and not isinstance(self.halting_condition, Halting):
            raise TypeError(
                "halting_condition must be None or a condition such as MinLossReached(0.1), "
                f"got {self.halting_condition!r}."
            )
        for name in ("shuffle", "early_stopping", "warm_start"):
            if not isinstance(getattr(self, name), bool | np.bool_):
                raise TypeError(f"{name} must be True or False, got {getattr(self, name)!r}.")
        hidden_layers(self.layers, self.activation)
        return loss, optimizer, progress_callbacks(self.verbose)

    @property
    def _loss_is_auto(self):
        """Whether the loss follows from the target."""
        return isinstance(self.loss, str) and self.loss == "auto"

    @property
    def _batch_size_is_auto(self):
        """Whether the batch size follows from the data."""
        return isinstance(self.batch_size, str) and self.batch_size == "auto"

    def _draw_seed(self):
        """Return a seed from ``random_state``."""
        if type(self.random_state) is int and 0 <= self.random_state < 2**32:
            return _seed_of(self.random_state)
        try:
            return int(check_random_state(self.random_state).randint(LARGEST_SEED))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"random_state must be None, an integer in [0, {2**32 - 1}] or a RandomState, "
                f"got {self.random_state!r}."
            ) from error

    def _options(self, loss, optimizer, callbacks, data, max_iter):
        """Return the checked options of a fit."""
        options = FitOptions(
            loss=loss,
            optimizer=optimizer,
            alpha=self.alpha,
            batch_size=min(200, len(data)) if self._batch_size_is_auto else self.batch_size,
            max_iter=max_iter,
            shuffle=bool(self.shuffle),
            tol=self.tol,
            n_iter_no_change=None if self.n_iter_no_change == np.inf else self.n_iter_no_change,
            early_stopping=bool(self.early_stopping),
            halting_condition=self.halting_condition,
            callbacks=list(callbacks),
        )
        check_options(options)
        return options

    def _check_training_data(self, X, y, sample_weight, reset):
        """Return validated X, y and sample weights."""
        if reset and self._is_plainly_valid(X, self.dtype) and _is_plain_target(y, len(X)):
            self.n_features_in_ = X.shape[1]
        else:
            X, y = validate_data(
                self,
                X,
                y,
                accept_sparse="csr",
                dtype=np.dtype(self.dtype),
                multi_output=True,
                y_numeric=self._y_is_numeric,
                reset=reset,
            )
        return shared(X), shared(_dense(y)), self._check_weight(sample_weight, X.shape[0], "sample_weight")

    def _check_weight(self, weight, n_samples, name):
        """Return validated sample weights, or None."""
        if weight is None:
            return None
        if isinstance(weight, numbers.Real):
            weight = np.full(n_samples, weight)
        weight = check_array(weight, ensure_2d=False, dtype=np.float64, input_name=name)
        if weight.shape != (n_samples,):
            raise ValueError(f"{name}.shape == {weight.shape}, expected ({n_samples},): one weight a sample.")
        if (weight < 0).any():
            raise ValueError(f"Negative values in {name}; weights must be zero or more.")
        if not weight.any():
            raise ValueError(f"Sample weights must contain at least one non-zero number, but {name} is all zero.")
        weight = self._cast(weight, name, f"Divide {name} by its mean.")
        with np.errstate(over="ignore"):
            total = weight.sum()
        if not np.isfinite(total):
            raise ValueError(f"{name} has a sum that {self.dtype} cannot hold. Divide {name} by its mean.")
        return weight

    def _cast(self, array, name, remedy):
        """Return an array in the model's dtype, or raise where its values do not fit there."""
        with np.errstate(over="ignore", under="ignore"):
            cast = np.asarray(array, self.dtype)
        if not np.isfinite(cast).all() or (np.any(array) and not cast.any()):
            largest = np.abs(array).max()
            raise ValueError(f"{name} has values as large as {largest:.3g}, which {self.dtype} cannot hold. {remedy}")
        return cast

    def _check_validation(self, X_val, y_val, sample_weight_val, target, shape):
        """Return ``(X, y, weights)`` of the user's validation data, or None."""
        if X_val is None and y_val is None:
            if sample_weight_val is not None:
                raise ValueError("sample_weight_val needs X_val and y_val.")
            return None
        if X_val is None or y_val is None:
            raise ValueError("X_val and y_val must be given together.")
        X_val, y_val = validate_data(
            self,
            rows_of(X_val, "X_val", shape),
            y_val,
            accept_sparse="csr",
            dtype=np.dtype(self.dtype),
            multi_output=True,
            y_numeric=self._y_is_numeric,
            reset=False,
        )
        y_val = _dense(y_val)
        self._encode(y_val, target)
        if self.early_stopping and len(y_val) < self._least_validation:
            raise ValueError(
                f"X_val has {len(y_val)} samples; early_stopping needs {self._least_validation} for its score."
            )
        return X_val, y_val, self._check_weight(sample_weight_val, X_val.shape[0], "sample_weight_val")

    def _hold_out(self, X, y, sample_weight, target, seed):
        """Split off the validation share."""
        from sklearn.model_selection import train_test_split  # here, because importing it is slow

        arrays = [X, y] if sample_weight is None else [X, y, sample_weight]
        try:
            parts = train_test_split(
                *arrays, test_size=self.validation_fraction, random_state=seed, stratify=self._strata(y, target)
            )
        except ValueError as error:
            raise ValueError(
                f"early_stopping cannot hold out validation_fraction={self.validation_fraction} of {X.shape[0]} "
                f"samples: {error} Change validation_fraction, or pass X_val and y_val."
            ) from error
        train, held = parts[::2], parts[1::2]
        if sample_weight is not None and not train[2].any():
            raise ValueError("All samples with weight fell into the validation share; pass X_val and y_val.")
        X_train, y_train, weight = (*train, None)[:3]
        X_held, y_held, weight_held = (*held, None)[:3]
        if len(y_held) < self._least_validation:
            raise ValueError(
                f"early_stopping needs {self._least_validation} validation samples for its score, but "
                f"validation_fraction={self.validation_fraction} of {X.shape[0]} samples leaves {len(y_held)}. "
                "Raise validation_fraction, or pass X_val and y_val."
            )
        if weight_held is not None and not weight_held.any():
            weight_held = None
        return X_train, y_train, weight, (X_held, y_held, weight_held)

    def _make_data(self, X, y, sample_weight, target):
        """Return the engine's data."""
        weight = self._weight_samples(y, sample_weight, target)
        if weight is not None:
            weight = self._cast(weight, "sample_weight", "Divide the weights by their mean.")
            if not weight.any():
                raise ValueError("sample_weight and class_weight together leave no sample with a weight above zero.")
        return Data(X, self._encoded(y, target), weight, self._has_class_codes(target))

    def _validation(self, validation, target):
        """Return the validation data with their score."""
        X, y, weight = validation
        data = Data(X, self._encoded(y, target), weight, self._has_class_codes(target))
        return Validation(data, lambda predict: self._score(y, predict(X), weight, target), is_classifier(self))

    def _encoded(self, y, target):
        """Return targets as the engine takes them."""

        def encoded():
            Y = self._cast(self._encode(y, target), "y", "Scale y, for example with TransformedTargetRegressor.")
            # A view would keep y alive, and may be of an array of the user's.
            return fix(Y.copy() if np.may_share_memory(Y, y) else Y)

        return once_for(y, (type(self), self.dtype, target), encoded)

    def _model_to_train(self, network, seed, goes_on):
        """Return a new model, or a copy of the fitted one with its weights and optimizer state."""
        if not goes_on:
            return Model(network, device=self.device, dtype=self.dtype, random_state=seed, precision=self.precision)
        if image_shape(self.model_.layers, self.n_features_in_) is not None and network == self.model_.layers[1:]:
            network = self.model_.layers  # rows, where images came before
        if network != self.model_.layers or self.dtype != self.model_.dtype:
            raise ValueError(
                "layers, activation, loss and dtype must stay as they were to go on training "
                f"(warm_start or partial_fit); the fitted network is {self.model_.layers}, these parameters "
                f"describe {network}. Fit a clone instead."
            )
        if self.n_features_in_ != self.model_.n_features_in_:
            raise ValueError(
                f"X has {self.n_features_in_} features, but the network to go on training was fitted on "
                f"{self.model_.n_features_in_}. Fit a clone instead."
            )
        return self._snapshot(self.model_, self.model_.state)

    def _snapshot(self, model, state):
        """Return a model of its own with the same layers and the given state."""
        copy = Model(
            model.layers,
            device=self.device,
            dtype=model.dtype,
            random_state=model.random_state,
            precision=self.precision,
        )
        copy.state, copy.optimizer, copy.n_features_in_ = state, model.optimizer, self.n_features_in_
        return copy

    def _sklearn_callbacks(self, context, X, y, sample_weight, target, model):
        """Return the callback that speaks to scikit-learn's."""

        def fitted_attributes(state):
            return {"model_": self._snapshot(model, state), **self._target_attributes(target)}

        return SklearnCallbacks(context, self, X, y, sample_weight, fitted_attributes)

    def _store(self, model, target, history, validated):
        """Set the fitted attributes."""
        self.model_ = model
        for name, value in self._target_attributes(target).items():
            setattr(self, name, value)
        self.n_iter_ = len(history)
        self.loss_curve_ = history.loss.tolist()
        self.loss_ = self.loss_curve_[-1] if self.loss_curve_ else float("nan")
        self.best_loss_ = min(self.loss_curve_, default=float("nan"))
        self.validation_scores_ = history.validation_score.tolist() if validated else None
        self.best_validation_score_ = max(self.validation_scores_) if self.validation_scores_ else None
        self.device_ = model.device_

    def _warn_unless_converged(self, history):
        """Warn as scikit-learn does where the last epoch still improved."""
        patience = np.inf if self.n_iter_no_change is None else self.n_iter_no_change
        # A patience that max_iter cannot reach asks for a fixed number of epochs, unless it is the default.
        if history.stopped_by == "max_iter" and patience < max(self.max_iter, DEFAULT_PATIENCE + 1):
            warnings.warn(
                f"Maximum iterations ({self.max_iter}) reached and the training has not converged yet. "
                "Increase max_iter, or set n_iter_no_change=None to train a fixed number of epochs.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _fitted_model(self):
        """Return ``model_``, or raise AttributeError as an attribute of an unfitted estimator does."""
        if "model_" not in self.__dict__:
            raise AttributeError(f"This {type(self).__name__} is not fitted yet.")
        return self.model_

    def _outputs(self, X):
        """Return the network's outputs for validated X."""
        check_is_fitted(self)
        X = rows_of(X, "X", image_shape(self.model_.layers, self.model_.n_features_in_))
        if not (self._is_plainly_valid(X, self.model_.dtype) and X.shape[1] == self.n_features_in_):
            X = validate_data(self, X, accept_sparse="csr", dtype=np.dtype(self.model_.dtype), reset=False)
        return self.model_.predict(shared(X))

    def _is_plainly_valid(self, X, dtype):
        """Say whether scikit-learn's validation would return X itself: it takes longer than a small prediction."""
        return (
            type(X) is np.ndarray
            and X.dtype == dtype
            and X.ndim == 2
            and X.size > 0
            and not hasattr(self, "feature_names_in_")
            and once_for(X, "is finite", lambda: bool(np.isfinite(X).all()))
        )

    def _set_layer(self, key, value):
        """Replace or change a named layer."""
        name, _, inner = key.removeprefix("layers__").partition("__")
        pairs = dict(named_layers(self.layers))
        if name not in pairs:
            raise ValueError(
                f"Invalid parameter {key!r}: layers has no (name, layer) pair named {name!r}; it has {sorted(pairs)}."
            )
        if inner:
            if not isinstance(pairs[name], Layer):
                raise ValueError(
                    f"Invalid parameter {key!r}: layer {name!r} is {pairs[name]!r}, which has no parameters."
                )
            pairs[name].set_params(**{inner: value})
            return
        items = [(name, value) if isinstance(item, tuple) and item[0] == name else item for item in self.layers]
        self.layers = type(self.layers)(items)

    @contextlib.contextmanager
    def _unchanged_on_error(self):
        """Leave the estimator as it was if the block raises."""
        before = dict(self.__dict__)
        try:
            yield
        except BaseException:
            # What scikit-learn's callbacks left here is torn down after us.
            callbacks = {name: value for name, value in self.__dict__.items() if "callback" in name}
            self.__dict__.clear()
            self.__dict__.update(before | callbacks)
            raise

    def __sklearn_is_fitted__(self):
        return "model_" in self.__dict__


@functools.lru_cache(1024)
def _seed_of(random_state):
    """Return the first number that an integer's generator draws; making it takes as long as checking the data."""
    return int(np.random.RandomState(random_state).randint(LARGEST_SEED))


def _is_plain_target(y, n_samples):
    """Say whether scikit-learn's validation would return y itself, a number or class for each sample."""
    if type(y) is not np.ndarray or y.shape != (n_samples,):
        return False
    return y.dtype.kind in "biu" or (y.dtype.kind == "f" and bool(np.isfinite(y).all()))


def _dense(y):
    """Return multilabel targets that came as a sparse matrix as an array."""
    return y.toarray() if scipy.sparse.issparse(y) else y
