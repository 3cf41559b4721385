"""What training has made of a network, on the host."""

from dataclasses import dataclass, field

import numpy as np

from skintricate.training.network import matrices, walk


@dataclass
class NetworkState:
    """Parameters and the optimizer's memory, in no device's layout.

    Attributes
    ----------
    weights : list of ndarray of shape (I + 1, O)
        One for each of the matrices in which a layer's parameters lie, see ``matrices``; the bias is the last row,
        where there is one.
    optimizer_states : list of list of ndarray
        For each of ``weights``, the optimizer's arrays of the same shape; empty before training.
    step, epoch : int
        Steps and epochs trained so far.
    seed : int
        Of shuffling and dropout.
    """

    weights: list
    optimizer_states: list = field(default_factory=list)
    step: int = 0
    epoch: int = 0
    seed: int = 0

    @classmethod
    def initial(cls, network, shapes, seed, dtype):
        """Draw the first values of every parameter.

        Each parameter has a generator of its own, so that a layer's values do not depend on what the
        others draw.
        """
        weights = []
        for node in walk(network, shapes[0]):
            number = 0
            for parameters in matrices(node.layer, node.input_shape):
                parts = []
                for parameter in parameters:
                    generator = np.random.default_rng([seed, *node.path, number])
                    parts.append(_drawn(parameter, generator, node, dtype))
                    number += 1
                weights.append(np.concatenate(parts))
        return cls(weights, seed=seed)

    def copy(self):
        """Return a state that shares no array with this one."""
        return NetworkState(
            [w.copy() for w in self.weights],
            [[s.copy() for s in states] for states in self.optimizer_states],
            self.step,
            self.epoch,
            self.seed,
        )

    def pack(self, plan, layout, n_states, dtype):
        """Return the flat parameter part of a plan's arena: weights, optimizer states, transposes."""
        flat = np.zeros(plan.parameter_size, dtype)
        for place, weights, states in zip(
            plan.weights, self.weights, self.optimizer_states or [[]] * len(self.weights)
        ):
            size = place.rows * layout.padded(place.columns)
            for number, matrix in enumerate([weights, *states[:n_states]]):
                begin = place.offset + number * plan.parameter_count
                layout.pack(matrix, flat[begin : begin + size])
            if place.transposed >= 0:
                begin = place.transposed
                end = begin + place.transposed_rows * layout.padded(place.channels)
                layout.pack(_by_outputs(weights[: place.inputs], place.channels), flat[begin:end])
        return flat

    def unpack(self, plan, layout, n_states, flat):
        """Take weights and optimizer states from the flat parameter part of an arena."""
        self.weights, self.optimizer_states = [], []
        for place in plan.weights:
            size = place.rows * layout.padded(place.columns)
            matrices = []
            for number in range(1 + n_states):
                begin = place.offset + number * plan.parameter_count
                matrices.append(layout.unpack(flat[begin : begin + size], place.rows, place.columns))
            self.weights.append(matrices[0])
            self.optimizer_states.append(matrices[1:])


def _drawn(parameter, generator, node, dtype):
    """Return first values of a parameter as rows of the matrix in which it lies."""
    values = np.asarray(parameter.initializer.draw(generator, parameter.shape), dtype)
    if values.shape != tuple(parameter.shape):
        raise ValueError(
            f"{parameter.initializer!r} drew values of shape {values.shape} for parameter {parameter.name!r} of layer "
            f"{'.'.join(map(str, node.path))} ({node.layer!r}), which has shape {parameter.shape}."
        )
    return values.reshape(parameter.rows, parameter.shape[-1])


def _by_outputs(weights, channels):
    """Return weights of shape (taps * channels, O) as a matrix of a row for each tap and output."""
    taps, outputs = len(weights) // channels, weights.shape[1]
    return weights.reshape(taps, channels, outputs).transpose(0, 2, 1).reshape(taps * outputs, channels)
