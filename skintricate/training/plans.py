"""Plans by what they are plans of: the last ones are kept, since a search, and every later fit, asks for them again."""

import threading

from skintricate.configurable import NotPlain, snapshot
from skintricate.training.lowering import Lowering

# Plans that are kept, some kilobytes each.
MOST_PLANS = 256

_plans, _lock = {}, threading.Lock()


def lower(layers, n_features, batch_size, program, *, loss=None, optimizer=None, alpha=0.0, **options):
    """Return the plan of a network; see ``Lowering``. An equal network has the same one, which nobody may change."""
    # All that a plan has of an optimizer: its numbers are written for each step.
    rule = None if optimizer is None else (type(optimizer), optimizer.clip_norm)
    try:
        what = (snapshot(layers), n_features, batch_size, program, snapshot(loss), rule, alpha, *options.items())
    except NotPlain:
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
