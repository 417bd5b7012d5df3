"""Where a function jumps, and what its jumps alone contribute to Gaussian expectations, in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy  # which imports scipy.special on first use

from .hermite import REACH, Function, density, polynomials


@dataclass(frozen=True)
class Jumps:
    """f(h) = Σ_k sizes_k Θ(h − places_k) + a continuous function."""

    places: np.ndarray
    sizes: np.ndarray

    @classmethod
    def of(cls, function: Function, spread: float) -> Jumps:
        """The jumps above 1 % of the largest value within the reach of a Gaussian variable, by bisection."""
        edges = np.linspace(-REACH * spread, REACH * spread, 2**14 + 1)
        values = function(edges)
        scale = np.max(np.abs(values))
        steep = np.flatnonzero(np.abs(np.diff(values)) > 1e-2 * scale)
        left, right = edges[steep], edges[steep + 1]
        at_left, at_right = values[steep], values[steep + 1]
        floor = 1e-6 * spread
        while np.any(right - left > 1e-15 * np.maximum(np.abs(left + right), floor)):
            middle = 0.5 * (left + right)
            at_middle = function(middle)
            low = np.abs(at_middle - at_left) >= np.abs(at_right - at_middle)
            left, at_left = np.where(low, left, middle), np.where(low, at_left, at_middle)
            right, at_right = np.where(low, middle, right), np.where(low, at_middle, at_right)
        sizes = at_right - at_left
        real = np.abs(sizes) > 1e-3 * scale
        places, sizes = right[real], sizes[real]
        places[np.abs(places) < 1e-12 * spread] = 0
        # A value halfway up at the very place makes two jumps of one.
        new = np.diff(places, prepend=-np.inf) > 1e-12 * np.abs(places)
        return cls(places[new], np.bincount(np.cumsum(new) - 1, weights=sizes, minlength=0))

    def coefficients(self, spread: np.ndarray, terms: int) -> np.ndarray:
        """⟨Σ_k sizes_k Θ(σz − places_k) p_n(z)⟩, (term, σ): sizes_k p_{n−1}(b) density(b)/√n with b = places_k/σ."""
        found = np.zeros((terms, len(spread)))
        for place, size in zip(self.places, self.sizes, strict=True):
            b = self._scaled(place, spread)
            found[0] += size * scipy.special.ndtr(-b)
            found[1:] += size * density(b) * polynomials(b, terms - 1) / np.sqrt(np.arange(1, terms))[:, None]
        return found

    def product(self, spread: np.ndarray, spread2: np.ndarray, correlation: np.ndarray) -> np.ndarray:
        """⟨Σ_k sizes_k Θ(u − places_k) Σ_l sizes_l Θ(v − places_l)⟩ for pairs (pair,)."""
        total = np.zeros_like(correlation)
        for place, size in zip(self.places, self.sizes, strict=True):
            for place2, size2 in zip(self.places, self.sizes, strict=True):
                pair = self._scaled(place, spread), self._scaled(place2, spread2)
                total += size * size2 * both_above(*pair, correlation)
        return total

    @staticmethod
    def _scaled(place: float, spread: np.ndarray) -> np.ndarray:
        """places/σ, within bounds beyond which the normal density vanishes."""
        return np.clip(place / np.maximum(spread, 1e-300), -40, 40)


def both_above(a: np.ndarray, b: np.ndarray, correlation: np.ndarray) -> np.ndarray:
    """P(z > a, z' > b) for standard normal z, z' of the given correlation, by Owen's function T (Owen 1956)."""
    rest = np.sqrt(np.maximum((1 - correlation) * (1 + correlation), 1e-300))
    # Where one is 0, the slope is that of a limit; where both are, that of half the angle.
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where(a == 0, -np.sign(b) * np.inf, (b / a - correlation) / rest)
        slope2 = np.where(b == 0, -np.sign(a) * np.inf, (a / b - correlation) / rest)
    corner = np.sqrt((1 - correlation) / np.maximum(1 + correlation, 1e-300))
    origin = (a == 0) & (b == 0)
    slope, slope2 = np.where(origin, corner, slope), np.where(origin, corner, slope2)
    opposite = (a * b < 0) | ((a * b == 0) & (a + b > 0))
    ndtr, owens_t = scipy.special.ndtr, scipy.special.owens_t
    return 0.5 * (ndtr(-a) + ndtr(-b)) - owens_t(a, slope) - owens_t(b, slope2) - 0.5 * opposite
