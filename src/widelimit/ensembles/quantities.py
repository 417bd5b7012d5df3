"""Which quantities of a result an ensemble of runs is to know, and their values in each run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from .. import checks
from ..checks import ArgumentError
from ..problem import Task
from ..results import VARIABLES, Record
from ..results.record import KERNELS, ON_REQUEST
from ..results.registry import COMPARED

Quantity = str | Callable[[xr.Dataset], xr.DataArray]

OF_A_FUNCTION = "quantity"
"""What a function of a result is called in results."""

_DIAGNOSTICS = {"unrecognised_fraction"}
_OF_THEORY = {"test_ntk", "gradient_kernel_two_time", "pseudo_gradient_covariance_two_time"}
"""What no run holds, but results of `theory` do."""
_TRAINED = {"loss", "output", "error", "test_loss", "test_output", "pseudo_gradient_norm"}


@dataclass(frozen=True)
class Quantities:
    """Quantities by their names, each a function from a result to its values with the dimension `replicate`."""

    each: Mapping[str, Callable[[xr.Dataset], xr.DataArray]]
    function: Callable[[xr.Dataset], xr.DataArray] | None

    @classmethod
    def of(cls, of: Quantity | Sequence[str]) -> Quantities:
        """The quantities that an argument `of` names. **Raises:** `ArgumentError`."""
        if callable(of) and not isinstance(of, type):
            function = _with_replicates(of)
            return cls({OF_A_FUNCTION: function}, function)
        names = [of] if isinstance(of, str) else list(of) if isinstance(of, (list, tuple)) else []
        if not names:
            raise ArgumentError(
                f"of must be the name of a variable, several, or a function of a result; got {checks.shortened(of)}."
            )
        known = [name for name in COMPARED if {"replicate", "step"} <= set(VARIABLES[name].dims)]
        known = [name for name in known if name not in _OF_THEORY]
        for name in names:
            checks.known("of", name, known, VARIABLES)
        return cls({name: _reading(name) for name in dict.fromkeys(names)}, None)

    def record(self, task: Task, record: Record | None) -> Record:
        """What has to be recorded: as given, if it has the quantities; else them, beside outputs and losses.

        **Raises:** `ArgumentError` where a quantity is missing in `record`, or the task has none.
        """
        named = set() if self.function is not None else set(self.each)
        for name in named:
            if name.startswith("test_") and not len(task.x_test):
                raise ArgumentError(f"of: {name} needs test points; pass x_test to the task.")
            if name == "test_loss" and task.y_test is None:
                raise ArgumentError("of: test_loss needs the targets of the test points; pass y_test to the task.")
        two_time = any(name.endswith("_two_time") for name in named)
        tests = any(name.startswith("test_") and name not in _TRAINED for name in named)
        kernels = named & {*KERNELS, *ON_REQUEST}
        if record is None:
            kept = (
                None if self.function is not None else tuple(name for name in (*KERNELS, *ON_REQUEST) if name in named)
            )
            return Record(kernels=kept, two_time=two_time, test_kernels=tests)
        checks.instance("record", record, Record, "widelimit.Record(every=10)")
        missing = kernels - set(KERNELS if record.kernels is None else record.kernels)
        if missing:
            raise ArgumentError(f"record.kernels lacks {min(missing)}, which `of` names.")
        if two_time and not record.two_time:
            raise ArgumentError("record.two_time must be true where `of` names a two-time kernel.")
        if tests and not record.test_kernels:
            raise ArgumentError("record.test_kernels must be true where `of` names a kernel at test points.")
        return record

    def values(self, result: xr.Dataset) -> dict[str, xr.DataArray]:
        """Each quantity of each replicate, with `replicate` as the first dimension.

        **Raises:** `ArgumentError` where one is not finite in runs that are.
        """
        values = {name: read(result).transpose("replicate", ...) for name, read in self.each.items()}
        if "diverged_step" not in result or not bool((result["diverged_step"] >= 0).any()):
            for name, each in values.items():
                _check_finite(name, each)
        return values


def averaged(result: xr.Dataset, quantities: Quantities) -> xr.Dataset:
    """What of a result has a mean over replicates: what is recorded of a course, and the function, if there is one."""
    names = [
        str(name)
        for name, values in result.data_vars.items()
        if {"replicate", "step"} <= set(values.dims)
        and not {"neuron", "matrix"} & set(values.dims)
        and name not in _DIAGNOSTICS
    ]
    kept = result[names]
    if quantities.function is not None:
        kept = kept.assign({OF_A_FUNCTION: quantities.function(result).drop_attrs()})
    return kept.transpose("replicate", ...)


def _check_finite(name: str, values: xr.DataArray) -> None:
    good = xr.DataArray(np.isfinite(values))
    if bool(good.all()):
        return
    words = "the function" if name == OF_A_FUNCTION else name
    if "step" in values.dims:
        bad = np.flatnonzero(~good.all([dim for dim in values.dims if dim != "step"]).values)
        steps = values["step"].values if "step" in values.coords else np.arange(values.sizes["step"])
        where = f"at {len(bad)} recorded steps, the first of them {steps[bad[0]]}"
    else:
        where = f"in {int((~good).sum())} of {values.size} entries"
    raise ArgumentError(
        f"of: {words} is not finite {where}, as 0/0 is not where outputs begin at zero: leave such steps or entries "
        "out, by isel(step=slice(1, None)) or where(...).fillna(0) in a function."
    )


def _reading(name: str) -> Callable[[xr.Dataset], xr.DataArray]:
    def read(result: xr.Dataset) -> xr.DataArray:
        if name not in result:
            raise ArgumentError(f"of: the runs hold no {name}; they hold {', '.join(map(str, result.data_vars))}.")
        return result[name]

    return read


def _with_replicates(function: Callable[[xr.Dataset], Any]) -> Callable[[xr.Dataset], xr.DataArray]:
    def read(result: xr.Dataset) -> xr.DataArray:
        values = function(result)
        if not isinstance(values, xr.DataArray) or "replicate" not in values.dims or values.dtype.kind not in "iuf":
            raise ArgumentError(
                "of: the function must return an xarray.DataArray of numbers that keeps the dimension replicate, as "
                f'run["loss"] or observables.alignment(run["ntk"], run["target"]) do; got {checks.shortened(values)}.'
            )
        return values.astype(np.float64)

    return read
