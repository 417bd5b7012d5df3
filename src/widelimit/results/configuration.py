"""What a result was computed from: networks, rules and options as plain JSON data, and the versions."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from ..checks import ArgumentError
from ..problem import Task
from .legal import attribute


def describe(value: Any) -> Any:
    """A description of a run (network, rule, optimiser, ...) as plain JSON data: {"type": name, field: value, ...}."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: describe(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
        return {"type": type(value).__name__, **fields}
    if isinstance(value, (bool, str)) or value is None:
        return value
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else str(value)
    if isinstance(value, (list, tuple)):
        return [describe(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): describe(item) for key, item in value.items()}
    return repr(value)


def versions() -> dict[str, str]:
    """The versions that a result was computed with."""
    each = {}
    for name in ("widelimit", "jax", "numpy", "scipy", "xarray"):
        try:
            each[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            each[name] = "unknown"
    return each


def described(net: Any, task: Task, rule: Any) -> dict[str, Any]:
    """What every configuration says of what was trained, on what, and how."""
    return {
        "net": describe(net),
        "rule": describe(rule),
        "loss": describe(task.loss),
        "samples": task.samples,
        "test_samples": len(task.x_test),
    }


def configuration(result: xr.Dataset) -> dict[str, Any]:
    """The configuration that a result was computed from; empty where it holds none.

    Of a result that [`combine`] made, {"dims": [...], "runs": {label: configuration, ...}}, and of a run that was
    selected there its own.
    """
    held = attribute(result, "configuration")
    if "runs" not in held:
        return held
    dims, runs = held.get("dims"), held["runs"]
    if not isinstance(dims, list) or not isinstance(runs, dict):
        raise ArgumentError("The attribute configuration of the result lists runs, and not by dims as combine does.")
    dims = list(dims)
    while dims and dims[0] in result.coords and not result.coords[dims[0]].ndim:
        runs = runs.get(label_of(result.coords[dims.pop(0)].item()), {})
    return {"dims": dims, "runs": runs} if dims else runs


def label_of(value: Any) -> str:
    """What a run is called in the configuration of a combined result; numbers alike, whatever their type."""
    return str(float(value)) if isinstance(value, (int, float)) else str(value)
