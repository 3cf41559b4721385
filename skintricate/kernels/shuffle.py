"""The order of samples in an epoch, on the host: the twin of ``epoch.cl``, for streamed data."""

import numpy as np

ROUNDS = 6


def shuffle_bits(n_samples):
    """Return the even number of bits that hold every index below ``n_samples``."""
    bits = max(int(n_samples - 1).bit_length(), 2)
    return bits + bits % 2


def shuffled_order(n_samples, seed, epoch):
    """Return the order of samples in an epoch, bitwise the one the device makes.

    Parameters
    ----------
    n_samples : int
    seed, epoch : int

    Returns
    -------
    order : ndarray of shape (n_samples,), dtype int32
    """
    half = np.uint32(shuffle_bits(n_samples) // 2)
    mask = np.uint32((1 << int(half)) - 1)
    key = _philox_first(epoch, seed)
    order = np.empty(n_samples, np.uint32)
    todo, index = np.arange(n_samples), np.arange(n_samples, dtype=np.uint32)
    with np.errstate(over="ignore"):
        while len(todo):
            left, right = index >> half, index & mask
            for number in range(ROUNDS):
                left, right = right, left ^ (_mix(right, key, number) & mask)
            index = left << half | right
            done = index < n_samples
            order[todo[done]] = index[done]
            todo, index = todo[~done], index[~done]
    return order.astype(np.int32)


def _mix(x, key, number):
    """Return a 32-bit hash of ``x`` for one round."""
    h = (x + key) * np.uint32(0x9E3779B9) + np.uint32(number * 0x85EBCA6B & 0xFFFFFFFF)
    h ^= h >> np.uint32(16)
    h *= np.uint32(0x7FEB352D)
    h ^= h >> np.uint32(15)
    h *= np.uint32(0x846CA68B)
    h ^= h >> np.uint32(16)
    return h


def _philox_first(counter, key):
    """Return the first word of Philox 2x32-10 of ``(counter, 0)``."""
    x, y = counter & 0xFFFFFFFF, 0
    for _ in range(10):
        product = 0xD256D193 * x
        x, y = (product >> 32) ^ key ^ y, product & 0xFFFFFFFF
        key = key + 0x9E3779B9 & 0xFFFFFFFF
    return np.uint32(x)
