"""Losses of classes and probabilities."""

from skintricate.losses.base import Loss


class CategoricalCrossEntropy(Loss):
    """Cross-entropy of one class among many: ``-sum_j t_j log(y_j)``.

    After a ``SoftMax`` output both are computed together: with ``x`` the values before it,
    ``log y_j = x_j - max x - log(sum_k exp(x_k - max x))`` and the gradient is ``y_j - t_j``. After any other
    layer the outputs are taken as probabilities, cut off at 1e-7.
    """

    value = "-t * log(clamp(y, (real)1e-7, (real)1))"
    gradient = "y < (real)1e-7 || y > (real)1 ? (real)0 : -t / clamp(y, (real)1e-7, (real)1)"
    link_name = "SoftMax"
    link_kernel = "loss_softmax"
    mean_over_outputs = False
    targets = "probability"


class BinaryCrossEntropy(Loss):
    """Cross-entropy of independent yes-or-no outputs, computed from their logits.

    ``max(x, 0) - x t + log(1 + exp(-|x|))``, summed over outputs; ``x`` are the values before a ``Sigmoid``
    output, or the outputs themselves where the model ends otherwise.
    """

    value = "fmax(y, (real)0) - y * t + log1p(exp(-fabs(y)))"
    gradient = "1 / (1 + exp(-y)) - t"
    link_name = "Sigmoid"
    link_value = value
    link_gradient = gradient
    mean_over_outputs = False
    targets = "probability"
