"""Kernels over all pairs of steps, as the variables of a result."""

from __future__ import annotations

import numpy as np


def unfolded(kernels: list[np.ndarray], samples: int, outputs: int, left: bool, right: bool) -> np.ndarray:
    """Matrices over rows (step, sample[, output]) as (matrix, step, step2, sample, sample2[, output][, output2]).

    `left` and `right` say whether the rows and the columns have an output.
    """
    matrices = np.stack(kernels)
    sides = [(-1, samples) + (outputs,) * side for side in (left, right)]
    steps = matrices.shape[1] // (samples * (outputs if left else 1))
    matrices = matrices.reshape(len(kernels), steps, *sides[0][1:], steps, *sides[1][1:])
    middle = 1 + len(sides[0])
    return np.moveaxis(np.moveaxis(matrices, middle, 2), middle + 1, 4)


def equal_times(two_time: dict[str, np.ndarray], inputs: np.ndarray) -> dict[str, np.ndarray]:
    """Φ^ℓ, G^ℓ, G̃^ℓ, ⟨g̃ g̃⟩ and the eNTK at equal times, from all pairs of steps.

    **Arguments:** `two_time` with "feature_kernel" (layer, step, step2, sample, sample2) and "gradient_kernel",
    "pseudo_gradient_kernel", "pseudo_gradient_covariance", which have (…, output, output2) besides; `inputs` Φ^0.
    """
    steps = np.arange(two_time["feature_kernel"].shape[1])
    equal = {name: kernels[:, steps, steps].swapaxes(0, 1) for name, kernels in two_time.items()}
    own = equal.pop("pseudo_gradient_covariance")
    below = np.concatenate([np.broadcast_to(inputs, (len(steps), 1, *inputs.shape)), equal["feature_kernel"]], axis=1)
    terms = equal["pseudo_gradient_kernel"] * below[:, :-1, :, :, None, None]
    last = below[:, -1, :, :, None, None] * np.eye(own.shape[-1])
    return {**equal, "pseudo_gradient_norm": np.einsum("klssuu->klsu", own), "ntk": terms.sum(axis=1) + last}
