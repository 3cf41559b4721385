"""Plans by what they are plans of: the last ones are kept, since a search, and every later fit, asks for them again."""

import threading

import numpy as np

from skintricate.configurable import Configurable
from skintricate.training.lowering import Lowering

# Plans that are kept, some kilobytes each.
MOST_PLANS = 256
PLAIN = (bool, int, float, str, np.generic, type(None))

_plans, _lock = {}, threading.Lock()


def lower(layers, n_features, batch_size, program, *, loss=None, optimizer=None, alpha=0.0, **options):
    """Return the plan of a network; see ``Lowering``. An equal network has the same one, which nobody may change."""
    # All that a plan has of an optimizer: its numbers are written for each step.
    rule = None if optimizer is None else (type(optimizer), optimizer.clip_norm)
    try:
        what = (_snapshot(layers), n_features, batch_size, program, _snapshot(loss), rule, alpha, *options.items())
    except _NotPlain:
        what = None
    with _lock:
        plan = _plans.pop(what, None)
    if plan is None:
        plan = Lowering(layers, n_features, batch_size, program, loss, optimizer, alpha, **options).run()
    if what is not None:
        with _lock:
            _plans[what] = plan
            while len(_plans) > MOST_PLANS:
                del _plans[next(iter(_plans))]
    return plan


class _NotPlain(Exception):
    """Raised for what a snapshot cannot tell from everything else."""


def _snapshot(value):
    """Return a hashable copy of layers or of a loss, which tells all that their plan follows from.

    Classes of users may follow from other things than their parameters, so they, and arrays, have none.
    """
    if isinstance(value, Configurable) and type(value).__module__.startswith("skintricate."):
        return type(value), tuple(map(_snapshot, value.get_params(deep=False).values()))
    if isinstance(value, list | tuple):
        return tuple(map(_snapshot, value))
    if isinstance(value, PLAIN):
        return type(value), value
    raise _NotPlain
