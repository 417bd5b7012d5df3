"""Minibatches: which samples each step learns from."""

from __future__ import annotations

import numpy as np

from .. import checks


def batch_order(samples: int, batch_size: int, steps: int, seed: int) -> np.ndarray:
    """The samples of the batch at each step, (step, row), without a sample twice in one batch.

    Epochs are random permutations of all samples, cut into batches one after the other. Where the batch size does not
    divide the number of samples, a batch takes the end of one epoch and the beginning of the next; the latter is then
    drawn from the samples that the former lacks.

    **Raises:** `ArgumentError` for a batch size that is not between 1 and the number of samples.
    """
    checks.integer("batch_size", batch_size, at_least=1, at_most=samples)
    checks.integer("batch_seed", seed, at_least=0)
    random = np.random.default_rng(seed)
    batches, left = np.zeros((steps, batch_size), np.int32), np.zeros(0, np.int32)
    for batch in batches:
        if len(left) < batch_size:
            epoch = random.permutation(samples).astype(np.int32)
            absent = ~np.isin(epoch, left)
            first = np.flatnonzero(absent)[: batch_size - len(left)]
            left = np.concatenate([left, epoch[first], np.delete(epoch, first)])
        batch[:], left = left[:batch_size], left[batch_size:]
    return batches
