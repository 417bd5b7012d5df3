"""How fluctuations through training are labelled: a result along a dimension `measure`, as `corrections` has it."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import xarray as xr

from ...networks import MLP
from ...optimizers import SGD
from ...problem import Batches, Task
from ...results import assemble, describe, described, of_task
from ...rules import GradientDescent, Rule

MEASURES = {
    "limit": "the value at infinite width",
    "shift": "a in ⟨q_N⟩ = q_∞ + a/N + O(1/N²)",
    "variance": "C in Var(q_N) = C/N + O(1/N²), of each entry",
}


def by_measure(
    recorded: Sequence[dict[str, dict[str, np.ndarray]]],
    solver: str,
    net: MLP,
    task: Task,
    rule: Rule | None,
    optimizer: SGD,
    batches: Batches | None = None,
) -> xr.Dataset:
    """One result from what is known of each step, by measure and by the name of the quantity."""
    numbers, measures = np.arange(len(recorded)), list(recorded[0])
    configuration = {
        "solver": solver,
        **described(net, task, GradientDescent() if rule is None else rule),
        "width": "inf",
        "step_size": float(optimizer.step_size),
        "steps": len(recorded) - 1,
        "momentum": float(optimizer.momentum),
        "weight_decay": float(optimizer.weight_decay),
        "batch_size": None if batches is None else int(batches.size),
        "batch_seed": 0 if batches is None else int(batches.seed),
    }

    def labels(variables: dict[str, np.ndarray]) -> xr.Dataset:
        return assemble(
            variables,
            times=numbers * float(optimizer.step_size),
            steps=numbers,
            scalar=task.scalar,
            attributes={"configuration": json.dumps(describe(configuration))},
        )

    names = [name for name in recorded[0]["limit"] if name != "test_output" or len(task.x_test)]
    parts = [
        labels({name: np.stack([each[measure][name] for each in recorded]) for name in names}) for measure in measures
    ]
    along = xr.DataArray(measures, dims="measure", name="measure", attrs={name: MEASURES[name] for name in measures})
    joined = xr.concat(parts, along, combine_attrs="override")
    return joined.assign({name: values.variable for name, values in labels(of_task(task)).data_vars.items()})
