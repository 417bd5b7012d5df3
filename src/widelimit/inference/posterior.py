"""`infer`: the probability of every candidate, and whether the best of them fits at all."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import softmax

from .. import checks
from ..checks import ArgumentError
from ..progress import progress_bar
from ..results import SCHEMA, versions
from ..results.inferred import verdict
from . import candidates as of_candidates
from . import fit
from .candidates import Candidate, Candidates, log_prior
from .errors import sampling_errors
from .evidence import Evidence, Law, evidence
from .laws import law_of, stimuli_of, times_of
from .recording import Recording
from .units import Units, units_of

BAGS = 200
"""How many resamples of neurons the probability is a mean over."""
_KEPT = 400
"""How many laws are kept for other recordings."""
_ROUNDS = 6
"""How often the grid is made finer, at the most."""
_NAT = 1.0
"""What neighbours may differ by in log evidence, after which the grid is fine enough."""
_PROBABLE = 0.01
"""The share of a rule's posterior from which on its grid is made finer."""


@dataclass
class Judged:
    """What has been found of a candidate."""

    candidate: Candidate
    evidence: Evidence
    law: Law
    times: np.ndarray


@dataclass
class Judge:
    """Looks at candidates in the light of one recording; those that diverge before it ends are left out."""

    recording: Recording
    candidates: Candidates
    units: Units
    stimuli: np.ndarray
    gains: bool
    judged: dict[int, Judged] = field(default_factory=dict)
    diverged: list[Candidate] = field(default_factory=list)
    laws: dict[Any, Law | None] = field(default_factory=dict)
    """What candidates say at certain times, which other recordings with the same stimuli can share."""

    def look(self, members: Sequence[Candidate], progress: bool | None) -> list[Judged]:
        """The evidence for each candidate."""
        each = []
        with progress_bar(progress, total=len(members), desc="evidence", unit="candidate") as bar:
            for member in members:
                each.append(self._judged(member))
                bar.update(1)
        self.diverged += [member for member, judged in zip(members, each, strict=True) if judged is None]
        return [judged for judged in each if judged is not None]

    def _judged(self, candidate: Candidate) -> Judged | None:
        run = None if candidate.baseline else self.candidates.run_of(candidate)
        times, prior = times_of(self.recording, run, self.candidates.steps)
        possible: list[tuple[Evidence, Law, np.ndarray]] = []
        for row in times:
            law = self._law(candidate, row)
            if law is None:
                return None
            possible.append((evidence(self.units, law, self.gains), law, row))
        totals = np.array([each.total for each, _, _ in possible])
        found, law, row = possible[int(np.argmax(totals))]
        if len(possible) > 1:  # times are summed over; what that takes off is spread over units
            whole = float(np.logaddexp.reduce(totals + np.log(prior)))
            found = dataclasses.replace(found, by_unit=found.by_unit + (whole - found.total) / self.units.count)
        return Judged(candidate, found, law, row)

    def _law(self, candidate: Candidate, times: np.ndarray) -> Law | None:
        if len(self.laws) > _KEPT:
            return law_of(candidate, self.candidates, self.stimuli, times)
        key = (candidate.name, candidate.structure, repr((candidate.richness, candidate.correlation)), tuple(times))
        if key not in self.laws:
            self.laws[key] = law_of(candidate, self.candidates, self.stimuli, times)
        return self.laws[key]


def infer(
    recording: Recording,
    candidates: Candidates,
    *,
    refine: bool = True,
    gains: bool = True,
    baseline: str = "neuron",
    shared_noise: int = 0,
    temperature: float | None = None,
    check: int = 39,
    check_width: int = 500,
    seed: int = 0,
    progress: bool | None = None,
) -> xr.Dataset:
    """Which of the candidates made a recording: their probabilities, and whether the best of them fits.

    The log evidence of a candidate is a Gaussian likelihood of all neurons (see "Which rule made these
    representations?"), whose scale, spread of gains and, without repeats, noise are maximised. The probability is the
    posterior, averaged over resamples of the neurons with replacement (BayesBag: Huggins & Miller 2023), because rich
    features are not Gaussian and neurons of one network are not quite independent: what hangs on a few of them is not
    certain. Each resample moves the evidence of candidates by the error that their own kernels give it, which leaving
    out their replicates tells.

    **Arguments:**

    - `recording`, `candidates`: what was recorded, and what could have made it.
    - `refine`: whether γ0 and ρ are made finer, for each rule where that rule is probable, until neighbours differ by
      less than a nat or the rule cannot catch up with the best one.
    - `gains`: whether each neuron has a gain of its own, of unknown spread.
    - `baseline`: "neuron", "session" or "none": what each neuron may add to its responses, one constant, one in each
      session, or nothing.
    - `shared_noise`: how many dimensions of noise that neurons share are projected out; needs repeats.
    - `temperature`: what log evidence is divided by, instead of resampling neurons; 1 is the plain posterior, which
      recordings of distances have in any case.
    - `check`: how many networks of the best candidate are simulated for `fits`; 0 leaves that out.
    - `check_width`: their neurons a layer: how far from the limit of infinite width the recorded one may be.
    - `seed`: of resamples and of these networks.
    - `progress`: show progress bars; by default on a terminal only.

    **Returns:** a dataset over `candidate`, with the coordinates `rule` (its class, or "untrained", "inputs"),
    `correlation`, `richness`, `depth`, `nonlinearity`, `layer`; `log_evidence`, `log_evidence_error` (standard error,
    of the difference from the best candidate, that the sampling of candidates gives it; NaN far behind it),
    `log_evidence_scatter` (of the same difference, that the choice of neurons gives it), `log_prior`, `probability`,
    `scale`, `gain_spread`, `noise`, and `session_step` (candidate, session), where sessions were in time; scalars
    `fits`, `fit_p_value`, `ceiling_log_evidence` and `static_log_evidence` (neurons held out; see the page), and
    `best_held_out`, the same of the best candidate; `attrs["verdict"]`, a sentence. `save` and `load` take it.

    **Raises:** `ArgumentError` if the recording's stimuli or steps are not those of the candidates.
    """
    checks.instance("recording", recording, Recording, "widelimit.Recording(responses, stimuli)")
    checks.instance("candidates", candidates, Candidates, "widelimit.Candidates(task, nets, rules, ...)")
    checks.boolean("refine", refine)
    checks.boolean("gains", gains)
    checks.known("baseline", baseline, ("neuron", "session", "none"))
    shared_noise = checks.integer("shared_noise", shared_noise, at_least=0)
    if temperature is not None:
        checks.number("temperature", temperature, above=0)
    check = checks.integer("check", check, at_least=0)
    check_width = checks.integer("check_width", check_width, at_least=10)
    random = np.random.default_rng(checks.integer("seed", seed, at_least=0))
    stimuli = stimuli_of(recording, candidates)
    units = units_of(recording, baseline, shared_noise)
    if units.multiplicity != 1:  # distances have no single neurons, with gains or to resample
        gains, temperature = False, 1.0 if temperature is None else temperature
    judge = Judge(recording, candidates, units, stimuli, gains)
    candidates.compute(progress=progress)
    judged = judge.look(candidates.members(), progress)
    if all(each.candidate.baseline for each in judged):
        raise ArgumentError("candidates: all of them diverge before the last session; take fewer or smaller steps.")
    bags = resamples(units, random)
    reached: dict[str, float] = {}
    for _ in range(_ROUNDS if refine else 0):
        shares = _shares(judged, reached, bags, temperature)
        pairs = finer([each.candidate for each in judged], _totals(judged), shares)
        if not pairs:
            break
        candidates.compute(pairs, progress=progress)
        judged += judge.look(candidates.members(pairs), progress)
    errors = sampling_errors(judge, judged)
    moved = np.nan_to_num(errors) * random.normal(size=(len(bags), len(judged)))
    probability = _probability(judged, bags, temperature, moved)
    best = judged[int(np.argmax(_totals(judged)))]
    result = _labelled(judged, probability, errors, recording)
    return _completed(result, best, judge, units, check, check_width, random, progress)


def _diverged(judge: Judge, result: xr.Dataset) -> dict[str, bool]:
    """The rules of which candidates were left out, and whether none is left."""
    left = set(result["rule"].values.tolist())
    return {member.family: member.family not in left for member in judge.diverged}


def finer(members: Sequence[Candidate], totals: np.ndarray, probability: np.ndarray) -> list[tuple[Any, Any]]:
    """Networks and rules half-way between neighbours in γ0 and in ρ, of which one is probable and that differ."""
    new: dict[tuple, tuple[Any, Any]] = {}
    rows = [index for index, member in enumerate(members) if not member.baseline]
    for axis in ("richness", "correlation"):
        lines: dict[tuple, list[int]] = {}
        for index in rows:
            member = members[index]
            other = member.correlation if axis == "richness" else member.richness
            key = (member.family, member.variant, member.structure, member.layer, repr(round(float(other), 9)))
            if np.isfinite(getattr(member, axis)):
                lines.setdefault(key, []).append(index)
        for line in lines.values():
            line.sort(key=lambda index: getattr(members[index], axis))
            for left, right in itertools.pairwise(line):
                top = left if totals[left] >= totals[right] else right
                if probability[top] < _PROBABLE or abs(totals[left] - totals[right]) < _NAT:
                    continue
                low, high = (getattr(members[index], axis) for index in (left, right))
                net, rule = members[top].net, members[top].rule
                assert net is not None
                assert rule is not None
                if axis == "richness" and high / low > 1.02:
                    pair = (of_candidates.with_richness(net, np.sqrt(low * high)), rule)
                elif axis == "correlation" and high - low > 0.02:
                    pair = (net, of_candidates.with_correlation(rule, (low + high) / 2))
                else:
                    continue
                named = Candidate(*pair, layer=1)
                new[(named.structure, named.name_of_rule, f"{named.richness:.9g}", f"{named.correlation:.9g}")] = pair
    return list(new.values())


def _shares(
    judged: Sequence[Judged], reached: dict[str, float], bags: np.ndarray, temperature: float | None
) -> np.ndarray:
    """The probability of each candidate among those of its rule; zero for rules that cannot catch up any more.

    A rule that is improbable on a coarse grid may be the right one between two of its points. It is left alone when its
    best candidate is behind the best of all by more than twice what it gained in the last round, and by five nats.
    `reached` holds the best of each rule in the last round, and is brought up to date.
    """
    totals, families = _totals(judged), np.array([each.candidate.family for each in judged])
    shares = np.zeros(len(judged))
    for family in set(families.tolist()):
        members = np.flatnonzero(families == family)
        best = float(totals[members].max())
        gained = best - reached.get(family, -np.inf)
        reached[family] = best
        if totals.max() - best <= max(2 * gained, 5.0):
            shares[members] = _probability([judged[int(member)] for member in members], bags, temperature)
    return shares


def _totals(judged: Sequence[Judged]) -> np.ndarray:
    return np.array([each.evidence.total for each in judged])


def resamples(units: Units, random: np.random.Generator) -> np.ndarray:
    """How often each unit is in each resample, (resample, unit): as many of each session as there are."""
    counts = np.zeros((BAGS, units.count))
    for session in np.unique(units.session):
        members = np.flatnonzero(units.session == session)
        counts[:, members] = random.multinomial(len(members), np.full(len(members), 1 / len(members)), size=BAGS)
    return counts


def _probability(
    judged: Sequence[Judged], bags: np.ndarray, temperature: float | None, moved: np.ndarray | float = 0.0
) -> np.ndarray:
    """The mean over resamples, in each of which evidence is `moved`; or the plain posterior at a temperature."""
    prior = log_prior([each.candidate for each in judged])
    if temperature is not None:
        return softmax(_totals(judged) / temperature + prior)
    by_unit = np.stack([each.evidence.by_unit for each in judged])
    return softmax(bags @ by_unit.T + moved + prior, axis=1).mean(axis=0)


def _labelled(
    judged: Sequence[Judged], probability: np.ndarray, errors: np.ndarray, recording: Recording
) -> xr.Dataset:
    members = [each.candidate for each in judged]
    by_unit = np.stack([each.evidence.by_unit for each in judged])
    behind = by_unit - by_unit[np.argmax(_totals(judged))]
    nets = [member.net for member in members]
    found = [each.evidence for each in judged]
    coordinates = {
        "rule": [member.family for member in members],
        "variant": [member.variant for member in members],
        "correlation": [member.correlation for member in members],
        "richness": [member.richness for member in members],
        "depth": [0 if net is None else net.hidden_layers for net in nets],
        "nonlinearity": ["" if net is None else type(net.nonlinearity).__name__ for net in nets],
        "layer": [member.layer for member in members],
        "name": [member.name for member in members],
    }
    return xr.Dataset(
        {
            "log_evidence": ("candidate", _totals(judged)),
            "log_evidence_error": ("candidate", errors),
            "log_evidence_scatter": ("candidate", behind.std(axis=1) * np.sqrt(behind.shape[1])),
            "log_prior": ("candidate", log_prior(members)),
            "probability": ("candidate", probability),
            "scale": ("candidate", [each.scale for each in found]),
            "gain_spread": ("candidate", [each.spread for each in found]),
            "noise": ("candidate", [each.noise for each in found]),
            "session_step": (("candidate", "session"), np.stack([each.times for each in judged])),
        },
        coords={name: ("candidate", values) for name, values in coordinates.items()}
        | {"session": recording.dataset["session"].values, "candidate": np.arange(len(members))},
    )


def _completed(
    result: xr.Dataset,
    best: Judged,
    judge: Judge,
    units: Units,
    check: int,
    check_width: int,
    random: np.random.Generator,
    progress: bool | None,
) -> xr.Dataset:
    """The result with ceilings, the check of the fit, pictures' kernels and the verdict."""
    held = fit.held_out(units, best.law, judge.gains, random)
    scalars: dict[str, Any] = {
        "best_held_out": held.best,
        "ceiling_log_evidence": held.ceiling,
        "static_log_evidence": held.static,
    }
    p_value = np.nan
    if check:
        p_value = fit.p_value(judge, best, check, check_width, int(random.integers(2**31)), progress=progress)
    observed, predicted = fit.kernels(units, best.law, best.evidence)
    dims = ("session", "stimulus", "session2", "stimulus2")
    return result.assign(
        {name: ((), float(value)) for name, value in scalars.items()}
        | {
            "fit_p_value": ((), float(p_value)),
            "fits": ((), bool(not p_value <= fit.LEVEL)),
            "observed_kernel": (dims, observed),
            "predicted_kernel": (dims, predicted),
        }
    ).assign_attrs(
        schema=SCHEMA,
        versions=json.dumps(versions()),
        configuration=json.dumps({"content": "posterior", "recording": repr(judge.recording)}),
        diverged=json.dumps([member.name for member in judge.diverged]),
        verdict=verdict(result, p_value, check, _diverged(judge, result), units.constant),
    )
