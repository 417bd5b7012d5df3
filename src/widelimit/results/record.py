"""What is recorded of a run, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .. import checks
from ..checks import ArgumentError
from .registry import VARIABLES

KERNELS = ("feature_kernel", "ntk", "pseudo_gradient_kernel", "gradient_kernel")
"""The kernels that are recorded where nothing else is asked for, in the order in which they are kept where all would
take too much memory."""

ON_REQUEST = ("pseudo_gradient_covariance", "mean_feature")
"""What is recorded only where it is named."""


@dataclass(frozen=True)
class Record:
    """What is recorded of a run, and when. Outputs, errors and losses always are.

    **Arguments:**

    - `every`: steps 0, `every`, 2·`every`, … are recorded, each as it was before its own update.
    - `kernels`: the names of the kernels that are recorded: "feature_kernel" (Φ^ℓ), "gradient_kernel" (G^ℓ),
      "pseudo_gradient_kernel" (G̃^ℓ), "ntk" (K), and, on request alone, "pseudo_gradient_covariance" (⟨g̃ g̃⟩ between
      samples) and "mean_feature" (⟨ϕ(h)⟩). By default the first four, without those that would take too much memory,
      which the run says; `()` leaves outputs and losses alone.
    - `samples`: the indices of the samples whose kernels are kept, in that order; all of them unless given.
    - `test_kernels`: also Φ^ℓ between test points, and between these and the recorded samples; with `fields` also h^ℓ
      at test points.
    - `two_time`: also Φ^ℓ(t, s) and G̃^ℓ(t, s) at all pairs of recorded steps.
    - `fields`: also h^ℓ and z^ℓ of every neuron or particle, at the last recorded step.
    - `positions`: also the recorded Φ^ℓ, G^ℓ and G̃^ℓ between all pairs of positions of a convolutional network; what is
      recorded anyhow is averaged over positions, (1/A) Σ_a Φ^ℓ_{aa}.

    **Raises:** `ArgumentError` for unknown names, and for indices that are negative or stand twice.
    """

    every: int = 1
    kernels: tuple[str, ...] | None = None
    samples: tuple[int, ...] | None = None
    test_kernels: bool = False
    two_time: bool = False
    fields: bool = False
    positions: bool = False

    def __post_init__(self):
        object.__setattr__(self, "every", checks.integer("record.every", self.every, at_least=1))
        for name in ("test_kernels", "two_time", "fields", "positions"):
            object.__setattr__(self, name, checks.boolean(f"record.{name}", getattr(self, name)))
        if self.kernels is not None:
            if isinstance(self.kernels, str):
                raise ArgumentError(f"record.kernels must be a tuple of names; write ({self.kernels!r},).")
            if not isinstance(self.kernels, (tuple, list)):
                raise ArgumentError(f"record.kernels must be a tuple of names; got {checks.shortened(self.kernels)}.")
            for name in self.kernels:
                checks.known("record.kernels", name, (*KERNELS, *ON_REQUEST), VARIABLES)
            object.__setattr__(self, "kernels", tuple(dict.fromkeys(self.kernels)))
        if self.samples is not None:
            object.__setattr__(self, "samples", _indices(self.samples))

    def check(self, samples: int, tests: int) -> None:
        """Raise unless a task with so many samples and test points has what is asked for."""
        if self.samples is not None and max(self.samples) >= samples:
            raise ArgumentError(f"record.samples: there is no sample {max(self.samples)}; the task has {samples}.")
        if self.test_kernels and not tests:
            raise ArgumentError("record.test_kernels needs test points; pass x_test to the task.")


def _indices(samples: Sequence[int]) -> tuple[int, ...]:
    array = np.asarray(samples) if isinstance(samples, (tuple, list, range, np.ndarray)) else np.zeros(())
    if array.ndim != 1 or not array.size or not np.issubdtype(array.dtype, np.integer):
        raise ArgumentError(f"record.samples must be whole numbers, one or more; got {samples!r}.")
    if array.min() < 0 or len(np.unique(array)) < len(array):
        raise ArgumentError(f"record.samples must be different indices, from 0; got {samples!r}.")
    return tuple(int(index) for index in array)
