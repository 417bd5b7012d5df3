"""What several figures measure of a run: its loss, and how kernels overlap with the targets and with themselves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from widelimit import observables

Measure = Callable[[xr.Dataset], xr.DataArray]


def loss(run: xr.Dataset) -> xr.DataArray:
    """The training loss."""
    return run["loss"]


def tangent_alignment(run: xr.Dataset) -> xr.DataArray:
    """A(K, yyᵀ), the task alignment of the eNTK."""
    return observables.alignment(run["ntk"], run["target"])


def along_targets(kernel: xr.DataArray, target: xr.DataArray) -> xr.DataArray:
    """H_y = yᵀHy/|y|² of a kernel with the dimensions `sample` and `sample2`."""
    other = target.rename(sample="sample2")
    return (kernel * target * other).sum(("sample", "sample2")) / (target**2).sum("sample")


def diagonal(kernel: xr.DataArray) -> xr.DataArray:
    """K_μμ of a kernel with the dimensions `sample` and `sample2`, with the dimension `sample`."""
    samples = xr.DataArray(np.arange(kernel.sizes["sample"]), dims="diagonal")
    return kernel.isel(sample=samples, sample2=samples).rename(diagonal="sample")


def trace(kernel: xr.DataArray) -> xr.DataArray:
    """Tr H of a kernel with the dimensions `sample` and `sample2`."""
    return diagonal(kernel).sum("sample")


def mean_diagonal(kernel: xr.DataArray) -> xr.DataArray:
    """(1/P) Σ_μ K_μμ of a kernel with the dimensions `sample` and `sample2`."""
    return diagonal(kernel).mean("sample")


def initial_rate(run: xr.Dataset) -> xr.DataArray:
    """yᵀ(df/dt)/|y|² over the first step of a run; it is yᵀK(0)y/|y|², up to what K changes by in that step."""
    first = run["output"].isel(step=[0, 1])
    rate = first.diff("step").isel(step=0) / float(run["time"].diff("step")[0])
    return (rate * run["target"]).sum("sample") / (run["target"] ** 2).sum("sample")
