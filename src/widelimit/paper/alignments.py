"""What Fig. 3 measures of a run: how features, gradients and the eNTK align while the network learns."""

from __future__ import annotations

import numpy as np
import xarray as xr

from widelimit.results import observables

from .overlaps import diagonal, mean_diagonal, trace


def loss(run: xr.Dataset) -> xr.DataArray:
    """The training loss."""
    return run["loss"]


def halving_time(run: xr.Dataset) -> xr.DataArray:
    """When the loss has fallen to half, between recorded steps by a straight line."""
    values, time = run["loss"].transpose("replicate", "step").values, run["time"].values
    return xr.DataArray([np.interp(-one[0] / 2, -one, time) for one in values], dims="replicate")


def tangent(run: xr.Dataset) -> xr.DataArray:
    """The eNTK."""
    return run["ntk"]


def tangent_alignment(run: xr.Dataset) -> xr.DataArray:
    """A(K, yyᵀ)."""
    return observables.alignment(run["ntk"], run["target"])


def feature_alignment(run: xr.Dataset) -> xr.DataArray:
    """A(Φ^L, yyᵀ)."""
    return observables.alignment(run["feature_kernel"].isel(layer=-1), run["target"])


def leading_share(run: xr.Dataset) -> xr.DataArray:
    """The largest eigenvalue of Φ^L as a share of its trace: 1 for a kernel of rank one."""
    kernel = run["feature_kernel"].isel(layer=-1).transpose(..., "sample", "sample2")
    return kernel[..., 0, 0].copy(data=np.linalg.eigvalsh(kernel.values)[..., -1]) / trace(kernel)


def separation(run: xr.Dataset) -> xr.DataArray:
    """How far K parts the classes: its mean within classes less that between them, over the mean of its diagonal."""
    kernel, y, dims = run["ntk"], run["target"].values, ("sample", "sample2")
    within = xr.DataArray(np.equal.outer(y, y) & ~np.eye(len(y), dtype=bool), dims=dims)
    between = xr.DataArray(np.not_equal.outer(y, y), dims=dims)
    return (kernel.where(within).mean(dims) - kernel.where(between).mean(dims)) / mean_diagonal(kernel)


def correlation(run: xr.Dataset) -> xr.DataArray:
    """corr(g, g̃): the cosine g·g̃/(|g||g̃|) averaged over layers and samples."""
    norms = diagonal(run["gradient_kernel"]) * run["pseudo_gradient_norm"]
    return (diagonal(run["pseudo_gradient_kernel"]) / norms**0.5).mean(["layer", "sample"])


def weighted_correlation(run: xr.Dataset) -> xr.DataArray:
    """Σ_μ g·g̃/√(Σ_μ |g|² Σ_μ |g̃|²) averaged over layers: samples weigh as the norms of their gradients."""
    return observables.gradient_alignment(run).mean("layer")
