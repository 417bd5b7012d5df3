"""How the infinite-width kernels of a layer respond to those of the layer below.

Each entry Φ_μν = ⟨ϕ(u)ϕ(v)⟩ depends on three numbers of the covariance below: the variances of u = u_μ and v = u_ν and
their covariance c = √(⟨u²⟩⟨v²⟩) cos θ. With E_μν the derivative with respect to log ⟨u²⟩ at fixed θ,

    ∂Φ/∂c = ⟨ϕ'ϕ'⟩ = Φ̇       ∂Φ/∂⟨u²⟩ = (E − cΦ̇/2)/⟨u²⟩ = ½⟨ϕ''(u)ϕ(v)⟩
    ∂Φ̇/∂c = −Φ̇_θ/(√(⟨u²⟩⟨v²⟩) sin θ)    ∂Φ̇/∂⟨u²⟩ = (Ė + ½ Φ̇_θ cot θ)/⟨u²⟩

No second derivative of ϕ is needed, which for a ReLU is a delta function. E, Ė and Φ̇_θ are central differences of the
dual activations (fourth order). Samples whose fields are multiples of each other (θ = 0 or π: the diagonal, copies of
a sample) stay so in every network, so there θ does not respond and its terms are left out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...networks import Nonlinearity
from ...precision import at_precision

_STEP = 2e-3
_COLLINEAR = 1e-5  # sin θ below which fields count as multiples of each other


class KernelResponse(NamedTuple):
    """Derivatives of a kernel (sample, sample2): with respect to ⟨u_μ²⟩ (`own`), and to ⟨u_μ u_ν⟩ (`cross`)."""

    own: np.ndarray
    cross: np.ndarray


class Dual(NamedTuple):
    """Φ and Φ̇ of one layer, and how they respond to the kernel below."""

    feature: np.ndarray
    slope: np.ndarray
    feature_response: KernelResponse
    slope_response: KernelResponse


def dual_with_responses(nonlinearity: Nonlinearity, below: np.ndarray) -> Dual:
    """Φ, Φ̇ and their responses, given Φ of the layer below (sample, sample)."""
    variance = np.diag(below).copy()
    scale = np.sqrt(np.outer(variance, variance))
    cosine = np.divide(below, scale, out=np.ones_like(below), where=scale > 0)
    sine = np.sqrt(np.clip(1 - cosine**2, 0, None))
    apart = sine > _COLLINEAR
    angle = np.arctan2(np.where(apart, sine, 0.0), cosine)
    below = np.where(apart, below, np.sign(cosine) * scale)

    def kernels(log_variance: float = 0.0, turn: np.ndarray | float = 0.0) -> np.ndarray:
        covariance = below if np.ndim(turn) == 0 else scale * np.cos(angle + turn)
        grown = np.exp(log_variance)
        with at_precision("float64"):
            return np.array(nonlinearity.dual(grown * variance, variance, np.sqrt(grown) * covariance))

    feature, slope = kernels()
    feature_growth, slope_growth = _difference(lambda step: kernels(log_variance=step), _STEP)
    # Half-way to the nearest fold of the angle at most: a kinked ϕ has a kernel with a kink there.
    reach = np.where(apart, np.minimum(_STEP, np.minimum(angle, np.pi - angle) / 4), _STEP)
    slope_turn = np.where(apart, _difference(lambda step: kernels(turn=step), reach)[1], 0.0)
    per_sine = np.divide(slope_turn, sine, out=np.zeros_like(sine), where=apart)
    return Dual(
        feature,
        slope,
        KernelResponse(_per(variance[:, None], feature_growth - below * slope / 2), slope),
        KernelResponse(_per(variance[:, None], slope_growth + per_sine * cosine / 2), -_per(scale, per_sine)),
    )


def multiplicative(gates: np.ndarray, below: np.ndarray) -> Dual:
    """The same for gated and linear networks, where Φ = ⟨φ̇φ̇⟩ ⊙ Φ_below and Φ̇ = ⟨φ̇φ̇⟩ does not respond."""
    nothing = np.zeros_like(below)
    return Dual(gates * below, gates, KernelResponse(nothing, gates), KernelResponse(nothing, nothing))


def _difference(function, step):
    """f'(0) by the central difference of fourth order."""
    near, far = (function(k * step) - function(-k * step) for k in (1, 2))
    return (8 * near - far) / (12 * step)


def _per(scale: np.ndarray, values: np.ndarray) -> np.ndarray:
    """values/scale, and 0 where the scale vanishes: an input of zero does not fluctuate."""
    scale = np.broadcast_to(scale, values.shape)
    return np.divide(values, scale, out=np.zeros_like(values), where=scale > 0)
