"""Which rule made a recording, in pictures: the posterior, the evidence, kernels beside each other, confusions."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..checks import ArgumentError
from . import parts

_MOST_SESSIONS = 6


def posterior(result: xr.Dataset) -> Figure:
    """A posterior: rules against richness for each layer, the evidence, and kernels observed and predicted.

    **Arguments:** `result`, as [`infer`] returns it.

    **Returns:** a figure. Each column of the upper row is a layer (from the input up, over all depths), each cell the
    probability of a rule at a γ0; below it the log evidence of the best candidate of each rule and of the baselines
    under the best of all; at the bottom the kernels of the sessions, above as observed, below as the best candidate
    says.

    **Raises:** `ArgumentError` if it is no posterior.
    """
    if "probability" not in result or "candidate" not in result.dims:
        raise ArgumentError("result must be a posterior, as widelimit.infer returns it.")
    layers = sorted({int(layer) for layer in result["layer"].values if layer > 0})
    kernels = "observed_kernel" in result
    figure = Figure(figsize=(max(9.0, 3.2 * len(layers)), 10.5 if kernels else 6.6), layout="constrained")
    rows = 3 if kernels else 2
    pieces: Any = figure.subfigures(rows, 1, height_ratios=(1.0, 1.0, 1.25)[:rows])
    _heat_maps(pieces[0], result, layers)
    _evidence(pieces[1].subplots(1, 1), result)
    if kernels:
        _kernels(pieces[2], result)
    return figure


def confusion(result: xr.Dataset) -> Figure:
    """What rules are taken for: a matrix for each number of neurons, noise and number of sessions.

    **Arguments:** `result`, as [`identifiability`] returns it.

    **Returns:** a figure. Rows are the rules that made recordings, columns what these were taken for; each row sums to
    one.
    """
    if "confusion" not in result:
        raise ArgumentError("result must hold confusions, as widelimit.identifiability returns it.")
    dims = ("sessions", "noise", "neurons")
    cells = [
        (sessions, noise, neurons)
        for sessions in range(result.sizes["sessions"])
        for noise in range(result.sizes["noise"])
        for neurons in range(result.sizes["neurons"])
    ]
    columns = result.sizes["neurons"]
    rows = len(cells) // columns
    figure = Figure(figsize=(1.9 + 2.6 * columns, 1.3 + 2.6 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    image = None
    for axes, place in zip(grid.flat, cells, strict=True):
        chosen = result.isel(dict(zip(dims, place, strict=True)))
        image = axes.imshow(chosen["confusion"].values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        _numbers(axes, chosen["confusion"].values)
        accuracy, error = float(chosen["accuracy"]), float(chosen["standard_error"])
        axes.set_title(
            f"{int(chosen['neurons'])} neurons, noise {float(chosen['noise']):g}, {int(chosen['sessions'])} sessions\n"
            f"right: {accuracy:.2f} ± {error:.2f}",
            fontsize="small",
        )
        axes.set_xticks(range(result.sizes["inferred"]), [_short(name) for name in result["inferred"].values])
        axes.tick_params(axis="x", rotation=90)
        axes.set_yticks(range(result.sizes["rule"]), [_short(name) for name in result["rule"].values])
        axes.tick_params(labelsize="x-small")
    for axes in grid[:, 1:].flat:
        axes.set_yticklabels([])
    for axes in grid[:-1].flat:
        axes.set_xticklabels([])
    figure.supxlabel("taken for", fontsize="small")
    figure.supylabel("made by", fontsize="small")
    assert image is not None
    figure.colorbar(image, ax=grid, shrink=0.6, label="share of recordings")
    return figure


def _heat_maps(figure: Any, result: xr.Dataset, layers: list[int]) -> None:
    rules = [name for name in dict.fromkeys(_labels(result)) if name not in ("untrained", "inputs")]
    richness = sorted({float(g) for g in result["richness"].values if np.isfinite(g)})
    grid = figure.subplots(1, len(layers), squeeze=False)[0]
    tables = []
    labels = _labels(result)
    for layer in layers:
        table = np.full((len(rules), len(richness)), np.nan)
        for index in np.flatnonzero(result["layer"].values == layer):
            if labels[index] in rules:
                place = rules.index(labels[index]), richness.index(float(result["richness"][index]))
                table[place] = np.nansum([table[place], float(result["probability"][index])])
        tables.append(table)
    top = max(float(np.nanmax(table)) for table in tables)
    image = None
    for axes, table, layer in zip(grid, tables, layers, strict=True):
        image = axes.imshow(table, cmap="viridis", vmin=0, vmax=max(top, 1e-12), aspect="auto")
        axes.set_facecolor("0.92")  # what was not computed
        axes.set_title(f"layer {layer}: {np.nansum(table):.2f}", fontsize="small")
        axes.set_xticks(range(len(richness)), [f"{g:.2g}" for g in richness], rotation=90)
        axes.set_yticks(range(len(rules)), [_short(name) for name in rules] if axes is grid[0] else [])
        axes.tick_params(labelsize="x-small")
        axes.set_xlabel(r"richness $\gamma_0$", fontsize="small")
    figure.suptitle("Probability of rule and richness, by layer", fontsize="medium")
    assert image is not None
    figure.colorbar(image, ax=list(grid), pad=0.01)


def _evidence(axes: Axes, result: xr.Dataset) -> None:
    """The best candidate of each rule, and what neurons that were held out say of ceilings."""
    labels = np.array(_labels(result))
    values = result["log_evidence"].values
    best = {name: float(values[labels == name].max()) for name in dict.fromkeys(labels.tolist())}
    order = sorted(best, key=lambda name: -best[name])
    top = best[order[0]]
    held = [("best static kernel, held out", "static_log_evidence"), ("ceiling, held out", "ceiling_log_evidence")]
    rows = [(_short(name), best[name] - top, 5 if name in ("untrained", "inputs") else 0) for name in order]
    if np.isfinite(result["best_held_out"]):  # distances have no neurons to hold out
        rows += [(name, float(result[variable] - result["best_held_out"]), 2) for name, variable in held]
    names, heights, colours = zip(*rows, strict=True)
    lowest = min(-1.0, min(heights))
    axes.barh(range(len(rows)), heights, color=[parts.colour(index) for index in colours], height=0.7)
    for place, height in enumerate(heights):
        axes.text(max(height, 0) + 0.01 * abs(lowest), place, f"{height:.1f}", va="center", fontsize="x-small")
    axes.set_yticks(range(len(rows)), names, fontsize="x-small")
    axes.invert_yaxis()
    axes.axvline(0, color="0.4", linewidth=0.8)
    axes.set_xlim(1.05 * lowest, max(0.12 * abs(lowest), 1.3 * max(heights)))
    parts.decorate(axes, "Log evidence against the best candidate", xlabel="nats")


def _kernels(figure: Any, result: xr.Dataset) -> None:
    """The kernel of each session, as observed and as predicted."""
    count = result.sizes["session"]
    chosen = np.unique(np.round(np.linspace(0, count - 1, min(count, _MOST_SESSIONS))).astype(int))
    observed, predicted = result["observed_kernel"].values, result["predicted_kernel"].values
    limit = max(float(np.nanmax(np.abs(predicted[s, :, s]))) for s in chosen)
    grid = figure.subplots(2, len(chosen), squeeze=False)
    image = None
    for column, session in enumerate(chosen):
        for row, kernel in enumerate((observed, predicted)):
            axes = grid[row, column]
            image = axes.imshow(kernel[session, :, session], cmap="RdBu_r", vmin=-limit, vmax=limit)
            axes.set_xticks([])
            axes.set_yticks([])
        grid[0, column].set_title(f"session {result['session'].values[session]}", fontsize="small")
    grid[0, 0].set_ylabel("observed", fontsize="small")
    grid[1, 0].set_ylabel("best candidate", fontsize="small")
    assert image is not None
    figure.colorbar(image, ax=grid, shrink=0.7, pad=0.01)
    figure.suptitle("Covariance of responses between stimuli, on one scale", fontsize="medium")


def _labels(result: xr.Dataset) -> list[str]:
    """The rule of each candidate with its ρ."""
    pairs = zip(result["rule"].values.tolist(), result["correlation"].values.tolist(), strict=True)
    return [f"{rule}, ρ {rho:.3g}" if np.isfinite(rho) else str(rule) for rule, rho in pairs]


def _short(name: str) -> str:
    """A name that has room beside an axis."""
    shorter = {
        "GradientDescent": "GD",
        "DirectFeedbackAlignment": "DFA",
        "FeedbackAlignment": "FA",
        "Hebbian": "Hebb",
        "DirectRandomTargetProjection": "DRTP",
        "KolenPollack": "Kolen–Pollack",
        "SignSymmetric": "sign-symmetric",
        "ThreeFactorHebbian": "three-factor",
    }
    head, _, rest = str(name).partition(",")
    return f"{shorter.get(head, head)}{rest}"


def _numbers(axes: Axes, table: np.ndarray) -> None:
    for (row, column), value in np.ndenumerate(table):
        if value >= 0.05:
            axes.text(
                column,
                row,
                f"{value:.2f}"[1 if value < 1 else 0 :],
                ha="center",
                va="center",
                fontsize="xx-small",
                color="white" if value > 0.6 else "black",
            )
