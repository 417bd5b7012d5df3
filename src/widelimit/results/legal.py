"""What a result has to be for the functions that take one: checked where it comes in, and said in a sentence."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from typing import ParamSpec, TypeVar

import numpy as np
import xarray as xr

from ..checks import ArgumentError, shortened
from .registry import RECORDED, SCHEMA, VARIABLES

P = ParamSpec("P")
R = TypeVar("R")

_PAIRED = {"sample": ("sample2", "sample3", "sample4"), "recorded_sample": ("recorded_sample2",)}
_PAIRED |= {"output_unit": ("output_unit2",), "test_sample": ("test_sample2",)}


def check(result: xr.Dataset) -> None:
    """Raise unless the variables that a result holds are what their names say.

    Any of them may be missing, and any dimension that has been selected from. **Raises:** `ArgumentError`.
    """
    for dim, others in _PAIRED.items():
        for other in others:
            if dim in result.sizes and result.sizes.get(other, result.sizes[dim]) != result.sizes[dim]:
                raise ArgumentError(
                    f"The result has {result.sizes[dim]} along {dim} and {result.sizes[other]} along {other}: select "
                    "from both alike."
                )
    for name, values in result.data_vars.items():
        if name in VARIABLES and values.dtype.kind not in "biuf":
            raise ArgumentError(f"{name} must hold real numbers; it holds {values.dtype}.")
    for name in ("time", "step"):
        if name in result.coords and result.coords[name].dtype.kind not in "iuf":
            raise ArgumentError(f"The coordinate {name} must hold real numbers; it holds {result.coords[name].dtype}.")
    for name in ("configuration", "versions"):
        attribute(result, name)


def attribute(result: xr.Dataset, name: str) -> dict:
    """An attribute that holds JSON, as a dictionary; empty where there is none. **Raises:** `ArgumentError`."""
    text = result.attrs.get(name, "{}")
    try:
        held = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        held = None
    if not isinstance(held, dict):
        raise ArgumentError(f"The attribute {name} of the result must be a JSON object; got {shortened(text)}.")
    return held


def intact(result: xr.Dataset) -> bool:
    """Whether a result is as [`train`] and the solvers make it: nothing cut, renamed or added, and all of it finite.

    What goes wrong with such a one is not the fault of who hands it in.
    """
    try:
        check(result)
        described, steps, times = attribute(result, "configuration"), result["step"], result["time"]
    except (ArgumentError, KeyError):
        return False
    if result.attrs.get("schema") != SCHEMA or not attribute(result, "versions"):
        return False
    if not all(isinstance(described.get(name), dict) for name in ("net", "rule", "loss")):
        return False
    if not _increasing(steps) or not _increasing(times) or not set(result.data_vars) >= _WHOLE:
        return False
    return all(_as_made(str(name), values) for name, values in result.data_vars.items())


_WHOLE = {"target", "output", "error", "loss"}
_MAY_LACK = {"replicate", "step", "position", "position2", "output_unit", "output_unit2"}


def _increasing(values: xr.DataArray) -> bool:
    return values.dims == ("step",) and values.size > 0 and bool((np.diff(values) > 0).all())


def _as_made(name: str, values: xr.DataArray) -> bool:
    """Whether a variable has the dimensions of the registry, in their order, and holds finite numbers."""
    if name not in VARIABLES or values.dtype.kind not in "if" or not values.size or not np.isfinite(values).all():
        return False
    left = list(values.dims)
    for dim in VARIABLES[name].dims:
        if left and left[0] in (dim, RECORDED.get(dim)):
            left.pop(0)
        elif dim not in _MAY_LACK:
            return False
    return not left


def taking_results(function: Callable[P, R]) -> Callable[P, R]:
    """A function of results that says in a sentence what it cannot take.

    Whatever else can be wrong with data that somebody has cut and renamed fails somewhere within xarray or NumPy; that
    error is the cause of the one which is raised. Where every result is [`intact`] it is let through: it is a fault of
    this library.
    """

    @functools.wraps(function)
    def checked(*arguments: P.args, **named: P.kwargs) -> R:
        values = (*arguments, *named.values())
        for argument in values:
            if isinstance(argument, xr.Dataset):
                check(argument)
        try:
            return function(*arguments, **named)
        except ArgumentError:
            raise
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError) as error:
            if all(map(_nothing_wrong, values)):
                raise
            reason = " ".join(str(error).split())
            raise ArgumentError(
                f"{function.__name__} cannot take what it was given ({type(error).__name__}: {reason[:200]}); a result "
                f"has the variables and dimensions of widelimit.results.VARIABLES, such as {_EXAMPLE}."
            ) from error

    return checked


_EXAMPLE = f"feature_kernel ({', '.join(VARIABLES['feature_kernel'].dims)})"


def _nothing_wrong(argument: object) -> bool:
    if isinstance(argument, xr.Dataset):
        return intact(argument)
    if isinstance(argument, Mapping):
        return all(isinstance(result, xr.Dataset) and intact(result) for result in argument.values())
    return argument is None or isinstance(argument, bool)
