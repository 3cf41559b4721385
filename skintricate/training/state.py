"""What training has made of a network, on the host."""

from dataclasses import dataclass, field

import numpy as np


@dataclass
class NetworkState:
    """Parameters and the optimizer's memory, in no device's layout.

    Attributes
    ----------
    weights : list of ndarray of shape (I + 1, O)
        One a layer with parameters; the bias is the last row, where there is one.
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
        for position, (layer, shape) in enumerate(zip(network, shapes)):
            parts = []
            for number, parameter in enumerate(layer.parameters(shape)):
                generator = np.random.default_rng([seed, position, number])
                values = np.asarray(parameter.initializer.draw(generator, parameter.shape), dtype)
                if values.shape != tuple(parameter.shape):
                    raise ValueError(
                        f"{parameter.initializer!r} drew values of shape {values.shape} for parameter "
                        f"{parameter.name!r} of layer {position} ({layer!r}), which has shape {parameter.shape}."
                    )
                parts.append(values)
            if parts:
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
            if place.transposed_used:
                begin = place.transposed
                end = begin + place.columns * layout.padded(place.inputs)
                layout.pack(weights[: place.inputs].T, flat[begin:end])
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
