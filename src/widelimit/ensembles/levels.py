"""Runs of one width: their sums in groups, the spread of the quantities asked for, and the seconds of a replicate."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from ..checks import ArgumentError
from ..faults import DivergenceWarning, TrainingInterrupted, TruncationWarning
from ..interrupts import Interrupted
from ..memory import require_memory
from ..weights import Width
from .quantities import Quantities, averaged

GROUPS = 16
"""A level keeps its replicates as so many sums, whose means are independent estimates of equal weight."""

_KEPT = 32  # replicates whose values are kept whole, for how many directions they scatter in

Run = Callable[[Width, int, int], xr.Dataset]
"""The result of training at a width so many replicates from a seed."""


@dataclass
class Spread:
    """One quantity over the replicates of a level: mean, and the covariance by its trace and shape."""

    count: int = 0
    mean: np.ndarray = field(default_factory=lambda: np.zeros(0))
    squares: float = 0.0
    """The sum over entries and replicates of squared deviations from the mean."""
    kept: list[np.ndarray] = field(default_factory=list)

    def add(self, values: np.ndarray) -> None:
        """Take in the values (entry,) of one more replicate."""
        if not self.count:
            self.mean = np.zeros_like(values)
        self.count += 1
        change = values - self.mean
        self.mean = self.mean + change / self.count
        self.squares += float(change @ (values - self.mean))
        if len(self.kept) < _KEPT:
            self.kept.append(values)

    @property
    def variance(self) -> float:
        """tr C, the variance of a replicate summed over entries; infinite where there are too few to tell."""
        return self.squares / (self.count - 1) if self.count > 1 else np.inf

    @property
    def directions(self) -> float:
        """(tr C)²/tr C², how many directions the replicates scatter in: between 1 and as many as could be seen."""
        freedom = len(self.kept) - 1
        if freedom < 2:
            return 1.0
        deviations = np.stack(self.kept) - np.mean(self.kept, axis=0)
        gram = deviations @ deviations.T / freedom
        trace, squared = float(np.trace(gram)), float(np.sum(gram**2))
        # Of the sample's own tr C², freed of what so few replicates add (Gaussian moments).
        squared = (squared - trace**2 / freedom) * freedom**2 / ((freedom - 1) * (freedom + 2))
        return float(np.clip(trace**2 / squared, 1.0, freedom)) if squared > 0 and trace > 0 else float(freedom)


class Level:
    """Runs at one width, batch by batch."""

    def __init__(self, width: Width, run: Run, quantities: Quantities, *, together: int, seed: int):
        self.width = width
        self.size = int(width.size)
        self.together = together
        """How many replicates a call takes: in other numbers they would be compiled anew; 1 where any will do."""
        self.count = 0
        self.first_seconds = 0.0
        """Those of the first call, which compiles."""
        self.seconds = 0.0
        self.spreads: dict[str, Spread] = {name: Spread() for name in quantities.each}
        self.template = xr.Dataset()
        self.truncated = ""
        self.diverged = ""
        self.notes: list[warnings.WarningMessage] = []
        """Other warnings of the runs, each kind once."""
        self._run = run
        self._quantities = quantities
        self._seeds = np.random.default_rng([seed, self.size, 0 if width.resamples else 1])
        self._sums: dict[str, np.ndarray] = {}
        self._counts = np.zeros(GROUPS, int)
        self._timed = 0

    @property
    def pace(self) -> float:
        """Seconds a replicate; from the first call, which compiles too, while there is no other."""
        if self._timed:
            return (self.seconds - self.first_seconds) / self._timed
        return self.first_seconds / max(self.count, 1)

    @property
    def compiling(self) -> float:
        """About the seconds that the first call took beyond its replicates."""
        return max(self.first_seconds - self.pace * (self.count - self._timed), 0.0)

    @property
    def failed(self) -> str:
        """Why the level cannot serve; empty where it can."""
        return self.diverged or self.truncated

    def add(self, replicates: int) -> None:
        """Train at least so many more replicates, in calls that are all of one size where that matters."""
        calls = [self.together] * -(-replicates // self.together) if self.together > 1 else [replicates]
        for size in calls:
            self._call(size)
            if self.failed:
                return

    def _call(self, size: int) -> None:
        began = time.perf_counter()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                result = self._run(self.width, size, int(self._seeds.integers(2**31)))
            except TrainingInterrupted as interruption:  # a part of a batch would not be a fair sample of steps
                raise Interrupted(interruption.code - 128) from interruption
        took = time.perf_counter() - began
        self._heed(caught)
        self._take(result)
        self.seconds += took
        if self.first_seconds:
            self._timed += size
        else:
            self.first_seconds = took

    def _heed(self, caught: Iterable[warnings.WarningMessage]) -> None:
        for warning in caught:
            if issubclass(warning.category, TruncationWarning):
                self.truncated = self.truncated or str(warning.message)
            elif issubclass(warning.category, DivergenceWarning):
                self.diverged = self.diverged or str(warning.message)
            elif not any(issubclass(warning.category, note.category) for note in self.notes):
                self.notes.append(warning)

    def _take(self, result: xr.Dataset) -> None:
        if not result.sizes.get("step"):
            return
        kept = averaged(result, self._quantities)
        if not self.count:
            self.template = result.drop_vars([name for name in result.data_vars if "replicate" in result[name].dims])
            self.template = self.template.assign(kept.isel(replicate=0, drop=True)).drop_vars(
                "replicate", errors="ignore"
            )
            self._make_room(kept)
        steps = min(kept.sizes["step"], self.template.sizes["step"])  # of a run that diverged there are fewer
        if steps < self.template.sizes["step"]:
            self._shorten(steps)
        kept = kept.isel({dim: slice(steps) for dim in ("step", "step2") if dim in kept.dims})
        for name, values in kept.data_vars.items():
            for place, each in enumerate(values.values):
                self._sums[str(name)][(self.count + place) % GROUPS] += each
        quantities = self._quantities.values(result)
        for place in range(kept.sizes["replicate"]):
            self._counts[(self.count + place) % GROUPS] += 1
            for name, values in quantities.items():
                each = np.asarray(values[place], dtype=np.float64).ravel()
                if self.spreads[name].count and len(each) != len(self.spreads[name].mean):
                    return  # a run that diverged and is shorter than the others: its spread is not used
                self.spreads[name].add(each)
        self.count += kept.sizes["replicate"]

    def _make_room(self, kept: xr.Dataset) -> None:
        shapes = {str(name): values.shape[1:] for name, values in kept.data_vars.items()}
        size = 8.0 * GROUPS * sum(np.prod(shape) for shape in shapes.values())
        require_memory(
            2 * size,
            parts={f"{GROUPS} means of each width": size},
            remedy="Record fewer kernels, fewer samples or fewer steps (record=widelimit.Record(...)).",
        )
        self._sums = {name: np.zeros((GROUPS, *shape)) for name, shape in shapes.items()}

    def _shorten(self, steps: int) -> None:
        for name, sums in self._sums.items():
            cut = tuple(
                slice(steps) if dim in ("step", "step2") else slice(None)
                for dim in ("group", *self.template[name].dims)
            )
            self._sums[name] = sums[cut]
        self.template = self.template.isel(
            {dim: slice(steps) for dim in ("step", "step2") if dim in self.template.dims}
        )

    def means(self, groups: int) -> dict[str, np.ndarray]:
        """Means of so many groups of replicates, a power of two that is no more than there are replicates."""
        counts = self._counts.reshape(-1, groups).sum(axis=0)
        return {
            name: sums.reshape(-1, groups, *sums.shape[1:]).sum(axis=0) / counts.reshape(-1, *[1] * (sums.ndim - 1))
            for name, sums in self._sums.items()
        }


def check_distinct(sizes: Iterable[int], name: str) -> None:
    """Raise unless widths are different from one another."""
    sizes = list(sizes)
    if len(set(sizes)) < len(sizes):
        raise ArgumentError(f"{name} must be different from one another; got {sizes}.")
