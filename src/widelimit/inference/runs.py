"""The runs of candidates: computed once, and kept in a folder under names made of what they were computed from."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from .. import results
from ..checks import ArgumentError
from ..ensembles import cluster, points
from ..ensembles.identity import configuration, digest
from ..ensembles.points import Job
from ..ensembles.sweep import completed
from ..faults import DivergenceWarning, RecordWarning, RisingLossWarning
from ..networks import Architecture
from ..optimizers import SGD
from ..problem import Task
from ..progress import progress_bar
from ..results import Record
from ..rules import Rule
from ..simulation import train
from ..weights import Infinite


@dataclass(frozen=True)
class Training:
    """How all candidates are trained."""

    task: Task
    optimizer: SGD
    steps: int
    record: Record
    width: Infinite
    replicates: int
    seed: int


Pair = tuple[Architecture, Rule]


@dataclass
class Runs:
    """The runs that have been computed, in memory and, where a folder is given, in files.

    Files are those of points of a sweep of [`computed`]: named alike, found again alike, and computed by the same
    `means`.
    """

    training: Training
    folder: Path | None
    means: cluster.Means
    held: dict[str, xr.Dataset] = field(default_factory=dict)

    def of(self, net: Architecture, rule: Rule) -> xr.Dataset:
        """The run of one network and rule: kernels at all pairs of recorded steps, of each replicate."""
        name = self._name(net, rule)
        if name not in self.held:
            self.compute([(net, rule)], progress=False)
        if name not in self.held:
            assert self.folder is not None
            self.held[name] = results.load(points.result_path(self.folder, name))
        return self.held[name]

    def compute(self, pairs: Sequence[Pair], progress: bool | None) -> None:
        """Compute what is missing of these networks and rules.

        **Raises:** `ArgumentError` if one cannot be computed, after all others are. `KeyboardInterrupt` on Ctrl-C; what
        is in a folder by then is found there again.
        """
        jobs = {job.digest: job for job in itertools.starmap(self._job, pairs) if job.digest not in self.held}
        if self.folder is not None:
            completed(list(jobs.values()), self.folder, self.means, "candidates", progress, stacklevel=4)
            return
        with progress_bar(progress, total=len(jobs), desc="candidates", unit="run") as bar:
            for name, job in jobs.items():
                self.held[name] = computed(**job.arguments)
                bar.update(1)

    def _arguments(self, net: Architecture, rule: Rule) -> dict[str, Any]:
        return {"training": self.training, "net": net, "rule": rule}

    def _name(self, net: Architecture, rule: Rule) -> str:
        return digest(configuration(computed, self._arguments(net, rule)))

    def _job(self, net: Architecture, rule: Rule) -> Job:
        at = {"rule": type(rule).__name__, "richness": float(net.richness), "depth": net.hidden_layers}
        return points.job(computed, self._arguments(net, rule), at)


def computed(training: Training, net: Architecture, rule: Rule) -> xr.Dataset:
    """Train one candidate; the one place where candidates are computed.

    **Returns:** `feature_kernel_two_time` (replicate, layer, step, step2, sample, sample2), `mean_feature`, and the
    means over replicates of `output` and `loss`, up to where a replicate has diverged.
    """
    with warnings.catch_warnings():
        for known in (DivergenceWarning, RisingLossWarning, RecordWarning):  # a candidate may diverge: then it is none
            warnings.simplefilter("ignore", known)
        run = train(
            net,
            training.task,
            rule,
            width=training.width,
            optimizer=training.optimizer,
            steps=training.steps,
            record=training.record,
            replicates=training.replicates,
            seed=training.seed,
            progress=False,
        )
    names = ["feature_kernel_two_time", "mean_feature"]
    curves = {name: run[name].mean("replicate", skipna=False, keep_attrs=True) for name in ("output", "loss")}
    kept = xr.Dataset({name: run[name] for name in names if name in run} | curves)
    if "feature_kernel_two_time" not in kept:
        raise ArgumentError(f"nets: {type(rule).__name__} diverges at its first step; take smaller steps.")
    whole = np.isfinite(kept["loss"].values)
    kept = kept.isel(step=whole, step2=whole).assign(input_kernel=run["input_kernel"], target=run["target"])
    return kept.astype(np.float64).assign_attrs(run.attrs)
