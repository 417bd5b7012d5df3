"""How often the rule that made a recording is named right: networks of finite width, judged by theory.

    python benchmarks/recovery.py FOLDER [--setting NAME] [--only CONDITION ...] [--repetitions N] [--width N] [--ideal]

Five rules (gradient descent, feedback alignment with ρ = 0 and ½, direct feedback alignment, Hebbian), γ0 of ½, 1 and
2, every layer: networks of these are recorded, candidates have γ0 of ½, 0.7, 1, 1.4 and 2. Six sessions; twelve digits
of two classes, tanh, L = 3 unless another setting is named (those with `thirty-six`: as many stimuli, eight sessions).
Candidates are kept in FOLDER. Prints the tables of docs/inference.md. `--ideal` records from the candidates' own
Gaussian law in place of networks: the likelihood is then exact, and nothing could name more of them right. Below the
rows of a call, how often that is true whose probability the posteriors say, over all of its recordings.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.special import softmax

import widelimit as wl
from widelimit.inference.candidates import log_prior
from widelimit.inference.laws import law_of, stimuli_of
from widelimit.inference.posterior import Judge, resamples
from widelimit.inference.simulated import features_of, sampled
from widelimit.inference.units import units_of

RULES = {
    "GD": wl.GradientDescent(),
    "FA 0": wl.FeedbackAlignment(0.0),
    "FA ½": wl.FeedbackAlignment(0.5),
    "DFA": wl.DirectFeedbackAlignment(),
    "Hebb": wl.Hebbian(),
}


@dataclass(frozen=True)
class Setting:
    """What is learned, in which networks, and by which rules those learn that are recorded."""

    name: str
    task: wl.Task
    nonlinearity: wl.Nonlinearity
    layers: int = 3
    richness: tuple[float, ...] = (0.5, 1.0, 2.0)
    grid: tuple[float, ...] = (0.5, 0.7, 1.0, 1.4, 2.0)
    rules: dict[str, wl.Rule] = field(default_factory=lambda: RULES)
    step_size: float = 0.05
    sessions: tuple[int, ...] = (0, 8, 16, 24, 32, 40)
    """The steps at which responses are recorded; the last one is that of training too."""

    @property
    def steps(self) -> int:
        """Of training."""
        return self.sessions[-1]

    def network(self, richness: float) -> wl.MLP:
        """The network with this γ0."""
        return wl.MLP(self.layers, self.nonlinearity, richness=richness)


def settings() -> dict[str, Setting]:
    """Those that are measured, by name; of those `between`, neither γ0 nor ρ is one of the candidates'."""
    stable = {name: rule for name, rule in RULES.items() if name != "Hebb"}  # which diverges in ReLU networks
    between = {name: RULES[name] for name in ("GD", "DFA", "Hebb")} | {"FA ¼": wl.FeedbackAlignment(0.25)}
    digits, sphere = wl.datasets.digits(samples=12, classes=(3, 8)), wl.datasets.sphere(samples=12, dimension=10)
    thirty_six = wl.datasets.digits(samples=36, classes=(3, 8))
    many = functools.partial(Setting, step_size=0.02, sessions=(0, 4, 8, 12, 20, 28, 36, 44))
    each = (
        Setting("digits", digits, wl.Tanh()),
        Setting("sixteen", wl.datasets.digits(samples=16, classes=(3, 8)), wl.Tanh()),
        Setting("relu", digits, wl.ReLU(), rules=stable, step_size=0.015),
        Setting("two-layers", digits, wl.Tanh(), layers=2),
        Setting("sphere", sphere, wl.Tanh()),
        Setting("lazy", digits, wl.Tanh(), richness=(0.02, 0.05), grid=(0.02, 0.05, 0.1, 0.2, 0.5, 1.0)),
        Setting("between", digits, wl.Tanh(), richness=(0.6, 0.85, 1.2, 1.7), rules=between),
        many("thirty-six", thirty_six, wl.Tanh()),
        many("thirty-six-relu", thirty_six, wl.ReLU(), rules=stable, step_size=0.005),
        many("thirty-six-two-layers", thirty_six, wl.Tanh(), layers=2),
        many("thirty-six-sphere", wl.datasets.sphere(samples=36, dimension=10), wl.Tanh()),
    )
    return {setting.name: setting for setting in each}


CONDITIONS: dict[str, dict] = {
    "20 tracked": {"neurons": 20},
    "50 tracked": {"neurons": 50},
    "200 tracked": {"neurons": 200},
    "160 in each session": {"neurons": 160, "tracked": False},
    "200 in each session": {"neurons": 200, "tracked": False},
    "50, gains": {"neurons": 50, "gain_spread": 0.7},
    "50, counts": {"neurons": 50, "poisson": True, "trials": 4, "noise": 2.0},
    "50, four trials": {"neurons": 50, "trials": 4, "noise": 2.0},
    "50, 30 % missing": {"neurons": 50, "missing": 0.3},
    "50, performance known": {"neurons": 50, "times": "performance"},
    "50, times unknown": {"neurons": 50, "times": "unknown"},
}


def candidates(setting: Setting, folder: Path, without: str = "") -> wl.Candidates:
    """The grid, all rules or all but one."""
    return wl.Candidates(
        setting.task,
        [setting.network(richness) for richness in setting.grid],
        [rule for name, rule in RULES.items() if name != without],
        optimizer=wl.SGD(setting.step_size),
        steps=setting.steps,
        record=wl.Record(every=4),
        folder=folder,
    )


def recorded(
    setting: Setting, name: str, richness: float, width: int, seed: int, folder: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Features (session, layer, stimulus, neuron) and losses of one network, kept in the folder."""
    path = folder / f"network-{setting.name}-{name}-{richness}-{width}-{seed}.npz"
    if not path.exists():
        simulation = wl.initialize(
            setting.network(richness),
            setting.task,
            setting.rules[name],
            width=width,
            optimizer=wl.SGD(setting.step_size),
            steps=setting.steps,
            record=wl.Record(fields=True, kernels=()),
            seed=1000,
        )
        _, features, losses = features_of(simulation, setting.sessions, seed)
        np.savez(path, features=features.astype(np.float32), losses=losses)
    with np.load(path) as held:
        return held["features"].astype(float), held["losses"]


def of_the_law(
    grid: wl.Candidates, setting: Setting, name: str, richness: float, layer: int, width: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Features (session, stimulus, neuron) that a candidate's Gaussian law draws, and losses as of [`recorded`]."""
    rule = setting.rules[name]
    member = next(each for each in grid.members() if (each.rule, each.richness, each.layer) == (rule, richness, layer))
    law = law_of(member, grid, np.arange(setting.task.samples), np.array(setting.sessions, float))
    draws = np.random.default_rng([4, seed]).normal(size=(law.factor.shape[1], width))
    features = law.mean[:, None] + law.factor @ draws
    losses = grid.run_of(member)["loss"].sel(step=[0, *setting.sessions]).values
    return features.reshape(len(setting.sessions), setting.task.samples, width), losses


def recording(
    features: np.ndarray, losses: np.ndarray, sessions: tuple[int, ...], seed: int, neurons: int, **options
) -> wl.Recording:
    """A recording of one layer, whose features are (session, stimulus, neuron), under a condition."""
    times = options.pop("times", "known")
    tracked = options.pop("tracked", True)
    noise, trials = options.pop("noise", 0.5), options.pop("trials", 1)
    random = np.random.default_rng(seed)
    mixed = not tracked and neurons * len(features) > features.shape[2]
    if mixed:  # the same places are other neurons in each session, but for some that are met again by chance
        features = np.stack([session[:, random.permutation(features.shape[2])] for session in features])
    values = sampled(features, neurons, noise, trials, tracked or mixed, random, **options)
    known = {"steps": sessions} if times == "known" else {}
    if times == "performance":
        known = {"performance": losses[1:] / losses[0]}
    return wl.Recording(values, np.arange(values.shape[-1]), tracked=tracked, **known)


def judged(made: wl.Recording, grid: wl.Candidates, laws: dict) -> tuple[list, dict[str, np.ndarray]]:
    """The candidates, and their probabilities by resampling neurons and plainly."""
    units = units_of(made)
    judge = Judge(made, grid, units, stimuli_of(made, grid), gains=True, laws=laws)
    each = judge.look(grid.members(), False)
    by_unit = np.stack([one.evidence.by_unit for one in each])
    members = [one.candidate for one in each]
    prior, bags = log_prior(members), resamples(units, np.random.default_rng(0))
    resampled = softmax(bags @ by_unit.T + prior, axis=1).mean(axis=0)
    return members, {"resampled": resampled, "plain": softmax(by_unit.sum(axis=1) + prior)}


BINS = (0.0, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 1.0)


@dataclass
class Calibration:
    """How often what was given a probability is true: of every rule (and baseline), in every recording."""

    said: dict[str, list[float]] = field(default_factory=lambda: {"resampled": [], "plain": []})
    true: dict[str, list[bool]] = field(default_factory=lambda: {"resampled": [], "plain": []})

    def add(self, kind: str, shares: dict[str, float], truth: str) -> None:
        """Take in the probabilities of one recording."""
        self.said[kind] += shares.values()
        self.true[kind] += [label == truth for label in shares]

    def lines(self) -> Iterator[str]:
        """The table."""
        yield "| probability given | cases | its mean | true | by the plain posterior: cases | its mean | true |"
        yield "| --- | --- | --- | --- | --- | --- | --- |"
        for low, high in itertools.pairwise(BINS):
            cells = []
            for kind in ("resampled", "plain"):
                said, true = np.array(self.said[kind]), np.array(self.true[kind])
                within = (said >= low) & ((said < high) | (high == 1))
                count = int(within.sum())
                if not count:
                    cells += ["0", "–", "–"]
                    continue
                share = true[within].mean()
                error = np.sqrt(share * (1 - share) / count)
                cells += [str(count), f"{said[within].mean():.3f}", f"{share:.3f} ± {error:.3f}"]
            yield f"| {low} to {high} | {' | '.join(cells)} |"


def row(
    condition: str,
    setting: Setting,
    grid: wl.Candidates,
    folder: Path,
    repetitions: int,
    width: int,
    ideal: bool,
    calibration: Calibration,
) -> str:
    """One row of the table."""
    began, laws = time.perf_counter(), {}
    scores, confusions = [], {}
    cases = list(itertools.product(setting.rules, setting.richness, range(1, setting.layers + 1)))
    order = np.random.default_rng(7).permutation(len(cases))
    for repetition in range(repetitions):
        name, richness, layer = cases[order[repetition % len(cases)]]
        if ideal:
            features, losses = of_the_law(grid, setting, name, richness, layer, width, repetition)
        else:
            features, losses = recorded(setting, name, richness, width, repetition // len(cases), folder)
            features = features[:, layer - 1]
        made = recording(features, losses, setting.sessions, repetition, **CONDITIONS[condition])
        members, posteriors = judged(made, grid, laws)
        labels = np.array([member.family for member in members])
        truth, score = type(setting.rules[name]).__name__, {}
        for kind, probability in posteriors.items():
            shares = {label: float(probability[labels == label].sum()) for label in set(labels.tolist())}
            calibration.add(kind, shares, truth)
            named = max(shares, key=lambda label, shares=shares: shares[label])
            score |= {f"{kind} right": named == truth, f"{kind} sure": shares[named] >= 0.9}
        best = members[int(np.argmax(posteriors["resampled"]))]
        score["layer"] = best.layer == layer
        score["richness"] = not best.baseline and abs(np.log(best.richness / richness)) < 0.36
        if not score["resampled right"]:
            confusions[(name, best.name_of_rule)] = confusions.get((name, best.name_of_rule), 0) + 1
        scores.append(score)
    mean = {key: np.mean([score[key] for score in scores]) for key in scores[0]}
    right = mean["resampled right"]
    error = np.sqrt(right * (1 - right) / len(scores))
    cells = [condition, f"{right:.2f} ± {error:.2f}", f"{mean['plain right']:.2f}"]
    for kind in ("resampled", "plain"):
        sure = [score[f"{kind} right"] for score in scores if score[f"{kind} sure"]]
        cells.append(f"{sum(sure)} of {len(sure)}")
    cells += [f"{mean['layer']:.2f}", f"{mean['richness']:.2f}"]
    named = ", ".join(f"{a} for {b} {n}" for (b, a), n in sorted(confusions.items(), key=lambda item: -item[1])[:3])
    return f"| {' | '.join(cells)} | {named or 'none'} |  <!-- {time.perf_counter() - began:.0f} s -->"


def none_of_these(setting: Setting, folder: Path, repetitions: int, width: int) -> None:
    """How often a recording is said to fit none: of a candidate, shuffled, drifting, of a rule that is none of them."""
    others = candidates(setting, folder, without="Hebb")
    print("| recording | said to fit none |\n| --- | --- |", flush=True)
    for kind in ("of a candidate", "stimuli shuffled", "pure drift", "Hebbian, not among them"):
        rejected = []
        for repetition in range(repetitions):
            random = np.random.default_rng([9, repetition])
            name = "Hebb" if kind.startswith("Hebb") else ("GD", "FA 0", "DFA", "FA ½")[repetition % 4]
            features, losses = recorded(setting, name, (1.0, 2.0)[repetition % 2], width, repetition // 12, folder)
            layer = 1 + repetition % setting.layers
            if kind == "stimuli shuffled":
                features = np.stack([session[:, random.permutation(session.shape[1])] for session in features])
            if kind == "pure drift":  # responses turn from session to session as a random walk, and nothing is learned
                other = random.normal(size=features.shape) * features[0].std()
                turned = [features[0]]
                for session in other[1:]:
                    turned.append(np.sqrt(0.8) * turned[-1] + np.sqrt(0.2) * session)
                features = np.stack(turned)
            made = recording(features[:, layer - 1], losses, setting.sessions, repetition, neurons=200)
            posterior = wl.infer(made, others, refine=False, check=19, check_width=width, progress=False)
            rejected.append(not bool(posterior["fits"]))
        print(f"| {kind} | {sum(rejected)} of {len(rejected)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--setting", choices=settings(), default="digits")
    parser.add_argument("--only", nargs="*", default=[*CONDITIONS, "none"])
    parser.add_argument("--repetitions", type=int, default=45)
    parser.add_argument("--width", type=int, default=1000)
    parser.add_argument("--ideal", action="store_true")
    options = parser.parse_args()
    setting = settings()[options.setting]
    if options.ideal and not (set(setting.richness) <= set(setting.grid) and set(setting.rules) <= set(RULES)):
        parser.error(f"--ideal: what is recorded in the setting {setting.name} is not among the candidates")
    grid = candidates(setting, options.folder)
    grid.compute(progress=True)
    print("| recorded | rule right | plain | sure and right | plain | layer | γ0 near | taken for | ".strip())
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    calibration = Calibration()
    for condition in (name for name in options.only if name in CONDITIONS):
        one = row(
            condition, setting, grid, options.folder, options.repetitions, options.width, options.ideal, calibration
        )
        print(one, flush=True)
    print("", *calibration.lines(), sep="\n", flush=True)
    if "none" in options.only and not options.ideal:
        none_of_these(setting, options.folder, max(4, options.repetitions // 2), options.width)


if __name__ == "__main__":
    main()
