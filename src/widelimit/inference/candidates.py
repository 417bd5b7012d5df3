"""Candidates: which networks and rules could have made a recording, and what each says of it."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import equinox as eqx
import numpy as np
import xarray as xr

from .. import checks
from ..checks import ArgumentError
from ..ensembles import cluster, identity
from ..ensembles.sweep import means_of
from ..networks import Architecture
from ..optimizers import SGD
from ..problem import Task
from ..results import Record
from ..rules import Rule
from ..simulation import Simulation, initialize
from ..weights import Finite, Infinite
from .runs import Runs, Training

BASELINES = ("untrained", "inputs")
_RECORDED = 12  # about so many steps of a run are kept unless the user says which


@dataclass(frozen=True)
class Candidate:
    """One law of responses: a layer of a network under a rule, or a baseline."""

    net: Architecture | None
    rule: Rule | None
    layer: int
    baseline: str = ""

    @property
    def family(self) -> str:
        """What it is a member of: the class of its rule, or the baseline."""
        return self.baseline or type(self.rule).__name__

    @property
    def correlation(self) -> float:
        """ρ of feedback alignment, NaN of other rules."""
        return float(getattr(self.rule, "correlation", np.nan)) if self.rule is not None else np.nan

    @property
    def richness(self) -> float:
        """γ0, NaN of a baseline."""
        return np.nan if self.net is None or self.baseline else float(self.net.richness)

    @property
    def variant(self) -> str:
        """What else than ρ tells its rule from others of the class, in words."""
        if self.rule is None or not dataclasses.is_dataclass(self.rule):
            return ""
        fields = [each.name for each in dataclasses.fields(self.rule) if each.init and each.name != "correlation"]
        return ", ".join(f"{name} {getattr(self.rule, name)}" for name in fields)

    @property
    def structure(self) -> tuple[Any, ...]:
        """What the network is but for its richness; empty of the inputs."""
        return () if self.net is None else _structure(self.net)

    @property
    def name_of_rule(self) -> str:
        """Its rule in words, with what tells it from others of the class; of a baseline its name."""
        words = [self.family]
        if np.isfinite(self.correlation):
            words.append(f"ρ {self.correlation:.3g}")
        return ", ".join([*words, self.variant] if self.variant else words)

    @property
    def name(self) -> str:
        """The candidate in words."""
        if self.baseline == "inputs":
            return "inputs"
        assert self.net is not None
        words = [self.name_of_rule]
        if not self.baseline:
            words.append(f"γ0 {self.richness:.3g}")
        depth = f"layer {self.layer} of {self.net.hidden_layers}"
        return ", ".join([*words, depth, type(self.net.nonlinearity).__name__])


def _structure(net: Architecture) -> tuple[Any, ...]:
    values = {each.name: getattr(net, each.name) for each in dataclasses.fields(net) if each.name != "richness"}
    return (type(net).__name__, *((name, repr(value)) for name, value in values.items()))


class Candidates:
    """Networks and rules that could have made a recording, each at infinite width, and each of its layers.

    Every network is trained under every rule, when it is needed. Each run is kept under a name that is made of all that
    it was computed from, so that nothing is computed twice.

    **Arguments:**

    - `task`: what was learned. Its samples are the stimuli of the recording, or hold them.
    - `nets`: networks, such as `[wl.MLP(3, wl.Tanh(), richness=g) for g in (0.5, 1, 2)]`; the smallest and largest
      richness bound the prior. One that stands twice, or a rule, is one candidate.
    - `rules`: learning rules; several `FeedbackAlignment` with other ρ are one rule, whose ρ is refined between them.
    - `layers`: "all", or the numbers of those that could have been recorded.
    - `optimizer`: the steps in which all of them learn; it needs a step size in numbers.
    - `steps`: how many there are.
    - `record`: which steps are kept (`every`) and of which samples; about twelve, of all samples, unless given. Runs go
      on to the first of them that is not before `steps`, so that a session at any step lies between two.
    - `baselines`: of "untrained" (the network as it was before learning) and "inputs" (the kernel of the inputs).
    - `width`: the particles of each run, as [`train`] chooses them unless given. What is sampling error of a kernel
      enters the evidence of every neuron alike, so that many neurons need many particles.
    - `replicates`: of each run; kernels are means over them, and how these scatter is an error of the evidence.
    - `seed`: of the runs.
    - `folder`: where runs are kept; it has to exist. In memory alone unless given.
    - `workers`, `scheduler`, `memory`: in which processes they are computed, as in [`sweep`]; in this one unless one of
      them is given, and otherwise only with a `folder`, through which processes hand over what they have computed.

    **Raises:** `ArgumentError` before anything is computed.
    """

    def __init__(
        self,
        task: Task,
        nets: Sequence[Architecture],
        rules: Sequence[Rule],
        *,
        layers: Sequence[int] | Literal["all"] = "all",
        optimizer: SGD,
        steps: int,
        record: Record | None = None,
        baselines: Sequence[str] = BASELINES,
        width: Infinite | None = None,
        replicates: int = 4,
        seed: int = 0,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        scheduler: str | None = None,
        memory: float | str | None = None,
    ):
        checks.instance("task", task, Task, "widelimit.Task(x, y)")
        self.nets, self.rules = _several("nets", nets, Architecture), _several("rules", rules, Rule)
        checks.instance("optimizer", optimizer, SGD, "widelimit.SGD(step_size=0.1)")
        if isinstance(optimizer.step_size, str):
            raise ArgumentError('optimizer needs a step size in numbers: with "auto" each candidate has its own time.')
        steps = checks.integer("steps", steps, at_least=1)
        record = Record(every=max(1, -(-steps // _RECORDED))) if record is None else record
        checks.instance("record", record, Record, "widelimit.Record(every=10)")
        record.check(task.samples, 0)
        record = dataclasses.replace(
            record,
            kernels=("feature_kernel", "mean_feature"),
            two_time=True,
            fields=False,
            test_kernels=False,
            positions=False,
        )
        if record.every > steps:
            raise ArgumentError(f"record.every must be at most steps, {steps}; got {record.every}.")
        baselines = _names("baselines", baselines)
        width = Infinite() if width is None else width
        checks.instance("width", width, Infinite, "widelimit.Infinite(particles=2000)")
        replicates = checks.integer("replicates", replicates, at_least=1)
        seed = checks.integer("seed", seed, at_least=0)
        self.task, self.layers, self.baselines = task, _layers(layers, self.nets), baselines
        self.steps = steps
        """The steps of training that sessions can be at, of each."""
        where = None if folder is None else Path(folder)
        if where is not None and not where.is_dir():
            raise FileNotFoundError(f"The folder {where} does not exist; create it first.")
        means = cluster.Means(workers=0)
        if workers is not None or scheduler is not None or memory is not None:
            means = means_of(workers, memory, scheduler)
            if where is None and means.workers != 0:
                raise ArgumentError("folder: name one, through which several processes hand over what they compute.")
        whole = record.every * -(-steps // record.every)
        self.runs = Runs(Training(task, optimizer, whole, record, width, replicates, seed), where, means)

    @property
    def samples(self) -> np.ndarray:
        """The samples of the task whose kernels are kept."""
        kept = self.runs.training.record.samples
        return np.arange(self.task.samples) if kept is None else np.array(kept)

    def pairs(self) -> list[tuple[Architecture, Rule]]:
        """The networks and rules of the grid."""
        return list(itertools.product(self.nets, self.rules))

    def members(self, pairs: Sequence[tuple[Architecture, Rule]] | None = None) -> list[Candidate]:
        """The candidates of these networks and rules, layer by layer; unless given, the grid and the baselines."""
        members = [
            Candidate(net, rule, layer)
            for net, rule in (self.pairs() if pairs is None else pairs)
            for layer in self._layers_of(net)
        ]
        return members if pairs is not None else members + list(self._baselines())

    def compute(self, pairs: Sequence[tuple[Architecture, Rule]] | None = None, progress: bool | None = None) -> None:
        """Train what is missing of these networks and rules; of the whole grid unless given."""
        self.runs.compute(self.pairs() if pairs is None else pairs, progress)

    def run_of(self, candidate: Candidate) -> xr.Dataset:
        """The run that holds a candidate's kernels."""
        assert candidate.net is not None
        if candidate.rule is not None:
            return self.runs.of(candidate.net, candidate.rule)
        return self.runs.of(candidate.net, self.rules[0])  # its first step is before learning, under any rule

    def network_of(self, candidate: Candidate, width: int, seed: int) -> Simulation:
        """A network of finite width that a candidate trains like its runs, with fields of the same samples."""
        training = self.runs.training
        assert candidate.net is not None
        return initialize(
            candidate.net,
            training.task,
            candidate.rule,
            width=Finite(width),
            optimizer=training.optimizer,
            steps=training.steps,
            record=Record(kernels=(), fields=True, samples=tuple(int(sample) for sample in self.samples)),
            seed=seed,
        )

    def _layers_of(self, net: Architecture) -> list[int]:
        every = range(1, net.hidden_layers + 1)
        return list(every) if self.layers is None else [layer for layer in every if layer in self.layers]

    def _baselines(self) -> Iterator[Candidate]:
        if "untrained" in self.baselines:
            first = {_structure(net): net for net in reversed(self.nets)}
            for net in first.values():
                yield from (Candidate(net, None, layer, "untrained") for layer in self._layers_of(net))
        if "inputs" in self.baselines:
            yield Candidate(None, None, 0, "inputs")


def with_richness(net: Architecture, richness: float) -> Architecture:
    """The same network with another γ0."""
    return eqx.tree_at(lambda module: module.richness, net, float(richness))


def with_correlation(rule: Rule, correlation: float) -> Rule:
    """The same rule with another ρ."""
    return type(rule)(
        **{  # its checks run again
            each.name: getattr(rule, each.name) for each in dataclasses.fields(rule) if each.init
        }
        | {"correlation": float(correlation)}
    )


def log_prior(members: Sequence[Candidate]) -> np.ndarray:
    """The logarithm of the prior of each candidate, which does not depend on how fine the grid is.

    Every rule and baseline has the same; within it variants, then ρ (uniform), structures of the network, γ0 (uniform
    in its logarithm) and layers, each by the part of its range that a candidate of the grid stands for.
    """
    weights = np.ones(len(members))
    levels = (
        (lambda each: each.family, None),
        (lambda each: each.variant, None),
        (lambda each: each.correlation, float),
        (lambda each: each.structure, None),
        (lambda each: each.richness, np.log),
        (lambda each: each.layer, None),
    )
    groups = [list(range(len(members)))]
    for key, scale in levels:
        finer = []
        for group in groups:
            values = list(dict.fromkeys(_plain(key(members[index])) for index in group))
            shares = _shares(values, scale)
            for value, share in zip(values, shares, strict=True):
                inside = [index for index in group if _plain(key(members[index])) == value]
                weights[inside] *= share
                finer.append(inside)
        groups = finer
    return np.log(weights)


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and np.isnan(value) else value


def _shares(values: list[Any], scale: Any) -> np.ndarray:
    """The part of their range that each of these values stands for: from half-way to its neighbours on both sides."""
    if scale is None or len(values) == 1 or None in values:
        return np.full(len(values), 1 / len(values))
    points = np.array([float(scale(value)) for value in values])
    order = np.argsort(points)
    edges = np.concatenate([[points[order[0]]], (points[order][1:] + points[order][:-1]) / 2, [points[order[-1]]]])
    shares = np.empty(len(values))
    shares[order] = np.diff(edges)
    return shares / shares.sum()


def _several(name: str, given: Any, kind: type) -> list[Any]:
    """Those that are different from one another: one that stands twice would count twice in the prior."""
    if isinstance(given, kind):
        given = [given]
    if not isinstance(given, (list, tuple)) or not given:
        raise ArgumentError(f"{name} must be a list of them, one or more; got {checks.shortened(given)}.")
    for each in given:
        checks.instance(name, each, kind, "those of widelimit")
    different: dict[str, Any] = {}
    for each in given:
        different.setdefault(identity.digest(identity.described(each)), each)
    return list(different.values())


def _names(name: str, given: Any) -> tuple[str, ...]:
    given = (given,) if isinstance(given, str) else given
    if not isinstance(given, (list, tuple)):
        raise ArgumentError(f"{name} must be a list of {', '.join(BASELINES)}, () for none; got {given!r}.")
    for each in given:
        checks.known(name, each, BASELINES)
    return tuple(dict.fromkeys(given))


def _layers(given: Any, nets: Sequence[Architecture]) -> set[int] | None:
    if isinstance(given, str):
        checks.known("layers", given, ("all",))
        return None
    if isinstance(given, (int, np.integer)) and not isinstance(given, bool):
        given = [given]
    if not isinstance(given, (list, tuple, range, np.ndarray)):
        raise ArgumentError(f'layers must be "all", or a list of their numbers from 1 on; got {given!r}.')
    deepest = max(net.hidden_layers for net in nets)
    chosen = {checks.integer("layers", layer, at_least=1, at_most=deepest) for layer in given}
    if not chosen or min(chosen) > min(net.hidden_layers for net in nets):
        raise ArgumentError(f"layers must name one or more that each network has; got {given!r}.")
    return chosen
