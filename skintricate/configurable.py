"""Objects made of their constructor's parameters: layers, losses, optimizers, initializers.

They follow scikit-learn's conventions without needing it: ``get_params`` and ``set_params`` make
them clonable and searchable, ``==`` and ``repr`` compare and show the parameters.
"""

import copy
import inspect
import weakref

import numpy as np

# What a snapshot takes as it is.
PLAIN = (bool, int, float, str, np.generic, type(None))
# Names of the parameters of constructors that are alive.
_names = weakref.WeakKeyDictionary()


class Configurable:
    """Base class. ``__init__`` stores each parameter under its own name and may check it."""

    @classmethod
    def parameter_names(cls):
        """Return the names of the constructor's parameters."""
        init = cls.__init__
        if init is object.__init__:
            return ()
        if init not in _names:
            _names[init] = tuple(name for name in inspect.signature(init).parameters if name != "self")
        return _names[init]

    def get_params(self, deep=True):
        """Return the parameters by name, those of nested objects as ``outer__inner`` too.

        Parameters
        ----------
        deep : bool, default=True

        Returns
        -------
        params : dict
        """
        params = {}
        for name in self.parameter_names():
            value = params[name] = getattr(self, name)
            if deep and isinstance(value, Configurable):
                params.update({f"{name}__{key}": inner for key, inner in value.get_params().items()})
        return params

    def set_params(self, **params):
        """Set parameters by name, those of nested objects as ``outer__inner``, and return self."""
        own = self.get_params(deep=False)
        # Objects are replaced before parameters of the new ones are set.
        for key in sorted(params, key=lambda key: key.count("__")):
            name, nested, inner = key.partition("__")
            if name not in own:
                raise ValueError(f"{type(self).__name__} has no parameter {name!r}; it has {sorted(own)}.")
            if nested and not isinstance(own[name], Configurable):
                raise ValueError(f"{type(self).__name__}: {name}={own[name]!r} has no parameters, so not {key!r}.")
            if nested:
                own[name].set_params(**{inner: params[key]})
            else:
                own[name] = params[key]
        # Through the constructor, so that its checks hold for what is set too.
        type(self)(**{name: own[name] for name in own})
        for name, value in own.items():
            setattr(self, name, value)
        return self

    def __repr__(self):
        defaults = inspect.signature(type(self).__init__).parameters if self.parameter_names() else {}
        shown = []
        for name, value in self.get_params(deep=False).items():
            default = defaults[name].default
            if default is inspect.Parameter.empty:
                shown.append(repr(value))
            elif not _same(value, default):
                shown.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def __eq__(self, other):
        if type(self) is not type(other):
            return NotImplemented
        mine, theirs = self.get_params(deep=False), other.get_params(deep=False)
        return all(_same(mine[name], theirs[name]) for name in mine)

    def __hash__(self):
        return hash((type(self), tuple(repr(_as_list(value)) for value in self.get_params(deep=False).values())))


def _same(a, b):
    """Compare two parameter values, arrays included; a file has lists for tuples."""
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return type(a) is type(b) and bool(np.array_equal(a, b))


def _as_list(value):
    """Return a parameter value with lists for tuples."""
    return list(map(_as_list, value)) if isinstance(value, list | tuple) else value


def check_number(owner, name, value, low=-np.inf, high=np.inf, *, low_open=False, high_open=False, integer=False):
    """Raise unless a parameter is a number of the interval.

    Parameters
    ----------
    owner : object
        Whose parameter it is; its class is named in the message.
    name : str
    value : object
    low, high : float
    low_open, high_open : bool
        Whether the bounds themselves are excluded.
    integer : bool

    Raises
    ------
    TypeError
        If ``value`` is not a number of the kind.
    ValueError
        If it lies outside.
    """
    kinds = (int, np.integer) if integer else (int, float, np.integer, np.floating)
    is_number = isinstance(value, kinds) and not isinstance(value, bool | np.bool_)
    if is_number:
        inside = (low < value if low_open else low <= value) and (value < high if high_open else value <= high)
        if inside and np.isfinite(value):
            return
    owner = owner if isinstance(owner, str) else type(owner).__name__
    interval = f"{'(' if low_open or low == -np.inf else '['}{low}, {high}{')' if high_open or high == np.inf else ']'}"
    if is_number:
        raise ValueError(f"{owner}: {name} must lie in {interval}, got {value!r}.")
    raise TypeError(f"{owner}: {name} must be {'an integer' if integer else 'a number'} in {interval}, got {value!r}.")


def copy_of(value):
    """Return a deep copy; of objects made of plain parameters sooner than ``copy.deepcopy``, a dozen times a fit."""
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, Configurable) and _is_ours(value):
        result = object.__new__(type(value))
        vars(result).update({name: copy_of(attribute) for name, attribute in vars(value).items()})
        return result
    return copy.deepcopy(value)


def _is_ours(value):
    """Say whether an object's class is the package's own."""
    return type(value).__module__.startswith("skintricate.")


class NotPlain(Exception):
    """Raised for what a snapshot cannot tell from everything else."""


def snapshot(value):
    """Return a hashable copy of objects made of parameters, which tells all that follows from them.

    What users' classes do may follow from other things than their parameters, so they, and arrays, have none.

    Raises
    ------
    NotPlain
        For those.
    """
    if isinstance(value, PLAIN):
        return type(value), value
    if isinstance(value, list | tuple):
        return tuple(map(snapshot, value))
    if isinstance(value, Configurable) and _is_ours(value):
        return type(value), tuple([snapshot(getattr(value, name)) for name in value.parameter_names()])
    raise NotPlain
