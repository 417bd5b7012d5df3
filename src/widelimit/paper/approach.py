"""How networks approach the theory during training as they become wider: the error of a kernel against N."""

from __future__ import annotations

from collections.abc import Mapping

import xarray as xr
from matplotlib.axes import Axes

from widelimit.results import observables

from .estimates import Estimate, power_law

_OVER = ("step", "sample", "sample2")


def errors(theory: xr.DataArray, networks: Mapping[int, xr.DataArray]) -> xr.DataArray:
    """⟨|K_N − K_∞|²⟩_t/⟨|K_∞|²⟩_t of each network, averaged over the steps that networks have recorded.

    The K_∞ that is known has a Monte Carlo error, whose expected square ([`noise`]) is subtracted.

    **Arguments:** the kernel in theory and in the networks of each width, dims (replicate, step, sample, sample2).

    **Returns:** dims (width, replicate), NaN where a width has fewer networks than another.
    """
    each: list[xr.DataArray] = []
    for kernel in networks.values():
        limit = theory.sel(step=kernel["step"])
        each.append(observables.distance(kernel, observables.mean(limit), _OVER) - noise(limit))
    return xr.concat(each, xr.Variable("width", list(networks)), join="outer")


def noise(theory: xr.DataArray) -> float:
    """What the Monte Carlo error of K_∞ adds to the error of every network."""
    return float(observables.relative_standard_error(theory, _OVER)) ** 2


def averaged(found: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """The mean over networks at each width, and its standard error.

    To leading order K_N − K_∞ has the same distribution at every width but for the factor 1/√N, so that the squared
    error of a network is spread by the same factor everywhere; that spread is pooled over the widths, because the few
    networks of a large width do not tell it well, least of all where they happen to be close to the theory.
    """
    mean, count = found.mean("replicate"), found.count("replicate")
    spread = (((found / mean - 1) ** 2).sum() / (count.sum() - count.size)) ** 0.5
    return mean, mean * spread / count**0.5


def exponent(found: xr.DataArray) -> Estimate:
    """The exponent a of error ∝ N^a."""
    mean, error = averaged(found)
    return power_law(mean["width"].values, mean.values, error.values)


def scaled(found: xr.DataArray) -> xr.DataArray:
    """N times the error of every network of every width, all of them with the dimension `replicate`."""
    every = (found * found["width"]).stack(network=("width", "replicate")).dropna("network")
    return every.drop_vars(["network", "width", "replicate"]).rename(network="replicate")


def draw(axes: Axes, found: xr.DataArray, colour: str, label: str | None = None) -> None:
    """Mean errors as points with standard errors, and the line ∝ 1/N through all networks, which `label` names."""
    mean, error = averaged(found)
    line = float(scaled(found).mean()) / mean["width"]
    axes.plot(mean["width"], line, color="0.6", linestyle="--", linewidth=0.9, label=label)
    axes.errorbar(
        mean["width"],
        mean,
        error,
        color=colour,
        marker="o",
        markersize=3.5,
        markeredgecolor="white",
        markeredgewidth=0.4,
        linestyle="",
        elinewidth=1.0,
        zorder=3,
    )
