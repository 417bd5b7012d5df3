"""The order parameters of the mean-field theory, over (step, sample[, output_unit]) flattened into rows."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np


@dataclass
class OrderParameters:
    """The unknowns of the fixed point, for the first `steps` steps.

    Row indices are flattened with the step slowest: (step, sample) for features, (step, sample, output) for
    gradients. p is what a layer's update carries, δ_μ = Σ_c E_{μc} p_{μc}: the pseudo-gradients g̃ with E = Δ, or
    for Hebb the features with E = Σ_c Δ_c^p. Lists count layers ℓ = 1..L, or matrices ℓ = 1..L−1, from index 0. Under
    gradient descent `mixed` and `carrier` are `gradient` itself.

    * `feature` Φ^ℓ; `gradient` G^ℓ; `mixed` ⟨g p⟩; `carrier` ⟨p p⟩;
    * `forward_response` ⟨∂ϕ(h^ℓ)/∂r^ℓ⟩ under gradient descent (A), ⟨∂ϕ(h^ℓ)/∂v^ℓ⟩ under aligned feedback (C);
    * `backward_response` ⟨∂g^{ℓ+1}/∂u^{ℓ+1}⟩ (B); `feedback_response` ⟨∂p^{ℓ+1}/∂u^{ℓ+1}⟩ (D);
    * `output` f (step, sample, output_unit).
    """

    steps: int
    output: np.ndarray
    feature: list[np.ndarray] = field(default_factory=list)
    gradient: list[np.ndarray] = field(default_factory=list)
    mixed: list[np.ndarray] = field(default_factory=list)
    carrier: list[np.ndarray] = field(default_factory=list)
    forward_response: list[np.ndarray] = field(default_factory=list)
    backward_response: list[np.ndarray] = field(default_factory=list)
    feedback_response: list[np.ndarray] = field(default_factory=list)

    def copied(self) -> OrderParameters:
        """These, in lists of their own: the arrays are shared, and never written to."""
        return dataclasses.replace(self, **{name: list(getattr(self, name)) for name in _KERNELS + _RESPONSES})

    def resized(self, steps: int) -> OrderParameters:
        """The same for another number of steps: a prefix of these, or these with the last step held.

        Responses to later steps are continued as zero.
        """
        index = np.minimum(np.arange(steps), self.steps - 1)
        new = np.arange(steps) >= self.steps
        resized = OrderParameters(steps, self.output[index])
        for name in _KERNELS:
            setattr(resized, name, [_gathered(matrix, self.steps, index) for matrix in getattr(self, name)])
        for name in _RESPONSES:
            responses = [_gathered(matrix, self.steps, index) for matrix in getattr(self, name)]
            for matrix in responses:
                _blocks(matrix, steps)[:, :, new] = 0
            setattr(resized, name, responses)
        return resized


_KERNELS = ("feature", "gradient", "mixed", "carrier")
_RESPONSES = ("forward_response", "backward_response", "feedback_response")


class Damping:
    """The updates of one sweep, (1 − β) old + β new, and the changes that they damp, |new − old|/|new| (Frobenius)."""

    def __init__(self, speed: float):
        self.speed = speed
        self.changes: list[float] = []

    def blended(self, old: np.ndarray, new: np.ndarray) -> np.ndarray:
        """What replaces `old`."""
        size, change = float(np.linalg.norm(new)), float(np.linalg.norm(new - old))
        self.changes.append(change / size if size > 0 else change)
        return (1 - self.speed) * old + self.speed * new

    def update(self, matrices: list[np.ndarray], index: int, new: np.ndarray) -> None:
        """Replace the matrix of one layer."""
        matrices[index] = self.blended(matrices[index], new)


def _blocks(matrix: np.ndarray, steps: int) -> np.ndarray:
    """A view (step, row, step2, row2)."""
    rows, columns = matrix.shape
    return matrix.reshape(steps, rows // steps, steps, columns // steps)


def _gathered(matrix: np.ndarray, steps: int, index: np.ndarray) -> np.ndarray:
    blocks = _blocks(matrix, steps)
    rows, columns = blocks.shape[1], blocks.shape[3]
    taken = np.take(np.take(blocks, index, axis=0), index, axis=2)
    return np.ascontiguousarray(taken).reshape(len(index) * rows, len(index) * columns)
