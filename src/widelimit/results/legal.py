"""What a result has to be for the functions that take one: checked where it comes in, and said in a sentence."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import xarray as xr

from ..checks import ArgumentError, shortened
from .registry import VARIABLES

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


def taking_results(function: Callable[P, R]) -> Callable[P, R]:
    """A function of results that says in a sentence what it cannot take.

    Whatever else can be wrong with data that somebody has cut and renamed fails somewhere within xarray or NumPy; that
    error is the cause of the one which is raised.
    """

    @functools.wraps(function)
    def checked(*arguments: P.args, **named: P.kwargs) -> R:
        for argument in (*arguments, *named.values()):
            if isinstance(argument, xr.Dataset):
                check(argument)
        try:
            return function(*arguments, **named)
        except ArgumentError:
            raise
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError) as error:
            reason = " ".join(str(error).split())
            raise ArgumentError(
                f"{function.__name__} cannot take what it was given ({type(error).__name__}: {reason[:200]}); a result "
                f"has the variables and dimensions of widelimit.results.VARIABLES, such as {_EXAMPLE}."
            ) from error

    return checked


_EXAMPLE = f"feature_kernel ({', '.join(VARIABLES['feature_kernel'].dims)})"
