"""How a solver of this room labels its result: the schema of `train`, and the configuration it was computed from."""

from __future__ import annotations

import json
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

from .. import results
from ..network import MLP
from ..precision import at_precision
from ..rules import GradientDescent, Rule
from ..task import Task


def labelled(
    variables: dict[str, np.ndarray],
    *,
    solver: str,
    net: MLP,
    task: Task,
    rule: Rule | None,
    times: np.ndarray,
    steps: np.ndarray | None = None,
    settings: dict[str, Any] | None = None,
) -> xr.Dataset:
    """A result at infinite width. `output` (and `test_output`) must be there; error and losses are filled in."""
    variables = {**variables, **losses(task, variables)}
    variables["input_kernel"] = task.x @ task.x.T / task.x.shape[1]
    variables["target"] = task.y
    if task.y_test is not None:
        variables["test_target"] = task.y_test
    configuration = {
        "solver": solver,
        "net": results.describe(net),
        "rule": results.describe(GradientDescent() if rule is None else rule),
        "loss": results.describe(task.loss),
        "samples": task.samples,
        "test_samples": len(task.x_test),
        "width": "inf",
        **(settings or {}),
    }
    return results.assemble(
        variables,
        times=times,
        steps=steps,
        scalar=task.scalar,
        attributes={"configuration": json.dumps(results.describe(configuration))},
    )


def losses(task: Task, variables: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The error signal and the losses that belong to the outputs (…, sample, unit) of `variables`."""
    with at_precision("float64"):
        output = jnp.asarray(variables["output"])
        found = {
            "error": np.asarray(task.loss.error(output, jnp.asarray(task.y))),
            "loss": np.asarray(task.loss.value(output, jnp.asarray(task.y)).sum(axis=-1)),
        }
        if "test_output" in variables and task.y_test is not None:
            test_output = jnp.asarray(variables["test_output"])
            found["test_loss"] = np.asarray(task.loss.value(test_output, jnp.asarray(task.y_test)).sum(axis=-1))
    return found
