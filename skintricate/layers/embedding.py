"""Vectors for categories and words."""

from dataclasses import replace

import numpy as np

from skintricate.configurable import check_number
from skintricate.exceptions import ShapeError
from skintricate.initializers import GlorotUniform, Initializer, NormalRandom
from skintricate.layers.base import Layer, Parameter, require_flat
from skintricate.layers.dense import FullyConnected


class Embedding(Layer):
    """A learned vector for every category: F columns of whole numbers become F vectors, of shape ``(F, dimension)``.

    ``y[f] = vectors[x[f]]``. A number outside the vocabulary, such as -1 for a category unknown in training, and one
    that is not whole has a vector of zeros.

    Parameters
    ----------
    vocabulary_size : int or sequence of int
        Numbers 0 to ``vocabulary_size - 1`` have vectors, which all columns share; a sequence gives each column vectors
        of its own, so many.
    dimension : int
        Length of a vector, at least 1.
    initializer : Initializer, default=None
        First values of the vectors, shape ``(sum of vocabularies, dimension)``; None is ``NormalRandom(0.0, 0.1)``.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of another type, or outside of its range; all vocabularies together have at most ``2**24``
        numbers.
    ShapeError
        From ``output_shape``, and so from ``fit``: if the input is an image or a sequence, or has another number of
        columns than a sequence of vocabularies. From ``fit``: if a layer before it learns, since whole numbers have no
        gradient.

    Examples
    --------
    Two columns of 7 and of 3 categories, and what follows is numbers:

    >>> from skintricate.layers import Columns, Concatenate, Embedding, Flatten
    >>> Concatenate([[Columns(0, 2), Embedding([7, 3], 4), Flatten()], [Columns(2)]]).output_shape((12,))
    (18,)
    """

    sources = ("embedding",)

    def __init__(self, vocabulary_size, dimension, initializer=None):
        if not isinstance(vocabulary_size, list | tuple | int | np.integer):
            raise TypeError(
                "Embedding: vocabulary_size must be an integer or a list of integers, one for each column, got "
                f"{vocabulary_size!r}; of an array take .tolist()."
            )
        for number in vocabulary_size if isinstance(vocabulary_size, list | tuple) else (vocabulary_size,):
            check_number(self, "vocabulary_size", number, 1, 2**24, integer=True)
        if isinstance(vocabulary_size, list | tuple) and not vocabulary_size:
            raise ValueError("Embedding: vocabulary_size must have a number for each column, got an empty sequence.")
        if isinstance(vocabulary_size, list | tuple) and sum(vocabulary_size) > 2**24:
            raise ValueError(
                f"Embedding: vocabulary_size must have a sum of at most {2**24}, got {sum(vocabulary_size)}."
            )
        check_number(self, "dimension", dimension, 1, integer=True)
        if initializer is not None and not isinstance(initializer, Initializer):
            raise TypeError(f"Embedding: initializer must be an Initializer or None, got {initializer!r}.")
        self.vocabulary_size = vocabulary_size
        self.dimension = dimension
        self.initializer = initializer

    def output_shape(self, input_shape):
        require_flat(input_shape)
        sizes = self.vocabulary_size
        if isinstance(sizes, list | tuple) and len(sizes) != input_shape[0]:
            raise ShapeError(
                f"vocabulary_size has {len(sizes)} numbers for {input_shape[0]} columns; give one for each, and take "
                "the columns with Columns(start, stop)."
            )
        return (input_shape[0], int(self.dimension))

    def parameters(self, input_shape):
        rows = sum(self.vocabulary_size) if isinstance(self.vocabulary_size, list | tuple) else self.vocabulary_size
        return (Parameter("vectors", (int(rows), int(self.dimension)), self.initializer or NormalRandom(0.0, 0.1)),)

    def forward(self, lowering, x):
        if x.trainable:
            raise ShapeError(
                f"{self!r} takes whole numbers, which have no gradient, so that layers before it would never learn; "
                "put it first, or into a branch after Columns."
            )
        y = lowering.tensor(self.output_shape(x.shape), None, trainable=True, inner=(self._ranges(lowering, x),))
        lowering.launch("embedding_forward", **self._fields(lowering, x, y), target=y.offset)
        return y

    def backward(self, lowering, x, y, gradient):
        weights = lowering.weights(self)
        sums = lowering.reserve(lowering.size(weights))
        lowering.launch("embedding_backward_weights", **self._fields(lowering, x, y), gradient=gradient, target=sums)
        lowering.update_from_sums(weights, sums)
        return None  # whole numbers have no gradient

    def _fields(self, lowering, x, y):
        """Return what both stages have in common."""
        weights, (ranges,) = lowering.weights(self), y.inner
        return {
            "inputs": weights.rows,
            "outputs": weights.columns,
            "pixels": y.pixels,
            "source": x.offset,
            "weights": weights.offset,
            "constants": ranges,
        }

    def _ranges(self, lowering, x):
        """Return where the constants of all columns lie: how many vectors each has, and the first of them."""
        sizes, ranges, first = self.vocabulary_size, [], 0
        for column in range(x.columns):
            if isinstance(sizes, list | tuple):
                ranges += [sizes[column], first]
                first += sizes[column]
            else:
                ranges += [sizes, 0]
        return lowering.constant(*ranges)


class EmbeddingBag(FullyConnected):
    """The sum of the vectors of a sample's words, each times its count: ``y = sum_j x_j vector_j``.

    It is a ``Dense`` layer without a bias, under the name that texts give it.

    A sparse X, as ``CountVectorizer`` makes it, is read entry by entry where the first layer of the network is
    ``Dense`` or ``EmbeddingBag``: in training if at most a tenth of X are entries, and these fit into the device's
    memory; in predictions always. Otherwise its rows become dense, a slice at a time.

    Parameters
    ----------
    dimension : int
        Length of a vector, at least 1.
    initializer : Initializer, default=None
        First values of the vectors, shape ``(I, dimension)``; None is ``GlorotUniform()``.
    l1, l2 : float, default=0.0
        Penalties of this layer alone; see ``Dense``.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of another type, or outside of its range.

    Examples
    --------
    >>> from skintricate.layers import EmbeddingBag
    >>> EmbeddingBag(16).output_shape((50_000,))
    (16,)
    """

    def __init__(self, dimension, initializer=None, l1=0.0, l2=0.0):
        check_number(self, "dimension", dimension, 1, integer=True)
        if initializer is not None and not isinstance(initializer, Initializer):
            raise TypeError(f"EmbeddingBag: initializer must be an Initializer or None, got {initializer!r}.")
        super().__init__(None, None, False, l1, l2)
        self.dimension = dimension
        self.initializer = initializer

    def parameters(self, input_shape):
        (vectors,) = super().parameters(input_shape)
        return (replace(vectors, name="vectors", initializer=self.initializer or GlorotUniform()),)

    @property
    def units(self):
        """Outputs, which are the numbers of a vector."""
        return self.dimension
