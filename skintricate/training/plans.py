"""Plans by what they are plans of: the last ones are kept, since a search, and every later fit, asks for them again."""

import threading

from skintricate.training.lowering import Lowering

# Plans that are kept, a few kilobytes each.
MOST_PLANS = 256

_plans, _lock = {}, threading.Lock()


def lower(layers, n_features, batch_size, program, *, loss=None, optimizer=None, alpha=0.0, **options):
    """Return the plan of a network; see ``Lowering``. An equal network has the same one, which nobody may change."""
    # All that a plan has of an optimizer: its numbers are written for each step.
    rule = None if optimizer is None else (type(optimizer), optimizer.clip_norm)
    what = (tuple(layers), n_features, batch_size, program, loss, rule, alpha, *sorted(options.items()))
    with _lock:
        plan = _plans.pop(what, None)
    if plan is None:
        plan = Lowering(layers, n_features, batch_size, program, loss, optimizer, alpha, **options).run()
    with _lock:
        _plans[what] = plan
        if len(_plans) > MOST_PLANS:
            del _plans[next(iter(_plans))]
    return plan
