"""Which candidates can be told apart: recordings of networks of each, judged as if nobody knew."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import softmax

from .. import checks
from ..checks import ArgumentError
from ..progress import progress_bar
from ..results import SCHEMA, versions
from .candidates import Candidate, Candidates, log_prior
from .evidence import Law, evidence
from .laws import law_of
from .recording import Recording
from .simulated import SourceDivergesError, features_of, sampled
from .units import units_of


def identifiability(
    candidates: Candidates,
    *,
    neurons: Sequence[int] = (20, 50, 200),
    noise: Sequence[float] = (0.5,),
    sessions: Sequence[int] | Sequence[Sequence[int]] = (6,),
    repetitions: int = 20,
    trials: int = 1,
    tracked: bool = True,
    width: int = 500,
    seed: int = 0,
    progress: bool | None = None,
) -> xr.Dataset:
    """How often the rule of a network is named right, and what it is taken for: recovery from simulations.

    Networks of finite width, never the theory itself, are trained by each rule; of each, neurons of every layer are
    recorded and judged among all candidates of the grid.

    **Arguments:**

    - `candidates`: the grid; it is not refined.
    - `neurons`, `noise`: how many are recorded, and the noise of a trial relative to the signal; every combination.
    - `sessions`: how many, spread evenly over the steps, first and last included; or the steps themselves.
    - `repetitions`: recordings of each rule, over its networks and layers in turn.
    - `trials`, `tracked`: as for [`record`].
    - `width`: the neurons a layer of the networks.
    - `seed`: of networks and recordings.
    - `progress`: show progress bars; by default on a terminal only.

    **Returns:** a dataset: `confusion` (neurons, noise, sessions, rule, inferred), the share of recordings of a rule
    whose largest probability is that of each; `accuracy` and `standard_error`, over all; `probability`, of the true
    rule; `richness_accuracy` and `layer_accuracy`, of the best candidate: the same layer, the same γ0 or a neighbour;
    `deciding_neurons` (noise, sessions): the smallest number with an accuracy of 0.9 or more, NaN where none has.
    """
    checks.instance("candidates", candidates, Candidates, "widelimit.Candidates(task, nets, rules, ...)")
    width = checks.integer("width", width, at_least=2)
    neurons = [checks.integer("neurons", each, at_least=2, at_most=width) for each in _listed("neurons", neurons)]
    noise = [checks.number("noise", each, at_least=0) for each in _listed("noise", noise)]
    repetitions = checks.integer("repetitions", repetitions, at_least=1)
    trials = checks.integer("trials", trials, at_least=1)
    tracked = checks.boolean("tracked", tracked)
    seed = checks.integer("seed", seed, at_least=0)
    times = [_times(each, candidates.steps) for each in _listed("sessions", sessions)]
    for when in times:
        if not tracked and max(neurons) * len(when) > width:
            raise ArgumentError(
                f"width: {max(neurons)} other neurons in each of {len(when)} sessions are more than {width}."
            )
    candidates.compute(progress=progress)
    members = candidates.members()
    stimuli = np.arange(len(candidates.samples))
    laws = [[law_of(member, candidates, stimuli, when) for member in members] for when in times]
    labels = list(dict.fromkeys(member.name_of_rule for member in members))
    rules = list(dict.fromkeys(member.name_of_rule for member in members if not member.baseline))
    shape = (len(neurons), len(noise), len(times))
    confusion = np.zeros((*shape, len(rules), len(labels)))
    score = {name: np.zeros(shape) for name in ("probability", "richness_accuracy", "layer_accuracy")}
    counts = np.zeros(len(rules))
    total = len(rules) * repetitions
    with progress_bar(progress, total=total, desc="recovery", unit="network") as bar:
        for row, rule in enumerate(rules):
            truths = [member for member in members if member.name_of_rule == rule]
            order = np.random.default_rng([seed, row]).permutation(len(truths))
            for repetition in range(repetitions):
                truth = truths[order[repetition % len(truths)]]
                features = _features(candidates, truth, times, width, [seed, row, repetition])
                if features is None:
                    bar.update(1)
                    continue
                counts[row] += 1
                for place in np.ndindex(shape):
                    random = np.random.default_rng([seed, row, repetition, *place])
                    responses = sampled(features[place[2]], neurons[place[0]], noise[place[1]], trials, tracked, random)
                    recording = Recording(responses, candidates.samples, tracked=tracked, steps=times[place[2]])
                    told = _judged(recording, members, laws[place[2]])
                    shares = np.array([told[[m.name_of_rule == label for m in members]].sum() for label in labels])
                    confusion[(*place, row, int(shares.argmax()))] += 1
                    best = members[int(told.argmax())]
                    score["probability"][place] += shares[labels.index(rule)]
                    score["layer_accuracy"][place] += best.layer == truth.layer
                    score["richness_accuracy"][place] += _near(truth, best, candidates)
                bar.update(1)
    return _labelled(confusion, score, counts, neurons, noise, times, rules, labels, candidates)


def _judged(recording: Recording, members: Sequence[Candidate], laws: Sequence[Law | None]) -> np.ndarray:
    """The plain posterior of each candidate."""
    units = units_of(recording)
    totals = np.array([-np.inf if law is None else evidence(units, law).total for law in laws])
    return softmax(totals + log_prior(members))


def _features(
    candidates: Candidates, truth: Candidate, times: Sequence[np.ndarray], width: int, seed: list[int]
) -> list[np.ndarray] | None:
    """Features (session, stimulus, neuron) of a network's layer at each of several sets of steps."""
    simulation = candidates.network_of(truth, width, int(np.random.default_rng(seed).integers(2**31)))
    every = np.unique(np.concatenate(times))
    try:
        _, features, _ = features_of(simulation, [int(step) for step in every], 0)
    except SourceDivergesError:
        return None
    return [features[np.searchsorted(every, when), truth.layer - 1] for when in times]


def _near(truth: Candidate, best: Candidate, candidates: Candidates) -> bool:
    """Whether the best candidate has the true γ0, or a neighbour of it on the grid."""
    if best.baseline:
        return False
    grid = sorted({float(net.richness) for net in candidates.nets})
    return abs(grid.index(best.richness) - grid.index(truth.richness)) <= 1


def _labelled(
    confusion: np.ndarray,
    score: dict[str, np.ndarray],
    counts: np.ndarray,
    neurons: Sequence[int],
    noise: Sequence[float],
    times: Sequence[np.ndarray],
    rules: Sequence[str],
    labels: Sequence[str],
    candidates: Candidates,
) -> xr.Dataset:
    dims = ("neurons", "noise", "sessions")
    right = sum(confusion[..., row, list(labels).index(rule)] for row, rule in enumerate(rules))
    accuracy = np.asarray(right) / max(counts.sum(), 1)
    enough = accuracy >= 0.9
    sizes = np.array(neurons, float)[:, None, None]
    deciding = np.where(enough.any(axis=0), np.where(enough, sizes, np.inf).min(axis=0), np.nan)
    return xr.Dataset(
        {
            "confusion": ((*dims, "rule", "inferred"), confusion / np.maximum(counts, 1)[:, None]),
            "accuracy": (dims, accuracy),
            "standard_error": (dims, np.sqrt(accuracy * (1 - accuracy) / max(counts.sum(), 1))),
            "deciding_neurons": (dims[1:], deciding),
            "recordings": ("rule", counts.astype(int)),
        }
        | {name: (dims, values / max(counts.sum(), 1)) for name, values in score.items()},
        coords={
            "neurons": list(neurons),
            "noise": list(noise),
            "sessions": [len(when) for when in times],
            "rule": list(rules),
            "inferred": list(labels),
        },
    ).assign_attrs(
        schema=SCHEMA,
        versions=json.dumps(versions()),
        configuration=json.dumps({"content": "identifiability", "steps": candidates.steps}),
    )


def _times(given: Any, steps: int) -> np.ndarray:
    if isinstance(given, (int, np.integer)) and not isinstance(given, bool):
        return np.round(np.linspace(0, steps, checks.integer("sessions", given, at_least=2))).astype(int)
    if not isinstance(given, (list, tuple, range, np.ndarray)) or not len(given):
        raise ArgumentError(f"sessions must be numbers of sessions, or lists of their steps; got {given!r}.")
    when = np.array([checks.integer("sessions", step, at_least=0, at_most=steps) for step in given])
    if (np.diff(when) < 0).any():
        raise ArgumentError(f"sessions must not fall: they are in their order in time; got {checks.shortened(given)}.")
    return when


def _listed(name: str, given: Any) -> list[Any]:
    if not isinstance(given, (list, tuple, range, np.ndarray)) or not len(given):
        raise ArgumentError(f"{name} must be a list, of one or more; got {checks.shortened(given)}.")
    return list(given)
