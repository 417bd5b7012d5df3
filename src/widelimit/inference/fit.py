"""Whether a candidate fits, and how far any law could: the misfit of its covariance, ceilings from neurons held out.

The misfit is the score of the likelihood along every change of the covariance at once: where the candidate is right,
that of many neurons is sampling error. How large it may be by chance is measured on networks of finite width that the
candidate itself has trained.

For a ceiling, the covariance Ĉ that most neurons have is mixed into that of the candidate, C_λ = (1 − λ) C + λ Ĉ, and
the neurons that were held out judge.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..progress import progress_bar
from .evidence import Evidence, Law, evidence, log_likelihood_at
from .simulated import SourceDivergesError, features_of
from .units import Units

if TYPE_CHECKING:
    from .posterior import Judge, Judged

LEVEL = 0.05
"""The probability by chance at which a recording is said to fit none."""

_FOLDS = 4
_SHARES = (0.15, 0.4, 0.7, 1.0)
"""The λ that are tried."""


class HeldOut(NamedTuple):
    """The log evidence of held-out neurons: of a candidate, of the best mixture, of the best static kernel.

    NaN where there are no single neurons.
    """

    best: float
    ceiling: float
    static: float


def held_out(units: Units, law: Law, gains: bool, random: np.random.Generator) -> HeldOut:
    """The held-out evidence of a law, of the best mixture with what the other neurons say, and of a static kernel."""
    if units.multiplicity != 1:  # stand-ins for neurons cannot be held out
        return HeldOut(np.nan, np.nan, np.nan)
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
    y = units.centred
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


def _static(matrix: np.ndarray, seen: np.ndarray, sessions: int) -> np.ndarray:
    """The same kernel in all pairs of sessions that were seen: their mean."""
    size = len(matrix) // sessions
    blocks = matrix.reshape(sessions, size, sessions, size)
    known = seen.reshape(sessions, size, sessions, size).any(axis=(1, 3))
    # Where neurons are others in each session, no two sessions have anything in common.
    mean = blocks.transpose(0, 2, 1, 3)[known].mean(axis=0)
    return np.kron(known.astype(float), mean)


class Misfit:
    """How far the covariance that units have is from that of a law: a score test against any other covariance.

    With P the inverse of the covariance C of what a unit has seen, noise included, beside its baselines, and
    ŷ = y √(f/yᵀPy) its responses on the scale that its f degrees of freedom should have (so that gains do not count;
    y itself where units are stand-ins for neurons that nobody has seen):

        T = ‖ mean over units of Lᵀ (P ŷ ŷᵀ P − P) L ‖²,   C = L Lᵀ over all cells

    Where all units have seen all cells and there are no baselines, that is ‖W − 1‖² of the whitened sample covariance.
    """

    def __init__(self, units: Units, law: Law, found: Evidence):
        signal = found.scale * (law.factor @ law.factor.T + np.outer(law.mean, law.mean))
        typical = np.where(units.observed, units.weights, 0).sum(axis=0) / np.maximum(units.observed.sum(axis=0), 1)
        root = np.linalg.cholesky(signal + np.diag(found.noise / np.maximum(typical, 1.0)))
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray, int]] = []
        self._expected = np.zeros_like(root)
        for members, pattern in units.patterns:
            seen = np.flatnonzero(pattern > 0)
            inverse = np.linalg.inv(signal[np.ix_(seen, seen)] + np.diag(found.noise / pattern[seen]))
            baselines = units.nuisance[seen][:, (units.nuisance[seen] != 0).any(axis=0)]
            if baselines.size:
                weighed = inverse @ baselines
                inverse = inverse - weighed @ np.linalg.solve(baselines.T @ weighed, weighed.T)
            freedom = len(seen) - baselines.shape[1]
            self._parts.append((members, seen, inverse, freedom))
            self._expected += len(members) * (root[seen].T @ inverse @ root[seen])
        self._root, self._alone = root, units.multiplicity == 1

    def of(self, units: Units) -> float:
        """T of these responses, with the cells of the units that it was made for."""
        moment = np.zeros_like(self._root)
        for members, seen, inverse, freedom in self._parts:
            y = units.responses[np.ix_(members, seen)]
            sent = y @ inverse
            scale = freedom / np.maximum((sent * y).sum(axis=1), 1e-300) if self._alone else np.ones(len(y))
            turned = sent @ self._root[seen]
            moment += (scale[:, None] * turned).T @ turned
        return float((((moment - self._expected) / units.count) ** 2).sum())


def p_value(judge: Judge, best: Judged, count: int, width: int, seed: int, progress: bool | None) -> float:
    """How often networks that the best candidate has trained fit it no better than the recording does.

    Networks that diverge, as those of finite width may where the limit does not, are replaced by others; NaN where
    more than half of them do.
    """
    units = judge.units
    units = units.chosen(np.repeat(np.arange(units.count), max(round(units.multiplicity), 1)))  # as many as there were
    misfit = Misfit(units, best.law, best.evidence)
    observed = misfit.of(units)
    features = _features(judge, best, width, seed)
    worse, done = 0, 0
    with progress_bar(progress, total=count, desc="does it fit?", unit="network") as bar:
        for index in range(2 * count):
            try:
                values = features(index)
            except SourceDivergesError:
                continue
            random = np.random.default_rng([seed, index])
            drawn = units.with_responses(_drawn(units, values, best.evidence, random))
            worse, done = worse + (misfit.of(drawn) >= observed), done + 1
            bar.update(1)
            if done == count:
                return (1 + worse) / (1 + count)
    return np.nan


def _features(judge: Judge, best: Judged, width: int, seed: int) -> Callable[[int], np.ndarray]:
    """Features (cell, neuron) of one network after the other that the candidate has trained, or has left untrained."""
    candidate = best.candidate
    sessions = len(best.times)
    times = np.zeros(sessions) if candidate.baseline else best.times
    if candidate.net is None or candidate.net.nonlinearity.gated:
        shape = best.law.factor.shape[1], 4 * width

        def gaussian(index: int) -> np.ndarray:
            return best.law.factor @ np.random.default_rng([seed, index, 1]).normal(size=shape)

        return gaussian
    simulation = judge.candidates.network_of(candidate, width, seed % 2**31)
    steps = np.minimum(np.round(times).astype(int), judge.candidates.steps)

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
