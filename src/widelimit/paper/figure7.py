"""Fig. 7: fluctuations of the kernels of ReLU networks at initialisation across layers and widths, on one sample.

The kernels are walks across layers. Forward, Φ^ℓ is the product of the ratios Φ^k/Φ^{k−1}, k ≤ ℓ, which are
independent with mean 1 and variance 5/N at every width; backward, G^ℓ is that of G^k/G^{k+1}, k ≥ ℓ. Layers are counted
by their distance from where the walk starts at 1: ℓ for Φ, L + 1 − ℓ for G. To leading order in 1/N the product is a
sum, and the walk Brownian motion.
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
from . import claims, style, widths
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
_KERNELS = {"Φ": "feature_kernel", "G": "gradient_kernel"}
_SAMPLES = ("sample", "sample2", "sample3", "sample4")


def _runs(parameters: Parameters) -> Mapping[str, Callable[[], xr.Dataset]]:
    task = wl.datasets.sphere(1, parameters.dimension)
    deep, net = wl.MLP(parameters.layers, wl.ReLU()), wl.MLP(parameters.depth, wl.ReLU())
    return {
        **widths.runs("deep", deep, task, None, (parameters.width,), parameters.networks),
        "theory-deep": lambda: wl.theory.fluctuations(deep, task, width=parameters.width, progress=False),
        **widths.runs("networks", net, task, None, parameters.widths, parameters.replicates),
        "theory": lambda: wl.theory.fluctuations(net, task, width=1, progress=False),
    }


# --- the kernels as walks


def _walk(run: xr.Dataset, symbol: str) -> xr.DataArray:
    """Φ^ℓ or G^ℓ of the one sample with the dimension `distance`, from 1 on."""
    return _by_distance(run[_KERNELS[symbol]].isel(sample=0, sample2=0), symbol)


def _layer_at(symbol: str, distance: int, layers: int) -> int:
    """ℓ at a distance from the start, in a network with that many layers; also the distance of a layer."""
    return distance if symbol == "Φ" else layers + 1 - distance


def _leading_order(theory: xr.Dataset, symbol: str) -> xr.DataArray:
    """The covariance of a walk, (distance, distance2), from a result of `theory.fluctuations`."""
    covariance = theory[f"{_KERNELS[symbol]}_covariance"].isel(dict.fromkeys(_SAMPLES, 0))
    return _by_distance(covariance, symbol)


def _exact_law(distance: xr.DataArray, width: xr.DataArray | int) -> xr.DataArray:
    """The exact variance of a walk, [`theory.relu_variance`], for arrays of distances and widths.

    The covariance of two distances is the variance at the lesser of them.
    """
    law = np.vectorize(lambda d, n: wl.theory.relu_variance(int(d), int(n)), otypes=[float])
    return xr.apply_ufunc(law, distance, width)


def _products(deviations: xr.DataArray) -> xr.DataArray:
    """Products of the deviations from the mean at two distances, network by network: their mean is the covariance.

    All means are known to be 1, so that nothing is lost to estimating them and covariances have plain errors. These
    come out too small where the covariance does, for both are made by the same few networks in the tails: of 500
    networks with N = 250, L = 10 the covariance's size is off by more than three such errors once in a hundred times,
    not in four hundred (simulated).
    """
    return deviations * deviations.rename(distance="distance2")


def _ratios(run: xr.Dataset, symbol: str) -> xr.DataArray:
    """The steps of a walk: each kernel over the one before.

    Networks with a layer that is silent as a whole are left out: a fraction 2^{−N} for each layer, 0.1 % at N = 10,
    which changes the variance of a ratio by as little.
    """
    kernel = _walk(run, symbol)
    alive = _walk(run, "Φ").isel(distance=-1, drop=True) > 0
    return kernel.where(alive) / kernel.where(alive).shift(distance=1, fill_value=1.0)


def _chained(steps: xr.DataArray) -> xr.DataArray:
    """The variance of a walk from those of its [`_ratios`], Π(1 + v_k) − 1, as one number for each network.

    Their mean is the estimate, without bias, and their standard error its error to first order. Where fluctuations are
    large the plain mean of (Φ − 1)² is hopeless: at N = 10, ℓ = 6 two fifths of it come from one network in a
    thousand. The variance of a ratio is not, and ratios of different layers are independent.
    """
    squares = (steps - 1) ** 2
    variance = squares.mean("replicate")
    grown = (1 + variance).cumprod("distance")
    return grown - 1 + grown * ((squares - variance) / (1 + variance)).cumsum("distance", skipna=False)


def _by_distance(values: xr.DataArray, symbol: str) -> xr.DataArray:
    for dim, distance in (("layer", "distance"), ("layer2", "distance2")):
        if dim in values.dims:
            ordered = values if symbol == "Φ" else values.isel({dim: slice(None, None, -1)})
            renamed = ordered.drop_vars(dim).rename({dim: distance})
            values = renamed.assign_coords({distance: np.arange(1, renamed.sizes[distance] + 1)})
    return values


def _deep(parameters: Parameters, results: Results, symbol: str) -> xr.DataArray:
    """Deviations of the kernels of panels a and b from their mean."""
    return _walk(widths.collected(results, "deep", (parameters.width,)).isel(width=0, drop=True), symbol) - 1


# --- the claims


def _claims(parameters: Parameters, results: Results) -> list[Claim]:
    return [
        claim
        for symbol in _KERNELS
        for claim in (*_across(parameters, results, symbol), *_wide(parameters, results, symbol))
    ]


def _across(parameters: Parameters, results: Results, symbol: str) -> list[Claim]:
    """What panels a and b show."""
    theory, deviations = _leading_order(results["theory-deep"], symbol), _deep(parameters, results, symbol)
    first, second = theory["distance"], theory["distance2"]
    least = xr.where(first < second, first, second)
    exact, products = _exact_law(least, parameters.width), _products(deviations)
    steps = _ratios(widths.collected(results, "deep", (parameters.width,)).isel(width=0), symbol) - 1
    order, size = (estimate((products * law).sum(_BOTH) / (law**2).sum(_BOTH)) for law in (theory, exact))
    what = f"{symbol}^ℓ, L = {parameters.layers}, N = {parameters.width}"
    return [
        claims.equals(
            f"The leading order is the covariance of Brownian motion, {_formula(symbol)}: {what}; largest difference",
            Estimate(float(abs(theory - 5 / parameters.width * least).max())),
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
            size,
            1.0,
            note=f"{order.value:.3g} ± {order.error:.1g} of the leading order",
        ),
        claims.agrees(
            f"Steps between layers are independent, of variance 5/N: covariance of the ratios, {what}",
            {"ratios": (_products(steps) * parameters.width / 5, xr.where(first == second, 1.0, 0.0))},
            _BOTH,
        ),
        claims.above(
            f"The variance of {symbol}^ℓ grows with {_direction(symbol)}: slope over 5/N, L = {parameters.layers}",
            estimate(_slope(deviations**2) * parameters.width / 5),
        ),
    ]


def _wide(parameters: Parameters, results: Results, symbol: str) -> list[Claim]:
    """What panels c and d show."""
    run = widths.collected(results, "networks", parameters.widths)
    squares, steps = (_walk(run, symbol) - 1) ** 2, _ratios(run, symbol)
    variance, leading = _chained(steps), _variances(results, symbol)
    exact = _exact_law(squares["distance"], squares["width"])
    reach = widths.where_leading(parameters.depth, parameters.widths)
    scaled = (squares * squares["width"]).sel(width=reach).mean("width")
    products = _products(steps - 1) * steps["width"] / 5
    independent = xr.where(products["distance"] == products["distance2"], 1.0, 0.0)
    narrow, wide = parameters.widths[0], parameters.widths[-1]
    last = {"distance": parameters.depth, "width": narrow}
    at_last = leading.sel(distance=parameters.depth) / narrow
    what = f"{symbol}^ℓ, L = {parameters.depth}"
    return [
        claims.all_equal(
            f"The variance falls as 1/N: exponent over N ≥ {reach[0]}, {what}",
            {
                f"{symbol}^{_layer_at(symbol, distance, parameters.depth)}": widths.exponent(
                    squares.sel(distance=distance, width=reach)
                )
                for distance in squares["distance"].values
            },
            -1.0,
            within=widths.bend(parameters.depth, reach),
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
            {"ratios": (products, independent * xr.ones_like(steps["width"], dtype=float))},
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
            f"{parameters.replicates} networks, whose tails leave it uncertain, gives "
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


def _variances(results: Results, symbol: str) -> xr.DataArray:
    """N times the variance of each layer's kernel to leading order."""
    leading = _leading_order(results["theory"], symbol)
    own = xr.DataArray(np.arange(leading.sizes["distance"]), dims="distance")
    return leading.isel(distance=own, distance2=own)


# --- the picture

_MATH = {"Φ": r"\Phi", "G": "G"}


def _draw(parameters: Parameters, results: Results) -> Figure:
    figure = style.sheet(4.5)
    above, below = figure.subfigures(2, 1, height_ratios=(1.0, 1.35))  # type: ignore[misc]
    halves = above.subfigures(1, 2)
    for part, letter, symbol in zip(halves, "ab", _KERNELS, strict=True):  # type: ignore[arg-type]
        _draw_covariance(parameters, results, symbol, letter, part)
    row = below.subplots(1, 2, sharey=True)
    for axes, letter, symbol in zip(row, "cd", _KERNELS, strict=True):
        _draw_variances(parameters, results, symbol, letter, axes)
    style.kinds(row[0], "networks", {"exact law": "-", "leading order": "--"}, loc="lower left")
    return figure


def _draw_covariance(parameters: Parameters, results: Results, symbol: str, letter: str, part: SubFigure) -> None:
    measured = _products(_deep(parameters, results, symbol)).mean("replicate")
    pair = {"networks": measured, "leading order": _leading_order(results["theory-deep"], symbol)}
    limit = max(float(covariance.max()) for covariance in pair.values())
    title = rf"Cov$({_MATH[symbol]}^\ell,\, {_MATH[symbol]}^{{\ell'}})$"
    size = f"$L = {parameters.layers}$, $N = {parameters.width}$"
    part.suptitle(rf"$\bf{{{letter}}}$   {title}, {size}", x=0.03, ha="left", fontsize="medium")
    row = part.subplots(1, 2)
    order = np.array([_layer_at(symbol, layer, parameters.layers) for layer in range(1, parameters.layers + 1)]) - 1
    shown = [1, parameters.layers // 2, parameters.layers]
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


def _draw_variances(parameters: Parameters, results: Results, symbol: str, letter: str, axes: Axes) -> None:
    run = widths.collected(results, "networks", parameters.widths)
    variance, plain = _chained(_ratios(run, symbol)), (_walk(run, symbol) - 1) ** 2
    line = xr.DataArray(np.geomspace(parameters.widths[0], parameters.widths[-1], 40).round(), dims="width")
    for layer in range(1, parameters.depth + 1):
        at = {"distance": _layer_at(symbol, layer, parameters.depth)}
        colour = parts.colour(layer - 1)
        axes.plot(line, _exact_law(xr.DataArray(at["distance"]), line), color=colour, linewidth=0.9)
        axes.plot(line, _variances(results, symbol).sel(at) / line, "--", color=colour, linewidth=0.7)
        widths.draw(axes, variance.sel(at), colour, rf"$\ell = {layer}$")
        if at["distance"] == parameters.depth:
            axes.plot(plain["width"], plain.sel(at).mean("replicate"), "x", color="black", markersize=3.5, zorder=4)
    parts.decorate(axes, rf"Var$({_MATH[symbol]}^\ell)$, $L = {parameters.depth}$", letter, xlabel="width $N$")
    widths.finish(axes, parameters.widths)
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
