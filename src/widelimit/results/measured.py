"""Results of arrays that were measured elsewhere: any part of what a run records, under the same labels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from .. import checks
from ..checks import ArgumentError
from .configuration import describe
from .dataset import POSITIONS, labelled, without_shared
from .outputs import OUTPUTS
from .registry import RECORDED, VARIABLES


def result(
    *,
    time: ArrayLike,
    step: ArrayLike | None = None,
    recorded_samples: Sequence[int] | None = None,
    configuration: Mapping[str, Any] | None = None,
    **variables: ArrayLike | xr.DataArray,
) -> xr.Dataset:
    """A result of arrays that were measured elsewhere, such as the kernels of a network in PyTorch.

    [`save`], [`compare`], [`combine`], pictures, pages and the command line take it as they take any other result, and
    leave out what it lacks.

    **Arguments:**

    - `time`: when the arrays were measured, (step,), or one number; step × step size, where the result is to be
      compared with one of `train`. It is the least that a result holds.
    - `step`: the numbers of the steps, (step,), where there are such.
    - `variables`: arrays under the names of the table of variables, with the axes that stand there in that order.
      Missing may be: `replicate`, if a variable is exact (of one network give it the length 1: its error is unknown,
      and not zero); `replicate` and `step`, if it is the same at all times; `output_unit` and `output_unit2` in all
      variables, if targets have the shape (P,); `position` and `position2`, if there is one. What is missing is seen
      from the number and the lengths of the axes. An `xarray.DataArray` names its dimensions itself, and may lack any.
    - `recorded_samples`: the indices of the samples whose kernels are given, if these are not all that outputs and
      targets are of.
    - `configuration`: what is known of the run, as plain data: {"net": "ResNet-18", "rule": "SGD", "width": 512,
      "step_size": 0.1, "seed": 0}, for example. It is printed, and kept in the file.

    **Raises:** `ArgumentError` if a name is unknown, or if an array has not the axes that its name wants, other lengths
    than the arrays before it, or axes of which it cannot be told which they are.
    """
    if not variables:
        raise ArgumentError("result must be given at least one variable, for example feature_kernel=....")
    times = _times(time)
    steps = None if step is None else _integers("step", step, len(times))
    samples = None if recorded_samples is None else _integers("recorded_samples", recorded_samples)
    described = configuration or {}
    checks.instance("configuration", described, Mapping, "{'width': 512}")
    arrays = [_Array.of(name, values) for name, values in variables.items()]
    dims = _dims(arrays, {"step": len(times)} | ({} if samples is None else {"recorded_sample": len(samples)}))
    if samples is not None:
        _check_samples(samples, arrays, dims)
    return labelled(
        {array.name: (dims[array.name], array.values) for array in arrays},
        times=times,
        steps=steps,
        attributes={"configuration": json.dumps(describe(described))},
        recorded_samples=samples,
    )


@dataclass(frozen=True)
class _Array:
    """An array and its name; `dims` are those that it names itself."""

    name: str
    values: np.ndarray
    dims: tuple[str, ...] | None

    @classmethod
    def of(cls, name: str, values: ArrayLike | xr.DataArray) -> _Array:
        checks.known("result", name, VARIABLES)
        dims = None
        if isinstance(values, xr.DataArray):
            plain = {new: dim for dim, new in RECORDED.items() if new in values.dims}
            values = values.drop_vars(plain, errors="ignore").rename(plain)
            unknown = [str(dim) for dim in values.dims if dim not in VARIABLES[name].dims]
            if unknown:
                raise ArgumentError(f"{name} has the dimension {unknown[0]!r}; {_wanted(name)}.")
            dims = tuple(dim for dim in VARIABLES[name].dims if dim in values.dims)
            values = values.transpose(*dims).values
        array = checks.real_array(name, values)
        counts = VARIABLES[name].unit in ("steps", "directions")
        return cls(name, array if counts or array.dtype.kind == "f" else array.astype(np.float64), dims)


@dataclass(frozen=True)
class _Reading:
    """One way to read the arrays: which dimensions there are not, how long the others are, and the axes of each."""

    absent: set[str]
    sizes: dict[str, int]
    dims: dict[str, tuple[str, ...]]

    def extended(self, array: _Array) -> _Reading | None:
        """The same with one more array, None if it cannot be read this way."""
        variable, shape = VARIABLES[array.name], array.values.shape
        there = tuple(dim for dim in variable.dims if dim not in self.absent)
        dims = without_shared(there, len(shape)) if array.dims is None else array.dims
        if len(dims) != len(shape) or not set(dims) <= set(there):
            return None
        recorded = "recorded_sample" in self.sizes and variable.of_recorded_samples
        sizes = dict(self.sizes)
        for dim, size in zip(dims, shape, strict=True):
            kind = dim.rstrip("234")  # sample2 is as long as sample
            if sizes.setdefault(RECORDED.get(kind, kind) if recorded else kind, size) != size:
                return None
        return _Reading(self.absent, sizes, {**self.dims, array.name: dims})


def _dims(arrays: Sequence[_Array], sizes: dict[str, int]) -> dict[str, tuple[str, ...]]:
    """The dimensions of all arrays: those that fit together, without positions where that is possible."""
    refusals: list[tuple[int, _Array, dict[str, int]]] = []
    for positions in (POSITIONS, set()):
        readings = [_Reading(positions | outputs, sizes, {}) for outputs in (OUTPUTS, frozenset())]
        for place, array in enumerate(arrays):
            extended = [longer for reading in readings if (longer := reading.extended(array))]
            if not extended:
                refusals.append((place, array, readings[0].sizes))
                break
            readings = extended
        else:
            return _only(arrays, readings)
    _, array, known = max(refusals, key=lambda refusal: refusal[0])
    lengths = ", ".join(f"{dim} = {size}" for dim, size in known.items())
    raise ArgumentError(f"{array.name} has the shape {array.values.shape}; {_wanted(array.name)}, where {lengths}.")


def _only(arrays: Sequence[_Array], readings: Sequence[_Reading]) -> dict[str, tuple[str, ...]]:
    for array in arrays:
        each = list(dict.fromkeys(reading.dims[array.name] for reading in readings))
        if len(each) > 1:
            ways = " or ".join(f"({', '.join(dims)})" for dims in each)
            raise ArgumentError(
                f"{array.name} with the shape {array.values.shape} may be {ways}; give target too, or an "
                "xarray.DataArray that names its dimensions."
            )
    return readings[0].dims


def _wanted(name: str) -> str:
    """The axes of a variable in words."""
    dims = VARIABLES[name].dims
    optional = [dim for dim in dims if dim in {"replicate", "step"} | OUTPUTS | POSITIONS]
    missing = f", of which {', '.join(optional)} may be missing" if optional else ""
    return f"its axes are ({', '.join(dims)}){missing}"


def _check_samples(samples: np.ndarray, arrays: Sequence[_Array], dims: Mapping[str, tuple[str, ...]]) -> None:
    """Raise unless all arrays over all samples have those whose kernels were recorded."""
    if samples.min(initial=0) < 0 or len(np.unique(samples)) < len(samples):
        raise ArgumentError(f"recorded_samples must be different indices, from 0; got {samples.tolist()}.")
    for array in arrays:
        if "sample" in dims[array.name] and not VARIABLES[array.name].of_recorded_samples:
            there = array.values.shape[dims[array.name].index("sample")]
            if samples.max(initial=0) >= there:
                raise ArgumentError(f"recorded_samples: there is no sample {samples.max()}; {array.name} has {there}.")


def _times(time: ArrayLike) -> np.ndarray:
    try:
        times = np.atleast_1d(np.asarray(time, dtype=np.float64))
    except (TypeError, ValueError):
        raise ArgumentError(f"time must be a number or numbers (step,); got {type(time).__name__}.") from None
    if times.ndim != 1 or not times.size or np.isnan(times).any():
        raise ArgumentError(f"time must be a number or numbers (step,), one or more; got the shape {times.shape}.")
    return times


def _integers(name: str, values: ArrayLike, length: int | None = None) -> np.ndarray:
    array = np.atleast_1d(np.asarray(values))
    if array.ndim != 1 or array.dtype.kind not in "iu" or (length is not None and len(array) != length):
        count = f", as many as there are times ({length})" if length is not None else ""
        raise ArgumentError(f"{name} must be whole numbers{count}; got {values!r}.")
    return array
