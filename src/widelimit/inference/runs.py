"""The runs of candidates: computed once, and kept in a folder under names made of what they were computed from."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import xarray as xr

from .. import results
from ..checks import ArgumentError
from ..ensembles.identity import configuration, digest
from ..faults import DivergenceWarning, RecordWarning, RisingLossWarning
from ..networks import Architecture
from ..optimizers import SGD
from ..problem import Task
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


@dataclass
class Runs:
    """The runs that have been computed, in memory and, where a folder is given, in files."""

    training: Training
    folder: Path | None = None
    held: dict[str, xr.Dataset] = field(default_factory=dict)

    def of(self, net: Architecture, rule: Rule) -> xr.Dataset:
        """The run of one network and rule: kernels at all pairs of recorded steps, of each replicate."""
        name = self._name(net, rule)
        if name not in self.held:
            self.held[name] = self._kept(name, net, rule)
        return self.held[name]

    def has(self, net: Architecture, rule: Rule) -> bool:
        """Whether nothing has to be computed."""
        name = self._name(net, rule)
        return name in self.held or (self.folder is not None and (self.folder / f"{name}.nc").exists())

    def _kept(self, name: str, net: Architecture, rule: Rule) -> xr.Dataset:
        if self.folder is None:
            return computed(self.training, net, rule)
        path = self.folder / f"{name}.nc"
        if path.exists():
            return results.load(path)
        run = computed(self.training, net, rule)
        results.save(run, path, overwrite=True)
        return run

    def _name(self, net: Architecture, rule: Rule) -> str:
        return digest(configuration(computed, {"training": self.training, "net": net, "rule": rule}))


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
    curves = {name: run[name].mean("replicate", skipna=False) for name in ("output", "loss")}
    kept = xr.Dataset({name: run[name] for name in names if name in run} | curves)
    if "feature_kernel_two_time" not in kept:
        raise ArgumentError(f"nets: {type(rule).__name__} diverges at its first step; take smaller steps.")
    whole = np.isfinite(kept["loss"].values)
    kept = kept.isel(step=whole, step2=whole).assign(input_kernel=run["input_kernel"], target=run["target"])
    return kept.astype(np.float64).assign_attrs(run.attrs)
