"""The evidence of a recording for a law of responses: a Gaussian likelihood over units, with gains of their own.

A unit's responses over cells c = (session, stimulus) are

    y = b + g x + ε,   x of mean m and second moment Φ,   ε_c ~ N(0, σ²/n_c),   log g² ~ N(log a, τ²)

with n_c trials and a baseline b that is projected out (residual likelihood). x is taken for Gaussian, so that for a
given g it is the marginal likelihood of pattern component modelling (Diedrichsen & Kriegeskorte 2017). With a factor
C = F Fᵀ of the covariance C = Φ − m mᵀ, one eigendecomposition of Fᵀ diag(n) F for each pattern of trials gives the
likelihood at every signal-to-noise ratio g²/σ²; a, τ and σ² (within 20 per cent where repeats tell it) are maximised,
to far less than a nat: with hundreds of neurons a few per cent of the scale are worth several.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

from .units import Units

_TAIL = 1e-5
"""The share of the variance that is left out of the factor of a covariance: far below any noise."""
_LOG_RATIOS = np.arange(-6.0, 5.3, 0.1)
"""The grid of logarithms of signal-to-noise ratios g²/σ² on which gains are integrated: finer than any spread."""
_SPREADS = (0.15, 0.5, 1.1, 2.0)
"""Standard deviations τ of log g² from which the largest likelihood is looked for; the first and last bound it."""
_COARSE = slice(None, None, 3)
"""The ratios that are looked at, and tried as the centre log a/σ², to begin with."""
_KNOWN = 1.2
"""By how much noise that repeats have told may be off."""


class Law(NamedTuple):
    """What a candidate says of the responses of any neuron: a mean (cell,) and a factor (cell, direction) of C."""

    mean: np.ndarray
    factor: np.ndarray

    @classmethod
    def of(cls, second_moment: np.ndarray, mean: np.ndarray | None = None) -> Law:
        """The law with this second moment (cell, cell) and mean, on the scale on which the variance is 1 on average."""
        mean = np.zeros(len(second_moment)) if mean is None else mean
        scale = max(np.trace(second_moment) / len(second_moment), 1e-300)  # of a law that says nothing, any
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
    curves = _curves(units, law)
    spreads = _SPREADS if gains else _SPREADS[:1]
    settings, weights = _coarse_weights(spreads)

    def coarsely(log_noise: float) -> tuple[float, tuple[float, float, float]]:
        totals = _mixed(curves, weights, log_noise).sum(axis=0)
        place = int(np.argmax(totals))
        return float(totals[place]), (*settings[place], log_noise)

    def lost(setting: np.ndarray) -> float:
        centre, spread, log_noise = setting
        return -float(_mixed(curves, _gain_weights(centre, spread)[:, None], log_noise).sum())

    start = max(map(coarsely, _log_noises(units, curves)))[1]
    off = np.log(_KNOWN) if units.noise is not None else np.inf
    known = np.log(units.noise) if units.noise is not None else 0.0
    bounds = [(_LOG_RATIOS[0], _LOG_RATIOS[-1]), (spreads[0], spreads[-1]), (known - off, known + off)]
    # Differences over much less would be those of rounding: likelihoods are sums of many thousands.
    found = minimize(lost, start, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-9, "eps": 1e-5})
    centre, spread, log_noise = found.x if found.fun <= lost(np.array(start)) else start
    by_unit = _mixed(curves, _gain_weights(centre, spread)[:, None], log_noise)[:, 0]
    return Evidence(by_unit * units.multiplicity, float(np.exp(centre + log_noise)), spread, float(np.exp(log_noise)))


def log_likelihood_at(units: Units, law: Law, found: Evidence) -> np.ndarray:
    """The log likelihood of each unit at the scale, spread and noise that were found for others."""
    weights = _gain_weights(np.log(found.scale / found.noise), found.spread)
    return _mixed(_curves(units, law), weights[:, None], np.log(found.noise))[:, 0] * units.multiplicity


def _gain_weights(centre: float, spread: float) -> np.ndarray:
    """The normal law of log ratios with this centre and spread, on their grid."""
    exponents = -0.5 * ((_LOG_RATIOS - centre) / spread) ** 2
    weights = np.exp(exponents - exponents.max())
    return weights / weights.sum()


@functools.cache
def _coarse_weights(spreads: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The centres and spreads that are tried to begin with, and their weights (ratio, setting) on coarse ratios."""
    settings = np.array(list(itertools.product(_LOG_RATIOS[_COARSE], spreads)))
    weights = np.zeros((len(_LOG_RATIOS), len(settings)))
    weights[_COARSE] = np.stack([_gain_weights(*setting)[_COARSE] for setting in settings], axis=1)
    return settings, weights / weights.sum(axis=0)


def _log_noises(units: Units, curves: _Curves) -> np.ndarray:
    """Logarithms of the variances of noise to begin with: what repeats tell, else shares of the whole variance."""
    if units.noise is not None:
        return np.log([units.noise])
    whole = curves.quadratic[:, 0].sum() / curves.freedom.sum()  # the smallest ratio: all of it is noise
    return np.log(whole) + np.arange(-5.0, 0.4, 0.6)


def _mixed(curves: _Curves, weights: np.ndarray, log_noise: float) -> np.ndarray:
    """The log likelihood of each unit, (unit, setting), where gains have the weights (ratio, setting)."""
    used = (weights > 1e-14).any(axis=1)
    weights = weights[used]
    each = _log_likelihood(curves, np.flatnonzero(used), float(np.exp(log_noise)))
    top = each.max(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(each - top) @ weights) + top


def _log_likelihood(curves: _Curves, places: np.ndarray, variance: float) -> np.ndarray:
    """log N(y; s m, s² C + σ²/n) of each unit at some ratios s²/σ², but for constants that no candidate changes."""
    ratio = np.exp(_LOG_RATIOS[places])
    log_det, quadratic, cross, mean = (
        part[:, places] for part in (curves.log_det, curves.quadratic, curves.cross, curves.mean)
    )
    quadratic = quadratic / variance - 2 * np.sqrt(ratio / variance) * cross + ratio * mean
    return -0.5 * (curves.freedom[:, None] * np.log(variance) + log_det + quadratic)


def _curves(units: Units, law: Law) -> _Curves:
    factor, mean, nuisance, grid = law.factor, law.mean, units.nuisance, np.exp(_LOG_RATIOS)
    shape = (units.count, len(grid))
    curves = _Curves(np.empty(shape), np.empty(shape), np.empty(shape), np.empty(shape), np.empty(units.count))
    for members, pattern in units.patterns:
        seen = pattern > 0
        root = np.sqrt(pattern[seen])
        # In units of the noise of a trial; baselines are projected out of everything.
        columns = [root[:, None] * factor[seen], root[:, None] * mean[seen, None]]
        rows = [root[:, None] * units.responses[np.ix_(members, np.flatnonzero(seen))].T]
        regressors = root[:, None] * nuisance[seen]
        basis = _orthonormal(regressors)
        f, m, y = (part - basis @ (basis.T @ part) for part in (*columns, *rows))
        values, vectors = np.linalg.eigh(f.T @ f if f.shape[1] <= f.shape[0] else f @ f.T)
        positive = values > 1e-12 * values.max(initial=1e-300)
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
