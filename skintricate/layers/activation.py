"""What every elementwise activation is."""

from skintricate.layers.base import Layer


class Activation(Layer):
    """Base class: a function of each value by itself.

    A subclass gives the function and its derivative in OpenCL C. After a ``Dense`` layer both are fused
    into its kernels; elsewhere the activation is a stage of its own.

    Attributes
    ----------
    value : str
        Expression in ``x``, a vector of the type ``real``.
    derivative : str
        Expression in the function's value ``y``, and in ``x`` where ``needs_input`` is True.
    needs_input : bool
        Whether the derivative needs ``x``, which is then kept.
    hyper_parameters : tuple of str
        Names of the numeric parameters that the expressions use.

    Raises
    ------
    KernelBuildError
        From ``fit``: if an expression does not compile; the message has the compiler's log.

    Examples
    --------
    An activation of one's own is one short class:

    >>> from skintricate.layers import Activation
    >>> class SoftSign(Activation):
    ...     value = "x / (1 + fabs(x))"
    ...     derivative = "(1 - fabs(y)) * (1 - fabs(y))"
    >>> SoftSign()
    SoftSign()
    """

    value = "x"
    derivative = "(real)1"
    needs_input = False
    hyper_parameters = ()

    def forward(self, lowering, x):
        source = lowering.in_workspace(x) if x.pixels > 1 else x
        y = lowering.tensor(x.shape, self, trainable=x.trainable)
        lowering.launch(
            "activation_forward",
            outputs=x.columns,
            pixels=x.pixels,
            source=source.offset,
            target=y.offset,
            saved=y.saved,
            code=y.code,
            constants=y.constants,
        )
        return y

    def backward(self, lowering, x, y, gradient):
        return lowering.through_activation(x, gradient) if x.trainable else None
