"""Functions of representations: dissimilarities, similarities of kernels, dimension and drift.

Kernels are arrays (…, sample, sample2), as `feature_kernel` of a result is, or of stimuli; responses (…, trial, neuron,
stimulus), as a recording holds them. Dimensions before those are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from .. import checks
from ..checks import ArgumentError

MEASURES = ("squared_euclidean", "correlation", "crossnobis")


def rdm(responses: Any, measure: str = "squared_euclidean") -> xr.DataArray:
    """Representational dissimilarities d_{μν} of responses, (…, stimulus, stimulus2).

        squared_euclidean   ⟨(r_μ − r_ν)²⟩ over neurons, of means over trials; noise adds to it
        correlation         1 − corr(r_μ, r_ν) over neurons
        crossnobis          ⟨(r_μ − r_ν)(r'_μ − r'_ν)⟩ over neurons and pairs of different trials; without bias

    (Kriegeskorte et al. 2008; Walther et al. 2016, here without a covariance of the noise). Per neuron, so that numbers
    of neurons do not matter. Cells that are missing (NaN) are left out.

    **Arguments:** `responses` (…, trial, neuron, stimulus); `measure`.

    **Raises:** `ArgumentError` for crossnobis of fewer than two trials.
    """
    checks.known("measure", measure, MEASURES)
    values, dims, coords = _array(responses, 3)
    if measure == "crossnobis":
        return _labelled(_crossnobis(values), dims, coords, "stimulus")
    seen = np.isfinite(values)
    counts = seen.sum(axis=-3)
    means = np.where(seen, values, 0.0).sum(axis=-3) / np.maximum(counts, 1)
    known = (counts > 0).astype(float)
    if measure == "correlation":
        both = np.einsum("...nm,...nk->...mk", known, known)
        first = np.einsum("...nm,...nk->...mk", means * known, known) / np.maximum(both, 1)
        product = np.einsum("...nm,...nk->...mk", means, means) / np.maximum(both, 1)
        square = np.einsum("...nm,...nk->...mk", means**2, known) / np.maximum(both, 1)
        variance = square - first**2
        spread = np.sqrt(variance * np.swapaxes(variance, -1, -2))
        with np.errstate(invalid="ignore", divide="ignore"):
            distances = 1 - (product - first * np.swapaxes(first, -1, -2)) / spread
    else:
        both = np.einsum("...nm,...nk->...mk", known, known)
        square = np.einsum("...nm,...nk->...mk", means**2, known)
        product = np.einsum("...nm,...nk->...mk", means, means)
        distances = (square + np.swapaxes(square, -1, -2) - 2 * product) / np.where(both > 0, both, np.nan)
    return _labelled(distances, dims, coords, "stimulus")


def rdm_of_kernel(kernel: Any) -> xr.DataArray:
    """Squared distances of a kernel, d²_{μν} = Φ_μμ + Φ_νν − 2Φ_μν, (…, sample, sample2)."""
    values, dims, coords = _array(kernel, 2)
    _check_square("kernel", values)
    diagonal = np.einsum("...mm->...m", values)
    return _labelled(diagonal[..., None] + diagonal[..., None, :] - 2 * values, dims, coords, _sample(kernel))


def kernel_of_rdm(distances: Any) -> xr.DataArray:
    """The centred kernel of squared distances, −½ J D J with J = 1 − 11ᵀ/P (classical scaling)."""
    values, dims, coords = _array(distances, 2)
    _check_square("distances", values)
    return _labelled(-0.5 * _centred(values), dims, coords, _sample(distances))


def cka(a: Any, b: Any, *, debiased: bool = False) -> xr.DataArray:
    """Linear centred kernel alignment of kernels over the same samples, in [0, 1] (Kornblith et al. 2019).

        CKA = HSIC(a, b)/√(HSIC(a, a) HSIC(b, b)),   HSIC(a, b) = tr(J a J b)

    Debiased, with the estimate of HSIC that has no bias from few samples (Song et al. 2012), which may be negative.
    """
    x, y, dims, coords = _pair(a, b)
    product = _unbiased if debiased else _biased
    with np.errstate(invalid="ignore"):
        values = product(x, y) / np.sqrt(product(x, x) * product(y, y))
    return xr.DataArray(values, dims=dims, coords=coords)


def bures(a: Any, b: Any) -> xr.DataArray:
    """Normalised Bures similarity of kernels, tr √(√a b √a)/√(tr a tr b), in [0, 1]; its arc cosine is a distance.

    It is the largest correlation between responses with these kernels that a rotation of neurons reaches (Procrustes;
    Williams et al. 2021).
    """
    x, y, dims, coords = _pair(a, b)
    root = _root(x)
    inner = np.linalg.eigvalsh(root @ y @ root)
    fidelity = np.sqrt(np.maximum(inner, 0.0)).sum(axis=-1)
    traces = np.einsum("...mm->...", x) * np.einsum("...mm->...", y)
    return xr.DataArray(fidelity / np.sqrt(traces), dims=dims, coords=coords)


def participation_ratio(kernel: Any, *, centred: bool = True) -> xr.DataArray:
    """The dimension (Σλ)²/Σλ² of a kernel with eigenvalues λ; of its variation between samples where it is centred."""
    values, dims, coords = _array(kernel, 2)
    _check_square("kernel", values)
    values = _centred(values) if centred else values
    trace, square = np.einsum("...mm->...", values), (values * np.swapaxes(values, -1, -2)).sum(axis=(-1, -2))
    return xr.DataArray(trace**2 / square, dims=dims, coords=coords)


def drift(two_time: Any) -> xr.DataArray:
    """How far population responses to the same samples have turned, 1 − correlation, (…, step, step2).

        1 − Σ_μ Φ(t, s)_μμ/√(Σ_μ Φ(t, t)_μμ Σ_μ Φ(s, s)_μμ)

    **Arguments:** `two_time` (…, step, step2, sample, sample2), as `feature_kernel_two_time` of a result is.
    """
    values, dims, coords = _array(two_time, 4)
    _check_square("two_time", values)
    traces = np.einsum("...tsmm->...ts", values)
    own = np.sqrt(np.einsum("...tt->...t", traces))
    names = _named(two_time, (-4, -3), ("step", "step2"))
    kept = {name: two_time[name] for name in names if isinstance(two_time, xr.DataArray) and name in two_time.coords}
    return xr.DataArray(1 - traces / (own[..., None] * own[..., None, :]), dims=(*dims, *names), coords=coords | kept)


def _array(values: Any, axes: int) -> tuple[np.ndarray, tuple[str, ...], dict[Any, Any]]:
    """The numbers, and the names and coordinates of the dimensions before the last `axes` ones."""
    array = checks.real_array("array", values.values if isinstance(values, xr.DataArray) else values).astype(float)
    if array.ndim < axes:
        raise ArgumentError(f"An array of {axes} dimensions or more is needed; got shape {array.shape}.")
    dims = _named(values, range(array.ndim - axes), [f"dim_{axis}" for axis in range(array.ndim - axes)])
    coords: dict[Any, Any] = {}
    if isinstance(values, xr.DataArray):
        coords = {name: each for name, each in values.coords.items() if set(each.dims) <= set(dims)}
    return array, dims, coords


def _named(values: Any, axes: Any, otherwise: Any) -> tuple[str, ...]:
    if isinstance(values, xr.DataArray):
        return tuple(str(values.dims[axis]) for axis in axes)
    return tuple(otherwise)


def _sample(values: Any) -> str:
    return str(values.dims[-2]) if isinstance(values, xr.DataArray) else "sample"


def _labelled(values: np.ndarray, dims: tuple[str, ...], coords: dict[Any, Any], sample: str) -> xr.DataArray:
    return xr.DataArray(values, dims=(*dims, sample, f"{sample}2"), coords=coords)


def _pair(a: Any, b: Any) -> tuple[np.ndarray, np.ndarray, tuple[str, ...], dict[Any, Any]]:
    x, dims, coords = _array(a, 2)
    y, other, others = _array(b, 2)
    for name, values in (("a", x), ("b", y)):
        _check_square(name, values)
    if x.shape[-1] != y.shape[-1]:
        raise ArgumentError(f"a and b must have the same samples; got {x.shape[-1]} and {y.shape[-1]}.")
    if dims == other or not other:
        return x, y, dims, coords
    if not dims:
        return x, y, other, others
    left = xr.DataArray(x, dims=(*dims, "m", "k"), coords=coords)
    right = xr.DataArray(y, dims=(*other, "m", "k"), coords=others)
    left, right = xr.broadcast(left, right)
    last = [dim for dim in left.dims if dim not in ("m", "k")]
    left, right = left.transpose(*last, "m", "k"), right.transpose(*last, "m", "k")
    kept = {name: each for name, each in left.coords.items() if name not in ("m", "k")}
    return left.values, right.values, tuple(map(str, last)), kept


def _check_square(name: str, values: np.ndarray) -> None:
    if values.shape[-1] != values.shape[-2]:
        raise ArgumentError(f"{name} must have as many columns as rows, samples by samples; got {values.shape}.")


def _centred(values: np.ndarray) -> np.ndarray:
    values = values - values.mean(axis=-1, keepdims=True)
    return values - values.mean(axis=-2, keepdims=True)


def _biased(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (_centred(x) * _centred(y)).sum(axis=(-1, -2))


def _unbiased(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    size = x.shape[-1]
    if size < 4:
        raise ArgumentError(f"Debiased CKA needs four samples or more; got {size}.")
    off = 1 - np.eye(size)
    x, y = x * off, y * off
    rows = (x.sum(axis=-1) * y.sum(axis=-1)).sum(axis=-1)
    sums = x.sum(axis=(-1, -2)) * y.sum(axis=(-1, -2))
    return ((x * y).sum(axis=(-1, -2)) + sums / ((size - 1) * (size - 2)) - 2 * rows / (size - 2)) / (size * (size - 3))


def _root(values: np.ndarray) -> np.ndarray:
    eigenvalues, vectors = np.linalg.eigh((values + np.swapaxes(values, -1, -2)) / 2)
    return (vectors * np.sqrt(np.maximum(eigenvalues, 0.0))[..., None, :]) @ np.swapaxes(vectors, -1, -2)


def _crossnobis(values: np.ndarray) -> np.ndarray:
    trials = values.shape[-3]
    if trials < 2:
        raise ArgumentError("crossnobis needs two trials or more of each stimulus, to leave their noise out.")
    differences: Callable[[np.ndarray], np.ndarray] = lambda r: r[..., :, None] - r[..., None, :]  # noqa: E731
    total, pairs = np.zeros(1), np.zeros(1)
    each = [differences(values[..., trial, :, :]) for trial in range(trials)]
    for first in range(trials):
        for second in range(first + 1, trials):
            product = each[first] * each[second]
            total = total + np.nansum(product, axis=-3)
            pairs = pairs + np.isfinite(product).sum(axis=-3)
    with np.errstate(invalid="ignore", divide="ignore"):
        return total / pairs
