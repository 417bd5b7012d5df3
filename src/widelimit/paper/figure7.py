"""Fig. 7: fluctuations of the kernels of ReLU networks at initialisation across layers and widths, on one sample.

Layers are counted by their distance from where a kernel's fluctuations start to accumulate: ℓ for Φ, L + 1 − ℓ for G
(see `walks`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

import widelimit as wl

from ..plots import parts
from . import claims, style, walks, widths
from .base import PaperFigure, Results, chosen, stated
from .claims import Claim
from .estimates import Estimate, along, estimate, ratio, steps_along


@dataclass(frozen=True)
class Parameters:
    """What Fig. 7 is computed with."""

    layers: int = stated(10, "L of panels a and b")
    networks: int = stated(500, "random networks of panels a and b")
    width: int = chosen(250, "N of panels a and b")
    dimension: int = chosen(100, "D; the one sample has |x|² = D")
    depth: int = chosen(6, "L of panels c and d")
    widths: tuple[int, ...] = chosen((10, 20, 50, 100, 200, 500, 1000), "N of panels c and d")
    replicates: int = chosen(1000, "random networks of each width in panels c and d")


_BOTH = ("distance", "distance2")


def _runs(given: Parameters) -> Mapping[str, Callable[[], xr.Dataset]]:
    task = wl.datasets.sphere(1, given.dimension)
    deep, net = wl.MLP(given.layers, wl.ReLU()), wl.MLP(given.depth, wl.ReLU())
    return {
        **widths.runs("deep", deep, task, None, (given.width,), given.networks),
        "theory-deep": lambda: wl.theory.fluctuations(deep, task, width=given.width, progress=False),
        **widths.runs("networks", net, task, None, given.widths, given.replicates),
        "theory": lambda: wl.theory.fluctuations(net, task, width=1, progress=False),
    }


def _deep(given: Parameters, found: Results, symbol: str) -> xr.DataArray:
    """Deviations of the kernels of panels a and b from their mean."""
    return walks.walk(widths.collected(found, "deep", (given.width,)).isel(width=0, drop=True), symbol) - 1


def _claims(given: Parameters, found: Results) -> list[Claim]:
    return [
        claim for symbol in walks.KERNELS for claim in (*_across(given, found, symbol), *_wide(given, found, symbol))
    ]


def _across(given: Parameters, found: Results, symbol: str) -> list[Claim]:
    """What panels a and b show."""
    theory, deviations = walks.leading_order(found["theory-deep"], symbol), _deep(given, found, symbol)
    first, second = theory["distance"], theory["distance2"]
    least = xr.where(first < second, first, second)
    exact, products = walks.exact_law(least, given.width), walks.products(deviations)
    steps = walks.ratios(widths.collected(found, "deep", (given.width,)).isel(width=0), symbol) - 1
    order, law = (estimate((products * one).sum(_BOTH) / (one**2).sum(_BOTH)) for one in (theory, exact))
    what = f"{symbol}^ℓ, L = {given.layers}, N = {given.width}"
    return [
        claims.equals(
            f"The leading order is the covariance of Brownian motion, {_formula(symbol)}: {what}; largest difference",
            Estimate(float(abs(theory - 5 / given.width * least).max())),
            0.0,
            within=1e-10,
        ),
        claims.agrees(
            f"Networks are within error of theory: covariance of {what}",
            {"leading order": (products, theory), "exact law": (products, exact)},
            _BOTH,
        ),
        claims.equals(
            f"The covariance has the size of the exact law: measured/predicted by least squares, {what}",
            law,
            1.0,
            note=f"{order.value:.3g} ± {order.error:.1g} of the leading order",
        ),
        claims.agrees(
            f"Steps between layers are independent, of variance 5/N: covariance of the ratios, {what}",
            {"ratios": (walks.products(steps) * given.width / 5, xr.where(first == second, 1.0, 0.0))},
            _BOTH,
        ),
        claims.above(
            f"The variance of {symbol}^ℓ grows with {_direction(symbol)}: slope over 5/N, L = {given.layers}",
            estimate(_slope(deviations**2) * given.width / 5),
        ),
    ]


def _wide(given: Parameters, found: Results, symbol: str) -> list[Claim]:
    """What panels c and d show."""
    run = widths.collected(found, "networks", given.widths)
    squares, steps = (walks.walk(run, symbol) - 1) ** 2, walks.ratios(run, symbol)
    variance, leading = walks.chained(steps), _variances(found, symbol)
    exact = walks.exact_law(squares["distance"], squares["width"])
    reach = widths.where_leading(given.depth, given.widths)
    scaled = (squares * squares["width"]).sel(width=reach).mean("width")
    products = walks.products(steps - 1) * steps["width"] / 5
    one = xr.where(products["distance"] == products["distance2"], 1.0, 0.0)
    narrow, wide = given.widths[0], given.widths[-1]
    last = {"distance": given.depth, "width": narrow}
    at_last = leading.sel(distance=given.depth) / narrow
    what = f"{symbol}^ℓ, L = {given.depth}"
    return [
        claims.all_equal(
            f"The variance falls as 1/N: exponent over N ≥ {reach[0]}, {what}",
            {
                f"{symbol}^{walks.layer_at(symbol, distance, given.depth)}": widths.exponent(
                    squares.sel(distance=distance, width=reach)
                )
                for distance in squares["distance"].values
            },
            -1.0,
            within=widths.bend(given.depth, reach),
        ),
        claims.agrees(
            f"Networks are within error of the leading order in 1/N: variance of {what}, N = {wide}",
            {"layers": (squares.sel(width=wide), leading / wide)},
            "distance",
        ),
        claims.ascending(
            f"The variance grows with {_direction(symbol)}: N × variance of {what}, N ≥ {reach[0]}",
            along(scaled, "distance"),
            steps=steps_along(scaled, "distance"),
        ),
        claims.agrees(
            f"Steps between layers are independent, of variance 5/N: covariance of the ratios, {what}, at all N",
            {"ratios": (products, one * xr.ones_like(steps["width"], dtype=float))},
            ("width", *_BOTH),
        ),
        claims.agrees(
            f"Networks are within error of the exact law at all N: variance of {what}, from those of the ratios",
            {"measured/predicted": (variance / exact, xr.ones_like(exact))},
            ("width", "distance"),
        ),
        claims.above(
            f"The leading order fails in narrow networks: variance over it, {what}, largest variance at N = {narrow}",
            ratio(estimate(variance.sel(last)), Estimate(float(at_last))),
            1.0,
            note=f"{float(exact.sel(last) / at_last):.3g} by the exact law; the plain variance over "
            f"{given.replicates} networks, whose tails leave it uncertain, gives "
            f"{float(squares.sel(last).mean() / at_last):.3g}",
        ),
    ]


def _formula(symbol: str) -> str:
    return "5/N min(ℓ, ℓ')" if symbol == "Φ" else "5/N min(L+1−ℓ, L+1−ℓ')"


def _direction(symbol: str) -> str:
    return "ℓ" if symbol == "Φ" else "L − ℓ"


def _slope(values: xr.DataArray) -> xr.DataArray:
    """The slope of a straight line through `values` against the distance, network by network."""
    place = values["distance"] - values["distance"].mean()
    return (values * place).sum("distance") / (place**2).sum("distance")


def _variances(found: Results, symbol: str) -> xr.DataArray:
    """N times the variance of each layer's kernel to leading order."""
    leading = walks.leading_order(found["theory"], symbol)
    own = xr.DataArray(np.arange(leading.sizes["distance"]), dims="distance")
    return leading.isel(distance=own, distance2=own)


_MATH = {"Φ": r"\Phi", "G": "G"}


def _draw(given: Parameters, found: Results) -> Figure:
    figure = style.sheet(4.5)
    above, below = figure.subfigures(2, 1, height_ratios=(1.0, 1.35))  # type: ignore[misc]
    halves = above.subfigures(1, 2)
    for part, letter, symbol in zip(halves, "ab", walks.KERNELS, strict=True):  # type: ignore[arg-type]
        _draw_covariance(given, found, symbol, letter, part)
    row = below.subplots(1, 2, sharey=True)
    for axes, letter, symbol in zip(row, "cd", walks.KERNELS, strict=True):
        _draw_variances(given, found, symbol, letter, axes)
    style.kinds(row[0], "networks", {"exact law": "-", "leading order": "--"}, loc="lower left")
    return figure


def _draw_covariance(given: Parameters, found: Results, symbol: str, letter: str, part: SubFigure) -> None:
    measured = walks.products(_deep(given, found, symbol)).mean("replicate")
    pair = {"networks": measured, "leading order": walks.leading_order(found["theory-deep"], symbol)}
    limit = max(float(covariance.max()) for covariance in pair.values())
    title = rf"Cov$({_MATH[symbol]}^\ell,\, {_MATH[symbol]}^{{\ell'}})$, $L = {given.layers}$, $N = {given.width}$"
    part.suptitle(rf"$\bf{{{letter}}}$   {title}", x=0.03, ha="left", fontsize="medium")
    row = part.subplots(1, 2)
    order = np.array([walks.layer_at(symbol, layer, given.layers) for layer in range(1, given.layers + 1)]) - 1
    shown = [1, given.layers // 2, given.layers]
    for axes, (name, covariance) in zip(row, pair.items(), strict=True):
        image = parts.matrix(axes, covariance.values, order, order[:0], limit)
        axes.set_title(name, fontsize="small")
        axes.set_xticks([layer - 1 for layer in shown], shown, fontsize="small")
        axes.set_yticks([layer - 1 for layer in shown], shown, fontsize="small")
        axes.set_xlabel(r"$\ell'$", fontsize="small")
        if axes is row[-1]:
            bar = part.colorbar(image, ax=row, shrink=0.8, aspect=12, pad=0.03)
            bar.ax.set_ylim(0, limit)
            bar.ax.tick_params(labelsize="small")
    row[0].set_ylabel(r"$\ell$", fontsize="small")


def _draw_variances(given: Parameters, found: Results, symbol: str, letter: str, axes: Axes) -> None:
    run = widths.collected(found, "networks", given.widths)
    variance, plain = walks.chained(walks.ratios(run, symbol)), (walks.walk(run, symbol) - 1) ** 2
    line = xr.DataArray(np.geomspace(given.widths[0], given.widths[-1], 40).round(), dims="width")
    for layer in range(1, given.depth + 1):
        at = {"distance": walks.layer_at(symbol, layer, given.depth)}
        colour = parts.colour(layer - 1)
        axes.plot(line, walks.exact_law(xr.DataArray(at["distance"]), line), color=colour, linewidth=0.9)
        axes.plot(line, _variances(found, symbol).sel(at) / line, "--", color=colour, linewidth=0.7)
        widths.draw(axes, variance.sel(at), colour, rf"$\ell = {layer}$")
        if at["distance"] == given.depth:
            axes.plot(plain["width"], plain.sel(at).mean("replicate"), "x", color="black", markersize=3.5, zorder=4)
    parts.decorate(axes, rf"Var$({_MATH[symbol]}^\ell)$, $L = {given.depth}$", letter, xlabel="width $N$")
    widths.finish(axes, given.widths)
    axes.legend(loc="upper right", ncols=2)


FIGURE = PaperFigure(
    number=7,
    title="Kernels of networks at initialisation fluctuate across layers as Brownian motion",
    caption=(
        "Random ReLU networks on one sample with |x|² = D. (a) Covariance over networks of the feature kernels Φ of "
        "two layers, measured and to leading order in 1/N, 5/N times the lesser of ℓ and ℓ'. (b) The same of the "
        "gradient kernels G, 5/N times the lesser of L + 1 − ℓ and L + 1 − ℓ'. (c) Variance of Φ against the width N, "
        "and (d) that of G: the leading order, the exact law, and networks with standard errors. A layer's variance is "
        "put together from the variances of the ratios between neighbouring layers, which are independent; crosses are "
        "the plain variance over the same networks in the layer where it is largest, which heavy tails leave uncertain "
        "in narrow networks."
    ),
    parameters=Parameters(),
    quick=Parameters(width=100, networks=300, depth=4, widths=(10, 80, 400), replicates=400),
    runs=_runs,
    claims=_claims,
    draw=_draw,
)
