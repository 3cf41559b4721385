"""Turn a name, or an object, into a layer, a loss or an optimizer."""

from skintricate import layers, losses, optimizers
from skintricate.configurable import copy_of
from skintricate.layers import Layer
from skintricate.losses import Loss
from skintricate.optimizers import Optimizer


def make_layer(spec, parameter="layers"):
    """Return a layer of its own for a name or a ``Layer``; ``parameter`` is what an error blames."""
    if isinstance(spec, Layer):
        return copy_of(spec)
    return _by_name(parameter, spec, layers.BY_NAME, "a Layer")()


def make_loss(spec):
    """Return the loss that a name or a ``Loss`` means."""
    if isinstance(spec, Loss):
        return spec
    return _by_name("loss", spec, losses.BY_NAME, "a Loss")()


def make_optimizer(spec, learning_rate=None):
    """Return the optimizer that a name or an ``Optimizer`` means.

    Parameters
    ----------
    spec : str or Optimizer
    learning_rate : float or Schedule, default=None
        Replaces the named optimizer's default.

    Raises
    ------
    ValueError
        If the name is not known, or a learning rate is given beside an object.
    """
    if isinstance(spec, Optimizer):
        if learning_rate is not None:
            raise ValueError(
                f"learning_rate={learning_rate!r} and optimizer={spec!r} are both given; set the optimizer's own "
                "learning_rate (a search reaches it as optimizer__learning_rate), or give the optimizer by name."
            )
        return spec
    cls = _by_name("optimizer", spec, optimizers.BY_NAME, "an Optimizer")
    return cls() if learning_rate is None else cls(learning_rate=learning_rate)


def _by_name(parameter, spec, table, kind):
    """Return the class of a name, or raise with the names there are."""
    if not isinstance(spec, str):
        raise TypeError(f"{parameter} must be {kind} or one of the names {sorted(table)}, got {spec!r}.")
    if spec.lower() not in table:
        raise ValueError(f"{parameter}={spec!r} is not known; the names are {sorted(table)}, or give {kind}.")
    return table[spec.lower()]
