"""How a solver of this room labels its result: the schema of `train`, and the configuration it was computed from."""

from __future__ import annotations

import json
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

from ..networks import Architecture
from ..precision import at_precision
from ..problem import Task
from ..results import assemble, describe, described, of_task
from ..rules import GradientDescent, Rule


def labelled(
    variables: dict[str, np.ndarray],
    *,
    solver: str,
    net: Architecture,
    task: Task,
    rule: Rule | None,
    times: np.ndarray,
    steps: np.ndarray | None = None,
    settings: dict[str, Any] | None = None,
) -> xr.Dataset:
    """A result at infinite width. `output` (and `test_output`) must be there; error and losses are filled in."""
    variables = {**variables, **losses(task, variables), **of_task(task)}
    configuration = {
        "solver": solver,
        **described(net, task, GradientDescent() if rule is None else rule),
        "width": "inf",
        **(settings or {}),
    }
    return assemble(
        variables,
        times=times,
        steps=steps,
        scalar=task.scalar,
        attributes={"configuration": json.dumps(describe(configuration))},
    )


def losses(task: Task, variables: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The error signal and the losses that belong to the outputs (…, sample, output_unit) of `variables`."""
    with at_precision("float64"):
        output = jnp.asarray(variables["output"])
        measured = {
            "error": np.asarray(task.loss.error(output, jnp.asarray(task.y))),
            "loss": np.asarray(task.loss.value(output, jnp.asarray(task.y)).sum(axis=-1)),
        }
        if "test_output" in variables and task.y_test is not None:
            measured["test_loss"] = task.test_loss(variables["test_output"])
    return measured
