"""Fig. 3: feature learning aligns a deep tanh network with its task and its feedback."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

import widelimit as wl
from widelimit import observables

from ..plots import parts
from . import claims, style, widths
from .base import PaperFigure, Results, chosen, stated
from .claims import Claim
from .direct_feedback import SMALL, Setting
from .estimates import Estimate, along, estimate, power_law, steps_along
from .measures import Measure, diagonal, loss, mean_diagonal, tangent_alignment, trace

_KERNEL_OVER_TIME = ("step", "sample", "sample2")


@dataclass(frozen=True)
class Parameters(Setting):
    """What Fig. 3 is computed with."""

    richness: tuple[float, ...] = chosen((0.2, 1.0, 2.0, 3.0), "γ0")
    width: int = stated(4000, "N of the networks in a to d")
    networks: int = chosen(8, "networks of that width")
    narrower: tuple[int, ...] = chosen((100, 200, 400, 800, 1600), "N of further networks in e")
    narrower_networks: tuple[int, ...] = chosen((64, 64, 64, 32, 8), "networks of each of them")
    record_every: int = chosen(10, "steps between two records of networks; the error in e is averaged over them")
    curve_every: int = chosen(2, "steps between two records of the theory")

    @property
    def ensembles(self) -> dict[int, int]:
        """How many networks of which width."""
        return dict(zip(self.narrower, self.narrower_networks, strict=True)) | {self.width: self.networks}


def _runs(parameters: Parameters) -> Mapping[str, Callable[[], xr.Dataset]]:
    curve, points = wl.Record(every=parameters.curve_every), wl.Record(every=parameters.record_every)
    return {
        **{f"theory-{g:g}": lambda g=g: parameters.theory(g, curve) for g in parameters.richness},
        **{
            f"N{width}-{g:g}": lambda g=g, width=width, count=count: parameters.network(width, g, count, points)
            for width, count in parameters.ensembles.items()
            for g in parameters.richness
        },
    }


def _each(parameters: Parameters, results: Results, side: str, measure: Measure) -> xr.DataArray:
    """A measure of the runs of one side at every γ0, with the dimension `richness`."""
    runs = [measure(results[f"{side}-{g:g}"]) for g in parameters.richness]
    return xr.concat(runs, xr.Variable("richness", list(parameters.richness)))


# --- what is measured: how features, gradients and the eNTK align


def _halving_time(run: xr.Dataset) -> xr.DataArray:
    """When the loss has fallen to half, between recorded steps by a straight line."""
    losses, time = run["loss"].transpose("replicate", "step").values, run["time"].values
    return xr.DataArray([np.interp(-curve[0] / 2, -curve, time) for curve in losses], dims="replicate")


def _tangent(run: xr.Dataset) -> xr.DataArray:
    """The eNTK."""
    return run["ntk"]


def _feature_alignment(run: xr.Dataset) -> xr.DataArray:
    """A(Φ^L, yyᵀ)."""
    return observables.alignment(run["feature_kernel"].isel(layer=-1), run["target"])


def _leading_share(run: xr.Dataset) -> xr.DataArray:
    """The largest eigenvalue of Φ^L as a share of its trace: 1 for a kernel of rank one."""
    kernel = run["feature_kernel"].isel(layer=-1).transpose(..., "sample", "sample2")
    return kernel[..., 0, 0].copy(data=np.linalg.eigvalsh(kernel.values)[..., -1]) / trace(kernel)


def _separation(run: xr.Dataset) -> xr.DataArray:
    """How far K parts the classes: its mean within classes less that between them, over the mean of its diagonal."""
    kernel, y, dims = run["ntk"], run["target"].values, ("sample", "sample2")
    within = xr.DataArray(np.equal.outer(y, y) & ~np.eye(len(y), dtype=bool), dims=dims)
    between = xr.DataArray(np.not_equal.outer(y, y), dims=dims)
    return (kernel.where(within).mean(dims) - kernel.where(between).mean(dims)) / mean_diagonal(kernel)


def _correlation(run: xr.Dataset) -> xr.DataArray:
    """corr(g, g̃): the cosine g·g̃/(|g||g̃|) averaged over layers and samples."""
    norms = diagonal(run["gradient_kernel"]) * run["pseudo_gradient_norm"]
    return (diagonal(run["pseudo_gradient_kernel"]) / norms**0.5).mean(["layer", "sample"])


def _weighted_correlation(run: xr.Dataset) -> xr.DataArray:
    """Σ_μ g·g̃/√(Σ_μ |g|² Σ_μ |g̃|²) averaged over layers: samples weigh as the norms of their gradients."""
    return observables.gradient_alignment(run).mean("layer")


# --- how networks approach the theory as they become wider: the error of K against N


def _errors(parameters: Parameters, results: Results, richness: float) -> xr.DataArray:
    """The errors of the theory for K, dims (width, replicate)."""
    networks = {width: results[f"N{width}-{richness:g}"]["ntk"] for width in parameters.ensembles}
    return _relative_errors(results[f"theory-{richness:g}"]["ntk"], networks)


def _relative_errors(theory: xr.DataArray, networks: Mapping[int, xr.DataArray]) -> xr.DataArray:
    """⟨|K_N − K_∞|²⟩_t/⟨|K_∞|²⟩_t of each network, averaged over the steps that networks have recorded.

    The K_∞ that is known has a Monte Carlo error, whose expected square ([`_noise`]) is subtracted.

    **Arguments:** the kernel in theory and in the networks of each width, dims (replicate, step, sample, sample2).

    **Returns:** dims (width, replicate), NaN where a width has fewer networks than another.
    """
    each: list[xr.DataArray] = []
    for kernel in networks.values():
        limit = theory.sel(step=kernel["step"])
        each.append(observables.distance(kernel, observables.mean(limit), _KERNEL_OVER_TIME) - _noise(limit))
    return xr.concat(each, xr.Variable("width", list(networks)), join="outer")


def _noise(theory: xr.DataArray) -> float:
    """What the Monte Carlo error of K_∞ adds to the error of every network."""
    return float(observables.relative_standard_error(theory, _KERNEL_OVER_TIME)) ** 2


def _averaged(errors: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """The mean over networks at each width, and its standard error.

    To leading order K_N − K_∞ has the same distribution at every width but for the factor 1/√N, so that the squared
    error of a network is spread by the same factor everywhere; that spread is pooled over the widths, because the few
    networks of a large width do not tell it well, least of all where they happen to be close to the theory.
    """
    mean, count = errors.mean("replicate"), errors.count("replicate")
    spread = (((errors / mean - 1) ** 2).sum() / (count.sum() - count.size)) ** 0.5
    return mean, mean * spread / count**0.5


def _exponent(errors: xr.DataArray) -> Estimate:
    """The exponent a of error ∝ N^a."""
    mean, error = _averaged(errors)
    return power_law(mean["width"].values, mean.values, error.values)


def _scaled(errors: xr.DataArray) -> xr.DataArray:
    """N times the error of every network of every width, all of them with the dimension `replicate`."""
    every = (errors * errors["width"]).stack(network=("width", "replicate")).dropna("network")
    return every.drop_vars(["network", "width", "replicate"]).rename(network="replicate")


# --- the claims


def _claims(parameters: Parameters, results: Results) -> list[Claim]:
    networks = lambda measure: _each(parameters, results, f"N{parameters.width}", measure)  # noqa: E731
    theory = lambda measure: _each(parameters, results, "theory", measure)  # noqa: E731
    most, last = parameters.richness[-1], {"step": -1}

    def agree(what: str, measure: Measure, *over: str) -> Claim:
        ours, theirs = theory(measure), networks(measure)
        sides = ours.sel(step=theirs["step"]), theirs
        pairs = {f"γ0 = {g:g}": tuple(side.sel(richness=g) for side in sides) for g in parameters.richness}
        return claims.agrees(f"Theory is within error of networks of width {parameters.width}: {what}", pairs, over)  # type: ignore[arg-type]

    losses, rank = networks(loss), networks(_leading_share).sel(richness=most)
    halfway = losses.isel(step=losses.sizes["step"] // 2)
    features, kernel = networks(_feature_alignment).isel(last), networks(tangent_alignment).isel(last)
    return [
        _ordered(f"Larger γ0 trains faster: loss at t = {float(halfway['time']):g}", halfway, claims.descending),
        _ordered("Larger γ0 trains faster: time to half the loss, theory", theory(_halving_time), claims.descending),
        _ordered("A(Φ^L, yyᵀ) ends higher for larger γ0", features),
        claims.above(
            f"Φ^L ends aligned with yyᵀ at γ0 = {most:g}: A(Φ^L, yyᵀ)", estimate(features.sel(richness=most)), 0.99
        ),
        claims.above(
            f"Φ^L ends essentially of rank one at γ0 = {most:g}: the largest eigenvalue's share of the trace",
            estimate(rank.isel(last)),
            0.95,
            note=f"{estimate(rank.isel(step=0)).value:.2f} at the start",
        ),
        *_gradient_alignment(networks(_correlation), theory(_correlation), theory(_weighted_correlation)),
        _ordered("K ends more clustered by class for larger γ0", networks(_separation).isel(last)),
        _ordered("A(K, yyᵀ) ends higher for larger γ0", kernel),
        agree("loss", loss, "step"),
        agree("A(Φ^L, yyᵀ)", _feature_alignment, "step"),
        agree("corr(g, g̃)", _correlation, "step"),
        agree("A(K, yyᵀ)", tangent_alignment, "step"),
        agree("K", _tangent, "step", "sample", "sample2"),
        _inverse_width(parameters, results),
        _smaller_error(parameters, results),
    ]


def _inverse_width(parameters: Parameters, results: Results) -> Claim:
    errors = {g: _errors(parameters, results, g) for g in parameters.richness}
    noise = max(
        _noise(results[f"theory-{g:g}"]["ntk"]) / float(errors[g].sel(width=parameters.width).mean()) for g in errors
    )
    return claims.all_equal(
        "The error of the theory for K falls as 1/N: exponent of N",
        {f"γ0 = {g:g}": _exponent(error) for g, error in errors.items()},
        -1.0,
        note="A 95 % interval is twice the error to either side. The Monte Carlo error of the theory, which has been "
        f"subtracted, is at most {100 * noise:.1g} % of the error at N = {parameters.width}",
    )


def _smaller_error(parameters: Parameters, results: Results) -> Claim:
    """In networks of all widths, the same initial weights at every γ0."""
    every = [_scaled(_errors(parameters, results, g)) for g in parameters.richness]
    scaled = xr.concat(every, xr.Variable("richness", list(parameters.richness)))
    limit = observables.mean(_each(parameters, results, "theory", _tangent))
    size = (limit**2).sum(["sample", "sample2"]).mean("step")
    absolute = ", ".join(f"{float(error):.3g}" for error in observables.mean(scaled) * size)
    claim = _ordered("The error of the theory for K is smaller for larger γ0: N times it", scaled, claims.descending)
    note = f"In absolute terms it grows, N⟨|K_N − K_∞|²⟩ = {absolute}, but less than |K|²"
    return replace(claim, note=f"{claim.note} {note}")


def _ordered(statement: str, values: xr.DataArray, claim: Callable[..., Claim] = claims.ascending) -> Claim:
    """That a number grows, or falls, with γ0; of networks that have the same initial weights at every γ0."""
    return claim(statement, along(values, "richness"), steps=steps_along(values, "richness"))


def _gradient_alignment(networks: xr.DataArray, theory: xr.DataArray, weighted: xr.DataArray) -> list[Claim]:
    """What is claimed of corr(g, g̃), from its values (richness, replicate, step) on both sides."""
    early = networks.isel(step=networks.sizes["step"] // 5)
    end = theory.isel(step=-1)
    gains = end.diff("richness")
    beyond = gains.isel(richness=slice(1, None)) - 0.1 * gains.isel(richness=0, drop=True)
    most = theory.isel(richness=-1)
    highest = most.isel(step=int(observables.mean(most).argmax("step")))
    ends, weighted_ends = (
        ", ".join(f"{value:.3f} ± {error:.3f}" for value, error in along(values, "richness"))
        for values in (end, weighted.isel(step=-1))
    )
    step = steps_along(end, "richness")[-1]
    return [
        claims.equals("corr(g, g̃) starts from zero", estimate(networks.isel(step=0, richness=0)), 0.0),
        _ordered(f"corr(g, g̃) is higher for larger γ0 while it rises, at t = {float(early['time']):g}", early),
        claims.above("corr(g, g̃) ends higher at the second γ0 than at the first, theory", along(gains, "richness")[0]),
        claims.ascending(
            "corr(g, g̃) ends clearly higher for larger γ0: what each further γ0 adds, less a tenth of what the second "
            "adds to the first; theory",
            along(beyond, "richness"),
            steps=along(beyond, "richness"),
        ).known_to_fail(
            "the cosine rises sooner for larger γ0, but to the same height: it saturates once γ0 is of order one, "
            f"and the last step even lowers it (by {-step.value:.3f} ± {step.error:.3f}; at the end {ends}). With "
            f"samples weighted by |g||g̃| it ends at {weighted_ends}"
        ),
        claims.above(
            f"corr(g, g̃) passes through a maximum at γ0 = {float(most['richness']):g}: its fall until the end, theory",
            estimate(highest - most.isel(step=-1)),
            note=f"maximum at t = {float(highest['time']):.2g}",
        ),
    ]


# --- the picture


def _draw(parameters: Parameters, results: Results) -> Figure:
    figure = style.sheet(4.6)
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.0, 1.15))  # type: ignore[misc]
    left, right = bottom.subfigures(1, 2, width_ratios=(2.2, 1.0))
    _draw_curves(parameters, results, top)
    _draw_kernels(parameters, results, left)
    _draw_errors(parameters, results, right.subplots())
    return figure


def _draw_curves(parameters: Parameters, results: Results, part: SubFigure) -> None:
    panels = (
        ("a", "Loss", loss),
        ("b", r"Task alignment $A(\Phi^L\!,\, yy^\top)$", _feature_alignment),
        ("c", r"Gradient alignment corr$(g,\, \tilde g)$", _correlation),
    )
    row = part.subplots(1, 3)
    for axes, (letter, title, measure) in zip(row, panels, strict=True):
        for index, g in enumerate(parameters.richness):
            colour = parts.colour(index)
            parts.band(axes, measure(results[f"theory-{g:g}"]), colour, rf"$\gamma_0 = {g:g}$")
            network = measure(results[f"N{parameters.width}-{g:g}"])
            parts.points(axes, network, colour, index, len(parameters.richness), size=3)
        parts.decorate(axes, title, letter, xlabel="time $t$")
    row[0].set_yscale("log")
    row[0].legend(loc="lower left")
    style.kinds(row[1], f"networks, $N={parameters.width}$", loc="center right", bbox_to_anchor=(1, 0.48))


def _draw_kernels(parameters: Parameters, results: Results, part: SubFigure) -> None:
    part.suptitle(r"$\bf{d}$   $K$ at the end", x=0.03, ha="left", fontsize="medium")
    sides = "theory", f"N{parameters.width}"
    last = {
        rf"$\gamma_0 = {g:g}$": [results[f"{side}-{g:g}"]["ntk"].isel(step=-1) for side in sides]
        for g in parameters.richness
    }
    target = results[f"theory-{parameters.richness[0]:g}"]["target"]
    parts.matrices(part.subplots(2, len(last)), last, target, ("theory", "networks"))


def _draw_errors(parameters: Parameters, results: Results, axes: Axes) -> None:
    """Mean errors as points with standard errors, and the lines ∝ 1/N through all networks."""
    for index, g in enumerate(parameters.richness):
        errors = _errors(parameters, results, g)
        mean, error = _averaged(errors)
        line, label = float(_scaled(errors).mean()) / mean["width"], r"$\propto 1/N$" if index == 0 else None
        axes.plot(mean["width"], line, color="0.6", linestyle="--", linewidth=0.9, label=label)
        axes.errorbar(
            mean["width"],
            mean,
            error,
            color=parts.colour(index),
            marker="o",
            markersize=3.5,
            markeredgecolor="white",
            markeredgewidth=0.4,
            linestyle="",
            elinewidth=1.0,
            zorder=3,
        )
    widths.finish(axes, list(parameters.ensembles))
    axes.legend(loc="lower left")
    title = r"$\langle |K_N - K_\infty|^2 \rangle_t \,/\, \langle |K_\infty|^2 \rangle_t$"
    parts.decorate(axes, title, "e", xlabel="width $N$")


FIGURE = PaperFigure(
    number=3,
    title="Feature learning aligns a deep network with its task and its feedback",
    caption=(
        "Tanh networks with three hidden layers trained by direct feedback alignment on handwritten digits of two "
        "classes, at several richnesses γ0. Lines: theory. Points: networks. (a) Training loss. (b) Alignment of the "
        "last layer's feature kernel with the targets. (c) Cosine between gradient and pseudo-gradient, averaged over "
        "layers and samples. (d) The eNTK at the end, samples ordered by class, each pair on one scale from blue "
        "through white (zero) to red. (e) Squared error of the theory for K, averaged over the run, against the width; "
        "dashed lines fall as 1/N."
    ),
    parameters=Parameters(),
    quick=Parameters(
        **SMALL,
        narrower=(100,),
        narrower_networks=(32,),
        record_every=5,
        curve_every=5,
    ),
    runs=_runs,
    claims=_claims,
    draw=_draw,
)
