"""Gaussian expectations of a nonlinearity by quadrature."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .base import Nonlinearity


def dual(
    nonlinearity: Nonlinearity, variance: np.ndarray, variance2: np.ndarray, covariance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """⟨ϕ(u)ϕ(v)⟩ and ⟨ϕ'(u)ϕ'(v)⟩ for Gaussian u, v: see [`Nonlinearity`]."""
    raise NotImplementedError
