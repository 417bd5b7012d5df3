"""What a run is, as plain data that can be compared: two calls with equal identities compute the same numbers."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from ..results import Record
from .simulation import Simulation


def identity(simulation: Simulation, replicates: int, record: Record | None, auto: bool) -> dict[str, Any]:
    """The identity of a run of so many replicates, but for its number of steps.

    `record` is what the call has asked for, which leaves open what is chosen by the memory that is free; `auto` says
    that the call left the step size open too. Arrays stand as digests, and classes by their names: code is not looked
    at.
    """
    task, optimizer = simulation.task, simulation.optimizer
    data = {
        "net": identified(simulation.net),
        "rule": identified(simulation.rule),
        "task": {name: identified(getattr(task, name)) for name in ("x", "y", "x_test", "y_test", "shape", "scalar")},
        "loss": identified(task.loss),
        "width": identified(simulation.width),
        "optimizer": identified(optimizer) | ({"step_size": "auto"} if auto else {}),
        "batches": identified(simulation.batches),
        "record": identified(Record() if record is None else record),
        "seed": simulation.seed,
        "centred": simulation.program.centred,
        "precision": simulation.precision,
        "replicates": replicates,
    }
    return json.loads(json.dumps(data))


def identified(value: Any) -> Any:
    """A part of a run as plain JSON data; arrays as their digests."""
    if isinstance(value, (np.ndarray, np.generic, jax.Array)):
        array = np.asarray(value)
        if array.ndim == 0:
            return array.item()
        digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
        return {"shape": list(array.shape), "dtype": str(array.dtype), "sha256": digest}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [each.name for each in dataclasses.fields(value) if each.init]
        return {"type": type(value).__name__} | {name: identified(getattr(value, name)) for name in fields}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [identified(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): identified(item) for key, item in value.items()}
    return getattr(value, "__qualname__", type(value).__name__)


def differences(before: Any, now: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """The names of what differs between two identities, each with what it was and is, in words."""
    nested = isinstance(before, dict) and isinstance(now, dict) and "sha256" not in before | now
    if nested and before.get("type") != now.get("type"):  # the fields of different things are not compared
        yield name, f"{name}.type {_changed(before.get('type'), now.get('type'))}"
    elif nested:
        for key in sorted({*before, *now}):
            yield from differences(before.get(key), now.get(key), f"{name}.{key}" if name else key)
    elif before != now:
        yield name, f"{name} {_changed(before, now)}"


def _changed(before: Any, now: Any) -> str:
    if isinstance(before, dict) and isinstance(now, dict) and "sha256" in before and "sha256" in now:
        if before["shape"] == now["shape"]:
            return "holds other numbers"
        return f"was of shape {tuple(before['shape'])} and is of shape {tuple(now['shape'])}"
    return f"was {_spelled(before)} and is {_spelled(now)}"


def _spelled(value: Any) -> str:
    if isinstance(value, dict):
        return "an array" if "sha256" in value else str(value.get("type", "a table"))
    return repr(value)
