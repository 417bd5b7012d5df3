"""The evidence of a recording for a law of responses: a Gaussian likelihood over units, with gains of their own.

A unit's responses over cells c = (session, stimulus) are

    y = b + g x + ε,   x of mean m and second moment Φ,   ε_c ~ N(0, σ²/n_c),   log g² ~ N(log a, τ²)

with n_c trials and a baseline b that is projected out (residual likelihood). x is taken for Gaussian, so that for a
given g it is the marginal likelihood of pattern component modelling (Diedrichsen & Kriegeskorte 2017). With a factor
C = F Fᵀ of the covariance C = Φ − m mᵀ, one eigendecomposition of Fᵀ diag(n) F for each pattern of trials gives the
likelihood at every signal-to-noise ratio g²/σ²; a, τ and σ² (where repeats do not tell it) are maximised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from .units import Units

_TAIL = 1e-5
"""The share of the variance that is left out of the factor of a covariance: far below any noise."""
_RATIOS = np.exp(np.arange(-6.0, 5.3, 0.35))
"""The grid of signal-to-noise ratios g²/σ² on which gains are integrated."""
_SPREADS = (0.15, 0.5, 1.1, 2.0)
"""Standard deviations τ of log g² that are tried."""


class Law(NamedTuple):
    """What a candidate says of the responses of any neuron: a mean (cell,) and a factor (cell, direction) of C."""

    mean: np.ndarray
    factor: np.ndarray

    @classmethod
    def of(cls, second_moment: np.ndarray, mean: np.ndarray | None = None) -> Law:
        """The law with this second moment (cell, cell) and mean, on the scale on which the variance is 1 on average."""
        mean = np.zeros(len(second_moment)) if mean is None else mean
        scale = np.trace(second_moment) / len(second_moment)
        values, vectors = np.linalg.eigh((second_moment - np.outer(mean, mean)) / scale)
        values = np.maximum(values, 0.0)
        left_out = np.cumsum(values) <= _TAIL * values.sum()
        return cls(mean / np.sqrt(scale), (vectors * np.sqrt(values))[:, ~left_out])


@dataclass(frozen=True)
class Evidence:
    """The log evidence of each unit, and the scale, spread and noise at which it is largest."""

    by_unit: np.ndarray
    scale: float
    """Median of g² over the units, of a law whose variance is 1."""
    spread: float
    """τ, of log g²."""
    noise: float
    """σ² of a trial, in units of the recording's own noise where that is known."""

    @property
    def total(self) -> float:
        """The log evidence of the recording."""
        return float(self.by_unit.sum())


class _Curves(NamedTuple):
    """Of each unit on the grid of ratios: log det, and the quadratic form as a + b s + c s² in the mean's scale s."""

    log_det: np.ndarray
    quadratic: np.ndarray
    cross: np.ndarray
    mean: np.ndarray
    freedom: np.ndarray


def evidence(units: Units, law: Law, gains: bool = True) -> Evidence:
    """The evidence of a law, with scale, spread of gains and unknown noise where it is largest.

    **Arguments:** `gains`: whether neurons have gains of their own.
    """
    curves = _curves(units, law, _RATIOS)
    weights, settings = _gain_weights(np.log(_RATIOS), gains)

    def at(variance: float) -> Evidence:
        each = _log_likelihood(curves, _RATIOS, variance)
        top = each.max(axis=1, keepdims=True)
        with np.errstate(divide="ignore"):
            mixed = np.log(np.exp(each - top) @ weights) + top  # unit, setting
        place = int(np.argmax(mixed.sum(axis=0)))
        centre, spread = settings[place]
        return Evidence(mixed[:, place] * units.multiplicity, float(np.exp(centre) * variance), spread, float(variance))

    best = max(map(at, _noises(units, curves)), key=lambda found: found.total)
    if units.noise is None:
        closer = best.noise * np.exp([-0.35, -0.17, 0.17, 0.35])
        best = max([best, *map(at, closer)], key=lambda found: found.total)
    return best


def log_likelihood_at(units: Units, law: Law, found: Evidence) -> np.ndarray:
    """The log likelihood of each unit at the scale, spread and noise that were found for others."""
    each = _log_likelihood(_curves(units, law, _RATIOS), _RATIOS, found.noise)
    logs = np.log(_RATIOS)
    weights = -0.5 * ((logs - np.log(found.scale / found.noise)) / max(found.spread, 1e-3)) ** 2
    return logsumexp(each + weights - logsumexp(weights), axis=1) * units.multiplicity


def _gain_weights(logs: np.ndarray, gains: bool) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """Normal laws over the grid of log ratios, as columns, with their centres and spreads."""
    settings = [(centre, spread) for spread in (_SPREADS if gains else _SPREADS[:1]) for centre in logs]
    centres, spreads = np.array(settings).T
    weights = np.exp(-0.5 * ((logs[:, None] - centres) / spreads) ** 2)
    return weights / weights.sum(axis=0), settings


def _noises(units: Units, curves: _Curves) -> np.ndarray:
    """The variances of the noise that are tried: about one where repeats tell it, else shares of the whole variance."""
    if units.noise is not None:
        return units.noise * np.array([0.85, 1.0, 1.2])
    whole = curves.quadratic[:, 0].sum() / curves.freedom.sum()  # the smallest ratio: all of it is noise
    return whole * np.exp(np.arange(-5.0, 0.4, 0.6))


def _log_likelihood(curves: _Curves, grid: np.ndarray, variance: float) -> np.ndarray:
    """log N(y; s m, s² C + σ²/n) of each unit at every ratio s²/σ², but for constants that no candidate changes."""
    quadratic = curves.quadratic / variance - 2 * np.sqrt(grid / variance) * curves.cross + grid * curves.mean
    return -0.5 * (curves.freedom[:, None] * np.log(variance) + curves.log_det + quadratic)


def _curves(units: Units, law: Law, grid: np.ndarray) -> _Curves:
    factor, mean, nuisance = law.factor, law.mean, units.nuisance
    patterns, index = np.unique(units.weights, axis=0, return_inverse=True)
    index = index.reshape(-1)
    shape = (units.count, len(grid))
    curves = _Curves(np.empty(shape), np.empty(shape), np.empty(shape), np.empty(shape), np.empty(units.count))
    for place, pattern in enumerate(patterns):
        members = np.flatnonzero(index == place)
        seen = pattern > 0
        root = np.sqrt(pattern[seen])
        # In units of the noise of a trial; baselines are projected out of everything.
        columns = [root[:, None] * factor[seen], root[:, None] * mean[seen, None]]
        rows = [root[:, None] * units.responses[np.ix_(members, np.flatnonzero(seen))].T]
        regressors = root[:, None] * nuisance[seen]
        basis = _orthonormal(regressors)
        f, m, y = (part - basis @ (basis.T @ part) for part in (*columns, *rows))
        values, vectors = np.linalg.eigh(f.T @ f if f.shape[1] <= f.shape[0] else f @ f.T)
        positive = values > 1e-12 * max(values[-1], 1e-300)
        values, vectors = values[positive], vectors[:, positive]
        axes = f @ vectors / np.sqrt(values) if f.shape[1] <= f.shape[0] else vectors
        explained = (values[:, None] * grid) / (1 + values[:, None] * grid)  # direction, ratio
        py, pm = axes.T @ y, axes.T @ m
        curves.log_det[members] = np.log1p(values[:, None] * grid).sum(axis=0)
        curves.quadratic[members] = (y**2).sum(axis=0)[:, None] - (py**2).T @ explained
        curves.cross[members] = (y.T @ m) - (py * pm).T @ explained
        curves.mean[members] = (m**2).sum() - (pm**2).T @ explained
        curves.freedom[members] = seen.sum() - basis.shape[1]
    return curves


def _orthonormal(columns: np.ndarray) -> np.ndarray:
    """An orthonormal basis of the columns that are not zero."""
    if not columns.size:
        return columns[:, :0]
    left, values, _ = np.linalg.svd(columns, full_matrices=False)
    return left[:, values > 1e-9 * max(values[0], 1e-300)]
