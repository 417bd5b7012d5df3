"""Fig. 1: mean-field theory beside wide two-layer ReLU networks, under four learning rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import scipy.stats
import xarray as xr
from matplotlib.figure import Figure, SubFigure

import widelimit as wl

from ..plots import parts
from . import claims, style
from .base import PaperFigure, Results, chosen, stated
from .claims import Claim
from .estimates import Estimate, difference, estimate
from .measures import Measure, loss, mean_diagonal, tangent_alignment


@dataclass(frozen=True)
class Parameters:
    """What Fig. 1 is computed with."""

    samples: int = stated(10, "P, random vectors")
    dimension: int = stated(50, "D")
    hidden_layers: int = stated(1, "L")
    richness: float = stated(2.0, "γ0")
    width: int = stated(2000, "N of the networks")
    step_size: float = chosen(0.0025, "η")
    steps: int = chosen(200, "steps, in which the loss under GD falls a hundredfold")
    record_every: int = chosen(5, "steps between two records")
    particles: int = chosen(8000, "S, particles of the theory")
    replicates: int = chosen(32, "independent networks, and independent solutions of the theory")


_RULES = {
    "GD": (wl.ReLU(), wl.GradientDescent()),
    "FA": (wl.ReLU(), wl.FeedbackAlignment(0.0)),
    "GLN": (wl.Gated(wl.ReLU()), wl.GradientDescent()),
    "Hebb": (wl.ReLU(), wl.Hebbian()),
}
_SIDES = ("theory", "network")


def _runs(parameters: Parameters) -> Mapping[str, Callable[[], xr.Dataset]]:
    def run(name: str, side: str) -> xr.Dataset:
        phi, rule = _RULES[name]
        result = wl.train(
            wl.MLP(parameters.hidden_layers, phi, parameters.richness),
            wl.datasets.sphere(parameters.samples, parameters.dimension),
            rule,
            width=wl.Infinite(particles=parameters.particles) if side == "theory" else parameters.width,
            optimizer=wl.SGD(parameters.step_size),
            steps=parameters.steps,
            record=wl.Record(every=parameters.record_every, fields=True),
            replicates=parameters.replicates,
            progress=False,
        )
        return result.drop_vars("final_pre_gradient")

    return {f"{side}-{name}": lambda name=name, side=side: run(name, side) for name in _RULES for side in _SIDES}


def _backward(run: xr.Dataset) -> xr.DataArray:
    """G̃ averaged over samples, (1/P) Σ_μ G̃_μμ."""
    return mean_diagonal(run["pseudo_gradient_kernel"].isel(layer=-1))


def _preactivations(run: xr.Dataset) -> np.ndarray:
    """h at the end, (replicate, sample, neuron)."""
    return run["final_preactivation"].isel(layer=-1).transpose("replicate", "sample", "neuron").values


def _claims(parameters: Parameters, results: Results) -> list[Claim]:
    pairs = {name: [results[f"{side}-{name}"] for side in _SIDES] for name in _RULES}
    theory = {name: pair[0] for name, pair in pairs.items()}

    def agree(what: str, measure: Measure, *over: str) -> Claim:
        sides = {name: (measure(mean_field), measure(network)) for name, (mean_field, network) in pairs.items()}
        return claims.agrees(f"Theory is within error of networks of width {parameters.width}: {what}", sides, over)

    last = {"step": -1}
    start, end = (
        {name: estimate(tangent_alignment(run).isel(step=step)) for name, run in theory.items()} for step in (0, -1)
    )
    backward = {name: [estimate(_backward(run).isel(step=step)) for step in (0, -1)] for name, run in theory.items()}
    descent = loss(theory["GD"])
    fall = estimate(descent.isel(step=0) / descent.isel(step=-1))
    lowest_other = min((start[name] for name in ("GD", "GLN")), key=lambda alignment: alignment.value)
    return [
        claims.above("The loss under GD falls a hundredfold", fall, 100.0),
        agree("loss", loss, "step"),
        agree("task alignment A(K, yyᵀ)", tangent_alignment, "step"),
        agree("G̃, averaged over samples", _backward, "step"),
        agree("final Φ", lambda run: run["feature_kernel"].isel(last), "layer", "sample", "sample2"),
        agree("final G̃", lambda run: run["pseudo_gradient_kernel"].isel(last), "layer", "sample", "sample2"),
        *(_same_density(name, pairs) for name in _RULES),
        claims.above(
            "FA starts with the lowest task alignment of the eNTK: below GD and GLN",
            difference(lowest_other, start["FA"]),
            note=f"Hebb starts at {start['Hebb'].value:.3f} and FA at {start['FA'].value:.3f}: for both K(0) = Φ",
        ),
        claims.above("FA ends with a task alignment above that of GD", difference(end["FA"], end["GD"])),
        *(
            claims.above(f"The task alignment of the eNTK increases: {name}", difference(end[name], start[name]))
            for name in ("GD", "FA", "GLN")
        ),
        claims.above(
            "The task alignment of the eNTK increases: Hebb", difference(end["Hebb"], start["Hebb"])
        ).known_to_fail(
            "it rises for a while and falls below its initial value: Hebbian learning scales Φ sample by sample, by "
            "the error that each still has, whatever its class"
        ),
        claims.equals("FA starts with G̃ = 0", backward["FA"][0], 0.0),
        *(
            claims.above(f"G̃ increases: {name}", difference(backward[name][1], backward[name][0]))
            for name in ("GD", "FA", "GLN")
        ),
        *(_not_gaussian(name, results[f"network-{name}"]) for name in ("GD", "FA", "Hebb")),
        *_nearly_gaussian(results),
    ]


def _same_density(name: str, pairs: Mapping[str, list[xr.Dataset]]) -> Claim:
    """Distances between theory and a network against those between two networks, with as many neurons each."""
    theory, network = (_preactivations(run) for run in pairs[name])
    theory = theory[..., : network.shape[-1]]
    null = _distances(network, np.roll(network, 1, axis=0))
    other = _preactivations(pairs["FA" if name == "GD" else "GD"][1])
    scale = float(_distances(network, other).mean())
    excess = difference(estimate(_distances(theory, network)), estimate(null))
    return claims.at_most(
        f"The density of h is that of networks: {name}; Wasserstein distance beyond that between two networks",
        excess,
        note=f"two networks: {float(null.mean()):.3f}; {name} and {'FA' if name == 'GD' else 'GD'}: {scale:.3f}",
    )


def _distances(a: np.ndarray, b: np.ndarray) -> xr.DataArray:
    """Wasserstein distances between two sets of h for each replicate, averaged over samples."""
    each = [
        np.mean([scipy.stats.wasserstein_distance(*sample) for sample in zip(*pair, strict=True)])
        for pair in zip(a, b, strict=True)
    ]
    return xr.DataArray(each, dims="replicate")


def _gaussian(run: xr.Dataset) -> tuple[Estimate, float]:
    """How far h_μ is from a Gaussian of its own mean and variance beyond chance, and how far Gaussian numbers are.

    Kolmogorov distances averaged over samples; chance is as many Gaussian numbers with the covariances of h.
    """
    h = np.concatenate(list(_preactivations(run)), axis=1)  # (sample, neuron) of all networks
    random = np.random.default_rng(0)
    root = np.linalg.cholesky(np.cov(h))
    null = np.array([_kolmogorov(root @ random.normal(size=h.shape)) for _ in range(20)])
    return Estimate(_kolmogorov(h) - null.mean(), float(null.std(ddof=1))), float(null.mean())


def _not_gaussian(name: str, run: xr.Dataset) -> Claim:
    excess, null = _gaussian(run)
    statement = f"The density of h is not Gaussian under {name}: Kolmogorov distance from a Gaussian beyond chance"
    return claims.above(statement, excess, note=f"{null:.4f} by chance")


def _nearly_gaussian(results: Results) -> list[Claim]:
    """That h is nearly Gaussian in a gated network: far nearer than under GD; and whether it is exactly so."""
    (gated, null), (plain, _) = _gaussian(results["network-GLN"]), _gaussian(results["network-GD"])
    return [
        claims.below(
            "The density of h is nearly Gaussian in the GLN: its distance is below a fifth of that under GD",
            difference(gated, Estimate(0.2 * plain.value, 0.2 * plain.error)),
            note=f"{gated.value:.4f} and {plain.value:.4f}",
        ),
        claims.at_most(
            "The density of h is exactly Gaussian in the GLN", gated, note=f"{null:.4f} by chance"
        ).known_to_fail(
            "h is Gaussian given the gates, and over the gates a mixture of Gaussians whose means and variances "
            "learning has set apart"
        ),
    ]


def _kolmogorov(h: np.ndarray) -> float:
    """The largest difference of distribution functions from a fitted Gaussian, averaged over samples."""
    standard = (h - h.mean(axis=1, keepdims=True)) / h.std(axis=1, ddof=1, keepdims=True)
    return float(np.mean([scipy.stats.kstest(row, "norm", method="asymp")[0] for row in standard]))


def _draw(parameters: Parameters, results: Results) -> Figure:
    figure = style.sheet(5.6)
    curves, densities, kernels = figure.subfigures(3, 1, height_ratios=(1.0, 0.85, 1.2))  # type: ignore[misc]
    _curves(parameters, results, curves)
    _densities(parameters, results, densities)
    _kernels(results, kernels)
    return figure


def _curves(parameters: Parameters, results: Results, part: SubFigure) -> None:
    panels = (
        ("a", "Loss", loss),
        ("b", r"Task alignment $A(K,\, yy^\top)$", tangent_alignment),
        ("c", r"$\tilde G$, mean over samples", _backward),
    )
    row = part.subplots(1, 3)
    for axes, (letter, title, measure) in zip(row, panels, strict=True):
        for index, name in enumerate(_RULES):
            theory, network = (measure(results[f"{side}-{name}"]) for side in _SIDES)
            parts.band(axes, theory, parts.colour(index), name)
            parts.points(axes, network, parts.colour(index), index, len(_RULES), size=3)
        parts.decorate(axes, title, letter, xlabel="time $t$")
    row[0].set_yscale("log")
    row[0].legend(loc="lower left")
    style.kinds(row[2], f"networks, $N={parameters.width}$", loc="upper left")


def _densities(parameters: Parameters, results: Results, part: SubFigure) -> None:
    row = part.subplots(1, len(_RULES), sharey=True)
    grid = np.linspace(-4, 4, 81)
    middle = (grid[1:] + grid[:-1]) / 2
    for index, (axes, name) in enumerate(zip(row, _RULES, strict=True)):
        theory, network = (_preactivations(results[f"{side}-{name}"]).ravel() for side in _SIDES)
        density, other = (np.histogram(h / theory.std(), grid, density=True)[0] for h in (theory, network))
        axes.plot(middle, density, color=parts.colour(index))
        axes.scatter(
            middle[::3], other[::3], color=parts.colour(index), s=9, edgecolor="white", linewidth=0.4, zorder=3
        )
        axes.plot(middle, scipy.stats.norm.pdf(middle), color="0.5", linestyle="--", linewidth=0.8, zorder=0)
        parts.decorate(axes, name, "d" if index == 0 else "", xlabel=r"$h / \sigma_h$")
        axes.set_xlim(-4, 4)
        axes.set_ylim(bottom=0)
    row[0].set_ylabel("density at the end", fontsize="small")
    row[-1].legend(row[-1].lines[-1:], ["Gaussian"], loc="upper right")


def _kernels(results: Results, part: SubFigure) -> None:
    halves = part.subfigures(1, 2)
    shown = (("e", r"\Phi", "feature_kernel"), ("f", r"\tilde G", "pseudo_gradient_kernel"))
    for (letter, symbol, variable), half in zip(shown, halves, strict=True):  # type: ignore[arg-type]
        grid = half.subplots(2, len(_RULES))
        half.suptitle(rf"$\bf{{{letter}}}$   ${symbol}$ at the end", x=0.03, ha="left", fontsize="medium")
        columns = {
            name: [results[f"{side}-{name}"][variable].isel(layer=-1, step=-1) for side in _SIDES] for name in _RULES
        }
        parts.matrices(grid, columns, results["theory-GD"]["target"], _SIDES)


FIGURE = PaperFigure(
    number=1,
    title="Theory predicts the features that wide networks learn",
    caption=(
        "Two-layer ReLU networks trained by gradient descent (GD), feedback alignment with ρ = 0 (FA), error-modulated "
        "Hebbian learning (Hebb), and a gated linear network (GLN) trained by GD. (a) Training loss. (b) Alignment of "
        "the eNTK with the targets. (c) Overlap of gradients and pseudo-gradients. (d) Densities of the preactivations "
        "at the end, in units of their standard deviation. (e, f) Feature kernels and gradient–pseudo-gradient kernels "
        "at the end, samples ordered by class, each pair on one scale from blue through white (zero) to red."
    ),
    parameters=Parameters(),
    quick=Parameters(width=500, particles=2000, record_every=20, replicates=8),
    runs=_runs,
    claims=_claims,
    draw=_draw,
)
