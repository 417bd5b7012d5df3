"""Minibatches: which samples each step learns from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import checks


@dataclass(frozen=True)
class Batches:
    """Minibatches: each step learns from `size` samples, the same for all replicates and at every width.

    The sum over samples in the loss is then over the batch, so that an epoch takes P/`size` steps of the same step
    size. Epochs are random permutations from `seed`: the order of the data is part of the problem.

    **Arguments:** `size`, between 1 and the number of samples; `seed` of their order.

    **Raises:** `ArgumentError` for a size below 1 or a negative seed, and where it is used for one above P.
    """

    size: int
    seed: int = 0

    def __post_init__(self):
        object.__setattr__(self, "size", checks.integer("batches.size", self.size, at_least=1))
        object.__setattr__(self, "seed", checks.integer("batches.seed", self.seed, at_least=0))

    def order(self, samples: int, steps: int) -> np.ndarray:
        """The samples of the batch at each of so many steps, (step, row), without a sample twice in one batch.

        Epochs are cut into batches one after the other. Where the size does not divide the number of samples, a batch
        takes the end of one epoch and the beginning of the next; the latter is then drawn from the samples that the
        former lacks.
        """
        checks.integer("batches.size", self.size, at_least=1, at_most=samples)
        random = np.random.default_rng(self.seed)
        batches, left = np.zeros((steps, self.size), np.int32), np.zeros(0, np.int32)
        for batch in batches:
            if len(left) < self.size:
                epoch = random.permutation(samples).astype(np.int32)
                absent = ~np.isin(epoch, left)
                first = np.flatnonzero(absent)[: self.size - len(left)]
                left = np.concatenate([left, epoch[first], np.delete(epoch, first)])
            batch[:], left = left[: self.size], left[self.size :]
        return batches
