"""Fig. 2: the kernels of the lazy limit under every learning rule, and how networks at initialisation approach them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import widelimit as wl
from widelimit import observables

from ..plots import parts
from . import claims, style, widths
from .base import PaperFigure, Results, chosen, stated
from .claims import Claim
from .estimates import Estimate, along, estimate, steps_along
from .measures import mean_diagonal


@dataclass(frozen=True)
class Parameters:
    """What Fig. 2 is computed with."""

    correlations: tuple[float, ...] = chosen((0.0, 0.25, 0.5, 0.75, 1.0), "ρ of panel a")
    depth: int = chosen(4, "L of panel a")
    correlation: float = stated(0.5, "ρ of panel b")
    depths: tuple[int, ...] = stated((1, 2, 3, 4), "L of panels b and c")
    angles: int = chosen(181, "angles θ from 0 to π")
    samples: int = chosen(5, "P of the networks, random vectors")
    dimension: int = chosen(20, "D of the networks")
    widths: tuple[int, ...] = chosen((10, 20, 50, 100, 200, 500, 1000), "N, in the stated range of 10 to 1000")
    replicates: int = chosen(400, "independent networks of each width and depth")
    gated_width: int = chosen(200, "N of the gated networks that the prefactor of K is measured on")


_NETWORKS: Mapping[str, tuple[str, int, wl.Rule]] = {
    "2-layers-0": ("L=2, ρ=0", 2, wl.FeedbackAlignment(0.0)),
    "2-layers-1": ("L=2, ρ=1", 2, wl.FeedbackAlignment(1.0)),
    "4-layers": ("L=4", 4, wl.GradientDescent()),
    "8-layers": ("L=8", 8, wl.GradientDescent()),
}
"""The networks of panel f by the names of their runs: labels, L and rules. Panels d and e have the four layers."""
_LAYERS = "4-layers"
_SYMBOLS = ("Φ", "G", "K")
_GATED = 2
"""L of the gated networks."""
_NEAR = 1e-3
"""Angles at which the one-sided slope at θ = 0 is taken, this and twice this."""


def _runs(parameters: Parameters) -> Mapping[str, Callable[[], xr.Dataset]]:
    task = wl.datasets.sphere(parameters.samples, parameters.dimension)
    runs: dict[str, Callable[[], xr.Dataset]] = {"angles": lambda: _kernels_of_angle(parameters)}
    for name, (_, layers, rule) in _NETWORKS.items():
        net = wl.MLP(layers, wl.ReLU())
        runs[f"lazy-{name}"] = lambda net=net, rule=rule: wl.theory.lazy(net, task, rule, times=[0.0], progress=False)
        runs[f"fluctuations-{name}"] = lambda net=net, rule=rule: wl.theory.fluctuations(
            net, task, rule, width=1, progress=False
        )
        runs |= widths.runs(name, net, task, rule, parameters.widths, parameters.replicates)
    gated = wl.MLP(_GATED, wl.Gated(wl.ReLU()))
    runs["gated"] = lambda: widths.random_networks(gated, task, None, parameters.gated_width, parameters.replicates)
    runs["lazy-gated"] = lambda: wl.theory.lazy(gated, task, times=[0.0], progress=False)
    return runs


def _kernels_of_angle(parameters: Parameters) -> xr.Dataset:
    """K(θ) of panels a to c, and of inputs on a circle at the same angles Φ^L and K of gradient descent."""
    angles = np.unique(np.concatenate([[_NEAR, 2 * _NEAR], np.linspace(0, np.pi, parameters.angles)]))

    def kernels(dim: str, cases: Mapping[float, tuple[wl.MLP, wl.Rule]]) -> xr.DataArray:
        curves = [wl.theory.kernel_of_angle(*case, angles) for case in cases.values()]
        return xr.concat(curves, xr.Variable(dim, list(cases)))

    relu, gates, half = wl.ReLU(), wl.Gated(wl.ReLU()), wl.FeedbackAlignment(parameters.correlation)
    net = wl.MLP(parameters.depth, relu)
    circle = np.sqrt(2) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    task = wl.Task(circle, np.ones(len(angles)))
    on_circle = wl.theory.lazy(net, task, times=[0.0], kernels=("feature_kernel", "ntk"), progress=False)
    from_zero = on_circle.isel(sample=0).rename(sample2="angle")
    return xr.Dataset(
        {
            "correlation": kernels("rho", {rho: (net, wl.FeedbackAlignment(rho)) for rho in parameters.correlations}),
            "depth": kernels("hidden", {depth: (wl.MLP(depth, relu), half) for depth in parameters.depths}),
            "gated": kernels(
                "hidden", {depth: (wl.MLP(depth, gates), wl.GradientDescent()) for depth in parameters.depths}
            ),
            "feature_kernel": from_zero["feature_kernel"].isel(layer=-1, drop=True),
            "ntk": from_zero["ntk"],
        }
    )


def _squared_errors(parameters: Parameters, results: Results, symbol: str) -> dict[str, xr.DataArray]:
    """|Φ_N − Φ|²/|Φ|² (or of G, K) of each network by the name of the curve, with norms over pairs of samples."""

    def measured(name: str, kernel: str) -> xr.DataArray:
        networks = widths.collected(results, name, parameters.widths)
        return observables.distance(networks[kernel], results[f"lazy-{name}"][kernel], ("sample", "sample2"))

    return _by_curve(symbol, measured)


def _leading_order(results: Results, symbol: str) -> dict[str, xr.DataArray]:
    """N times the mean of [`_squared_errors`] for N → ∞."""
    return _by_curve(symbol, lambda name, kernel: widths.leading_order(results[f"fluctuations-{name}"], kernel))


def _by_curve(symbol: str, measure: Callable[[str, str], xr.DataArray]) -> dict[str, xr.DataArray]:
    """`measure(network, kernel)` for each curve of a panel: each layer for Φ and G, each network for K."""
    if symbol == "K":
        return {label: measure(name, "ntk") for name, (label, _, _) in _NETWORKS.items()}
    values = measure(_LAYERS, {"Φ": "feature_kernel", "G": "gradient_kernel"}[symbol])
    return {f"{symbol}^{place + 1}": values.isel(layer=place, drop=True) for place in range(values.sizes["layer"])}


def _cusp(kernel: xr.DataArray) -> Estimate:
    """−K'(0+)/K(0), the one-sided slope at θ = 0, from two small angles; errors are below 1e-5."""
    zero, near, twice = (float(kernel.sel(angle=angle, method="nearest")) for angle in (0.0, _NEAR, 2 * _NEAR))
    return Estimate(-(4 * near - twice - 3 * zero) / (2 * _NEAR * zero))


def _claims(parameters: Parameters, results: Results) -> list[Claim]:
    return [*_of_angle(parameters, results), *_prefactor(parameters, results), *_of_width(parameters, results)]


def _of_angle(parameters: Parameters, results: Results) -> list[Claim]:
    angles = results["angles"]

    def same(statement: str, kernel: xr.DataArray, other: xr.DataArray) -> Claim:
        worst = Estimate(float(abs(kernel - other).max()))
        return claims.equals(f"{statement}: largest difference over θ", worst, 0.0, within=1e-10)

    def sharpens(what: str, kernels: xr.DataArray, dim: str) -> Claim:
        slopes = [_cusp(kernels.isel({dim: place})) for place in range(kernels.sizes[dim])]
        return claims.ascending(f"The cusp of K at θ = 0 sharpens with {what}: −K'(0+)/K(0)", slopes)

    depth, theta = angles["hidden"], angles["angle"]
    closed = (1 - theta / np.pi) ** depth * np.cos(theta)
    return [
        sharpens(f"ρ, L = {parameters.depth}", angles["correlation"], "rho"),
        sharpens(f"L, ρ = {parameters.correlation:g}", angles["depth"], "hidden"),
        sharpens("L, GLN", angles["gated"], "hidden"),
        same("ρ → 0 is the NNGP kernel Φ^L", angles["correlation"].sel(rho=0.0), angles["feature_kernel"]),
        same("ρ → 1 is the NTK of GD", angles["correlation"].sel(rho=1.0), angles["ntk"]),
        same("K of the GLN is (L+1)(1 − θ/π)^L cos θ", angles["gated"], (depth + 1) * closed),
    ]


def _prefactor(parameters: Parameters, results: Results) -> list[Claim]:
    """K of gated networks; its mean over networks is that of the limit at every width, for K is bilinear in Φ and G."""
    kernel, theory = results["gated"]["ntk"], results["lazy-gated"]["ntk"]
    own = estimate(mean_diagonal(kernel))
    where = f"L = {_GATED}, networks of width {parameters.gated_width}"
    return [
        claims.agrees(
            f"Theory is within error of gated networks: K, {where}", {"K": (kernel, theory)}, ("sample", "sample2")
        ),
        claims.equals(f"K of the GLN is [⟨φ̇φ̇⟩]^L K^x, as Table 2 has it: K(x, x), {where}", own, 1.0).known_to_fail(
            "the sum over the L + 1 weight matrices, each of which contributes the same, gives K a prefactor L + 1 "
            "that the table lacks; it does not change the shape of K, which panel c shows"
        ),
    ]


def _of_width(parameters: Parameters, results: Results) -> list[Claim]:
    depth = {label: layers for label, layers, _ in _NETWORKS.values()}
    errors = {symbol: _squared_errors(parameters, results, symbol) for symbol in _SYMBOLS}
    depth |= {name: _NETWORKS[_LAYERS][1] for symbol in ("Φ", "G") for name in errors[symbol]}

    def falls(symbol: str) -> Claim:
        over = {name: widths.where_leading(depth[name], parameters.widths) for name in errors[symbol]}
        least = " or ".join(str(width) for width in sorted({wide[0] for wide in over.values()}))
        everywhere = ", ".join(f"{widths.exponent(error).value:.3g}" for error in errors[symbol].values())
        return claims.all_equal(
            f"The squared error of {symbol} falls as 1/N: exponent over N ≥ {least}",
            {name: widths.exponent(error.sel(width=over[name])) for name, error in errors[symbol].items()},
            -1.0,
            within=max(widths.bend(depth[name], wide) for name, wide in over.items()),
            note=f"Over all N: {everywhere}",
        )

    def predicted(symbol: str) -> Claim:
        largest, order = parameters.widths[-1], _leading_order(results, symbol)
        return claims.agrees(
            f"Networks are within error of the leading order in 1/N: squared error of {symbol} at N = {largest}",
            {name: (error.sel(width=largest), order[name] / largest) for name, error in errors[symbol].items()},
            (),
        )

    def scaled(symbol: str) -> dict[str, xr.DataArray]:
        """N × squared error, averaged over the widths where the leading order holds for all that are compared."""
        over = widths.where_leading(max(depth[name] for name in errors[symbol]), parameters.widths)
        return {name: (error["width"] * error).sel(width=over).mean("width") for name, error in errors[symbol].items()}

    late, early = (xr.concat(scaled(symbol).values(), "layer") for symbol in ("Φ", "G"))
    tangent = scaled("K")
    return [
        *(falls(symbol) for symbol in _SYMBOLS),
        *(predicted(symbol) for symbol in _SYMBOLS),
        claims.ascending(
            "Late layers have the largest errors of Φ^ℓ: N × squared error grows with ℓ",
            along(late, "layer"),
            steps=steps_along(late, "layer"),
        ),
        claims.descending(
            "Early layers have the largest errors of G^ℓ: N × squared error falls with ℓ",
            along(early, "layer"),
            steps=steps_along(early, "layer"),
        ),
        claims.above(
            "The error of K is larger for small ρ: N × squared error at ρ = 0 less that at ρ = 1, L = 2",
            estimate(tangent["L=2, ρ=0"] - tangent["L=2, ρ=1"]),
        ),
        claims.ascending(
            "The error of K is larger for large L: N × squared error at L = 2, 4, 8",
            [estimate(tangent[name]) for name in ("L=2, ρ=1", "L=4", "L=8")],
        ),
    ]


def _draw(parameters: Parameters, results: Results) -> Figure:
    figure = style.sheet(4.3)
    rows = figure.subplots(2, 3)
    _draw_angles(parameters, results["angles"], rows[0])
    titles = {
        "Φ": r"$|\Phi^\ell_N - \Phi^\ell|^2/|\Phi^\ell|^2$",
        "G": r"$|G^\ell_N - G^\ell|^2/|G^\ell|^2$",
        "K": r"$|K_N - K|^2/|K|^2$",
    }
    deep, depths = _NETWORKS[_LAYERS][1], [layers for _, layers, _ in _NETWORKS.values()]
    for axes, letter, (symbol, title) in zip(rows[1], "def", titles.items(), strict=True):
        order = _leading_order(results, symbol)
        for index, (name, errors) in enumerate(_squared_errors(parameters, results, symbol).items()):
            label = (
                f"${name}$".replace("ρ", r"\rho").replace(", ", r",\ ") if symbol == "K" else rf"$\ell = {index + 1}$"
            )
            line = float(order[name]) / np.array(parameters.widths)
            axes.plot(parameters.widths, line, "--", color=parts.colour(index), linewidth=0.9)
            layers = {"Φ": index + 1, "G": deep - index}.get(symbol) or depths[index]
            widths.draw(axes, errors, parts.colour(index), label, layers=layers)
        parts.decorate(axes, title, letter, xlabel="width $N$")
        widths.finish(axes, parameters.widths)
        axes.legend(loc="upper right")
    style.kinds(rows[1, 0], "networks", {"leading order": "--"}, loc="lower left")
    return figure


def _draw_angles(parameters: Parameters, angles: xr.Dataset, row: Sequence[Axes]) -> None:
    panels = (
        ("a", rf"ReLU FA, $L = {parameters.depth}$", "correlation", r"\rho"),
        ("b", rf"ReLU FA, $\rho = {parameters.correlation:g}$", "depth", "L"),
        ("c", "ReLU GLN", "gated", "L"),
    )
    for axes, (letter, title, variable, symbol) in zip(row, panels, strict=True):
        kernels = angles[variable]
        for index, kernel in enumerate(kernels.transpose(..., "angle")):
            place = float(kernel[kernels.dims[0]])
            theta = np.concatenate([-kernel["angle"].values[::-1], kernel["angle"].values])
            values = np.concatenate([kernel.values[::-1], kernel.values]) / kernel.values[0]
            axes.plot(theta, values, color=parts.colour(index), label=f"${symbol} = {place:g}$")
        parts.decorate(axes, title, letter, xlabel=r"angle $\theta$")
        axes.set_xticks([-np.pi, 0, np.pi], [r"$-\pi$", "0", r"$\pi$"])
        axes.legend(loc="upper right", handlelength=0.8, bbox_to_anchor=(1.02, 1.02))
    row[0].set_ylabel(r"$K(\theta)/K(0)$", fontsize="small")


FIGURE = PaperFigure(
    number=2,
    title="Every rule has its own kernel in the lazy limit, and wide networks have it too",
    caption=(
        "The initial eNTK K, which governs training in the lazy limit. (a–c) K between inputs with |x|² = D at the "
        "angle θ, over its value at θ = 0: of ReLU networks under ρ-aligned feedback alignment for several ρ (a) and "
        "depths (b), and of ReLU gated linear networks under gradient descent (c). (d–f) Relative squared errors of "
        "the kernels of random ReLU networks of width N before training: feature kernels (d) and gradient kernels "
        "(e) of a network with four hidden layers, and the eNTK (f) under feedback alignment with two hidden layers "
        "and under gradient descent with four and eight. Points are means over networks with standard errors, hollow "
        "where heavy tails make both uncertain; dashed lines are the leading order in 1/N."
    ),
    parameters=Parameters(),
    quick=Parameters(widths=(180, 400), replicates=150, gated_width=100),
    runs=_runs,
    claims=_claims,
    draw=_draw,
)
