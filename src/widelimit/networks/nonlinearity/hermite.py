"""Hermite coefficients of a function of one Gaussian variable, by quadrature."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

CAP = 2048  # terms at most
REACH = 12.0  # integrals run over |z| < 12: beyond, p_n(z) times the normal density is below 1e-16 for every n

_PANEL = 0.25  # resolves p_n up to CAP, and features of ϕ of unit size up to σ = 6
_POINTS = 16  # Gauss–Legendre points in a panel

Function = Callable[[np.ndarray], np.ndarray]


def density(z: np.ndarray) -> np.ndarray:
    """The standard normal density."""
    return np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)


def polynomials(z: np.ndarray, terms: int) -> np.ndarray:
    """p_n(z) = He_n(z)/√n! for n < `terms`, on a new first axis: orthonormal under the standard normal density."""
    found = np.empty((terms, *z.shape))
    found[:1] = 1
    found[1:2] = z
    for n in range(2, terms):
        np.multiply(found[n - 1], z, out=found[n])
        found[n] -= np.sqrt(n - 1) * found[n - 2]
        found[n] /= np.sqrt(n)
    return found


def slices(count: int, size: int) -> Iterator[slice]:
    """range(count) in pieces of at most `size`."""
    return (slice(first, min(first + size, count)) for first in range(0, count, size))


@dataclass(frozen=True)
class Series:
    """a_n(σ) = ⟨f(σz) p_n(z)⟩ at some values of σ, with ⟨f(σz)²⟩ = Σ_n a_n² and ⟨f(σz)f(−σz)⟩ = Σ_n (−1)ⁿ a_n²."""

    coefficients: np.ndarray  # (term, σ)
    power: np.ndarray
    mirrored: np.ndarray

    @classmethod
    def of(cls, function: Function, spread: np.ndarray, cuts: np.ndarray, terms: int) -> Series:
        """The first terms, at every σ of `spread`; panels that hold one of `cuts` are split there."""
        found = cls(np.zeros((terms, len(spread))), np.zeros(len(spread)), np.zeros(len(spread)))
        largest = spread.max(initial=0)
        edges, z, weights, at_points = _grid(int(np.ceil(np.log2(largest / 6))) if largest > 6 else 0)
        cut = np.sort(cuts / np.where(spread > 0, spread, np.inf)[:, None], axis=1)
        cut = np.where((cut != 0) & (np.abs(cut) < REACH), cut, REACH)  # 0 is a border already
        for rows in slices(len(spread), 512):
            kept = ~np.repeat(_contains(edges, cut[rows]), _POINTS, axis=1)
            found._add(function, spread[rows], rows, z, weights * kept, at_points)
        for rows in slices(len(spread) if cuts.size else 0, 64):
            points, shares = _split_panels(edges, np.sort(cut[rows], axis=1))
            found._add(function, spread[rows], rows, points, shares, polynomials(points, terms))
        return found

    def _add(
        self,
        function: Function,
        spread: np.ndarray,
        rows: slice,
        z: np.ndarray,
        weights: np.ndarray,
        at_points: np.ndarray,
    ) -> None:
        """Add the part of all integrals that lies at the points z (point,) or (σ, point)."""
        terms = len(self.coefficients)
        h = spread[:, None] * z
        values = function(h)
        weighted = values * weights
        self.power[rows] += np.sum(weighted * values, axis=1)
        self.mirrored[rows] += np.sum(weighted * function(-h), axis=1)
        if z.ndim == 1:
            self.coefficients[:, rows] += at_points[:terms] @ weighted.T
        else:
            self.coefficients[:, rows] += np.einsum("nsz,sz->ns", at_points[:terms], weighted)

    def left(self) -> tuple[np.ndarray, np.ndarray]:
        """What the terms leave of the sums over even and over odd n of a_n², (σ,) each; zero where it is rounding."""
        squares = self.coefficients**2
        even = 0.5 * (self.power + self.mirrored) - squares[0::2].sum(axis=0)
        odd = 0.5 * (self.power - self.mirrored) - squares[1::2].sum(axis=0)
        return even * (even > 1e-14 * self.power), odd * (odd > 1e-14 * self.power)


@functools.cache
def _legendre() -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(_POINTS)


@functools.lru_cache(maxsize=2)
def _grid(halvings: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Borders of the panels, points, weights, and p_n at the points; panels get shorter towards 0 by 2^halvings."""
    borders = [np.arange(0, REACH + _PANEL / 2, _PANEL)]
    for halving in range(halvings):
        reach = 8 * _PANEL / 2**halving
        finer = np.arange(0, reach, _PANEL / 2 ** (halving + 1))
        borders = [finer, *(kept[kept >= reach] for kept in borders)]
    positive = np.concatenate(borders)
    edges = np.concatenate([-positive[:0:-1], positive])
    z, weights = _panels(edges[:-1], edges[1:])
    return edges, z, weights, polynomials(z, CAP)


def _panels(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points z and weights, normal density included, of the panels [left, right]; the last axis is that of panels."""
    points, weights = _legendre()
    half = 0.5 * (right - left)[..., None]
    z = 0.5 * (left + right)[..., None] + half * points
    merged = (*left.shape[:-1], -1)
    return z.reshape(merged), (half * weights * density(z)).reshape(merged)


def _contains(edges: np.ndarray, cut: np.ndarray) -> np.ndarray:
    """Which panels hold a cut, (σ, panel)."""
    found = np.zeros((len(cut), len(edges) - 1), bool)
    row, which = np.nonzero(cut < REACH)
    found[row, np.searchsorted(edges, cut[row, which], side="right") - 1] = True
    return found


def _split_panels(edges: np.ndarray, cut: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points and weights, (σ, point), that stand for the panels which hold the ascending cuts (σ, cut)."""
    inside = cut < REACH
    panel = np.clip(np.searchsorted(edges, cut, side="right") - 1, 0, len(edges) - 2)
    alone = np.ones((len(cut), 1), bool)
    new = (panel[:, 1:] != panel[:, :-1]) | ~inside[:, 1:]
    before = np.where(np.concatenate([alone, new], axis=1), edges[panel], np.roll(cut, 1, axis=1))
    after = np.where(np.concatenate([new, alone], axis=1), edges[panel + 1], cut)
    left = np.concatenate([np.where(inside, before, 0), np.where(inside, cut, 0)], axis=1)
    right = np.concatenate([np.where(inside, cut, 0), np.where(inside, after, 0)], axis=1)
    return _panels(left, right)
