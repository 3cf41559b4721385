"""What tasks share: equal arrays, and what is made of arrays that stay as they are."""

import gc
import weakref

import numpy as np
import pytest

from skintricate.training import shared_values
from skintricate.training.rendezvous import Rendezvous, current
from skintricate.training.shared_values import fix, kept, once_for, shared


def ask(number):
    return current().ask([number])[0]


def run(*tasks):
    return Rendezvous(lambda requests: requests).run(tasks)


def test_equal_arrays_are_shared():
    X = np.arange(6.0).reshape(3, 2)

    def task(array):
        return lambda: (ask(1), shared(array))[1]

    first, second, third, fourth = run(task(X), task(X.copy()), task(X + 1), task(X.astype("f")))
    assert first is second is X
    assert X is not third is not fourth is not X
    assert shared(third) is third
    text = np.array([["a", None]], dtype=object)
    assert run(task(text)) == [text]


def test_an_array_that_has_changed_is_no_longer_equal():
    X = np.arange(6.0)

    def changes():
        shared(X)
        ask(1)
        X[0] = 7

    def asks_later():
        ask(1)
        return shared(np.arange(6.0)), shared(X.copy())

    _, (old, new) = run(changes, asks_later)
    np.testing.assert_array_equal(old, np.arange(6.0))
    np.testing.assert_array_equal(new, X)


def test_values_are_kept_while_they_are_few(monkeypatch):
    monkeypatch.setattr(shared_values, "MOST_KEPT", 2)
    made = []

    def task(keys):
        return lambda: [kept(key, lambda key=key: made.append(key) or key) for key in keys]

    assert run(task("ab"), task("bca")) == [["a", "b"], ["b", "c", "a"]]
    assert made == ["a", "b", "c", "a"]


def test_values_of_fixed_arrays_are_made_once():
    made, fixed = [], fix(np.arange(3.0))

    def largest(array):
        return once_for(array, "largest", lambda: made.append(array) or array.max())

    others = fixed.copy(), fixed[:2]
    others[0].flags.writeable = False
    for array, value in ((fixed, 2), *zip(others, (2, 1))):
        assert [largest(array), largest(array)] == [value, value]
    assert [array is fixed for array in made] == [True, False, False, False, False]
    assert [once_for(fixed, key, lambda key=key: key) for key in "ab"] == ["a", "b"]
    with pytest.raises(ValueError, match="read-only"):
        fixed[0] = 1


def test_an_error_is_raised_each_time():
    fixed = fix(np.arange(3.0))
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            once_for(fixed, "quotient", lambda: 1 / 0)


def test_values_die_with_their_array():
    fixed = fix(np.arange(3.0))
    key = id(fixed)
    reference = weakref.ref(once_for(fixed, "value", lambda: np.arange(4.0)))
    assert reference() is not None
    assert key in shared_values._fixed
    del fixed
    gc.collect()
    assert reference() is None
    assert key not in shared_values._fixed
