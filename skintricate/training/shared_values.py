"""What tasks that run together share: equal arrays, and what one of them has made or found out."""

import threading
import weakref

import numpy as np

from skintricate.training.rendezvous import current

# Values that `kept` keeps.
MOST_KEPT = 16

_lock = threading.Lock()
# Of arrays that stay as they are, by their ids: a weak reference, and what has been made of them.
_fixed = {}


def shared(array):
    """Return an equal array that another task has, or where there is none the array itself."""
    return array if current() is None else _in_common("arrays", EqualArrays).shared(array)


def kept(key, make):
    """Return, in a task, what ``make()`` made for this key, here or in another task if it is one of the last."""
    values = _in_common("values", dict)
    with _lock:
        if key in values:
            return values[key]
    value = make()
    with _lock:
        values[key] = value
        if len(values) > MOST_KEPT:
            del values[next(iter(values))]
    return value


def _in_common(name, make):
    """Return what all tasks have under a name; the first that asks makes it."""
    common = current().common
    return common[name] if name in common else common.setdefault(name, make())


def fix(array):
    """Return an array into which nobody will write any more: whoever calls this promises it for all its views."""
    array.flags.writeable = False
    key = id(array)
    _fixed[key] = weakref.ref(array, lambda _: _fixed.pop(key, None)), {}
    return array


def once_for(array, key, make):
    """Return what ``make()`` makes of an array and a key; of a fixed array it is made once.

    It must not keep the array alive, as a view of it would.
    """
    reference, values = _fixed.get(id(array), (None, None))
    if reference is None or reference() is not array:
        values = {}
    if key not in values:
        values[key] = make()
    return values[key]


class EqualArrays:
    """Arrays that are alive; of equal ones the first."""

    def __init__(self):
        # By what equal arrays have in common; and those that are the first, by their ids, to be found sooner.
        self._alike, self._first = {}, weakref.WeakValueDictionary()

    def shared(self, array):
        """Return the first array that is equal to this one and alive."""
        if self._first.get(id(array)) is array:
            return array
        if type(array) is not np.ndarray or array.ndim == 0 or array.size == 0 or array.dtype.hasobject:
            return array
        key = array.shape, array.dtype.str, array[0].tobytes(), array[-1].tobytes()
        alive = [known for reference in self._alike.get(key, []) if (known := reference()) is not None]
        for known in alive:
            if known is array or np.array_equal(known, array):
                return known
        self._alike[key] = [weakref.ref(known) for known in (*alive, array)]
        self._first[id(array)] = array
        return array
