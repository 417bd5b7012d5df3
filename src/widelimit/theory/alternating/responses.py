"""Response functions ⟨∂x_k/∂y_j⟩ from particles: by Gaussian integration by parts, or along each particle's path."""

from __future__ import annotations

import numpy as np
import scipy.linalg

from .fields import Solution, System, causal_overlap, causal_root

RIDGE = 5.0
"""Ridge of the regression, relative to (mean variance of the field)/S: see [`Regressor`]."""


_TRTRI = scipy.linalg.get_lapack_funcs(("trtri",), dtype=np.float64)[0]


class Regressor:
    """Responses to a Gaussian field y of known covariance, from ⟨x yᵀ⟩ = R ⟨y yᵀ⟩ (Stein's lemma).

    Causality says that x_k depends on y_j for j ≤ k (or j < k) alone, so each step is regressed on its own past:
    R = ⌊⟨x yᵀ⟩ L^{-T}⌋ L^{-1}, where L is the triangular root of the covariance and ⌊·⌋ keeps what is causal. Every
    direction of y that is kept adds a variance of order 1/S to R y, so directions with less power than that only do
    harm, and in long runs make the iteration explode. A ridge of a few times the variance over S damps them, at a bias
    of the same order; directions that are missing altogether do not matter, because R only ever meets fields of the
    same covariance.
    """

    def __init__(self, covariance: np.ndarray, field: np.ndarray, steps: int):
        self.steps, self.field = steps, field
        self._root = causal_root(covariance, RIDGE / field.shape[1])

    def response(self, x: np.ndarray, strict: bool) -> np.ndarray:
        """⟨∂x_k/∂y_j⟩ for j ≤ k, or for j < k where `strict`."""
        solved = scipy.linalg.solve_triangular(self._root, causal_overlap(x, self.field, self.steps).T, lower=True).T
        causal = keep_causal(solved, self.steps, strict)
        return scipy.linalg.solve_triangular(self._root, causal.T, lower=True, trans=1).T


def keep_causal(matrix: np.ndarray, steps: int, strict: bool) -> np.ndarray:
    """The matrix with its blocks (k, j) for j > k (and j = k where `strict`) set to zero."""
    rows, columns = matrix.shape[0] // steps, matrix.shape[1] // steps
    mask = np.tril(np.ones((steps, steps)), -1 if strict else 0)
    return matrix * np.repeat(np.repeat(mask, rows, axis=0), columns, axis=1)


def along_paths(
    system: System, solution: Solution, into_z: np.ndarray, z: np.ndarray, shrink: np.ndarray, wanted: set[str]
) -> dict[str, np.ndarray]:
    """Responses as averages of each particle's own Jacobian.

    With p = ϕ'(h) y the tangents of a particle obey dh = s du + 𝒫 dp and dp = E dh + ϕ' dy, where
    E = diag(ϕ'' y) + ϕ' 𝒴 ϕ', so that dh = (I − 𝒫E)^{-1}(s du + 𝒫 ϕ' dy): one triangular inverse and a few products of
    n×n matrices a particle.

    **Arguments:** `into_z` and `z` make the gradient g = ϕ'(h) z; `shrink` s (row); `wanted` some of "forward"
    ⟨∂ϕ/∂y⟩, "backward" ⟨∂g/∂u⟩ and "feedback" ⟨∂p/∂u⟩.
    """
    rows, particles = solution.h.shape
    units, outputs = len(solution.p) // rows, len(z) // rows
    curvature, identity = system.units.curvature(solution.h), np.eye(rows)
    found = {
        "forward": np.zeros((rows, len(solution.p))),
        "backward": np.zeros((len(z), rows)),
        "feedback": np.zeros((len(solution.p), rows)),
    }
    if system.units.nonlinearity.linear:
        particles = 1  # all have the same Jacobian
    for n in range(particles):
        slope, own = solution.slope[:, n], np.diag(solution.slope[:, n])
        if solution.y is not None:
            own = _jacobian(curvature[:, n], slope, solution.y[:, n], system.into_y, units)
        inverse, _ = _TRTRI(identity - system.into_h @ own, lower=1, unitdiag=1)
        if "forward" in wanted:
            found["forward"] += slope[:, None] * (inverse @ system.into_h) * np.repeat(slope, units)
        if "backward" in wanted:
            gradient = own
            if system.into_y is not into_z:  # otherwise p is g
                gradient = _jacobian(curvature[:, n], slope, z[:, n], into_z, outputs)
            found["backward"] += gradient @ inverse
        if "feedback" in wanted:
            found["feedback"] += own @ inverse
    found["backward"] *= shrink
    found["feedback"] *= shrink
    return {name: found[name] / particles for name in wanted}


def _jacobian(
    curvature: np.ndarray, slope: np.ndarray, y: np.ndarray, into_y: np.ndarray | None, units: int
) -> np.ndarray:
    """∂(ϕ' y)/∂h where y responds to ϕ(h) by `into_y`: (row of y, row of h)."""
    found = np.zeros((len(y), len(slope)))
    if into_y is not None:
        found += into_y * slope * np.repeat(slope, units)[:, None]
    row = np.arange(len(y))
    found[row, row // units] += np.repeat(curvature, units) * y
    return found
