"""The same training in NumPy and float64, which everything is checked against before it is timed."""

import numpy as np

from skintricate.kernels import shuffled_order


def losses(case, weights, X, y, epochs):
    """Return the loss of each epoch of Adam, each batch's before its step.

    Parameters
    ----------
    case : Case
        A classifier.
    weights : list of ndarray of shape (I + 1, O)
        To begin with; the bias is the last row.
    X : ndarray of shape (N, I)
    y : ndarray of shape (N,)
        Class codes.
    epochs : int

    Returns
    -------
    losses : ndarray of shape (epochs,)
    """
    weights = [w.astype(float) for w in weights]
    moments = [(np.zeros_like(w), np.zeros_like(w)) for w in weights]
    found, t = np.zeros(epochs), 0
    for epoch in range(epochs):
        order = shuffled_order(len(X), 0, epoch) if len(X) > case.batch else np.arange(len(X))
        for begin in range(0, len(X), case.batch):
            rows = order[begin : begin + case.batch]
            values = layer_outputs(case, weights, X[rows])
            loss, gradient = loss_and_gradient(values[-1], y[rows])
            found[epoch] += loss / len(X)
            t += 1
            for k in reversed(range(len(weights))):
                slope = np.vstack([values[k].T @ gradient, gradient.sum(0)])
                if k:
                    gradient = gradient @ weights[k][:-1].T * derivative(case, values[k])
                adam(weights[k], *moments[k], slope, case.rate, t)
    return found


def layer_outputs(case, weights, X):
    """Return X, the outputs of the hidden layers, and those of the last before sigmoid or softmax."""
    values = [X.astype(float)]
    for k, w in enumerate(weights):
        z = values[-1] @ w[:-1] + w[-1]
        if k < len(weights) - 1:
            z = np.maximum(z, 0) if case.activation == "relu" else np.tanh(z)
        values.append(z)
    return values


def probabilities(z):
    """Return the softmax of each row, or the sigmoid of a single column."""
    if z.shape[1] == 1:
        return 1 / (1 + np.exp(-z))
    p = np.exp(z - z.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def loss_and_gradient(z, y):
    """Return the sum of the rows' cross-entropies, and the gradient of their mean."""
    p = probabilities(z)
    if z.shape[1] == 1:
        return (np.logaddexp(0, z[:, 0]) - y * z[:, 0]).sum(), (p - y[:, None]) / len(y)
    rows = np.arange(len(y))
    loss = -np.log(p[rows, y]).sum()
    p[rows, y] -= 1
    return loss, p / len(y)


def derivative(case, a):
    """Return the activation's derivative, from its output."""
    return a > 0 if case.activation == "relu" else 1 - a**2


def adam(w, m, v, gradient, rate, t):
    """Update weights and moments in place."""
    m += 0.1 * (gradient - m)
    v += 0.001 * (gradient**2 - v)
    w -= rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
