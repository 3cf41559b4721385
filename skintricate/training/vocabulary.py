"""The vocabulary of every built-in class, and of a network that has classes of its own."""

import functools

import numpy as np

from skintricate import layers, losses, optimizers
from skintricate.kernels import Program, Vocabulary
from skintricate.kernels.tile import tile_of
from skintricate.layers import Activation
from skintricate.training.network import all_layers


@functools.cache
def built_in():
    """Return the vocabulary of all built-in classes; ``Identity`` has code 0."""
    activations = [c for c in dict.fromkeys(layers.BY_NAME.values()) if issubclass(c, Activation)]
    return Vocabulary(
        tuple(activations),
        tuple(dict.fromkeys(losses.BY_NAME.values())),
        tuple(dict.fromkeys(optimizers.BY_NAME.values())),
    )


def program_for(
    device,
    dtype,
    network,
    loss=None,
    optimizer=None,
    precision="highest",
    n_networks=1,
    batch_size=0,
    is_sparse=False,
):
    """Return the program that knows every class of a network, its loss and its optimizer.

    Its stages are cut for one of so many networks that share the device, with batches of up to so many rows, 0 in
    predictions; ``is_sparse`` says how they read X.
    """
    every_layer = list(all_layers(network))
    vocabulary = built_in().including(
        [type(layer) for layer in every_layer if isinstance(layer, Activation)],
        [type(loss)] if loss is not None else [],
        [type(optimizer)] if optimizer is not None else [],
    )
    dtype = np.dtype(dtype).name
    tile = device.once((dtype, precision), lambda: tile_of(device, dtype, precision)).for_many(n_networks, batch_size)
    optional = optional_sources(every_layer, is_sparse)
    return device.once((dtype, vocabulary, tile, optional), lambda: Program(device, dtype, vocabulary, tile, optional))


def optional_sources(every_layer, is_sparse):
    """Return the names of the kernels' files that these layers need beside those that every network needs."""
    sources = {name for layer in every_layer for name in layer.sources}
    return tuple(sorted(sources | {"sparse"} if is_sparse else sources))
