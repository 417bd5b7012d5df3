"""The runs of Fig. 4, deep linear networks under feedback of several correlations ρ, and what is measured of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import xarray as xr

import widelimit as wl
from widelimit.results import observables

from .base import chosen, stated
from .overlaps import along_targets, exact, mean_diagonal


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


KEPT = [
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

Measure = Callable[[xr.Dataset], xr.DataArray]


def runs(given: Parameters) -> Mapping[str, Callable[[], xr.Dataset]]:
    """By name and ρ: the theory, its algebraic equations over fewer steps, networks, and one short step of networks."""
    net = wl.MLP(given.hidden_layers, wl.Linear(), given.richness)
    task = wl.datasets.sphere(given.samples, given.dimension)

    def train(rho: float, **options: Any) -> xr.Dataset:
        options = {"step_size": given.step_size, "steps": given.steps, "progress": False} | options
        return wl.train(net, task, wl.FeedbackAlignment(rho), **options)[KEPT]

    def theory(rho: float) -> xr.Dataset:
        return exact(train(rho, width=wl.Infinite(particles=given.particles, capacity=given.capacity), replicates=1))

    def algebraic(rho: float) -> xr.Dataset:
        rule, steps = wl.FeedbackAlignment(rho), given.algebraic_steps
        return wl.theory.linear(net, task, rule, step_size=given.step_size, steps=steps, progress=False)[KEPT]

    def network(rho: float, **options: Any) -> xr.Dataset:
        # Single precision moves what is measured by 1e-5, and takes half the time.
        return train(rho, width=given.width, replicates=given.replicates, precision="float32", **options)

    return {
        **{f"theory-{rho:g}": lambda rho=rho: theory(rho) for rho in given.correlations},
        **{f"algebraic-{rho:g}": lambda rho=rho: algebraic(rho) for rho in given.correlations},
        **{f"network-{rho:g}": lambda rho=rho: network(rho, record_every=2) for rho in given.network_correlations},
        **{
            f"rate-{rho:g}": lambda rho=rho: network(rho, step_size=_SHORT, steps=1)
            for rho in given.network_correlations
        },
    }


def loss(run: xr.Dataset) -> xr.DataArray:
    """The training loss."""
    return run["loss"]


def backward(run: xr.Dataset) -> xr.DataArray:
    """G̃^ℓ averaged over samples."""
    return mean_diagonal(run["pseudo_gradient_kernel"])


def tangent(run: xr.Dataset) -> xr.DataArray:
    """A(K, yyᵀ)."""
    return observables.alignment(run["ntk"], run["target"])


def features(run: xr.Dataset) -> xr.DataArray:
    """A(H^ℓ, yyᵀ)."""
    return observables.alignment(run["feature_kernel"], run["target"])


def projection(run: xr.Dataset) -> xr.DataArray:
    """yᵀH^ℓy/|y|²."""
    return along_targets(run["feature_kernel"], run["target"])


def movement(run: xr.Dataset) -> xr.DataArray:
    """How far the eNTK has moved, |K(t) − K(0)|/|K(0)|."""
    return observables.distance(run["ntk"], run["ntk"].isel(step=0), ("sample", "sample2")) ** 0.5
