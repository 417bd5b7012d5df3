"""Whether a candidate fits: what neurons that were held out say of covariances beyond it, against networks of its own.

The covariance that the other neurons have is mixed into that of the candidate, C_λ = (1 − λ) C + λ Ĉ. If the candidate
is right, Ĉ is C and noise, and held-out neurons gain nothing; if it is not, they gain. How much they may gain by chance
is measured on networks of finite width that the candidate itself has trained.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..progress import progress_bar
from .evidence import Evidence, Law, evidence, log_likelihood_at
from .simulated import features_of
from .units import Units

if TYPE_CHECKING:
    from .posterior import Judge, Judged

LEVEL = 0.05
"""The probability by chance at which a recording is said to fit none."""

_FOLDS = 4
_SHARES = (0.15, 0.4, 0.7, 1.0)
"""The λ that are tried."""


class HeldOut(NamedTuple):
    """The log evidence of held-out neurons: of a candidate, of the best mixture, of the best static kernel."""

    best: float
    ceiling: float
    static: float

    @property
    def gain(self) -> float:
        """What held-out neurons gain by what the others say beyond the candidate."""
        return self.ceiling - self.best


def held_out(units: Units, law: Law, gains: bool, random: np.random.Generator) -> HeldOut:
    """The held-out evidence of a law, of the best mixture with what the other neurons say, and of a static kernel."""
    groups = random.permutation(np.unique(units.neuron))
    folds = [np.isin(units.neuron, groups[fold::_FOLDS]) for fold in range(min(_FOLDS, len(groups)))]
    dynamic = np.zeros(1 + len(_SHARES))
    static = np.zeros(len(_SHARES))
    found = evidence(units, law, gains)
    for fold in folds:
        kept, out = units.chosen(np.flatnonzero(~fold)), units.chosen(np.flatnonzero(fold))
        if not kept.count or not out.count:
            continue
        free, seen = covariance(kept, found)
        own = np.where(seen, law.factor @ law.factor.T, 0.0)
        for place, share in enumerate((0.0, *_SHARES)):
            mixed = Law.of((1 - share) * own + share * free + np.outer(law.mean, law.mean), law.mean)
            dynamic[place] += log_likelihood_at(out, mixed, found).sum()
        flat, still = (_static(matrix, seen, units.sessions) for matrix in (free, own))
        for place, share in enumerate(_SHARES):
            mixed = Law.of((1 - share) * still + share * flat)
            static[place] += log_likelihood_at(out, mixed, found).sum()
    return HeldOut(float(dynamic[0]), float(dynamic.max()), float(static.max()))


def covariance(units: Units, found: Evidence) -> tuple[np.ndarray, np.ndarray]:
    """The covariance over cells that units say there is, on the scale of a law, and which of its entries they saw.

    Baselines and the noise of trials are taken out; each unit counts in proportion to what it says of the signal.
    """
    weights = units.observed.astype(float)
    y = _centred(units)
    power = (y**2).sum(axis=1) / np.maximum(weights.sum(axis=1), 1)
    each = 1 / (power + found.noise)  # neurons of a large gain shall not be all that counts
    pairs = (weights * each[:, None]).T @ weights
    seen = (weights.T @ weights) > 0
    moment = ((y * each[:, None]).T @ y) / np.where(seen, pairs, 1.0)
    trials = np.where(weights.sum(axis=0) > 0, units.weights.sum(axis=0) / np.maximum(weights.sum(axis=0), 1), 1.0)
    moment = moment - np.diag(found.noise / trials)
    values, vectors = np.linalg.eigh(np.where(seen, moment, 0.0))
    positive = (vectors * np.maximum(values, 0.0)) @ vectors.T
    scale = np.trace(positive) / len(positive)
    return positive / max(scale, 1e-300), seen


def _centred(units: Units) -> np.ndarray:
    """Responses without baselines, zero where nothing was seen."""
    y, observed = units.responses * units.observed, units.observed
    for regressor in units.nuisance.T:
        seen = observed * (regressor != 0)
        means = (y * seen).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
        y = y - means[:, None] * seen
    return y


def _static(matrix: np.ndarray, seen: np.ndarray, sessions: int) -> np.ndarray:
    """The same kernel in all pairs of sessions that were seen: their mean."""
    size = len(matrix) // sessions
    blocks = matrix.reshape(sessions, size, sessions, size)
    known = seen.reshape(sessions, size, sessions, size).any(axis=(1, 3))
    # Where neurons are others in each session, no two sessions have anything in common.
    mean = blocks.transpose(0, 2, 1, 3)[known].mean(axis=0)
    return np.kron(known.astype(float), mean)


def p_value(judge: Judge, best: Judged, count: int, width: int, seed: int, progress: bool | None) -> float:
    """How often networks that the best candidate has trained fit it no better than the recording does."""
    units, law = judge.units, best.law
    observed = held_out(units, law, judge.gains, np.random.default_rng(seed)).gain
    features = _features(judge, best, width, seed)
    worse = 0
    with progress_bar(progress, total=count, desc="does it fit?", unit="network") as bar:
        for index in range(count):
            random = np.random.default_rng([seed, index])
            drawn = units.with_responses(_drawn(units, features(index), best.evidence, random))
            worse += held_out(drawn, law, judge.gains, np.random.default_rng(seed)).gain >= observed
            bar.update(1)
    return (1 + worse) / (1 + count)


def _features(judge: Judge, best: Judged, width: int, seed: int) -> Callable[[int], np.ndarray]:
    """Features (cell, neuron) of one network after the other that the candidate has trained."""
    candidate = best.candidate
    sessions = len(best.times)
    if candidate.net is None or candidate.net.nonlinearity.gated:
        shape = best.law.factor.shape[1], 4 * width

        def gaussian(index: int) -> np.ndarray:
            return best.law.factor @ np.random.default_rng([seed, index, 1]).normal(size=shape)

        return gaussian
    simulation = judge.candidates.network_of(candidate, width, seed % 2**31)
    steps = np.minimum(np.round(best.times).astype(int), judge.candidates.steps)

    def trained(index: int) -> np.ndarray:
        _, features, _ = features_of(simulation, [int(step) for step in steps], index)
        values = features[:, candidate.layer - 1][:, judge.stimuli]
        return values.reshape(sessions * len(judge.stimuli), -1)

    return trained


def _drawn(units: Units, features: np.ndarray, found: Evidence, random: np.random.Generator) -> np.ndarray:
    """Responses of other neurons (unit, cell), with the gains and the noise that the recording was found to have."""
    x = features / np.sqrt((features**2).mean())
    neurons = random.permutation(x.shape[1])
    neurons = np.resize(neurons, units.count)
    gain = np.sqrt(found.scale) * np.exp(0.5 * found.spread * random.normal(size=units.count))
    noise = np.sqrt(found.noise / np.maximum(units.weights, 1e-9)) * random.normal(size=units.responses.shape)
    return gain[:, None] * x.T[neurons] + noise


def kernels(units: Units, law: Law, found: Evidence) -> tuple[np.ndarray, np.ndarray]:
    """The observed covariance and that of a law, (session, stimulus, session, stimulus), NaN where nothing was seen."""
    free, seen = covariance(units, found)
    own = law.factor
    for regressor in units.nuisance.T:
        inside = regressor != 0
        own = own - inside[:, None] * own[inside].mean(axis=0)
    predicted = own @ own.T
    predicted = predicted / (np.trace(predicted) / len(predicted))
    shape = (units.sessions, units.stimuli) * 2
    observed = np.where(seen, free, np.nan).reshape(shape)
    return observed, np.where(seen, predicted, np.nan).reshape(shape)
