"""What a point of a sweep is, as plain data: what its file is named by, and what is compiled for it."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from ..checks import ArgumentError
from ..problem import Task
from ..results import versions
from ..simulation.identity import identified

_PACKAGE = __name__.split(".")[0]
_COMPUTING = ("widelimit", "jax", "numpy", "scipy")
"""What numbers are computed with; a result is of these versions."""

_NO_MATTER = ("progress",)
"""Arguments on which no number depends."""

_OF_TASK = ("x", "y", "x_test", "y_test", "shape", "scalar", "loss")


def described(value: Any) -> Any:
    """A value as plain JSON data: arrays as digests, numbers alike whatever their type, classes by qualified name.

    **Raises:** `ArgumentError` for what cannot be told from another of its kind.
    """
    if isinstance(value, Task):
        return {"type": "Task"} | {name: described(getattr(value, name)) for name in _OF_TASK}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [each.name for each in dataclasses.fields(value) if each.init]
        return {"type": qualified(type(value))} | {name: described(getattr(value, name)) for name in fields}
    if isinstance(value, Mapping):
        return {str(key): described(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [described(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic, jax.Array)):
        return described(identified(value))
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value if isinstance(value, int) and abs(value) >= 2**53 else repr(float(value))
    if value is None or isinstance(value, (bool, str)):
        return value
    if inspect.isroutine(value) or isinstance(value, type):
        return qualified(value)
    raise ArgumentError(
        f"A sweep must tell its points apart, and cannot look into an object of {type(value).__name__}: pass numbers, "
        "words, arrays, dataclasses (as networks and rules are), or a task."
    )


def qualified(what: Any) -> str:
    """The name of a class or a function; with its module where that is not of this library."""
    module, name = getattr(what, "__module__", ""), getattr(what, "__qualname__", repr(what))
    return name if module.split(".")[0] == _PACKAGE and not inspect.isroutine(what) else f"{module}.{name}"


@functools.cache
def computing_versions() -> dict[str, str]:
    """The versions that the numbers of a result depend on."""
    held = versions()
    return {name: held[name] for name in _COMPUTING}


def checked_function(function: Any) -> Callable[..., Any]:
    """A function that workers can be told of by name. **Raises:** `ArgumentError` for anything else."""
    if not callable(function) or isinstance(function, type):
        raise ArgumentError(
            f"function must be one that returns a result, as widelimit.train; got {type(function).__name__}."
        )
    name = getattr(function, "__qualname__", "")
    if not inspect.isfunction(function) or "<" in name:
        raise ArgumentError(
            f"function must be one of the library, as widelimit.train, or one that is defined at the top of a module, "
            f"by which it is known again; got {name or type(function).__name__}."
        )
    return function


def bound(function: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of a call that matter, with those that are as they are by default.

    **Raises:** `ArgumentError` if the function does not take them.
    """
    signature = inspect.signature(function)
    known = signature.parameters.values()
    open_ended = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in known)
    for name in arguments:
        if name not in signature.parameters and not open_ended:
            names = ", ".join(signature.parameters)
            raise ArgumentError(f"{function.__name__} takes no argument {name}. It takes {names}.")
    try:
        call = signature.bind(**arguments)
    except TypeError as error:
        raise ArgumentError(f"{function.__name__}: {error}.") from None
    call.apply_defaults()
    flat: dict[str, Any] = {}
    for name, value in call.arguments.items():
        flat |= value if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD else {name: value}
    return {name: value for name, value in flat.items() if name not in _NO_MATTER}


def configuration(function: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What a point is computed from: function, arguments, versions."""
    call = {name: described(value) for name, value in sorted(bound(function, arguments).items())}
    return {"function": qualified(function), "arguments": call, "versions": computing_versions()}


def flat(plain: Any, name: str = "") -> dict[str, Any]:
    """Nested plain data as one level, by dotted names; a digest of an array is one value."""
    if not isinstance(plain, Mapping) or "sha256" in plain:
        return {name: plain}
    return {
        key: value
        for part, item in plain.items()
        for key, value in flat(item, f"{name}.{part}" if name else part).items()
    }


def digest(plain: Any) -> str:
    """A name for plain data, the same whenever the data are."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:32]


def program(function: Callable[..., Any], arguments: Mapping[str, Any]) -> str:
    """A name for what has to be compiled: the same for points that differ in numbers alone.

    Richness, the numbers of a rule, step size, seeds and data of one shape are arguments of compiled steps. It decides
    which points are computed one after another by one worker, so that a mistake here would cost time alone.
    """
    return digest({"function": qualified(function), "arguments": _shape(bound(function, arguments))})


def _shape(value: Any, name: str = "") -> Any:
    if isinstance(value, Task):
        return {each: _shape(getattr(value, each)) for each in _OF_TASK}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [each.name for each in dataclasses.fields(value) if each.init]
        return {"type": qualified(type(value))} | {each: _shape(getattr(value, each), each) for each in fields}
    if isinstance(value, Mapping):
        return {str(key): _shape(item, str(key)) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_shape(item, name) for item in value]
    if name == "momentum":
        return float(f"{value}") > 0  # whether there is a velocity
    if name in ("seed", "richness") or isinstance(value, (float, np.floating)):
        return None
    if isinstance(value, (np.ndarray, jax.Array)):
        return [list(value.shape), str(value.dtype)] if value.ndim else None
    return described(value)
