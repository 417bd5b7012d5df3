"""Fig. 4: deep linear networks under feedback that correlates with the initial forward weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import widelimit as wl
from widelimit import observables

from ..plots import parts
from . import claims, style
from .base import PaperFigure, Results, chosen, stated
from .claims import Claim
from .estimates import Estimate, along, estimate, steps_along
from .measures import Measure, along_targets, initial_rate, loss, mean_diagonal, tangent_alignment

Runs = Mapping[float, xr.Dataset]
"""Runs by ρ."""


@dataclass(frozen=True)
class Parameters:
    """What Fig. 4 is computed with."""

    hidden_layers: int = stated(3, "L")
    correlations: tuple[float, ...] = chosen((0.0, 0.25, 0.5, 0.75, 1.0), "ρ, the correlation of W̃ with W(0)")
    samples: int = chosen(20, "P, random vectors")
    dimension: int = chosen(40, "D")
    richness: float = chosen(1.5, "γ0")
    step_size: float = chosen(0.02, "η, a ninth of where K(0) at ρ = 1 becomes unstable")
    steps: int = chosen(100, "steps, in which the loss falls by a factor of 200 or more")
    particles: int = chosen(400, "S, particles of the theory, which is exact with as many")
    capacity: int = chosen(32, "directions kept of what passes through a hidden matrix, of which P + 2 are used")
    algebraic_steps: int = chosen(25, "steps that the algebraic equations are solved for, at a cost ∝ (steps × P)³")
    network_correlations: tuple[float, ...] = chosen((0.0, 0.5, 1.0), "ρ of the networks")
    width: int = chosen(2000, "N of the networks")
    replicates: int = chosen(12, "independent networks")
    fractions: tuple[float, ...] = chosen((0.5, 0.1, 0.01), "fractions of the initial loss at which ρ are compared")


_KEPT = [
    "loss",
    "output",
    "feature_kernel",
    "gradient_kernel",
    "pseudo_gradient_kernel",
    "pseudo_gradient_norm",
    "ntk",
    "target",
]
_SHORT = 2e-5
"""A step so short that K changes by a thousandth at the most: the output's change over it is the initial rate."""


def _runs(parameters: Parameters) -> Mapping[str, Callable[[], xr.Dataset]]:
    """By name and ρ: the theory, its algebraic equations over fewer steps, networks, and one short step of networks."""
    net = wl.MLP(parameters.hidden_layers, wl.Linear(), parameters.richness)
    task = wl.datasets.sphere(parameters.samples, parameters.dimension)
    sgd = wl.SGD(parameters.step_size)

    def train(rho: float, optimizer: wl.SGD = sgd, steps: int = parameters.steps, **options: Any) -> xr.Dataset:
        rule = wl.FeedbackAlignment(rho)
        return wl.train(net, task, rule, optimizer=optimizer, steps=steps, progress=False, **options)[_KEPT]

    def theory(rho: float) -> xr.Dataset:
        """No sampling enters: the one replicate's numbers have no errors."""
        width = wl.Infinite(particles=parameters.particles, capacity=parameters.capacity)
        return train(rho, width=width, replicates=1).isel(replicate=0, drop=True)

    def algebraic(rho: float) -> xr.Dataset:
        rule, steps = wl.FeedbackAlignment(rho), parameters.algebraic_steps
        return wl.theory.linear(net, task, rule, optimizer=sgd, steps=steps, progress=False)[_KEPT]

    def network(rho: float, **options: Any) -> xr.Dataset:
        # Single precision moves what is measured by 1e-5, and takes half the time.
        return train(rho, width=parameters.width, replicates=parameters.replicates, precision="float32", **options)

    every = wl.Record(every=2)
    return {
        **{f"theory-{rho:g}": lambda rho=rho: theory(rho) for rho in parameters.correlations},
        **{f"algebraic-{rho:g}": lambda rho=rho: algebraic(rho) for rho in parameters.correlations},
        **{f"network-{rho:g}": lambda rho=rho: network(rho, record=every) for rho in parameters.network_correlations},
        **{
            f"rate-{rho:g}": lambda rho=rho: network(rho, optimizer=wl.SGD(_SHORT), steps=1)
            for rho in parameters.network_correlations
        },
    }


# --- what is measured


def _backward(run: xr.Dataset) -> xr.DataArray:
    """G̃^ℓ averaged over samples."""
    return mean_diagonal(run["pseudo_gradient_kernel"])


def _features(run: xr.Dataset) -> xr.DataArray:
    """A(H^ℓ, yyᵀ)."""
    return observables.alignment(run["feature_kernel"], run["target"])


def _projection(run: xr.Dataset) -> xr.DataArray:
    """yᵀH^ℓy/|y|²."""
    return along_targets(run["feature_kernel"], run["target"])


def _movement(run: xr.Dataset) -> xr.DataArray:
    """How far the eNTK has moved, |K(t) − K(0)|/|K(0)|."""
    return observables.distance(run["ntk"], run["ntk"].isel(step=0), ("sample", "sample2")) ** 0.5


_OVERLAPS: Mapping[str, Measure] = {
    "A(K, yyᵀ)": tangent_alignment,
    "A(H^ℓ, yyᵀ)": _features,
    "yᵀH^ℓy/|y|²": _projection,
}


# --- the claims


def _claims(parameters: Parameters, results: Results) -> list[Claim]:
    theory = {rho: results[f"theory-{rho:g}"] for rho in parameters.correlations}
    networks = {rho: results[f"network-{rho:g}"] for rho in parameters.network_correlations}
    return [
        _one_solution(parameters, results),
        *_agreement(parameters, theory, networks),
        *_speed(parameters, results, theory),
        *_pseudo_gradients(parameters, theory, networks),
        *(claim for symbol, measure in _OVERLAPS.items() for claim in _alignment(parameters, theory, symbol, measure)),
        *_tangent_kernels(theory, networks),
    ]


def _by_rho(runs: Runs, measure: Measure) -> xr.DataArray:
    """What is measured of each run, along the dimension `rho`."""
    return xr.concat([measure(run) for run in runs.values()], xr.Variable("rho", list(runs)), coords="minimal")


def _largest_step(values: xr.DataArray) -> Estimate:
    """The largest change from one ρ to the next: negative where everything falls with ρ."""
    return Estimate(float(values.diff("rho").max(skipna=False)))


def _one_solution(parameters: Parameters, results: Results) -> Claim:
    """Two ways to solve the theory that share no equations; both are exact up to rounding."""
    apart = []
    for rho in parameters.correlations:
        algebraic, theory = results[f"algebraic-{rho:g}"], results[f"theory-{rho:g}"]
        theory = theory.isel(step=slice(0, algebraic.sizes["step"]))
        apart += [float(abs(algebraic[name] - theory[name]).max() / abs(theory[name]).max()) for name in _KEPT]
    return claims.equals(
        "Algebraic equations and deferred weights have one solution: largest relative difference of outputs and "
        f"kernels over {parameters.algebraic_steps} steps",
        Estimate(max(apart)),
        0.0,
        within=1e-9,
    )


def _agreement(parameters: Parameters, theory: Runs, networks: Runs) -> list[Claim]:
    def agree(what: str, measure: Measure, *over: str) -> Claim:
        pairs = {
            f"ρ = {rho:g}": (measure(run), measure(theory[rho].sel(step=run["step"]))) for rho, run in networks.items()
        }
        return claims.agrees(f"Theory is within error of networks of width {parameters.width}: {what}", pairs, over)

    return [
        agree("loss", loss, "step"),
        agree("G̃^ℓ, averaged over samples", _backward, "step", "layer"),
        agree("task alignment A(K, yyᵀ)", tangent_alignment, "step"),
        agree("task alignment of features A(H^ℓ, yyᵀ)", _features, "step", "layer"),
        agree("overlap yᵀH^ℓy/|y|²", _projection, "step", "layer"),
    ]


def _speed(parameters: Parameters, results: Results, theory: Runs) -> list[Claim]:
    def scale(rho: float) -> float:
        return sum(rho**power for power in range(parameters.hidden_layers + 1))

    first = results[f"algebraic-{parameters.correlations[0]:g}"]
    inputs = first["feature_kernel"].isel(layer=0, step=0)  # Φ¹(0) = K^x
    off = [float(abs(run["ntk"].isel(step=0) / scale(rho) - inputs).max()) for rho, run in theory.items()]
    rates = {
        f"ρ = {rho:g}": estimate(
            initial_rate(results[f"rate-{rho:g}"]) / (scale(rho) * along_targets(inputs, first["target"]))
        )
        for rho in parameters.network_correlations
    }
    later: xr.DataArray = xr.apply_ufunc(np.log, _by_rho(theory, loss).isel(step=slice(1, None)))
    return [
        claims.equals("K(0) = Σ_ℓ ρ^(L−ℓ) K^x in theory: largest difference", Estimate(max(off)), 0.0, within=1e-12),
        claims.all_equal(
            "The initial rate of networks is its closed form: yᵀ(df/dt) over Σ_ℓ ρ^(L−ℓ) yᵀK^x y", rates, 1.0
        ),
        claims.below("Larger ρ has the lower loss at every time: largest step of log loss", _largest_step(later)),
        *(
            claims.descending(
                f"Larger ρ is faster: time until the loss is {fraction:g} of what it was",
                [Estimate(_when(run, fraction)) for run in theory.values()],
            )
            for fraction in parameters.fractions
        ),
    ]


def _when(run: xr.Dataset, fraction: float) -> float:
    """The time at which the loss has fallen to a fraction, log loss being linear between steps; NaN if it has not."""
    fallen = np.log(run["loss"].values[0] / run["loss"].values)
    return float(np.interp(-np.log(fraction), fallen, run["time"].values, right=np.nan))


def _at_equal_loss(parameters: Parameters, theory: Runs, measure: Measure) -> xr.DataArray:
    """What is measured when the loss has fallen to each of the fractions, linear between steps."""

    def at(run: xr.Dataset) -> xr.DataArray:
        when = xr.DataArray([_when(run, fraction) for fraction in parameters.fractions], dims="fraction")
        return measure(run).swap_dims(step="time").drop_vars("step").interp(time=when).drop_vars("time")

    return _by_rho(theory, at)


def _pseudo_gradients(parameters: Parameters, theory: Runs, networks: Runs) -> list[Claim]:
    layers = range(parameters.hidden_layers)
    backward, aligned = _by_rho(theory, _backward), _by_rho(theory, observables.gradient_alignment)
    passed = xr.DataArray([parameters.hidden_layers - layer for layer in layers], dims="layer")
    off = abs(backward.isel(step=0) - backward["rho"] ** passed).max()
    partial = next(rho for rho in networks if 0 < rho < 1)
    ends = {
        "larger G̃": backward.isel(step=-1),
        "gradients closer to pseudo-gradients, corr(g, g̃)": aligned.isel(step=-1),
    }
    return [
        claims.equals("G̃^ℓ(0) = ρ^(L+1−ℓ) in theory: largest difference", Estimate(float(off)), 0.0, within=1e-12),
        claims.equals(
            f"G̃^ℓ(0) = ρ^(L−ℓ), as the text has it: G̃^L(0) of networks at ρ = {partial:g}",
            estimate(_backward(networks[partial]).isel(step=0, layer=-1)),
            1.0,
        ).known_to_fail(
            "what is sent back to layer ℓ has passed L + 1 − ℓ matrices, the readout among them, each of which has the "
            "correlation ρ with that of the forward pass; ρ^(L−ℓ) is G̃ of the layer above"
        ),
        claims.below(
            "Larger ρ has the larger G̃^ℓ in every layer at every time: largest step", _largest_step(-backward)
        ),
        *(
            claims.ascending(f"Larger ρ ends with {what}, in layer {layer + 1}", along(end.isel(layer=layer), "rho"))
            for what, end in ends.items()
            for layer in layers
        ),
    ]


def _alignment(parameters: Parameters, theory: Runs, symbol: str, measure: Measure) -> list[Claim]:
    """How one measure of overlap with the targets depends on ρ: at the end, at the same loss, at the same time."""
    values = _by_rho(theory, measure)
    layers = values.sizes.get("layer", 0)
    ends = {symbol: values.isel(step=-1)}
    if layers:
        ends = {symbol.replace("ℓ", str(place + 1)): ends[symbol].isel(layer=place) for place in range(layers)}
    everywhere = " in every layer" if layers else ""
    fractions = ", ".join(f"{fraction:g}" for fraction in parameters.fractions)
    equal = f"At the same loss, {fractions} of the initial one, smaller ρ has larger {symbol}{everywhere}: largest step"
    return [
        *(claims.descending(f"Smaller ρ ends with larger {name}", along(end, "rho")) for name, end in ends.items()),
        claims.below(equal, _largest_step(_at_equal_loss(parameters, theory, measure))),
        _at_every_time(f"{symbol}{everywhere}", values),
    ]


def _at_every_time(what: str, values: xr.DataArray) -> Claim:
    """That the order of the end is the order at every time."""
    steps = values.diff("rho").isel(step=slice(1, None))
    wrong = (steps >= 0).any("rho")
    until = np.atleast_1d(wrong["time"].where(wrong, 0.0).max("step").values)
    by_layer = f" in layers 1 to {len(until)}" if len(until) > 1 else ""
    return claims.below(
        f"At the same time smaller ρ has larger {what}, from the first step on: largest step",
        Estimate(float(steps.max())),
        note=f"The order is not that up to t = {', '.join(f'{time:g}' for time in until)}{by_layer}",
    ).known_to_fail(
        "larger ρ learns faster and is ahead for a while; kernels align as the loss falls, and at the same loss the "
        "order is the one claimed"
    )


def _tangent_kernels(theory: Runs, networks: Runs) -> list[Claim]:
    ends = _by_rho(networks, tangent_alignment).isel(step=-1)
    moved = _by_rho(theory, _movement).isel(step=-1)
    return [
        claims.descending(
            "Smaller ρ ends with larger A(K, yyᵀ) in networks", along(ends, "rho"), steps=steps_along(ends, "rho")
        ),
        claims.descending("Smaller ρ ends with an eNTK that has moved more, |K − K(0)|/|K(0)|", along(moved, "rho")),
    ]


# --- the picture


def _draw(parameters: Parameters, results: Results) -> Figure:
    figure = style.sheet(3.9)
    grid = figure.subplots(2, 1 + parameters.hidden_layers, sharex=True)

    def panel(axes: Axes, letter: str, title: str, measure: Measure, layer: int | None = None) -> None:
        def of(run: xr.Dataset) -> xr.DataArray:
            values = measure(run).isel(step=slice(1, None))
            return values if layer is None else values.isel(layer=layer)

        for index, rho in enumerate(parameters.correlations):
            parts.band(axes, of(results[f"theory-{rho:g}"]), parts.colour(index), rf"$\rho = {rho:g}$")
            if rho in parameters.network_correlations:
                shown = _spread(of(results[f"network-{rho:g}"]))
                parts.points(axes, shown, parts.colour(index), count=shown.sizes["step"] + 1, size=3)
        axes.set_xscale("log")
        parts.decorate(axes, title, letter, xlabel="time $t$" if axes in grid[1] else "")

    panel(grid[0, 0], "a", "Loss", loss)
    panel(grid[1, 0], "c", r"$A(K,\, yy^\top)$", tangent_alignment)
    for layer in range(parameters.hidden_layers):
        panel(grid[0, 1 + layer], "" if layer else "b", rf"$\tilde G^{layer + 1}$", _backward, layer)
        panel(grid[1, 1 + layer], "" if layer else "d", rf"$A(H^{layer + 1},\, yy^\top)$", _features, layer)
    for row in grid[:, 1:]:
        limits = np.array([axes.get_ylim() for axes in row])
        for axes in row:
            axes.set_ylim(limits[:, 0].min(), limits[:, 1].max())
    grid[0, 0].set_yscale("log")
    grid[0, 0].legend(loc="lower left")
    style.kinds(grid[0, -1], f"networks, $N={parameters.width}$", loc="upper left")
    return figure


def _spread(values: xr.DataArray) -> xr.DataArray:
    """A few records whose times are evenly spread on a logarithmic axis."""
    places = np.unique(np.geomspace(1, values.sizes["step"], 9).round().astype(int) - 1)
    return values.isel(step=places)


FIGURE = PaperFigure(
    number=4,
    title="Feedback that starts out aligned trains faster and aligns features less",
    caption=(
        "Linear networks with three hidden layers (depth 4) under feedback alignment, whose feedback weights have the "
        "correlation ρ with the initial forward weights. (a) Training loss. (b) Overlap of gradients and "
        "pseudo-gradients in each hidden layer, averaged over samples. (c) Alignment of the eNTK with the targets. "
        "(d) Alignment of the feature kernel of each layer with the targets, the same cosine similarity; claims are "
        "also measured of the overlap yᵀHy/|y|². Lines are theory, exact up to rounding; points are means over "
        "networks with standard errors. Time is on a logarithmic axis: larger ρ is faster, and more aligned at first."
    ),
    parameters=Parameters(),
    quick=Parameters(
        correlations=(0.0, 0.5, 1.0),
        samples=10,
        dimension=20,
        steps=60,
        particles=300,
        capacity=16,
        algebraic_steps=10,
        network_correlations=(0.5, 1.0),
        width=800,
        replicates=8,
        fractions=(0.5, 0.1, 0.03),
    ),
    runs=_runs,
    claims=_claims,
    draw=_draw,
)
