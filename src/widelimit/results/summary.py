"""A result in words and numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from ..faults import RISEN
from ..formatting import duration, number, with_error
from . import observables
from .configuration import configuration
from .legal import taking_results

Labelled = TypeVar("Labelled", xr.DataArray, xr.Dataset)

_LOSSES = {"loss": "training loss", "test_loss": "test loss"}


@taking_results
def lines(result: xr.Dataset) -> list[str]:
    """What was run and what came of it, a line each; means ± standard errors over replicates."""
    run = configuration(result)
    verb = "solved" if "solver" in run else "trained" if "rule" in run else "measured"
    rows = [(verb, setting(run)), ("recorded", _recorded(result, run))]
    rows += _accuracy(run)
    rows += [(name, plus_minus(value)) for name, value in final(result).items()]
    if observables.has_gradient_alignment(result):
        alignment = at_last(observables.gradient_alignment(result)).transpose("layer", ...)
        each = "   ".join(f"layer {int(values.layer)}: {plus_minus(values)}" for values in alignment)
        rows.append(("gradient alignment", each))
    if len(rows) == 2:
        rows.append(("holds", ", ".join(map(str, result.data_vars))))
    return aligned(rows + _diagnostics(result) + cautions(result))


@taking_results
def final(result: xr.Dataset) -> dict[str, xr.DataArray]:
    """The numbers of the last recorded step that sum a run up, one for each replicate: those that it holds."""
    last = at_last(result)
    numbers = {words: last[name] for name, words in _LOSSES.items() if name in last}
    error, alignments = observables.test_error(last), observables.task_alignments(last)
    if error is not None:
        numbers["test error"] = error
    for symbol in dict.fromkeys(("K", next(reversed(alignments), "K"))):
        if symbol in alignments:
            numbers[f"task alignment of {symbol}"] = alignments[symbol]
    return numbers


def at_last(values: Labelled) -> Labelled:
    """Values at the last recorded step, also where they are the same at all of them."""
    return values.isel(step=-1) if "step" in values.dims else values


def plus_minus(values: xr.DataArray, factor: float = 1.0) -> str:
    """Mean ± standard error over replicates; of what has no replicates, and no error, the value alone."""
    if "replicate" not in values.dims:
        return number(factor * float(values))
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


def at_width(run: Mapping[str, Any]) -> str:
    """The width of a configuration in words; empty where it says none."""
    if run.get("width") == "inf":
        return f"infinite width ({run['particles']} particles)" if "particles" in run else "infinite width"
    return f"width {run['width']}" if "width" in run else ""


def setting(run: Mapping[str, Any]) -> str:
    """What a configuration says was trained, by which rule, at which width, and what solved it."""
    rule = f"by {described(run['rule'])}" if "rule" in run else ""
    width = f"at {at_width(run)}" if "width" in run else ""
    parts = [described(run["net"]) if "net" in run else "", rule, width]
    text = " ".join(part for part in parts if part) or "elsewhere, without a configuration"
    return f"{text}, {run['solver']}" if "solver" in run else text


def _recorded(result: xr.Dataset, run: Mapping[str, Any]) -> str:
    time = number(float(np.atleast_1d(result["time"])[-1]))
    size = f", step size {number(run['step_size'])}" if isinstance(run.get("step_size"), (int, float)) else ""
    if "step" in result.coords:
        of_all = f" of {run['steps']}" if "steps" in run else ""
        parts = [f"step {int(np.atleast_1d(result['step'])[-1])}{of_all} (time {time}{size})"]
    else:
        parts = [f"{'continuous time' if 'solver' in run else 'times'} up to {time}{size}"]
    samples = run.get("samples", result.sizes.get("sample"))
    parts += [] if samples is None else [f"{samples} samples"]
    if "recorded_sample" in result.sizes:
        parts.append(f"kernels of {result.sizes['recorded_sample']} of them")
    if "replicate" in result.sizes and ("solver" not in run or result.sizes["replicate"] > 1):
        parts.append(f"replicates: {result.sizes['replicate']}")
    if "seconds" in run:
        parts.append(duration(run["seconds"]))
    return ", ".join(parts)


def _accuracy(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the error of a limit is below, relative to each quantity's size; nothing for other results."""
    found = run.get("limit")
    if not isinstance(found, Mapping) or "solver" not in run or not isinstance(found.get("quantities"), Mapping):
        return []
    reached = [
        f"{name} at most {100 * numbers['achieved']:.2g} % of its size"
        if isinstance(numbers.get("achieved"), (int, float)) and np.isfinite(numbers["achieved"])
        else f"{name} is not known"
        for name, numbers in found["quantities"].items()
        if isinstance(numbers, Mapping)
    ]
    return [("error", f"{', '.join(reached)} (95 %)")] if reached else []


def _diagnostics(result: xr.Dataset) -> list[tuple[str, str]]:
    """How much of the deferred matrices was kept: worst over steps, matrices and replicates."""
    rows = []
    for way, what in (("forward", "features"), ("backward", "gradients")):
        size, dropped = f"{way}_basis_size", f"{way}_dropped_fraction"
        if size in result and dropped in result and (result[size] > 0).any():  # a rule may send nothing back
            sizes = [f"{float(kept.max()):.0f}" for kept in at_last(result[size]).transpose("matrix", ...)]
            share = number(float(result[dropped].max()), 2)
            rows.append((f"kept of the {what}", f"{', '.join(sizes)} directions; at most {share} of power dropped"))
    if "unlearned_fraction" in result and result["unlearned_fraction"].size:
        share = number(float(result["unlearned_fraction"].max()), 2)
        rows.append(("not learned", f"at most {share} of the power of a matrix's updates"))
    if "unrecognised_fraction" in result and result["unrecognised_fraction"].size:
        share = number(float(result["unrecognised_fraction"].max()), 2)
        rows.append(("not recognised", f"at most {share} of what was sent backward, weighed by the error"))
    return rows


def cautions(result: xr.Dataset) -> list[tuple[str, str]]:
    """What is not as it was to be: rows of [`aligned`], none where all is well."""
    return interruption(result) + shortfall(result) + divergence(result) + rise(result)


def interruption(result: xr.Dataset) -> list[tuple[str, str]]:
    """How far a run had come that was interrupted; no row for others."""
    run = configuration(result)
    reached = run.get("interrupted_at")
    if isinstance(run.get("limit"), Mapping) and run["limit"].get("stopped") == "interrupted":
        return [("INTERRUPTED", "before the accuracy was reached")]
    steps, every, replicates = (run.get(name) for name in ("steps", "record_every", "replicates"))
    if not (isinstance(steps, int) and isinstance(every, int) and isinstance(replicates, int) and every > 0):
        return []
    if not isinstance(reached, list) or not all(isinstance(step, int) for step in reached):
        return []
    diverged = np.atleast_1d(result["diverged_step"].values) >= 0 if "diverged_step" in result else np.zeros(0, bool)
    early = [
        step
        for place, step in enumerate(reached)
        if step < steps // every * every and not (place < len(diverged) and diverged[place])
    ]
    missing = replicates - len(reached)
    parts = [f"{len(early)} of {replicates} replicates at step {max(min(early), 0)}"] if early else []
    parts += [f"{missing} of {replicates} not begun"] if missing else []
    return [("INTERRUPTED", ", ".join(parts))] if parts else []


def shortfall(result: xr.Dataset) -> list[tuple[str, str]]:
    """Why a limit has not the accuracy that was asked for; no row where it has, and for other results."""
    found = configuration(result).get("limit")
    stopped = found.get("stopped") if isinstance(found, Mapping) else None
    return [("NOT REACHED", f"the accuracy, because {stopped}")] if stopped and stopped != "interrupted" else []


def divergence(result: xr.Dataset) -> list[tuple[str, str]]:
    """How many replicates diverged and where the first did, as a row of [`aligned`]; no row if none did."""
    steps = np.atleast_1d(result["diverged_step"].values) if "diverged_step" in result else np.zeros(0)
    diverged = steps[steps >= 0]
    if not len(diverged):
        return []
    return [("DIVERGED", f"{len(diverged)} of {len(steps)} replicates, the first at step {diverged.min():g}")]


def rise(result: xr.Dataset) -> list[tuple[str, str]]:
    """How many replicates' losses rose well above their start, and how far, as a row of [`aligned`]; no row if none.

    A mean over replicates hides the one that blew up. Replicates that diverged are left to [`divergence`].
    """
    if "loss" not in result or result["loss"].dims != ("replicate", "step") or not result["loss"].size:
        return []
    loss = result["loss"].fillna(-np.inf).values
    highest, place = loss.max(axis=1), loss.argmax(axis=1)
    at = "step" if "step" in result.coords else "time"
    step = np.atleast_1d(result[at].values)[place]
    if "highest_loss" in result and "highest_loss_step" in result:
        highest, step = result["highest_loss"].values, result["highest_loss_step"].values
    start = np.maximum(loss[:, 0], 1e-9 * result.sizes.get("sample", 1))
    risen = highest > RISEN * start
    if "diverged_step" in result:
        risen &= result["diverged_step"].values < 0
    if not risen.any():
        return []
    worst = int(np.argmax(np.where(risen, highest / start, 0)))
    many = f"{int(risen.sum())} of {risen.size} replicates"
    most = f"{number(float(highest[worst]), 4)}, {number(float(highest[worst] / start[worst]), 3)} times its start"
    return [("LOSS ROSE", f"{many}, at most to {most}, at {at} {number(float(step[worst]))}")]
