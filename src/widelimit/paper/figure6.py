"""Fig. 6: how the features and gradients of a deep network remember, at all pairs of times."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

import widelimit as wl
from widelimit import observables

from ..plots import parts
from . import claims, style
from .base import PaperFigure, Results, chosen
from .claims import Claim
from .direct_feedback import SMALL, Setting
from .estimates import Estimate, along, steps_along
from .measures import trace


@dataclass(frozen=True)
class Parameters(Setting):
    """What Fig. 6 is computed with."""

    richness: float = chosen(2.0, "γ0")
    width: int = chosen(2000, "N of the networks")
    networks: int = chosen(16, "networks")
    record_every: int = chosen(4, "steps between two records")
    coarse_step_size: float = chosen(0.05, "η of the comparison with Algorithm 1, whose cost grows with (P × steps)²")
    coarse_steps: int = chosen(20, "its steps")
    monte_carlo_samples: int = chosen(2000, "S of Algorithm 1")
    solutions: int = chosen(16, "its independent solutions")

    @property
    def coarse(self) -> Parameters:
        """The same with fewer and larger steps up to the same time."""
        return replace(self, step_size=self.coarse_step_size, steps=self.coarse_steps)


FEATURES, GRADIENTS = "feature_trace", "pseudo_gradient_trace"
_SYMBOLS = {FEATURES: "Tr Φ^ℓ(t, s)", GRADIENTS: "Tr G̃^ℓ(t, s)"}


def _runs(parameters: Parameters) -> Mapping[str, Callable[[], xr.Dataset]]:
    width, richness = parameters.width, parameters.richness

    def algorithm() -> xr.Dataset:
        return wl.theory.alternating(
            **parameters.coarse.training(richness),
            particles=parameters.monte_carlo_samples,
            replicates=parameters.solutions,
        )

    every = wl.Record(every=parameters.record_every, two_time=True)
    return {
        "theory": lambda: _traces(parameters.theory(richness, every)),
        "networks": lambda: _traces(parameters.network(width, richness, parameters.networks, every)),
        "theory-coarse": lambda: _traces(parameters.coarse.theory(richness, wl.Record(two_time=True))),
        "algorithm1": lambda: _traces(algorithm()),
    }


def _traces(run: xr.Dataset) -> xr.Dataset:
    """Tr Φ^ℓ(t, s) and Tr G̃^ℓ(t, s), which is all that is kept: the kernels of all pairs of samples are large."""
    names = {FEATURES: "feature_kernel_two_time", GRADIENTS: "pseudo_gradient_kernel_two_time"}
    traces = {name: trace(run[kernel]) for name, kernel in names.items()}
    return xr.Dataset(traces, attrs=run.attrs).transpose("replicate", "layer", "step", "step2")


def _equal_times(trace: xr.DataArray) -> xr.DataArray:
    """The diagonal t = s."""
    steps = xr.DataArray(np.arange(trace.sizes["step"]), dims="step")
    return trace.isel(step=steps, step2=steps)


def _with_start(trace: xr.DataArray) -> xr.DataArray:
    """The edge s = 0."""
    return trace.isel(step2=0)


# --- the claims


def _claims(parameters: Parameters, results: Results) -> list[Claim]:
    network, theory = results["networks"], results["theory"]

    def agree(what: str, *pair: str) -> list[Claim]:
        return [
            claims.agrees(f"{what}: {symbol}", _by_layer(*(results[run][name] for run in pair)), ("step", "step2"))
            for name, symbol in _SYMBOLS.items()
        ]

    return [
        *agree(f"Theory is within error of networks of width {parameters.width}", "theory", "networks"),
        *agree(
            "Theory with truncated bases is within error of Algorithm 1, which keeps the whole past",
            "theory-coarse",
            "algorithm1",
        ),
        *_features(network[FEATURES]),
        *_gradients(network[GRADIENTS], theory[GRADIENTS]),
    ]


def _by_layer(a: xr.DataArray, b: xr.DataArray) -> dict[str, tuple[xr.DataArray, xr.DataArray]]:
    return {f"ℓ = {int(layer)}": (a.sel(layer=layer), b.sel(layer=layer)) for layer in a["layer"]}


def _features(trace: xr.DataArray) -> list[Claim]:
    """What the picture of Tr Φ^ℓ(t, s) shows."""
    power, past = _equal_times(trace), _with_start(trace)
    start, end = power.isel(step=0), power.isel(step=-1)
    factor = end / start
    kept = past.isel(step=-1) / (start * end) ** 0.5
    return [
        _in_all_layers("Features grow: Tr Φ^ℓ(t, t) from the start to the end", end - start),
        claims.ascending(
            "Features grow by a larger factor in later layers",
            along(factor, "layer"),
            steps=steps_along(factor, "layer"),
        ),
        claims.descending(
            "Later layers keep less of their initial features: Tr Φ^ℓ(t, 0)/√(Tr Φ^ℓ(t, t) Tr Φ^ℓ(0, 0)) at the end",
            along(kept, "layer"),
            steps=steps_along(kept, "layer"),
        ),
    ]


def _gradients(network: xr.DataArray, theory: xr.DataArray) -> list[Claim]:
    """What the picture of Tr G̃^ℓ(t, s) shows."""
    initial = network.isel(step=0).mean("step2")
    now, past = _equal_times(network), _with_start(network)
    asymmetry = network.isel(step=-1, step2=0) - network.isel(step=0, step2=-1)
    curves = [_equal_times(theory).isel(layer=layer) for layer in range(theory.sizes["layer"])]
    peaks = [curve.isel(step=int(observables.mean(curve).argmax("step"))) for curve in curves]
    times = ", ".join(f"{float(peak['time']):.2g}" for peak in peaks)
    falls = [peak - curve.isel(step=-1) for peak, curve in zip(peaks, curves, strict=True)]
    fall = xr.concat(falls, "layer", coords="minimal")
    return [
        claims.all_equal(
            "Initial gradients know nothing of the feedback: Tr G̃^ℓ(0, s), averaged over s",
            dict(zip(_by_layer(network, network), along(initial, "layer"), strict=True)),
            0.0,
        ),
        _in_all_layers("Later gradients do, G̃ is not symmetric: Tr G̃^ℓ(t, 0) − Tr G̃^ℓ(0, t) at the end", asymmetry),
        claims.ascending(
            "The more the later the layer: Tr G̃^ℓ(t, 0) at the end",
            along(past.isel(step=-1), "layer"),
            steps=steps_along(past.isel(step=-1), "layer"),
        ),
        _in_all_layers(
            "Gradients end with more of the initial than of the present pseudo-gradients: Tr G̃^ℓ(t, 0) − Tr G̃^ℓ(t, t)",
            (past - now).isel(step=-1),
        ),
        _in_all_layers(
            "Tr G̃^ℓ(t, t) passes through a maximum: its fall until the end, theory",
            fall,
            note=f"maxima at t = {times}",
        ),
    ]


def _in_all_layers(statement: str, values: xr.DataArray, note: str = "") -> Claim:
    """That a number is above zero in every layer; measured is the one that is least certain."""
    layers: list[Estimate] = along(values, "layer")
    claim = claims.ascending(statement, layers, steps=layers, note=note)
    return replace(claim, expected="> 0 in every layer")


# --- the picture


def _draw(parameters: Parameters, results: Results) -> Figure:
    figure = style.sheet(4.7)
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.08, 1.0))  # type: ignore[misc]
    shown = ((FEATURES, r"\mathrm{Tr}\,\Phi^\ell"), (GRADIENTS, r"\mathrm{Tr}\,\tilde G^\ell"))
    halves, row = top.subfigures(1, 2), bottom.subplots(1, 2)
    for (name, symbol), letters, half, axes in zip(shown, ("ac", "bd"), halves, row, strict=True):  # type: ignore[arg-type]
        half.suptitle(rf"$\bf{{{letters[0]}}}$   ${symbol}(t,\, s)$", x=0.03, ha="left", fontsize="medium")
        _draw_images([results[side][name] for side in ("theory", "networks")], half)
        _draw_cuts([results[side][name] for side in ("theory", "networks")], axes)
        parts.decorate(axes, rf"${symbol}(t,\, t)$ and ${symbol}(t,\, 0)$", letters[1], xlabel="time $t$")
    row[0].legend(loc="center right")
    row[1].set_ylim(top=1.25 * row[1].get_ylim()[1])  # room for the legend
    style.kinds(row[1], f"networks, $N={parameters.width}$", {"$s=t$": "-", "$s=0$": "--"}, loc="upper left")
    return figure


def _draw_images(sides: list[xr.DataArray], part: SubFigure) -> None:
    """Theory above networks, a layer in each column, all on one scale."""
    means = [observables.mean(side).transpose("layer", "step", "step2") for side in sides]
    low, high = min(float(mean.min()) for mean in means), max(float(mean.max()) for mean in means)
    times = means[0]["time"].values
    edges = times[0] - times[1] / 2, times[-1] + times[1] / 2
    grid = part.subplots(2, means[0].sizes["layer"], sharex=True, sharey=True)
    for row, mean, name in zip(grid, means, ("theory", "networks"), strict=True):
        for axes, image in zip(row, mean, strict=True):
            drawn = axes.imshow(image.values, origin="lower", extent=edges * 2, vmin=low, vmax=high, cmap="viridis")
            axes.tick_params(labelsize="x-small")
            axes.set_xticks(times[[0, -1]], [f"{time:g}" for time in times[[0, -1]]])
            axes.set_yticks(times[[0, -1]], [f"{time:g}" for time in times[[0, -1]]])
        row[0].set_ylabel(f"{name}\n$t$", fontsize="small", labelpad=-4)
    for axes, layer in zip(grid[0], means[0]["layer"].values, strict=True):
        axes.set_title(rf"$\ell = {layer}$", fontsize="small")
    for axes in grid[1]:
        axes.set_xlabel("$s$", fontsize="small", labelpad=-4)
    bar = part.colorbar(drawn, ax=grid, aspect=30, ticks=MaxNLocator(6, integer=True))
    bar.ax.tick_params(labelsize="x-small")


def _draw_cuts(sides: list[xr.DataArray], axes: Axes) -> None:
    """Theory as lines and networks as points, a colour for each layer."""
    theory, network = sides
    layers = theory["layer"].values
    for index, layer in enumerate(layers):
        colour = parts.colour(index)
        for cut, line in ((_equal_times, "-"), (_with_start, "--")):
            label = rf"$\ell = {layer}$" if line == "-" else None
            parts.band(axes, cut(theory).sel(layer=layer), colour, label, linestyle=line)
            parts.points(axes, cut(network).sel(layer=layer), colour, index, len(layers), size=3)


FIGURE = PaperFigure(
    number=6,
    title="Features and gradients at all pairs of times",
    caption=(
        "The network of Fig. 3 at one richness. (a) Overlap of the features at two times, summed over samples, in each "
        "of the three hidden layers, in theory and in networks. (b) Overlap of the gradient at time t and the "
        "pseudo-gradient at time s. (c, d) The same at equal times (solid) and with the start of training (dashed). "
        "Lines: theory. Points: networks."
    ),
    parameters=Parameters(),
    quick=Parameters(
        **SMALL,
        record_every=5,
        coarse_step_size=0.1,
        coarse_steps=10,
        monte_carlo_samples=500,
        solutions=8,
    ),
    runs=_runs,
    claims=_claims,
    draw=_draw,
)
