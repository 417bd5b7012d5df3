"""Fig. 3: feature learning aligns a deep tanh network with its task and its feedback."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from widelimit.results import observables

from ..plots import parts
from . import alignments as measured
from . import approach, claims, style, widths
from .base import PaperFigure, Results, chosen, stated
from .claims import Claim
from .direct_feedback import SMALL, Setting
from .estimates import along, estimate, steps_along

Measure = Callable[[xr.Dataset], xr.DataArray]


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


def _runs(given: Parameters) -> Mapping[str, Callable[[], xr.Dataset]]:
    runs: dict[str, Callable[[], xr.Dataset]] = {}
    for g in given.richness:
        runs[f"theory-{g:g}"] = lambda g=g: given.theory(g, record_every=given.curve_every)
    for width, count in given.ensembles.items():
        for g in given.richness:
            runs[f"N{width}-{g:g}"] = lambda g=g, width=width, count=count: given.network(
                width, g, count, record_every=given.record_every
            )
    return runs


def _each(given: Parameters, found: Results, side: str, measure: Measure) -> xr.DataArray:
    """A measure of the runs of one side at every γ0, with the dimension `richness`."""
    runs = [measure(found[f"{side}-{g:g}"]) for g in given.richness]
    return xr.concat(runs, xr.Variable("richness", list(given.richness)))


def _errors(given: Parameters, found: Results, richness: float) -> xr.DataArray:
    """The errors of the theory for K, dims (width, replicate)."""
    networks = {width: found[f"N{width}-{richness:g}"]["ntk"] for width in given.ensembles}
    return approach.errors(found[f"theory-{richness:g}"]["ntk"], networks)


# --- the claims


def _claims(given: Parameters, found: Results) -> list[Claim]:
    networks = lambda measure: _each(given, found, f"N{given.width}", measure)  # noqa: E731
    theory = lambda measure: _each(given, found, "theory", measure)  # noqa: E731
    most, last = given.richness[-1], {"step": -1}

    def agree(what: str, measure: Measure, *over: str) -> Claim:
        ours, theirs = theory(measure), networks(measure)
        sides = ours.sel(step=theirs["step"]), theirs
        pairs = {f"γ0 = {g:g}": tuple(side.sel(richness=g) for side in sides) for g in given.richness}
        return claims.agrees(f"Theory is within error of networks of width {given.width}: {what}", pairs, over)  # type: ignore[arg-type]

    loss, rank = networks(measured.loss), networks(measured.leading_share).sel(richness=most)
    halfway = loss.isel(step=loss.sizes["step"] // 2)
    features, kernel = networks(measured.feature_alignment).isel(last), networks(measured.tangent_alignment).isel(last)
    return [
        _ordered(f"Larger γ0 trains faster: loss at t = {float(halfway['time']):g}", halfway, claims.descending),
        _ordered(
            "Larger γ0 trains faster: time to half the loss, theory", theory(measured.halving_time), claims.descending
        ),
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
        *_gradient_alignment(
            networks(measured.correlation), theory(measured.correlation), theory(measured.weighted_correlation)
        ),
        _ordered("K ends more clustered by class for larger γ0", networks(measured.separation).isel(last)),
        _ordered("A(K, yyᵀ) ends higher for larger γ0", kernel),
        agree("loss", measured.loss, "step"),
        agree("A(Φ^L, yyᵀ)", measured.feature_alignment, "step"),
        agree("corr(g, g̃)", measured.correlation, "step"),
        agree("A(K, yyᵀ)", measured.tangent_alignment, "step"),
        agree("K", measured.tangent, "step", "sample", "sample2"),
        _inverse_width(given, found),
        _smaller_error(given, found),
    ]


def _inverse_width(given: Parameters, found: Results) -> Claim:
    errors = {g: _errors(given, found, g) for g in given.richness}
    noise = max(
        approach.noise(found[f"theory-{g:g}"]["ntk"]) / float(errors[g].sel(width=given.width).mean()) for g in errors
    )
    return claims.all_equal(
        "The error of the theory for K falls as 1/N: exponent of N",
        {f"γ0 = {g:g}": approach.exponent(found) for g, found in errors.items()},
        -1.0,
        note="A 95 % interval is twice the error to either side. The Monte Carlo error of the theory, which has been "
        f"subtracted, is at most {100 * noise:.1g} % of the error at N = {given.width}",
    )


def _smaller_error(given: Parameters, found: Results) -> Claim:
    """In networks of all widths, the same initial weights at every γ0."""
    every = [approach.scaled(_errors(given, found, g)) for g in given.richness]
    scaled = xr.concat(every, xr.Variable("richness", list(given.richness)))
    limit = observables.mean(_each(given, found, "theory", measured.tangent))
    size = (limit**2).sum(["sample", "sample2"]).mean("step")
    absolute = ", ".join(f"{float(one):.3g}" for one in observables.mean(scaled) * size)
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
    told, weighted_told = (
        ", ".join(f"{one.value:.3f} ± {one.error:.3f}" for one in along(values, "richness"))
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
            f"and the last step even lowers it (by {-step.value:.3f} ± {step.error:.3f}; at the end {told}). With "
            f"samples weighted by |g||g̃| it ends at {weighted_told}"
        ),
        claims.above(
            f"corr(g, g̃) passes through a maximum at γ0 = {float(most['richness']):g}: its fall until the end, theory",
            estimate(highest - most.isel(step=-1)),
            note=f"maximum at t = {float(highest['time']):.2g}",
        ),
    ]


# --- the picture


def _draw(given: Parameters, found: Results) -> Figure:
    figure = style.sheet(4.6)
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.0, 1.15))  # type: ignore[misc]
    left, right = bottom.subfigures(1, 2, width_ratios=(2.2, 1.0))
    _draw_curves(given, found, top)
    _draw_kernels(given, found, left)
    _draw_errors(given, found, right.subplots())
    return figure


def _draw_curves(given: Parameters, found: Results, part: SubFigure) -> None:
    panels = (
        ("a", "Loss", measured.loss),
        ("b", r"Task alignment $A(\Phi^L\!,\, yy^\top)$", measured.feature_alignment),
        ("c", r"Gradient alignment corr$(g,\, \tilde g)$", measured.correlation),
    )
    row = part.subplots(1, 3)
    for axes, (letter, title, measure) in zip(row, panels, strict=True):
        for index, g in enumerate(given.richness):
            colour = parts.colour(index)
            parts.band(axes, measure(found[f"theory-{g:g}"]), colour, rf"$\gamma_0 = {g:g}$")
            network = measure(found[f"N{given.width}-{g:g}"])
            parts.points(axes, network, colour, index, len(given.richness), size=3)
        parts.decorate(axes, title, letter, xlabel="time $t$")
    row[0].set_yscale("log")
    row[0].legend(loc="lower left")
    style.kinds(row[1], f"networks, $N={given.width}$", loc="center right", bbox_to_anchor=(1, 0.48))


def _draw_kernels(given: Parameters, found: Results, part: SubFigure) -> None:
    part.suptitle(r"$\bf{d}$   $K$ at the end", x=0.03, ha="left", fontsize="medium")
    last = {
        rf"$\gamma_0 = {g:g}$": [found[f"{side}-{g:g}"]["ntk"].isel(step=-1) for side in ("theory", f"N{given.width}")]
        for g in given.richness
    }
    target = found[f"theory-{given.richness[0]:g}"]["target"]
    parts.matrices(part.subplots(2, len(last)), last, target, ("theory", "networks"))


def _draw_errors(given: Parameters, found: Results, axes: Axes) -> None:
    for index, g in enumerate(given.richness):
        label = r"$\propto 1/N$" if index == 0 else None
        approach.draw(axes, _errors(given, found, g), parts.colour(index), label)
    widths.finish(axes, list(given.ensembles))
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
