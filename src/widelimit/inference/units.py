"""A recording as units: vectors over cells (session, stimulus) with a weight for each cell.

A tracked neuron is one unit that is seen in all sessions; of neurons that are others in each session, every one is a
unit that is seen in one session alone. A cell that is missing has the weight zero, others that of their trials.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass

import numpy as np

from ..checks import ArgumentError
from .recording import Recording

_SHRINKAGE = 20.0
"""Degrees of freedom with which the noise of one neuron is drawn towards that of all."""
_TOO_CLEAN = 0.01
"""The share of noise in the power of responses below which repeats do not tell it: they are copies, or all but that."""


@dataclass(frozen=True)
class Units:
    """Means over trials and their weights, each (unit, cell), with cells in the order (session, stimulus).

    Responses are in units of their noise where repeats have told it: then `noise` is 1, and None where it is unknown.
    """

    responses: np.ndarray
    weights: np.ndarray
    session: np.ndarray
    """The session of a unit that is seen in one alone, −1 for those that are tracked."""
    neuron: np.ndarray
    """Where the unit stands in the recording: units of one tracked neuron are resampled together."""
    sessions: int
    noise: float | None
    multiplicity: float
    """For how many neurons a unit stands: 1, but for recordings that were made of distances."""
    nuisance: np.ndarray
    """What is projected out of every unit, (cell, regressor): baselines."""
    constant: int = 0
    """How many more there were that never varied, which say nothing of covariances."""

    @property
    def count(self) -> int:
        """How many units there are."""
        return len(self.responses)

    @property
    def stimuli(self) -> int:
        """How many stimuli there are."""
        return self.responses.shape[1] // self.sessions

    def chosen(self, index: np.ndarray) -> Units:
        """Some of the units."""
        return dataclasses.replace(
            self,
            responses=self.responses[index],
            weights=self.weights[index],
            session=self.session[index],
            neuron=self.neuron[index],
        )

    def with_responses(self, responses: np.ndarray) -> Units:
        """The same cells with other responses (unit, cell), where they are seen."""
        return dataclasses.replace(self, responses=np.where(self.weights > 0, responses, 0.0))

    @functools.cached_property
    def patterns(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """The units of each pattern of weights, and that pattern: a likelihood is computed for all of them at once."""
        patterns, index = np.unique(self.weights, axis=0, return_inverse=True)
        return [(np.flatnonzero(index.reshape(-1) == place), pattern) for place, pattern in enumerate(patterns)]

    @property
    def centred(self) -> np.ndarray:
        """Responses without baselines, zero where nothing was seen."""
        y, observed = self.responses * self.observed, self.observed
        for regressor in self.nuisance.T:
            seen = observed * (regressor != 0)
            means = (y * seen).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
            y = y - means[:, None] * seen
        return y

    @property
    def observed(self) -> np.ndarray:
        """Which cells are seen, (unit, cell)."""
        return self.weights > 0


def units_of(recording: Recording, baseline: str = "neuron", shared_noise: int = 0) -> Units:
    """The units of a recording.

    **Arguments:** `baseline`: "neuron", "session" or "none", what constants each neuron may add to its responses;
    `shared_noise`: how many dimensions of noise that neurons share are projected out.
    """
    values = recording.responses.values  # session, trial, neuron, stimulus
    if shared_noise:
        # Where neurons are others in each session, so are the directions in which they vary together.
        parts = [values] if recording.tracked else values[:, None]
        values = np.concatenate([_without_shared_noise(part, shared_noise) for part in parts])
    sessions, _, neurons, stimuli = values.shape
    seen = np.isfinite(values)
    counts = seen.sum(axis=1)  # session, neuron, stimulus
    means = np.where(seen, values, 0.0).sum(axis=1) / np.maximum(counts, 1)
    squares = (np.where(seen, values - means[:, None], 0.0) ** 2).sum(axis=(1, 3))  # session, neuron
    freedom = np.maximum(counts - 1, 0).sum(axis=2)
    if not recording.tracked:
        squares, freedom = squares.reshape(-1), freedom.reshape(-1)
        responses = np.zeros((sessions * neurons, sessions, stimuli))
        weights = np.zeros((sessions * neurons, sessions, stimuli))
        where = np.repeat(np.arange(sessions), neurons)
        responses[np.arange(len(where)), where] = means.reshape(-1, stimuli)
        weights[np.arange(len(where)), where] = counts.reshape(-1, stimuli)
        neuron = np.arange(len(where))
    else:
        squares, freedom = squares.sum(axis=0), freedom.sum(axis=0)
        responses, weights = means.transpose(1, 0, 2), counts.transpose(1, 0, 2).astype(float)
        where, neuron = np.full(neurons, -1), np.arange(neurons)
    units = Units(
        responses.reshape(len(where), -1),
        weights.reshape(len(where), -1),
        where,
        neuron,
        sessions,
        None,
        recording.multiplicity,
        _constants(baseline, sessions, stimuli),
    )
    kept = (units.weights > 0).sum(axis=1) > 1
    if kept.sum() < 2:
        raise ArgumentError("recording must hold at least two neurons that were seen with two stimuli or more.")
    centred, largest = np.abs(units.centred).max(axis=1), np.abs(units.responses).max(axis=1)
    if units.multiplicity == 1:
        # A unit that never varies would be taken for one without noise, and its gain is all that it can be silent by.
        varying = kept & (centred > 1e-9 * largest)
    else:
        varying = kept & (centred.max() > 1e-9 * largest.max())
    if varying.sum() < 2:
        raise ArgumentError(
            "recording must hold responses that differ between stimuli or sessions, of two neurons at least; each "
            "neuron's are all alike."
        )
    constant, units = int((kept & ~varying).sum()), units.chosen(np.flatnonzero(varying))
    power = float((units.centred**2).sum() / units.observed.sum())
    noise, known = _noise(squares[varying], freedom[varying], power)
    return dataclasses.replace(
        units,
        responses=units.responses / np.sqrt(noise)[:, None],
        noise=1.0 if known else None,
        constant=constant,
    )


def _noise(squares: np.ndarray, freedom: np.ndarray, power: float) -> tuple[np.ndarray, bool]:
    """The variance of a trial's noise for each unit, drawn towards that of all; ones where repeats do not tell it."""
    if freedom.sum() < 10:
        return np.ones(len(squares)), False
    common = squares.sum() / freedom.sum()
    if not common > _TOO_CLEAN * power:
        return np.ones(len(squares)), False
    return (squares + _SHRINKAGE * common) / (freedom + _SHRINKAGE), True


def _constants(baseline: str, sessions: int, stimuli: int) -> np.ndarray:
    if baseline == "none":
        return np.zeros((sessions * stimuli, 0))
    if baseline == "neuron":
        return np.ones((sessions * stimuli, 1))
    return np.kron(np.eye(sessions), np.ones((stimuli, 1)))


def _without_shared_noise(values: np.ndarray, count: int) -> np.ndarray:
    """Responses without the directions over neurons in which trials vary most about their means.

    Under the Gaussian law neurons are as good as any rotation of them, so that what is left is of a few neurons less.
    """
    _, trials, neurons, _ = values.shape
    if trials < 2 or not np.isfinite(values).all():
        raise ArgumentError("shared_noise needs two trials or more, and no missing cells, to tell it from the signal.")
    if count >= neurons:
        raise ArgumentError(f"shared_noise must be smaller than the number of neurons, {neurons}; got {count}.")
    residual = values - values.mean(axis=1, keepdims=True)
    flat = residual.transpose(2, 0, 1, 3).reshape(neurons, -1)
    _, vectors = np.linalg.eigh(flat @ flat.T)
    kept = vectors[:, : neurons - count]  # ascending: the largest are left out
    return np.einsum("stnp,nm->stmp", values, kept)
