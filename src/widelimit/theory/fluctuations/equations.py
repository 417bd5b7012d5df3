"""The linear equations that kernels of wide networks obey around their mean, and the covariances that follow.

To leading order in 1/N the deviations of a network's kernels from their infinite-width means are Gaussian and obey

    δΦ^ℓ = (∂Φ^ℓ/∂Φ^{ℓ-1}) δΦ^{ℓ-1} + ξ^ℓ
    δB^ℓ = ρ Φ̇^ℓ ⊙ δB^{ℓ+1} + R^ℓ ⊙ (∂Φ̇^ℓ/∂Φ^{ℓ-1}) δΦ^{ℓ-1} + χ^ℓ,    ℓ = 1..L,  δΦ^0 = δB^{L+1} = 0

with B^ℓ = ⟨g y⟩ and y = ϕ'(h) z̃ what travels backward: the gradient itself (B = G), or a pseudo-gradient (B = G̃).
z and z̃ are what arrives from above, with ⟨zz⟩ = G^{ℓ+1}, ⟨z z̃⟩ = R^ℓ, ⟨z̃z̃⟩ = Y^ℓ. The noises ξ^ℓ, χ^ℓ are the sampling
errors of averages over the N neurons of layer ℓ; they are independent between layers and, because the same neurons
enter both, correlated within one. Written U δ = noise with a sparse triangular U, the covariance is U⁻¹ S U⁻ᵀ/N (the
paper's inverse of the Hessian, App. H).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from .moments import Moments, Pairs, wick
from .responses import Dual, KernelResponse


class Backward(NamedTuple):
    """What travels backward beside the gradient z: kernels of what arrives at each layer ℓ = 1..L from above.

    `gradient` ⟨zz⟩ = G^{ℓ+1}, `between` R^ℓ = ⟨z z̃⟩ and `other` Y^ℓ = ⟨z̃z̃⟩, each (sample, sample2); `passed` is ρ, the
    factor with which a deviation of B^{ℓ+1} arrives in R^ℓ. `pairs`: unordered if B is symmetric in every network.
    """

    gradient: Sequence[np.ndarray]
    between: Sequence[np.ndarray]
    other: Sequence[np.ndarray]
    passed: float
    pairs: Pairs

    def mean(self, duals: Sequence[Dual]) -> list[np.ndarray]:
        """B^1..B^L at infinite width."""
        return [dual.slope * between for dual, between in zip(duals, self.between, strict=True)]


class DeviationEquations:
    """The equations above for one network and one kind of backward pass."""

    def __init__(self, duals: Sequence[Dual], moments: Sequence[Moments], backward: Backward):
        self.duals, self.moments, self.backward = duals, moments, backward
        self.layers = len(duals)
        self.forward_pairs = Pairs.unordered(len(duals[0].slope))
        self.forward_size = self.layers * len(self.forward_pairs)
        self.size = self.forward_size + self.layers * len(backward.pairs)

    def covariance(self, readout: scipy.sparse.csr_array | None = None) -> np.ndarray:
        """N times the covariance of linear functions of all deviations, (row, row); of the deviations by default.

        **Arguments:** `readout` (row, deviation); deviations are in the order of [`forward`] and [`behind`].
        """
        readout = scipy.sparse.csr_array(scipy.sparse.eye_array(self.size)) if readout is None else readout
        # U is triangular in this order, so the factorisation fills nothing in.
        solver = scipy.sparse.linalg.splu(
            self._matrix().T.tocsc(), permc_spec="NATURAL", diag_pivot_thresh=0, options={"SymmetricMode": True}
        )
        weights = np.asarray(solver.solve(readout.toarray().T))
        covariance = np.zeros((weights.shape[1],) * 2)
        for layer in range(1, self.layers + 1):
            index = np.concatenate([self.forward(layer), self.behind(layer)])
            covariance += weights[index].T @ self._noise(layer) @ weights[index]
        return covariance

    def forward(self, layer: int) -> np.ndarray:
        """Where the deviations of Φ^ℓ are, ℓ = 1..L."""
        size = len(self.forward_pairs)
        return np.arange((layer - 1) * size, layer * size)

    def behind(self, layer: int) -> np.ndarray:
        """Where the deviations of B^ℓ are, ℓ = 1..L."""
        size = len(self.backward.pairs)
        start = self.forward_size + (self.layers - layer) * size
        return np.arange(start, start + size)

    def tangent_readout(self, features: Sequence[np.ndarray]) -> scipy.sparse.csr_array:
        """δK = δΦ^L + Σ_{ℓ<L} (Φ^ℓ ⊙ δB^{ℓ+1} + B^{ℓ+1} ⊙ δΦ^ℓ), over `backward.pairs`; `features` are Φ^0..Φ^L."""
        pairs, means = self.backward.pairs, self.backward.mean(self.duals)
        to_forward = self.forward_pairs.which[pairs.first, pairs.second]
        entries = _Entries()
        entries.add(np.arange(len(pairs)), self.forward(self.layers)[to_forward], np.ones(len(pairs)))
        for layer in range(self.layers):
            entries.add(np.arange(len(pairs)), self.behind(layer + 1), pairs.of(features[layer]))
            if layer:
                entries.add(np.arange(len(pairs)), self.forward(layer)[to_forward], pairs.of(means[layer]))
        return entries.array((len(pairs), self.size))

    def _matrix(self) -> scipy.sparse.csr_array:
        """U."""
        entries = _Entries()
        entries.add(np.arange(self.size), np.arange(self.size), np.ones(self.size))
        pairs = self.backward.pairs
        for layer, dual in enumerate(self.duals, start=1):
            if layer < self.layers:
                passed = self.backward.passed * pairs.of(dual.slope)
                entries.add(self.behind(layer), self.behind(layer + 1), -passed)
            if layer > 1:
                below = self.forward(layer - 1)
                self._respond(entries, self.forward(layer), below, self.forward_pairs, dual.feature_response, 1.0)
                between = pairs.of(self.backward.between[layer - 1])
                self._respond(entries, self.behind(layer), below, pairs, dual.slope_response, between)
        return entries.array((self.size, self.size))

    def _respond(
        self,
        entries: _Entries,
        rows: np.ndarray,
        below: np.ndarray,
        pairs: Pairs,
        response: KernelResponse,
        factor: np.ndarray | float,
    ) -> None:
        """The terms −factor × response: of each pair, two variances and one covariance of the layer below."""
        i, j, which = pairs.first, pairs.second, self.forward_pairs.which
        for column, change in (
            (which[i, i], response.own[i, j]),
            (which[j, j], response.own[j, i]),
            (which[i, j], response.cross[i, j]),
        ):
            entries.add(rows, below[column], -factor * change)

    def _noise(self, layer: int) -> np.ndarray:
        """The covariance S of (ξ^ℓ, χ^ℓ), times N."""
        moments, backward, pairs = self.moments[layer - 1], self.backward, self.backward.pairs
        to_forward = self.forward_pairs.which[pairs.first, pairs.second]
        gradient, between, other = (kernel[layer - 1] for kernel in backward[:3])
        arriving = pairs.of(between)
        mixed = moments.mixed[:, to_forward] * arriving
        mean = moments.mean_slope[to_forward] * arriving
        fourth = moments.slope[np.ix_(to_forward, to_forward)] * wick(gradient, between, other, pairs)
        return np.block([[moments.feature, mixed], [mixed.T, fourth - np.outer(mean, mean)]])


class _Entries:
    """Entries of a sparse matrix, collected; those at the same place add up."""

    def __init__(self):
        self.rows, self.columns, self.values = [], [], []

    def add(self, rows: np.ndarray, columns: np.ndarray, values: np.ndarray) -> None:
        self.rows.append(rows)
        self.columns.append(columns)
        self.values.append(values)

    def array(self, shape: tuple[int, int]) -> scipy.sparse.csr_array:
        rows, columns, values = (np.concatenate(parts) for parts in (self.rows, self.columns, self.values))
        return scipy.sparse.csr_array((values, (rows, columns)), shape=shape)
