"""What a run has recorded so far, and how recordings become one result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from ..problem import Task
from ..results import Record, assemble, of_task
from .devices import on_host
from .state import State

_TWO_TIME = {
    "feature_kernel_two_time": ("feature", "feature"),
    "pseudo_gradient_kernel_two_time": ("gradient", "pseudo_gradient"),
}
_FINAL = {
    "final_preactivation": "preactivation",
    "final_pre_gradient": "pre_gradient",
    "final_test_preactivation": "test_preactivation",
}


class Recording:
    """The records of one replicate at the recorded `steps`, up to where it diverged."""

    def __init__(self, steps: range, record: Record):
        self.steps = steps
        self.record = record
        self.records: list[dict[str, Any]] = []
        self.history: list[dict[str, np.ndarray]] = []
        self.diverged_at = -1
        self.rule_failed_at = -1
        self.highest_loss = np.nan
        self.highest_at = 0

    def add(self, record: dict[str, Any], state: State, diverged_too: bool = False) -> None:
        """Keep one record, and what the state says of the whole run.

        A record at or after the step of a divergence is kept where `diverged_too` says so.
        """
        self.diverged_at, self.rule_failed_at = int(state.diverged_at), int(state.rule_failed_at)
        self.highest_loss, self.highest_at = float(state.highest_loss), int(state.highest_at)
        if self.diverged_at >= 0 and not diverged_too:
            return
        record, fields = parts(on_host(record))
        if fields is not None:
            if not self.record.two_time:  # the last fields are all that is asked for
                self.history.clear()
            self.history.append(fields)
        self.records.append(record)

    @property
    def last(self) -> int:
        """The last recorded step; −1 where there is none."""
        return self.steps[len(self.records) - 1] if self.records else -1

    def variables(self) -> dict[str, np.ndarray]:
        """The arrays of this replicate, without the replicate axis."""
        first = self.records[0]
        arrays = {
            name: np.stack([record[name] for record in self.records])
            for name in first
            if name not in ("diagnostics", "test_origin")
        }
        for name in first["diagnostics"][0] if first["diagnostics"] else ():
            arrays[name] = np.array([[matrix[name] for matrix in record["diagnostics"]] for record in self.records])
        if self.record.two_time:
            arrays |= {name: self._two_time(*pair) for name, pair in _TWO_TIME.items()}
        if self.record.fields:
            last = self.history[-1]
            arrays |= {name: last[field] for name, field in _FINAL.items() if field in last}
        return arrays

    def _two_time(self, left: str, right: str) -> np.ndarray:
        """⟨a(t) b(s)⟩ for every layer and all pairs of recorded steps."""
        layers = []
        for layer in range(len(self.history[0][left])):
            a, b = (np.stack([fields[name][layer] for fields in self.history]) for name in (left, right))
            # step, sample, [output_unit,] neurons of all positions together
            a, b = (rows.reshape(*rows.shape[:-2], -1) for rows in (a, b))
            flat = a.reshape(-1, a.shape[-1]) @ b.reshape(-1, b.shape[-1]).T / a.shape[-1]
            pairs = flat.reshape(
                *a.shape[:-1], *b.shape[:-1]
            )  # step, sample, [output_unit,] step2, sample2 [, output_unit2]
            order = (0, 2, 1, 3) if a.ndim == 3 else (0, 3, 1, 4, 2, 5)
            layers.append(pairs.transpose(order))
        return np.stack(layers)


def parts(record: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """A record without its fields, and these, which are not kept of every step; None where there are none."""
    rest = {name: value for name, value in record.items() if name not in ("fields", "test_fields")}
    fields = record.get("fields")
    return rest, None if fields is None else {**fields, **record.get("test_fields", {})}


def labelled(
    task: Task, runs: Sequence[Recording], step_size: float, attributes: dict[str, Any], **labels: Any
) -> xr.Dataset:
    """One result from the recordings of all replicates; replicates that stopped early are filled with NaN."""
    runs = [run for run in runs if run.records]
    longest = max((len(run.records) for run in runs), default=0)
    steps = np.array(runs[0].steps[:longest]) if runs else np.zeros(0, int)
    variables: dict[str, np.ndarray] = {}
    if runs:
        by_replicate = [run.variables() for run in runs]
        variables = {name: _stacked([arrays[name] for arrays in by_replicate]) for name in by_replicate[0]}
        variables["diverged_step"] = np.array([run.diverged_at for run in runs])
        variables["highest_loss"] = np.array([run.highest_loss for run in runs])
        variables["highest_loss_step"] = np.array([run.highest_at for run in runs])
    if task.y_test is not None and runs:
        variables["test_loss"] = task.test_loss(variables["test_output"])
    if not len(task.x_test):
        variables.pop("test_output", None)
    variables |= of_task(task)
    return assemble(
        variables, times=steps * step_size, steps=steps, scalar=task.scalar, attributes=attributes, **labels
    )


def _stacked(arrays: list[np.ndarray]) -> np.ndarray:
    shape = tuple(max(sizes) for sizes in zip(*(array.shape for array in arrays), strict=True))
    if all(array.shape == shape for array in arrays):
        return np.stack(arrays)
    padded = np.full((len(arrays), *shape), np.nan)
    for row, array in zip(padded, arrays, strict=True):
        row[tuple(slice(size) for size in array.shape)] = array
    return padded
