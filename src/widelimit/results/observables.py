"""Functions of a result: alignments, correlations, distances and standard errors.

Each takes arrays or `xarray.DataArray`s as `train` returns them and keeps the dimensions it does not reduce.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from ..checks import ArgumentError
from .legal import taking_results
from .outputs import kept_once
from .representations import bures, cka, drift, kernel_of_rdm, participation_ratio, rdm, rdm_of_kernel
from .samples import at_samples, recorded_samples

__all__ = [
    "alignment",
    "bures",
    "cka",
    "classification_error",
    "discrepancy",
    "distance",
    "drift",
    "gradient_alignment",
    "has_gradient_alignment",
    "is_classification",
    "kernel_of_rdm",
    "mean",
    "participation_ratio",
    "rdm",
    "rdm_of_kernel",
    "relative_standard_error",
    "standard_error",
    "task_alignments",
    "test_error",
]


def mean(values: xr.DataArray) -> xr.DataArray:
    """The mean over replicates. A deterministic result has none, and is its own mean."""
    return values.mean("replicate") if "replicate" in values.dims else values


def standard_error(values: xr.DataArray) -> xr.DataArray:
    """The standard error of the mean over replicates: s/√n, s² with n − 1.

    NaN for a single replicate, zero for a deterministic result.
    """
    if "replicate" not in values.dims:
        return xr.zeros_like(values)
    count = values.notnull().sum("replicate")
    spread = values.std("replicate", ddof=1) if values.sizes["replicate"] > 1 else values.isel(replicate=0) * np.nan
    return spread / np.sqrt(count)


@taking_results
def alignment(kernel: xr.DataArray, target: xr.DataArray) -> xr.DataArray:
    """Task alignment A(K, yyᵀ) = yᵀKy/(|K|_F |y|²), in [−1, 1] (paper, Fig. 1b).

    With C outputs y is (sample, output), and K a kernel of samples alone (Φ^ℓ: the average over outputs of y_cᵀΦy_c, in
    the same normalisation, |y|² replaced by |yyᵀ|_F) or with C×C blocks (the eNTK: y as one vector of length P·C),
    which may be kept once for all outputs (the lazy eNTK, K ⊗ 1).

    **Arguments:** `kernel` with dims (…, sample, sample2[, output_unit, output_unit2]), or of the recorded samples;
    `target` with dims (sample[, output_unit]), of all samples.
    """
    samples = recorded_samples(kernel)
    if samples is not None:
        kernel, target = at_samples(kernel, samples), at_samples(target, samples)
    other = _other(target)
    if "output_unit" in target.dims and "output_unit" not in kernel.dims:
        other = other.rename({"output_unit2": "output_unit"})
    blocks = "output_unit" in kernel.dims
    sizes = ("sample", "sample2", "output_unit", "output_unit2") if blocks else ("sample", "sample2")
    if blocks and "output_unit" not in target.dims:
        raise ArgumentError("target must have the dimension 'output_unit' where the kernel has blocks over outputs.")
    outer = target * other
    if not blocks and "output_unit" in outer.dims:
        outer = outer.sum("output_unit")
    overlap, norm = (kernel * outer).sum(sizes), _norm(outer, sizes)
    if kept_once(kernel) and "output_unit" in target.dims:  # |K ⊗ 1|_F = √C |K|_F, and yyᵀ has blocks too
        norm = (target**2).sum() * np.sqrt(target.sizes["output_unit"])
    return (overlap / (_norm(kernel, sizes) * norm)).drop_attrs(deep=False)


@taking_results
def task_alignments(result: xr.Dataset) -> dict[str, xr.DataArray]:
    """A(K, yyᵀ) and A(Φ^ℓ, yyᵀ) of the kernels that a result holds, by their symbols: "K", "Φ^1", …"""
    if "target" not in result:
        return {}
    kernels = {"K": result["ntk"]} if "ntk" in result else {}
    if "feature_kernel" in result:
        each = result["feature_kernel"]
        each = each.transpose("layer", ...) if "layer" in each.dims else each.expand_dims("layer")
        kernels |= {f"Φ^{int(layer)}": kernel for layer, kernel in zip(each["layer"].values, each, strict=True)}
    return {symbol: alignment(kernel, result["target"]) for symbol, kernel in kernels.items()}


_OF_GRADIENTS = ("gradient_kernel", "pseudo_gradient_kernel", "pseudo_gradient_norm")


def has_gradient_alignment(result: xr.Dataset) -> bool:
    """Whether a result holds what [`gradient_alignment`] is made of."""
    return all(name in result for name in _OF_GRADIENTS)


@taking_results
def gradient_alignment(result: xr.Dataset) -> xr.DataArray:
    """corr(g, g̃) per layer: Σ_μ ⟨g_μ g̃_μ⟩/√(Σ_μ ⟨g_μ²⟩ Σ_μ ⟨g̃_μ²⟩), in [−1, 1] (paper, Fig. 3).

    **Raises:** `ArgumentError` if the result lacks one of the three kernels; sums are over the recorded samples.
    """
    if not has_gradient_alignment(result):
        raise ArgumentError(f"gradient_alignment needs {', '.join(_OF_GRADIENTS)}; the result lacks some of them.")
    own, both, pseudo = (result[name] for name in _OF_GRADIENTS)
    over = [dim for dim in ("sample", "recorded_sample", "output_unit") if dim in pseudo.dims]
    return (_diagonal_sum(both) / np.sqrt(_diagonal_sum(own) * pseudo.sum(over))).drop_attrs(deep=False)


@taking_results
def distance(a: xr.DataArray, b: xr.DataArray, over: str | tuple[str, ...]) -> xr.DataArray:
    """Relative squared distance ⟨|a − b|²⟩/⟨|b|²⟩ with the averages over the dimensions `over` (paper, Fig. 3e)."""
    return (((a - b) ** 2).sum(over) / (b**2).sum(over)).drop_attrs(deep=False)


@taking_results
def relative_standard_error(values: xr.DataArray, over: str | tuple[str, ...]) -> xr.DataArray:
    """Standard error of the mean of an array relative to that mean, |s.e.|/|mean| with the norms over `over`.

    It is the relative distance (the root of [`distance`]) at which two such means are expected to lie from each other
    by chance alone, once the two of them are added in quadrature. NaN where no entry has a standard error.
    """
    ratio = (standard_error(values) ** 2).sum(over, min_count=1) / (mean(values) ** 2).sum(over)
    return (ratio**0.5).drop_attrs(deep=False)


@taking_results
def discrepancy(a: xr.DataArray, b: xr.DataArray, over: str | Sequence[str]) -> xr.DataArray:
    """How far two means lie apart, in their standard errors: √(Σ(ā − b̄)²/Σ(s_a² + s_b²)) with the sums over `over`.

    It is about 1 if nothing but chance lies between them, however the entries are correlated; large values are rare
    (above 3 about as rare as three standard errors where one direction dominates, rarer where there are many). A
    deterministic side has no error; infinite where neither has one and they differ.
    """
    over = [over] if isinstance(over, str) else list(over)
    squared = (mean(a) - mean(b)) ** 2
    noise = standard_error(a) ** 2 + standard_error(b) ** 2
    squared, noise = squared.sum(over), noise.sum(over, skipna=False)
    ratio = (squared / noise.where(noise > 0)).drop_attrs(deep=False)
    return (ratio**0.5).where(noise != 0, xr.where(squared > 0, np.inf, 0.0))


@taking_results
def classification_error(output: xr.DataArray, target: xr.DataArray) -> xr.DataArray:
    """The fraction of samples whose class is wrong: the sign of one output, or the largest of several.

    NaN where the output is (after a divergence).
    """
    sample = str(target.dims[0])
    known = output.notnull()
    if "output_unit" in target.dims:
        wrong = output.fillna(0).argmax("output_unit") != target.argmax("output_unit")
        known = known.all("output_unit")
    else:
        wrong = np.sign(output) != np.sign(target)
    return wrong.where(known).mean(sample).drop_attrs(deep=False)


@taking_results
def test_error(result: xr.Dataset) -> xr.DataArray | None:
    """The [`classification_error`] at the test points; None where there are none, or where targets are no classes."""
    if "test_target" not in result or "test_output" not in result or not is_classification(result["test_target"]):
        return None
    return classification_error(result["test_output"], result["test_target"])


def is_classification(target: xr.DataArray) -> bool:
    """Whether the targets are signs, or rows of which one entry stands out as a class."""
    if "output_unit" not in target.dims:
        return bool((np.abs(target) == 1).all())
    return bool(((target == target.max("output_unit")).sum("output_unit") == 1).all())


def _other(target: xr.DataArray) -> xr.DataArray:
    return target.rename({dim: f"{dim}2" for dim in target.dims})


def _norm(values: xr.DataArray, dims: tuple[str, ...]) -> xr.DataArray:
    return (values**2).sum(dims) ** 0.5


def _diagonal_sum(kernel: xr.DataArray) -> xr.DataArray:
    """Σ_{μc} of the diagonal over samples and outputs."""
    for dim in ("sample", "recorded_sample", "output_unit"):
        if dim in kernel.dims:
            index = xr.DataArray(np.arange(kernel.sizes[dim]), dims="diagonal")
            kernel = kernel.isel({dim: index, f"{dim}2": index}).sum("diagonal")
    return kernel
