"""Fourth moments of the neurons of one layer: how much kernels that average over N of them scatter.

A kernel of a network is an average over neurons, so its variance at given kernels below is that of one neuron over N:

    N Cov(Φ_μν, Φ_αβ) = ⟨ϕ_μϕ_νϕ_αϕ_β⟩ − ⟨ϕ_μϕ_ν⟩⟨ϕ_αϕ_β⟩

and likewise for ϕ'_μϕ'_ν, and for the two together. Where ϕ multiplies its input (linear and gated networks) Wick's
theorem gives the fields' part exactly; elsewhere the moments are sums over [`gaussian_points`].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ...networks import Gated, Nonlinearity
from ...precision import at_precision
from .points import Points, gaussian_points

_PIECE_BYTES = 2**26


class Pairs(NamedTuple):
    """A list of pairs of samples (μ, ν), and where in it to find each pair, which = (sample, sample2)."""

    first: np.ndarray
    second: np.ndarray
    which: np.ndarray

    @classmethod
    def unordered(cls, samples: int) -> Pairs:
        """The pairs μ ≤ ν, for kernels that are symmetric in every network."""
        first, second = np.triu_indices(samples)
        which = np.empty((samples, samples), int)
        which[first, second] = which[second, first] = np.arange(len(first))
        return cls(first, second, which)

    @classmethod
    def ordered(cls, samples: int) -> Pairs:
        """All pairs."""
        which = np.arange(samples**2).reshape(samples, samples)
        return cls(np.repeat(np.arange(samples), samples), np.tile(np.arange(samples), samples), which)

    def of(self, kernel: np.ndarray) -> np.ndarray:
        """The kernel (sample, sample2) as a vector (pair,)."""
        return kernel[self.first, self.second]

    def products(self, fields: np.ndarray) -> np.ndarray:
        """The products a_μ a_ν (point, pair) of fields (point, sample)."""
        return fields[:, self.first] * fields[:, self.second]

    def __len__(self) -> int:
        return len(self.first)


class Moments(NamedTuple):
    """Moments of one neuron over unordered pairs of samples.

    `feature` Cov(ϕ_μϕ_ν, ϕ_αϕ_β), `mixed` Cov(ϕ_μϕ_ν, ϕ'_αϕ'_β), `slope` ⟨ϕ'_μϕ'_νϕ'_αϕ'_β⟩, each (pair, pair), and
    `mean_slope` ⟨ϕ'_μϕ'_ν⟩ (pair,) from the same points.
    """

    feature: np.ndarray
    mixed: np.ndarray
    slope: np.ndarray
    mean_slope: np.ndarray


def wick(first: np.ndarray, between: np.ndarray, second: np.ndarray, pairs: Pairs) -> np.ndarray:
    """⟨a_μ b_ν a_α b_β⟩ (pair, pair) of zero-mean Gaussians, given ⟨aa⟩, ⟨ab⟩ and ⟨bb⟩ (sample, sample2)."""
    i, j = pairs.first, pairs.second
    straight = np.outer(pairs.of(between), pairs.of(between))
    crossed = first[np.ix_(i, i)] * second[np.ix_(j, j)]
    return straight + crossed + between[np.ix_(i, j)] * between[np.ix_(i, j)].T


def moments(nonlinearity: Nonlinearity, below: np.ndarray, count: int, seed: int) -> Moments:
    """The moments of a layer without gates, its preactivations being N(0, below)."""
    pairs = Pairs.unordered(len(below))
    points = gaussian_points(below, count, seed)
    values, slopes = (at_points(function, points.fields) for function in (nonlinearity.value, nonlinearity.derivative))
    half = len(pairs)
    mean, second = np.zeros(2 * half), np.zeros((2 * half, 2 * half))
    piece = max(1, _PIECE_BYTES // (16 * half))
    for start in range(0, len(values), piece):
        part = slice(start, start + piece)
        products = np.concatenate([pairs.products(values[part]), pairs.products(slopes[part])], axis=1)
        mean += points.weights[part] @ products
        products *= np.sqrt(points.weights[part, None])
        second += products.T @ products
    feature, slope = np.split(mean, 2)
    return Moments(
        second[:half, :half] - np.outer(feature, feature),
        second[:half, half:] - np.outer(feature, slope),
        second[half:, half:],
        slope,
    )


def multiplicative_moments(gates: Points, below: np.ndarray) -> Moments:
    """The moments of a layer whose neurons multiply a preactivation, N(0, below), by an independent gate."""
    pairs = Pairs.unordered(len(below))
    products = pairs.products(gates.fields)
    mean, fourth = gates.weights @ products, (products * gates.weights[:, None]).T @ products
    fields = pairs.of(below)
    feature = mean * fields
    return Moments(
        fourth * wick(below, below, below, pairs) - np.outer(feature, feature),
        fourth * fields[:, None] - np.outer(feature, mean),
        fourth,
        mean,
    )


def gate_points(nonlinearity: Nonlinearity, inputs: np.ndarray, count: int, seed: int) -> Points | None:
    """The gates φ̇(m) of a neuron with m ~ N(0, inputs); a constant for a linear network, None if ϕ has no gate."""
    if nonlinearity.gated:
        points = gaussian_points(inputs, count, seed)
        return Points(at_points(nonlinearity.gate, points.fields), points.weights)
    if nonlinearity.linear:
        return Points(at_points(nonlinearity.derivative, np.zeros((1, len(inputs)))), np.ones(1))
    return None


def gate_kernel(nonlinearity: Nonlinearity, gates: Points, inputs: np.ndarray) -> np.ndarray:
    """⟨φ̇_μ φ̇_ν⟩ (sample, sample2): the closed form where there is one, else from the points."""
    if isinstance(nonlinearity, Gated):
        variance = np.diag(inputs)
        with at_precision("float64"):
            return np.array(nonlinearity.shape.dual(variance, variance, inputs)[1])
    return (gates.fields * gates.weights[:, None]).T @ gates.fields


def at_points(function: Callable[[Array], Array], fields: np.ndarray) -> np.ndarray:
    """A function of the nonlinearity (in jax) in NumPy and float64."""
    with at_precision("float64"):
        return np.array(function(jnp.asarray(fields)))
