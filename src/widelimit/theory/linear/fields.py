"""Fields of one layer of a deep linear network, as combinations of Gaussian variables, and their covariances.

Three kinds of Gaussian variables reach a layer from outside, its primitive variables. Each has an entry for every step
and sample, and r and p for every output besides:

    u   what the layer below sends through the initial matrix      ⟨u u⟩ = Φ^{ℓ-1}
    r   what the layer above sends back of g through its own       ⟨r r⟩ = G^{ℓ+1}
    p   g̃ itself, where feedback is frozen                         ⟨p p⟩ = G̃̃^{ℓ+1},  ⟨r p⟩ = ρ G̃^{ℓ+1}

u is independent of r and p. In a linear network h, g and g̃ are combinations of these with fixed coefficients, so that
coefficients say all: kernels are covariances of combinations, and response functions are coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Rows(NamedTuple):
    """Where the steps of a field are: `per_step` rows a step, (sample) or (sample, output), the step slowest."""

    per_step: int

    def at(self, step: int) -> slice:
        """The rows of one step."""
        return slice(step * self.per_step, (step + 1) * self.per_step)

    def before(self, step: int) -> slice:
        """The rows of all earlier steps."""
        return slice(0, step * self.per_step)

    def through(self, step: int) -> slice:
        """The rows of all steps up to this one."""
        return self.before(step + 1)


@dataclass
class LinearField:
    """A field as a combination of the primitive variables of its layer.

    Coefficients are (row of the field, variable). They are also the field's responses, ∂field/∂u, ∂field/∂r and
    ∂field/∂p. Without frozen feedback there is no p, and `p` has no columns.
    """

    u: np.ndarray
    r: np.ndarray
    p: np.ndarray

    @classmethod
    def zeros(cls, rows: int, forward: int, backward: int, frozen: bool) -> LinearField:
        """A field still to be solved for, from `forward` variables u and `backward` variables r and p each."""
        return cls(np.zeros((rows, forward)), np.zeros((rows, backward)), np.zeros((rows, backward if frozen else 0)))

    def become(self, rows: slice, weights: np.ndarray, other: LinearField, other_rows: slice) -> None:
        """Make some rows the sums `weights` @ (rows of another field of the layer)."""
        self.u[rows] = weights @ other.u[other_rows]
        self.r[rows] = weights @ other.r[other_rows]
        self.p[rows] = weights @ other.p[other_rows]


@dataclass(frozen=True)
class PrimitiveCovariances:
    """Covariances of a layer's primitive variables up to some step. `rp` is None where r and p are independent."""

    uu: np.ndarray
    rr: np.ndarray
    rp: np.ndarray | None
    pp: np.ndarray

    def with_field(self, field: LinearField, rows: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """⟨u f⟩, ⟨r f⟩ and ⟨p f⟩ for some rows of a field f, each (variable, row)."""
        u, r, p = field.u[rows, : len(self.uu)], field.r[rows, : len(self.rr)], field.p[rows, : len(self.pp)]
        of_r, of_p = self.rr @ r.T, self.pp @ p.T
        if self.rp is not None:
            of_r, of_p = of_r + self.rp @ p.T, of_p + self.rp.T @ r.T
        return self.uu @ u.T, of_r, of_p

    def between(self, a: LinearField, rows: slice, b: LinearField, columns: slice) -> np.ndarray:
        """⟨a bᵀ⟩ of two fields of the layer: the coefficients of a, applied to what its variables share with b."""
        of_u, of_r, of_p = self.with_field(b, columns)
        a_u, a_r, a_p = a.u[rows, : len(of_u)], a.r[rows, : len(of_r)], a.p[rows, : len(of_p)]
        return a_u @ of_u + a_r @ of_r + a_p @ of_p

    def extend(self, kernel: np.ndarray, a: LinearField, b: LinearField, rows: Rows, step: int) -> None:
        """Fill the rows and columns of a kernel ⟨a bᵀ⟩ in that belong to one step; those of earlier steps are known."""
        now, known = rows.at(step), rows.through(step)
        kernel[known, now] = self.between(a, known, b, now)
        kernel[now, known] = kernel[known, now].T if a is b else self.between(a, now, b, known)


class LinearLayer:
    """The fields h, g and g̃ of one hidden layer, and the kernels that they make.

    `feature` Φ = ⟨h h⟩, `gradient` G = ⟨g g⟩, `mixed` G̃ = ⟨g g̃⟩ and `pseudo_gradient` G̃̃ = ⟨g̃ g̃⟩, over rows
    (step, sample) and (step, sample, output). Under gradient descent g̃ is g, and the last three are one array.
    """

    def __init__(self, forward: int, backward: int, frozen: bool, gradient_descent: bool):
        self.h = LinearField.zeros(forward, forward, backward, frozen)
        self.g = LinearField.zeros(backward, forward, backward, frozen)
        self.g_tilde = self.g if gradient_descent else LinearField.zeros(backward, forward, backward, frozen)
        self.feature = np.zeros((forward, forward))
        self.gradient = self.mixed = self.pseudo_gradient = np.zeros((backward, backward))
        if not gradient_descent:
            self.mixed, self.pseudo_gradient = np.zeros((backward, backward)), np.zeros((backward, backward))


class Readout:
    """What stands above the last hidden layer: G^{L+1} = G̃^{L+1} = G̃̃^{L+1} = 1 for each output, at all times."""

    def __init__(self, steps_and_samples: int, outputs: int):
        self.gradient = np.tile(np.eye(outputs), (steps_and_samples, steps_and_samples))
        self.mixed = self.pseudo_gradient = self.gradient
