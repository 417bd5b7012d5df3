"""Fluctuations of the eNTK of Hebbian learning, whose pseudo-gradient is made of features instead of gradients.

With g̃_ν = a_ν ϕ(h_ν) the eNTK is K = Φ^L + Σ_{ℓ=1..L} a_ν Φ^{ℓ-1}_μν M^ℓ_μν with M^ℓ_μν = ⟨g_μ ϕ_ν⟩, which is 0 at
infinite width and of order 1/√N in a network. It is odd in the readout, and so uncorrelated with Φ. And it feels what
is negligible for ⟨gg⟩: that the gradient comes back through the weights which the features went through. Since
ϕ(h^ℓ)·z^ℓ = h^{ℓ+1}·g^{ℓ+1} in every network, whatever the weights,

    z^ℓ_μ = Σ_k ê_k s^{ℓ+1}_kμ + Gaussian noise with ⟨zz⟩ = G^{ℓ+1}, orthogonal to all ê_k,    s^ℓ_kμ = e_k·g^ℓ_μ/N

with e_k the principal components of h^{ℓ+1}, of unit variance, and ê_k the same combinations of ϕ(h^ℓ). All of δK is
then carried upward by one field for each entry (μ, ν),

    Y^ℓ_μν = ϕ'_μ (a_ν Φ^{ℓ-1}_μν ϕ_ν + Σ_k d^ℓ_kμν e_k),    d^{ℓ+1}_kμν = ⟨Y^ℓ_μν ê_k⟩,    d^1 = 0

and N Cov(K_μν, K_αβ) = N Cov(Φ^L_μν, Φ^L_αβ) + Σ_ℓ G^{ℓ+1}_μα ⟨Y^ℓ_μν Y^ℓ_αβ⟩, where Y^ℓ at ℓ < L is taken without its
part along the ê_k.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ...networks import Nonlinearity
from .moments import at_points
from .points import gaussian_points, square_root

_PIECE_BYTES = 2**26


def local_covariance(
    nonlinearity: Nonlinearity,
    features: Sequence[np.ndarray],
    arriving: Sequence[np.ndarray],
    amplitude: np.ndarray,
    count: int,
    seed: int,
    tick: Callable[[], object],
) -> np.ndarray:
    """N times the covariance of K − Φ^L over ordered pairs of samples, (pair, pair).

    **Arguments:** `features` Φ^0..Φ^L and `arriving` G^2..G^{L+1}, each (sample, sample2); `amplitude` a_ν (sample,);
    `count` and `seed` of the points; `tick` is called after each layer.
    """
    samples, layers = len(amplitude), len(arriving)
    total = np.zeros((samples**2, samples**2))
    whiten = _whitener(features[0])
    carried = np.zeros((len(whiten), samples, samples))
    for layer in range(1, layers + 1):
        values, slopes, fields, weights = _neurons(nonlinearity, features[0], features[layer - 1], count, seed)
        own = amplitude * features[layer - 1]
        above = _whitener(features[layer])[: 0 if layer == layers else None]
        principal, sent = fields @ whiten.T, values @ above.T

        def field(part: slice) -> np.ndarray:
            """Y (point, pair)."""
            inner = values[part, None, :] * own + np.tensordot(principal[part], carried, 1)  # noqa: B023
            return (slopes[part, :, None] * inner).reshape(-1, samples**2)  # noqa: B023

        pieces = _pieces(len(values), samples**2)
        passed = sum(sent[part].T @ (weights[part, None] * field(part)) for part in pieces)
        second = np.zeros_like(total)
        for part in pieces:
            rest = field(part) - sent[part] @ passed
            second += (weights[part, None] * rest).T @ rest
        total += np.repeat(np.repeat(arriving[layer - 1], samples, 0), samples, 1) * second
        whiten, carried = above, np.reshape(passed, (len(above), samples, samples))
        tick()
    return total


def _neurons(
    nonlinearity: Nonlinearity, inputs: np.ndarray, below: np.ndarray, count: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """ϕ, ϕ' and h of a layer's neurons, each (point, sample), and weights (point,)."""
    if not nonlinearity.gated:
        points = gaussian_points(below, count, seed)
        values, slopes = (at_points(f, points.fields) for f in (nonlinearity.value, nonlinearity.derivative))
        return values, slopes, points.fields, points.weights
    nothing = np.zeros_like(below)
    points = gaussian_points(np.block([[below, nothing], [nothing, inputs]]), count, seed)
    fields, gating = np.split(points.fields, 2, axis=1)
    gates = at_points(nonlinearity.gate, gating)
    return gates * fields, gates, fields, points.weights


def _whitener(kernel: np.ndarray) -> np.ndarray:
    """A (component, sample) with A kernel Aᵀ = 1, for the components that there are."""
    return np.linalg.pinv(square_root(kernel))


def _pieces(count: int, columns: int) -> list[slice]:
    size = max(1, _PIECE_BYTES // (8 * columns))
    return [slice(start, start + size) for start in range(0, count, size)]
