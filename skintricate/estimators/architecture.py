"""From the ``layers`` parameter to the layers of a network, its output included."""

import numbers

import numpy as np

from skintricate.layers import Activation, Dense, SoftMax
from skintricate.names import make_layer


def split_name(item):
    """Return ``(name, layer spec)`` of one item of ``layers``; the name is None where it has none."""
    if isinstance(item, tuple):
        if len(item) != 2 or not isinstance(item[0], str):
            raise TypeError(f"layers: a tuple must be a (name, layer) pair, got {item!r}.")
        return item
    return None, item


def named_layers(layers):
    """Return the ``(name, layer spec)`` pairs of a ``layers`` parameter."""
    if isinstance(layers, str) or not isinstance(layers, list | tuple):
        return []
    pairs = [item for item in layers if isinstance(item, tuple) and len(item) == 2]
    return [(name, layer) for name, layer in pairs if isinstance(name, str)]


def hidden_layers(layers, activation):
    """Return the network that a ``layers`` parameter describes.

    Parameters
    ----------
    layers : int or sequence of int, str, Layer or (name, int, str or Layer) pairs
        An integer is a ``Dense`` layer of that many units followed by ``activation``.
    activation : str or Layer

    Returns
    -------
    network : list of Layer
        Copies of the layers given.
    """
    if isinstance(layers, numbers.Integral) and not isinstance(layers, bool):
        layers = (layers,)
    if not isinstance(layers, list | tuple | np.ndarray):
        raise TypeError(
            f"layers must be a sequence of unit counts, names, layers or (name, layer) pairs, got {layers!r}."
        )
    if not isinstance(make_layer(activation, "activation"), Activation | SoftMax):
        raise TypeError(f"activation must be an activation such as 'relu' or TanH(), got {activation!r}.")
    network, names = [], set()
    for item in layers:
        name, spec = split_name(item)
        if name is not None and (name in names or "__" in name):
            raise ValueError(f"layers: the name {name!r} is used twice or contains '__'; names must be unique.")
        names.add(name)
        if isinstance(spec, numbers.Integral) and not isinstance(spec, bool):
            if spec < 1:
                raise ValueError(f"layers: a number of units must be at least 1, got {spec!r}.")
            network += [Dense(int(spec)), make_layer(activation, "activation")]
        else:
            network.append(make_layer(spec))
    return network


def with_output(network, layers, n_outputs, activations, default):
    """Return the network with an output layer, unless it already ends in one that fits.

    It fits where the last ``Dense`` is a layer object of ``n_outputs`` units and what follows it, if anything,
    is one of the activations that the target allows.

    Parameters
    ----------
    network : list of Layer
    layers : object
        The ``layers`` parameter, which tells objects from unit counts.
    n_outputs : int
    activations : tuple of type
    default : type or None
        Activation of an output layer that is added; None for none.
    """
    end = [default()] if default is not None else []
    items = [] if isinstance(layers, numbers.Integral) else [split_name(item)[1] for item in layers]
    if network and items and isinstance(items[-1], Dense) and items[-1].units == n_outputs:
        return [*network, *end]
    if (
        len(items) > 1
        and not isinstance(items[-1], numbers.Integral)
        and isinstance(items[-2], Dense)
        and items[-2].units == n_outputs
        and isinstance(network[-1], activations)
    ):
        return network
    return [*network, Dense(n_outputs), *end]


def output_activation(network):
    """Return the type of the activation that ends a network, or None."""
    last = network[-1]
    return type(last) if isinstance(last, Activation | SoftMax) else None
