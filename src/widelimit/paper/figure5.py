"""Fig. 5: two-layer linear networks on whitened inputs, where the theory is an ordinary differential equation."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..plots import parts
from . import claims, style
from . import figure5_runs as measured
from .base import PaperFigure, Results
from .claims import Claim
from .estimates import Estimate, along, estimate, local_exponents, steps_along
from .figure5_runs import GD, HEBB, ONE, RULES, UNEQUAL, ZERO, Parameters
from .measures import Measure, along_targets, initial_rate, loss

_EXPONENTS = {GD: (2.0, 1.0), ZERO: (2.0, 2 / 3), ONE: (2.0, 2 / 3), HEBB: (1.0, 1.0)}
"""Of ΔH_y at small and at large γ0; those of the Hebbian rule are not in the paper."""
_SHOWN = 1e3
"""The largest γ0 of panel c."""


def _claims(parameters: Parameters, results: Results) -> list[Claim]:
    return [
        *_agreement(parameters, results),
        *_early(parameters, results),
        *_late(parameters, results),
        *_alignment(parameters, results),
        *_scaling(parameters, results),
        *_order(parameters, results),
    ]


def _agreement(parameters: Parameters, results: Results) -> list[Claim]:
    def agree(what: str, measure: Measure) -> Claim:
        pairs = {
            name: (measure(results[f"network-{name}"]), measure(results[f"flow-{name}"].isel(step=slice(0, -1))))
            for name in (*RULES, UNEQUAL)
        }
        return claims.agrees(f"Theory is within error of networks of width {parameters.width}: {what}", pairs, "step")

    def fixed(name: str) -> Claim:
        theory = measured.fixed_point(parameters, RULES[name], parameters.end_richness)["feature_kernel_change"]
        ratios = along(results[f"ends-{name}"]["change"] / theory, "richness")
        form = {GD: "√(1 + γ0²y²) − 1", HEBB: "ΔH of flow"}.get(name, "a²")
        named = {f"γ0 = {gamma:g}": ratio for gamma, ratio in zip(parameters.end_richness, ratios, strict=True)}
        return claims.all_equal(f"Networks end where theory says: ΔH_y over {form}, {name}", named, 1.0)

    return [
        agree("loss", loss),
        agree("H_y", measured.features),
        agree("H_y/Tr H", measured.share),
        *(fixed(name) for name in RULES),
    ]


def _early(parameters: Parameters, results: Results) -> list[Claim]:
    rates = {name: estimate(initial_rate(results[f"rate-{name}"])) for name in RULES}
    losses = {name: results[f"early-{name}"]["loss"].values[::-1] for name in RULES}
    times = np.array(measured.EARLY)

    def start(names: tuple[str, str], rate: float) -> Claim:
        statement = f"{' and '.join(names)} start alike: initial rate of networks, yᵀ(df/dt)/|y|²"
        return claims.all_equal(statement, {name: rates[name] for name in names}, rate)

    def part(slower: str, faster: str, power: int, factor: float, formula: str) -> list[Claim]:
        apart = losses[slower] - losses[faster]
        slopes = local_exponents(times, apart)
        pair = f"losses under {slower} and {faster} part as t^{power}"
        ratio = apart / (factor * times**power)
        return [
            claims.tends_to(f"The {pair}: exponent, t → 0", slopes, power),
            claims.tends_to(f"The {pair} times {formula}: difference over that, t → 0", ratio, 1.0),
        ]

    return [
        start((ZERO, HEBB), 1.0),
        start((ONE, GD), 2.0),
        claims.equals(
            "The loss under GD falls as Eq. 7 has it, dΔ/dt = −H_y Δ: initial rate of networks", rates[GD], 1.0
        ).known_to_fail(
            "Eq. 7 lacks a factor 2: f learns through both layers, each of which contributes H_y to the eNTK, and "
            "networks start at the rate 2"
        ),
        *part(ZERO, HEBB, 2, 1.5 * parameters.richness / parameters.samples, "(3/2) γ0 Σ_μ y_μ⁴"),
        *part(ONE, GD, 3, 5 / 6 * parameters.richness**2, "(5/6) γ0² |y|⁴"),
    ]


def _late(parameters: Parameters, results: Results) -> list[Claim]:
    order = (HEBB, ZERO, ONE, GD)
    losses = xr.concat([loss(results[f"network-{name}"]).isel(step=-1) for name in order], "rule")
    in_the_end = (HEBB, ONE, ZERO, GD)
    ends = [results[f"flow-{name}"].isel(step=-1) for name in in_the_end]
    return [
        claims.descending(
            f"All losses of networks are distinct at t = {parameters.duration:g}: {'; '.join(order)}",
            along(losses, "rule"),
            steps=steps_along(losses, "rule"),
        ),
        claims.ascending(
            f"So are the rates at which losses fall in the end, yᵀK(∞)y/|y|²: {'; '.join(in_the_end)}",
            [Estimate(float(along_targets(end["ntk"], end["target"]))) for end in ends],
            note="ρ = 0 is behind ρ = 1 for long, and ahead in the end",
        ),
    ]


def _alignment(parameters: Parameters, results: Results) -> list[Claim]:
    names = (*RULES, UNEQUAL)
    moved = {name: estimate(measured.change(measured.share(results[f"network-{name}"]))) for name in names}
    theory = {name: float(measured.change(measured.share(results[f"flow-{name}"]))) for name in names}
    apart = estimate(measured.change(measured.apart(results[f"network-{UNEQUAL}"])))
    until = f"change of networks up to t = {parameters.duration:g}"
    order = parameters.samples / parameters.width
    return [
        *(
            claims.above(
                f"H_y/Tr H increases under {name}: {until}",
                moved[name],
                note=f"{theory[name]:.4f} up to t = ∞ in theory",
            )
            for name in (GD, ZERO, ONE)
        ),
        claims.equals("H_y/Tr H stays under Hebb: up to t = ∞ in theory", Estimate(theory[HEBB]), 0.0, within=1e-9),
        claims.equals(
            f"H_y/Tr H stays under Hebb: {until}",
            moved[HEBB],
            0.0,
            within=order,
            note="Networks of finite width deviate by the order P/N",
        ),
        claims.equals(
            f"H_y/Tr H stays under Hebb for targets of unequal size too: {until}", moved[UNEQUAL], 0.0, within=order
        ).known_to_fail(
            "H_μμ grows with the error of sample μ, most where the target is largest, which raises H_y against Tr H: "
            "the representation knows how large a target is, though not its sign"
        ),
        claims.equals(
            f"Samples do not meet under Hebb, whatever the targets: Σ_{{μ≠ν}} y_μ H_μν y_ν/|y|², {until}",
            apart,
            0.0,
            within=order,
        ),
    ]


def _scaling(parameters: Parameters, results: Results) -> list[Claim]:
    """Exponents and factors of ΔH_y at both ends of the range of γ0, each from three values a factor of ten apart."""
    last = parameters.points * np.arange(3)[::-1]
    fixed = {name: results[f"fixed-{name}"] for name in RULES}
    slopes = {
        name: local_exponents(run["richness"].values, run["feature_kernel_change"].values)
        for name, run in fixed.items()
    }

    def law(name: str, size: str, exponent: float, places: np.ndarray) -> list[Claim]:
        change, expected = fixed[name]["feature_kernel_change"].values, fixed[name][f"{size}_richness"].values
        power = {1.0: "γ0", 2.0: "γ0²", 2 / 3: "γ0^⅔"}[exponent]
        where = f"{size} γ0 under {name}"
        return [
            claims.tends_to(f"ΔH_y ∝ {power} at {where}: local exponent", slopes[name][places], exponent),
            claims.tends_to(f"ΔH_y at {where}: over its law", (change / expected)[places], 1.0),
        ]

    return [
        claim
        for name, (small, large) in _EXPONENTS.items()
        for claim in (*law(name, "small", small, last), *law(name, "large", large, -1 - last))
    ] + [
        claims.tends_to(
            "ΔH_y ∝ γ0² at small γ0 under all algorithms, Hebb among them: local exponent", slopes[HEBB][last], 2.0
        ).known_to_fail(
            "a Hebbian step adds to h a multiple of itself, which changes H at first order in γ0; the other rules add "
            "to h what is independent of it, and H changes at second order (the paper's panel has GD and FA alone)"
        )
    ]


def _order(parameters: Parameters, results: Results) -> list[Claim]:
    """What ρ and γ0 do to where training ends."""
    names = measured.by_correlation(parameters)

    def by_rho(variable: str) -> xr.DataArray:
        fixed = [results[f"fixed-{name}"][variable] for name in names]
        return xr.concat(fixed, xr.Variable("rho", list(parameters.correlations)))

    backward, features = by_rho("pseudo_gradient_kernel"), by_rho("feature_kernel_change")
    unaligned, aligned = (results[f"ends-{name}"] for name in (ZERO, ONE))
    growth = [
        np.diff(results[f"fixed-{name}"][variable].values)
        for name in (GD, *names)
        for variable in ("feature_kernel_change", "pseudo_gradient_kernel")
    ]

    def largest_step(values: xr.DataArray) -> Estimate:
        logarithm: xr.DataArray = xr.apply_ufunc(np.log, values)
        return Estimate(float(logarithm.diff("rho").max(skipna=False)))

    def least_certain(values: xr.DataArray) -> Estimate:
        return min(along(values, "richness"), key=lambda estimate: estimate.value / estimate.error)

    slope = (backward.diff("rho") / backward["rho"].diff("rho")).min(skipna=False)
    return [
        claims.below(
            "ρ = 1 has the lower ΔH_y at every γ0: largest log ratio to ρ = 0", largest_step(features.isel(rho=[0, -1]))
        ),
        claims.above(
            "ρ = 1 has the lower ΔH_y in networks: difference from ρ = 0, the least certain of all γ0",
            least_certain(unaligned["change"] - aligned["change"]),
        ),
        claims.below("Final H_y falls with ρ at every γ0: largest step of log ΔH_y", largest_step(features)),
        claims.above("Final G̃ increases with ρ at every γ0, dG̃/dρ > 1/3: least slope", Estimate(float(slope)), 1 / 3),
        claims.above(
            "Final G̃ is larger at ρ = 1 in networks: difference from ρ = 0, the least certain of all γ0",
            least_certain(aligned["backward"] - unaligned["backward"]),
        ),
        claims.above("Final H_y and G̃ increase with γ0 under GD and FA: least step", Estimate(float(np.min(growth)))),
    ]


def _draw(parameters: Parameters, results: Results) -> Figure:
    figure = style.sheet(2.6)
    row = figure.subplots(1, 3)
    for index, name in enumerate(RULES):
        flow, network = results[f"flow-{name}"].isel(step=slice(0, -1)), results[f"network-{name}"]
        for axes, measure in zip(row[:2], (loss, measured.share), strict=True):
            parts.band(axes, measure(flow), parts.colour(index), name)
            parts.points(axes, measure(network), parts.colour(index), index, len(RULES), size=3)
    hebb = parts.colour(list(RULES).index(HEBB))
    unequal = measured.share(results[f"flow-{UNEQUAL}"].isel(step=slice(0, -1)))
    parts.band(row[1], unequal, hebb, linestyle=":")
    parts.points(row[1], measured.share(results[f"network-{UNEQUAL}"]), hebb, 1, len(RULES), size=3)
    row[1].annotate(
        "unequal targets",
        (parameters.duration, float(unequal[-1])),
        (0, 3),
        textcoords="offset points",
        ha="right",
        fontsize=6.5,
        color=parts.darker(hebb),
    )
    parts.decorate(row[0], "Loss", "a", xlabel="time $t$")
    parts.decorate(row[1], r"$H_y\,/\,\mathrm{Tr}\,H$", "b", xlabel="time $t$")
    row[0].set_yscale("log")
    row[0].legend(loc="lower left")
    _draw_scaling(parameters, results, row[2])
    style.kinds(
        row[2], f"networks, $N={parameters.width}$", {"theory": "-", "laws at the ends": "--"}, loc="upper left"
    )
    return figure


def _draw_scaling(parameters: Parameters, results: Results, axes: Axes) -> None:
    for index, name in enumerate(RULES):
        colour = parts.colour(index)
        fixed = results[f"fixed-{name}"].sel(richness=slice(None, 1.001 * _SHOWN))
        gamma = fixed["richness"].values
        axes.plot(gamma, fixed["feature_kernel_change"].values, color=colour)
        for size, where in (("small", gamma < 3), ("large", gamma > 0.3)):
            axes.plot(gamma[where], fixed[f"{size}_richness"].values[where], "--", color=colour, linewidth=0.8)
        parts.points(axes, results[f"ends-{name}"]["change"], colour, size=3, along="richness")
    axes.set_xscale("log")
    axes.set_yscale("log")
    parts.decorate(axes, r"$\Delta H_y$", "c", xlabel=r"richness $\gamma_0$")


FIGURE = PaperFigure(
    number=5,
    title="Two linear layers on whitened inputs, solved exactly: what each rule makes of its features",
    caption=(
        "Two-layer linear networks on whitened inputs (K^x = 1) under gradient descent (GD), feedback alignment (FA) "
        "with correlation ρ = 0 and ρ = 1, and error-modulated Hebbian learning (Hebb), in continuous time. (a) "
        "Training loss. (b) Overlap of the feature kernel with the targets, H_y = yᵀHy/|y|², over its trace; all "
        "targets have one size, or, dotted, sizes in the ratio 1 : 2 : 3 : 4. (c) Change of H_y in all of training "
        "against the richness γ0, with its laws at small and at large γ0. Lines are theory; points are means over "
        "networks with standard errors, whose step sizes are extrapolated to zero."
    ),
    parameters=Parameters(),
    quick=Parameters(
        records=25, steps=250, width=1000, replicates=16, end_richness=(0.3, 3.0, 30.0), correlations=(0.0, 0.5, 1.0)
    ),
    runs=measured.runs,
    claims=_claims,
    draw=_draw,
)
