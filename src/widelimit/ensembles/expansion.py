"""Coefficients of an expansion in 1/N from networks of several widths and the limit, with errors by resampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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
        return pooled(self.runs), np.std(draws, axis=0, ddof=1)


def bootstrapped(samples: Samples, resamples: int, seed: int) -> Expansion:
    """The coefficients of all entries, and their errors over resamples of all replicates, those of the limit too."""
    shape = samples.limit.shape[1:]
    limit = samples.limit.reshape(len(samples.limit), -1)
    runs = [run.reshape(len(run), -1) for run in samples.runs]
    chance = np.random.default_rng([seed, 2])
    weights = [_resampled(chance, len(values), resamples) for values in (limit, *runs)]
    step = max(_CHUNK // (resamples + 1), 1)
    parts = [
        _of_entries(limit[:, first : first + step], [run[:, first : first + step] for run in runs], samples, weights)
        for first in range(0, limit.shape[1], step)
    ]
    joined = [np.concatenate(columns).reshape(shape) for columns in zip(*parts, strict=True)]
    return Expansion(*joined)


def _resampled(chance: np.random.Generator, count: int, resamples: int) -> np.ndarray:
    """The share of each replicate in each resample: (resample, replicate), the sample itself first."""
    weights = np.ones((resamples + 1, count))
    if count > 1:
        weights[1:] = chance.multinomial(count, np.full(count, 1 / count), size=resamples)
    return weights / count


def _of_entries(
    limit: np.ndarray, runs: Sequence[np.ndarray], samples: Samples, weights: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """The measures of some entries, in the order of `MEASURES`."""
    widths = np.array(samples.widths, dtype=float)
    counts = np.array([len(run) for run in runs], dtype=float)
    anchor = weights[0] @ limit
    shifts, variances = [], []
    for run, weight, width, count in zip(runs, weights[1:], widths, counts, strict=True):
        base = run.mean(axis=0)  # near the mean, so that the second moment loses nothing to rounding
        mean = weight @ (run - base)
        second = weight @ (run - base) ** 2
        shifts.append(mean + base - anchor)
        variances.append(width * (second - mean**2) * count / (count - 1))
    leading = _fitted(np.stack(shifts), widths, counts * widths, (1,))[0]
    variance = _fitted(np.stack(variances), widths, counts, (0,))[0]
    if len(widths) > 1:
        curvature = _fitted(np.stack(shifts), widths, counts * widths, (1, 2))[1]
        slope = _fitted(np.stack(variances), widths, counts, (0, 1))[1]
    else:
        curvature = slope = np.full_like(leading, np.nan)
    measured = []
    # A resample varies by (n − 1)/n of what a sample does.
    few = [np.sqrt(len(limit) / max(len(limit) - 1, 1)), *[np.sqrt(counts.min() / (counts.min() - 1))] * 4]
    for values, factor in zip((anchor, leading, curvature, variance, slope), few, strict=True):
        measured += [values[0], factor * values[1:].std(axis=0, ddof=1)]
    return measured


def _fitted(values: np.ndarray, widths: np.ndarray, weights: np.ndarray, powers: tuple[int, ...]) -> np.ndarray:
    """Weighted least squares of values (width, …) in powers of 1/N: the coefficients (power, …)."""
    design = np.stack([widths ** -float(power) for power in powers], axis=1)
    scale = np.sqrt(weights)
    solution = np.linalg.pinv(design * scale[:, None] / np.abs(design * scale[:, None]).max(axis=0))
    solution = solution / np.abs(design * scale[:, None]).max(axis=0)[:, None]
    return np.tensordot(solution * scale, values, axes=1)
