"""The order of samples in an epoch, on the host: the twin of ``epoch.cl``, for streamed data."""

import math

import numpy as np

ROUNDS = 6


def shuffle_side(n_samples):
    """Return the side of the smallest square that holds every index below ``n_samples``."""
    return math.isqrt(max(n_samples - 1, 0)) + 1


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
    side, key = np.uint32(shuffle_side(n_samples)), _philox_first(epoch, seed)
    order = np.empty(n_samples, np.uint32)
    todo = np.arange(n_samples)
    left, right = np.divmod(np.arange(n_samples, dtype=np.uint32), side)
    with np.errstate(over="ignore"):
        while len(todo):
            for number in range(ROUNDS):
                part = (_mix(right, key, number).astype(np.uint64) * side >> np.uint64(32)).astype(np.uint32)
                total = left + part
                left, right = right, np.where(total >= side, total - side, total)
            index = left * side + right
            done = index < n_samples
            order[todo[done]] = index[done]
            todo, left, right = todo[~done], left[~done], right[~done]
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
