"""Coefficients of an expansion in 1/N from networks of several widths and the limit, with errors."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.optimize
import scipy.stats
from numpy.typing import ArrayLike

MEASURES: dict[str, str] = {
    "limit": "q_∞, the mean over replicates at infinite width",
    "limit_error": "its standard error, 0 where it is exact",
    "shift": "a in ⟨q_N⟩ = q_∞ + a/N, by regression through the limit",
    "shift_error": "its standard error, of the limit's error too",
    "curvature": "b in ⟨q_N⟩ = q_∞ + a/N + b/N², by regression with both",
    "curvature_error": "its standard error",
    "variance": "C of each entry in Var(q_N) = C/N",
    "variance_error": "its standard error",
    "variance_curvature": "C' in N Var(q_N) = C + C'/N, by regression with both",
    "variance_curvature_error": "its standard error",
}
"""What is measured of each entry of a quantity."""

_CHUNK = 2_000_000
"""Numbers that are resampled at a time."""

_TAIL = float(scipy.stats.norm.sf(2))
"""How often a normal variable is more than two standard deviations above its mean."""


@dataclass
class Expansion:
    """The coefficients of `MEASURES`, each of the shape of a quantity."""

    limit: np.ndarray
    limit_error: np.ndarray
    shift: np.ndarray
    shift_error: np.ndarray
    curvature: np.ndarray
    curvature_error: np.ndarray
    variance: np.ndarray
    variance_error: np.ndarray
    variance_curvature: np.ndarray
    variance_curvature_error: np.ndarray


@dataclass
class Samples:
    """One quantity (replicate, …) at infinite width, and of the networks of each width."""

    limit: np.ndarray
    runs: Sequence[np.ndarray]
    widths: Sequence[int]

    def covariance(self, resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """C between the entries of the last axis, (…, entry, entry2), and its standard errors."""
        counts = np.array([len(run) for run in self.runs], dtype=float)
        chance = np.random.default_rng([seed, 3])

        def pooled(runs: Sequence[np.ndarray]) -> np.ndarray:
            total = np.zeros(())
            for width, run, count in zip(self.widths, runs, counts, strict=True):
                deviations = run - run.mean(axis=0)
                total = total + width * count / (count - 1) * np.einsum("r...i,r...j->...ij", deviations, deviations)
            return total / counts.sum()

        draws = []
        for _ in range(resamples):
            chosen = [run[chance.integers(len(run), size=len(run))] for run in self.runs]
            draws.append(pooled(chosen))
        value = pooled(self.runs)
        freedom = (counts - 1).sum()
        diagonal = np.einsum("...ii->...i", value)
        normal = np.sqrt((diagonal[..., :, None] * diagonal[..., None, :] + value**2) / freedom)
        resampled = np.sqrt(counts.min() / (counts.min() - 1)) * np.std(draws, axis=0, ddof=1)
        return value, wider_for_variances(int(freedom)) * np.maximum(resampled, normal)


def bootstrapped(samples: Samples, resamples: int, seed: int) -> Expansion:
    """The coefficients of all entries, and their errors: of means from their scatter, of variances by resamples too."""
    shape = samples.limit.shape[1:]
    limit = samples.limit.reshape(len(samples.limit), -1)
    runs = [run.reshape(len(run), -1) for run in samples.runs]
    chance = np.random.default_rng([seed, 2])
    weights = [_resampled(chance, len(run), resamples) for run in runs]
    step = max(_CHUNK // (resamples + 1), 1)
    parts = [
        _of_entries(limit[:, first : first + step], [run[:, first : first + step] for run in runs], samples, weights)
        for first in range(0, limit.shape[1], step)
    ]
    joined = [np.concatenate(columns).reshape(shape) for columns in zip(*parts, strict=True)]
    return Expansion(*joined)


def _resampled(chance: np.random.Generator, count: int, resamples: int) -> np.ndarray:
    """The share of each network in each resample: (resample, replicate), the sample itself first."""
    weights = np.ones((resamples + 1, count))
    weights[1:] = chance.multinomial(count, np.full(count, 1 / count), size=resamples)
    return weights / count


def _of_entries(
    limit: np.ndarray, runs: Sequence[np.ndarray], samples: Samples, weights: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """The measures of some entries, in the order of `MEASURES`."""
    widths = np.array(samples.widths, dtype=float)
    counts = np.array([len(run) for run in runs], dtype=float)
    unknown = np.full(limit.shape[1], np.nan)
    bases = np.stack([run.mean(axis=0) for run in runs])
    shifts = bases - limit.mean(axis=0)
    variances = []
    for run, weight, width, count, base in zip(runs, weights, widths, counts, bases, strict=True):
        mean = weight @ (run - base)  # about the mean, so that the second moment loses nothing to rounding
        variances.append(width * (weight @ (run - base) ** 2 - mean**2) * count / (count - 1))
    means, leading = _Means.of(limit, runs), unknown
    measured = [limit.mean(axis=0), means.error(np.append(1.0, 0 * counts))]
    for powers in ((1,), (1, 2)):
        if len(widths) < len(powers):
            measured += [unknown, unknown]
            continue
        fitted = _coefficients(widths, counts * widths, powers)[-1]
        measured += [fitted @ shifts, means.error(np.append(-fitted.sum(), fitted))]
    for powers in ((0,), (0, 1)):
        if len(widths) < len(powers):
            measured += [unknown, unknown]
            continue
        fitted = _coefficients(widths, counts, powers)[-1]
        values = np.tensordot(fitted, np.stack(variances), axes=1)
        first = powers == (0,)
        leading = values[0] if first else leading
        # The slope does not hang on C, of which its error is made, so that it needs no widening.
        factor = wider_for_variances(int((counts - 1).sum())) if first else 1.0
        # A resample varies by (n − 1)/n of what a sample does, and by less where few fourth powers are far out.
        resampled = np.sqrt(counts.min() / (counts.min() - 1)) * values[1:].std(axis=0, ddof=1)
        normal = leading * np.sqrt((fitted**2 * 2 / (counts - 1)).sum())
        measured += [values[0], factor * np.maximum(resampled, normal)]
    return measured


@dataclass
class _Means:
    """Squared standard errors (sample, entry) of the means of the limit and of each width, and what they are from."""

    squares: np.ndarray
    freedom: np.ndarray

    @classmethod
    def of(cls, limit: np.ndarray, runs: Sequence[np.ndarray]) -> _Means:
        samples = (limit, *runs)
        squares = [np.var(each, axis=0, ddof=1) / len(each) if len(each) > 1 else 0 * each[0] for each in samples]
        return cls(np.stack(squares), np.array([max(len(each) - 1.0, 1.0) for each in samples]))

    def error(self, coefficients: np.ndarray) -> np.ndarray:
        """Of a sum of the means: by Welch and Satterthwaite, who say from how many replicates it is."""
        parts = coefficients[:, None] ** 2 * self.squares
        total = parts.sum(axis=0)
        shares = parts / np.where(total > 0, total, 1.0)
        freedom = 1 / np.maximum((shares**2 / self.freedom[:, None]).sum(axis=0), 1e-12)
        return wider_for_means(freedom) * np.sqrt(total)


def wider_for_means(freedom: ArrayLike) -> np.ndarray:
    """What the error of a mean is widened by, so that two of them are exceeded as rarely as by a normal law."""
    return np.asarray(scipy.stats.t.isf(_TAIL, freedom)) / 2


@functools.cache
def wider_for_variances(freedom: int) -> float:
    """The same for s² √(2/ν), which is small just where the variance s² has come out small."""

    def missed(error: float) -> float:
        above = scipy.stats.chi2.sf(freedom / (1 - 2 * error), freedom) if error < 0.5 else 0.0
        return float(scipy.stats.chi2.cdf(freedom / (1 + 2 * error), freedom)) + float(above) - 2 * _TAIL

    root = scipy.optimize.brentq(missed, 0.0, 1e6)
    assert isinstance(root, float)
    return root / float(np.sqrt(2 / freedom))


def _coefficients(widths: np.ndarray, weights: np.ndarray, powers: tuple[int, ...]) -> np.ndarray:
    """Of the values at each width, in the weighted least squares of powers of 1/N: (power, width)."""
    design = np.stack([widths ** -float(power) for power in powers], axis=1)
    scale = np.sqrt(weights)
    largest = np.abs(design * scale[:, None]).max(axis=0)
    return np.linalg.pinv(design * scale[:, None] / largest) / largest[:, None] * scale
