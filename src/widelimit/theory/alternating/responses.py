"""Response functions ⟨∂x_k/∂y_j⟩ from particles: by Gaussian integration by parts, or along each particle's path."""

from __future__ import annotations

import numpy as np
import scipy.linalg

from .fields import causal_overlap, causal_root
from .layer import Layer

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
    layer: Layer, forward: bool, backward: bool, feedback: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """⟨∂ϕ/∂y⟩, ⟨∂g/∂u⟩ and ⟨∂p/∂u⟩ as averages of each particle's own Jacobian, those that are asked for.

    With h = u + 𝒫 p, p = ϕ'(h) y and y = … + 𝒴 ϕ(h), the tangents of a particle obey dh = du + 𝒫 dp and
    dp = J dh + ϕ' dy, where J = diag(ϕ'' y) + ϕ' 𝒴 ϕ', so that dh = (1 − 𝒫J)^{-1} (du + 𝒫 ϕ' dy): one triangular
    inverse and a few products of n×n matrices a particle. u and y are here what the equations have, s u and what
    arrives.
    """
    equations, fields = layer.equations, layer.fields
    rows, particles = fields.h.shape
    carried, outputs = len(fields.p) // rows, len(layer.z) // rows
    curvature, identity = equations.nonlinearity.curvature(fields.h), np.eye(rows)
    phi_to_y = np.zeros((rows, len(fields.p)))
    g_to_u, p_to_u = np.zeros((len(layer.z), rows)), np.zeros((len(fields.p), rows))
    if equations.nonlinearity.linear:
        particles = 1  # all have the same Jacobian
    for n in range(particles):
        slope = fields.slope[:, n]
        if fields.y is None:  # p = ϕ(h)
            p_to_h = np.diag(slope)
        else:
            p_to_h = _jacobian(curvature[:, n], slope, fields.y[:, n], equations.into_y, carried)
        # 𝒫 is strictly causal, so 1 − 𝒫J has a unit diagonal.
        h_to_u, _ = _TRTRI(identity - equations.into_h @ p_to_h, lower=1, unitdiag=1)
        if forward:
            phi_to_y += slope[:, None] * (h_to_u @ equations.into_h) * np.repeat(slope, carried)
        if backward:
            g_to_h = p_to_h
            if equations.into_y is not layer.into_z:  # else p is g
                g_to_h = _jacobian(curvature[:, n], slope, layer.z[:, n], layer.into_z, outputs)
            g_to_u += g_to_h @ h_to_u
        if feedback:
            p_to_u += p_to_h @ h_to_u
    return phi_to_y / particles, g_to_u / particles, p_to_u / particles


def _jacobian(
    curvature: np.ndarray, slope: np.ndarray, y: np.ndarray, into_y: np.ndarray | None, outputs: int
) -> np.ndarray:
    """∂(ϕ' y)/∂h where y answers to ϕ(h) by `into_y`: (row of y, row of h)."""
    jacobian = np.zeros((len(y), len(slope)))
    if into_y is not None:
        jacobian += into_y * slope * np.repeat(slope, outputs)[:, None]
    row = np.arange(len(y))
    jacobian[row, row // outputs] += np.repeat(curvature, outputs) * y
    return jacobian
