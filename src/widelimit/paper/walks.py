"""The kernels of random ReLU networks on one sample as walks across layers.

Forward, Φ^ℓ is the product of the ratios Φ^k/Φ^{k−1}, k ≤ ℓ, which are independent with mean 1 and variance 5/N at
every width; backward, G^ℓ is that of G^k/G^{k+1}, k ≥ ℓ. Layers are counted by their distance from where the walk
starts at 1: ℓ for Φ, L + 1 − ℓ for G. To leading order in 1/N the product is a sum, and the walk Brownian motion.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

import widelimit as wl

KERNELS = {"Φ": "feature_kernel", "G": "gradient_kernel"}

_SAMPLES = ("sample", "sample2", "sample3", "sample4")


def walk(run: xr.Dataset, symbol: str) -> xr.DataArray:
    """Φ^ℓ or G^ℓ of the one sample with the dimension `distance`, from 1 on."""
    return _by_distance(run[KERNELS[symbol]].isel(sample=0, sample2=0), symbol)


def layer_at(symbol: str, distance: int, layers: int) -> int:
    """ℓ at a distance from the start, in a network with that many layers; also the distance of a layer."""
    return distance if symbol == "Φ" else layers + 1 - distance


def leading_order(theory: xr.Dataset, symbol: str) -> xr.DataArray:
    """The covariance of a walk, (distance, distance2), from a result of `theory.fluctuations`."""
    covariance = theory[f"{KERNELS[symbol]}_covariance"].isel(dict.fromkeys(_SAMPLES, 0))
    return _by_distance(covariance, symbol)


def exact_law(distance: xr.DataArray, width: xr.DataArray | int) -> xr.DataArray:
    """The exact variance of a walk, [`theory.relu_variance`], for arrays of distances and widths.

    The covariance of two distances is the variance at the lesser of them.
    """
    law = np.vectorize(lambda d, n: wl.theory.relu_variance(int(d), int(n)), otypes=[float])
    return xr.apply_ufunc(law, distance, width)


def products(deviations: xr.DataArray) -> xr.DataArray:
    """Products of the deviations from the mean at two distances, network by network: their mean is the covariance.

    All means are known to be 1, so that nothing is lost to estimating them and covariances have plain errors. These
    come out too small where the covariance does, for both are made by the same few networks in the tails: of 500
    networks with N = 250, L = 10 the covariance's size is off by more than three such errors once in a hundred times,
    not in four hundred (simulated).
    """
    return deviations * deviations.rename(distance="distance2")


def ratios(run: xr.Dataset, symbol: str) -> xr.DataArray:
    """The steps of a walk: each kernel over the one before.

    Networks with a layer that is silent as a whole are left out: a fraction 2^{−N} for each layer, 0.1 % at N = 10,
    which changes the variance of a ratio by as little.
    """
    kernel = walk(run, symbol)
    alive = walk(run, "Φ").isel(distance=-1, drop=True) > 0
    return kernel.where(alive) / kernel.where(alive).shift(distance=1, fill_value=1.0)


def chained(steps: xr.DataArray) -> xr.DataArray:
    """The variance of a walk from those of its [`ratios`], Π(1 + v_k) − 1, as one number for each network.

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
