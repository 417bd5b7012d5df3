"""A result in words and numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from ..formatting import duration, number, with_error
from . import observables
from .configuration import configuration


def lines(result: xr.Dataset) -> list[str]:
    """What was run and what came of it, a line each; means ± standard errors over replicates."""
    told = configuration(result)
    rows = [("solved" if "solver" in told else "trained", setting(told)), ("recorded", _recorded(result, told))]
    rows += [(name, plus_minus(value)) for name, value in final(result).items()]
    if "gradient_kernel" in result:
        alignment = observables.gradient_alignment(result).isel(step=-1)
        each = "   ".join(f"layer {int(one.layer)}: {plus_minus(one)}" for one in alignment.transpose("layer", ...))
        rows.append(("gradient alignment", each))
    rows += _diagnostics(result) + divergence(result)
    return aligned(rows)


def final(result: xr.Dataset) -> dict[str, xr.DataArray]:
    """The numbers of the last recorded step that sum a run up, one for each replicate."""
    last = result.isel(step=-1)
    found = {"training loss": last["loss"]}
    if "test_loss" in last:
        found["test loss"] = last["test_loss"]
    if "test_target" in last and is_classification(last["test_target"]):
        found["test error"] = observables.classification_error(last["test_output"], last["test_target"])
    if "ntk" in last:
        found["task alignment of K"] = observables.alignment(last["ntk"], last["target"])
    if "feature_kernel" in last:
        top = last["feature_kernel"].isel(layer=-1)
        found[f"task alignment of Φ^{int(top.layer)}"] = observables.alignment(top, last["target"])
    return found


def plus_minus(values: xr.DataArray, factor: float = 1.0) -> str:
    """Mean ± standard error over replicates, with the digits that the error leaves meaningful."""
    return with_error(factor * float(observables.mean(values)), factor * float(observables.standard_error(values)))


def aligned(rows: list[tuple[str, str]]) -> list[str]:
    """Pairs as two columns."""
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {text}" for name, text in rows]


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns under their heads, the first to the left and the numbers to the right."""
    # A combining tilde takes no room of its own.
    size = lambda text: len(text.replace("\u0303", ""))  # noqa: E731
    widths = [max(size(row[column]) for row in (heads, *rows)) for column in range(len(heads))]

    def line(row: Sequence[str]) -> str:
        cells = []
        for column, (text, width) in enumerate(zip(row, widths, strict=True)):
            padding = " " * (width - size(text))
            cells.append(text + padding if column == 0 else padding + text)
        return "   ".join(cells).rstrip()

    return [line(heads), "─" * (sum(widths) + 3 * (len(widths) - 1)), *map(line, rows)]


def described(value: Any) -> str:
    """A described object as it would be written: MLP(hidden_layers=3, …)."""
    if isinstance(value, Mapping) and "type" in value:
        inside = ", ".join(f"{name}={described(item)}" for name, item in fields(value).items())
        return f"{value['type']}({inside})"
    return number(value) if isinstance(value, float) else str(value)


def fields(value: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a described object, without those that say nothing of it: connections that a network has not."""
    silent = {"type"} | ({"residual", "branch_scale"} if value.get("residual") is False else set())
    return {name: item for name, item in value.items() if name not in silent}


def at_width(told: Mapping[str, Any]) -> str:
    """The width of a configuration in words."""
    if told.get("width") == "inf":
        return f"infinite width ({told['particles']} particles)" if "particles" in told else "infinite width"
    return f"width {told.get('width')}"


def setting(told: Mapping[str, Any]) -> str:
    """What a configuration says was trained, by which rule, at which width, and what solved it."""
    how = f", {told['solver']}" if "solver" in told else ""
    return f"{described(told.get('net'))} by {described(told.get('rule'))} at {at_width(told)}{how}"


def _recorded(result: xr.Dataset, told: Mapping[str, Any]) -> str:
    time = number(float(result["time"][-1]))
    if told.get("step_size") is None:
        text = f"continuous time up to {time}, "
    else:
        size = number(told["step_size"])
        text = f"step {int(result['step'][-1])} of {told['steps']} (time {time}, step size {size}), "
    text += f"{told.get('samples')} samples"
    if "solver" not in told or result.sizes["replicate"] > 1:
        text += f", replicates: {result.sizes['replicate']}"
    seconds = told.get("seconds")
    return text if seconds is None else f"{text}, {duration(seconds)}"


def is_classification(target: xr.DataArray) -> bool:
    """Whether the targets are signs, or rows of which one entry stands out as a class."""
    if "output_unit" not in target.dims:
        return bool((np.abs(target) == 1).all())
    return bool(((target == target.max("output_unit")).sum("output_unit") == 1).all())


def _diagnostics(result: xr.Dataset) -> list[tuple[str, str]]:
    """How much of the deferred matrices was kept: worst over steps, matrices and replicates."""
    rows = []
    for way, what in (("forward", "features"), ("backward", "gradients")):
        size, dropped = f"{way}_basis_size", f"{way}_dropped_fraction"
        if size in result and (result[size] > 0).any():  # a rule may send nothing back
            sizes = [f"{float(one.max()):.0f}" for one in result[size].isel(step=-1).transpose("matrix", ...)]
            share = float(result[dropped].max())
            rows.append(
                (
                    f"kept of the {what}",
                    f"{', '.join(sizes)} directions; at most {number(share, 2)} of power dropped",
                )
            )
    return rows


def divergence(result: xr.Dataset) -> list[tuple[str, str]]:
    """How many replicates diverged and where the first did, as a row of [`aligned`]; no row if none did."""
    where = result["diverged_step"].values if "diverged_step" in result else np.zeros(0)
    where = where[where >= 0]
    if not len(where):
        return []
    return [("DIVERGED", f"{len(where)} of {result.sizes['replicate']} replicates, the first at step {where.min():g}")]
