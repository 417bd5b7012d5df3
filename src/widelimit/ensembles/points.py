"""One point of a sweep in its file: computed, kept, and found again."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import os
import socket
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import xarray as xr

from .. import checks, files, memory
from ..checks import ArgumentError
from ..faults import DivergenceWarning
from ..results import netcdf
from .grid import Label
from .identity import configuration, digest, program

Status = Literal["done", "diverged", "failed", "to do"]

ATTRIBUTE = "sweep_point"
"""The attribute of a result that says which point it is, and how it went."""

SCHEMA = 1
_LARGEST_RECORD = 1 << 20


@dataclass(frozen=True)
class Job:
    """What a worker is handed: one point, and where it is kept."""

    digest: str
    """The name of its file: of the configuration."""
    configuration: Mapping[str, Any]
    """What it is computed from, versions and all, as plain data."""
    at: Mapping[str, Label]
    function: Callable[..., Any]
    arguments: Mapping[str, Any]
    program: str
    """What has to be compiled for it, by a name that points share which differ in numbers alone."""


def job(function: Callable[..., Any], arguments: Mapping[str, Any], at: Mapping[str, Label]) -> Job:
    """A call with these arguments as a point with these labels. **Raises:** `ArgumentError` as [`configuration`]."""
    plain = configuration(function, arguments)
    return Job(digest(plain), plain, at, function, arguments, program(function, arguments))


@dataclass(frozen=True)
class Outcome:
    """How a point went."""

    status: Status
    reason: str = ""
    """Why it failed, in a sentence."""
    seconds: float = 0.0
    warnings: tuple[tuple[str, str], ...] = ()
    """What the library warned of: the qualified names of the warnings and their sentences."""
    compilations: int = 0
    """Programs that were compiled for it."""
    worker: str = ""
    """Which process computed it."""

    def plain(self) -> dict[str, Any]:
        """This as plain data."""
        return asdict(self)

    @classmethod
    def of(cls, plain: Any) -> Outcome:
        """That of plain data. **Raises:** `ArgumentError` if it is none."""
        try:
            pairs = tuple((str(kind), str(text)) for kind, text in plain["warnings"])
            status = plain["status"]
            checks.known("status", status, ("done", "diverged", "failed"))
            return cls(
                status,
                str(plain["reason"]),
                float(plain["seconds"]),
                pairs,
                int(plain["compilations"]),
                str(plain["worker"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ArgumentError(f"The record of a point is damaged ({error}).") from None


def result_path(folder: Path, digest: str) -> Path:
    """The file of a point's result."""
    return folder / f"{digest}.nc"


def record_path(folder: Path, digest: str) -> Path:
    """The file that says why a point failed."""
    return folder / f"{digest}.failed.json"


def found(folder: Path, digest: str) -> Outcome:
    """How a point went as its files say; "to do" where there is none, or none that is whole."""
    path = result_path(folder, digest)
    if path.is_file():
        with contextlib.suppress(ValueError, OSError):  # damaged: done again
            held = json.loads(netcdf.attribute(path, ATTRIBUTE) or "{}")
            if isinstance(held, dict) and held.get("digest") == digest:
                return Outcome.of(held)
    path = record_path(folder, digest)
    if path.is_file():
        with contextlib.suppress(ValueError, OSError):  # damaged: done again
            held = json.loads(files.read(path)[:_LARGEST_RECORD])
            if isinstance(held, dict) and held.get("digest") == digest:
                return Outcome.of(held)
    return Outcome("to do")


def compute(
    job: Job,
    folder: str,
    memory_limit: float | None = None,
    surroundings: Callable[[], AbstractContextManager[Any]] | None = None,
) -> Outcome:
    """Compute a point and keep it, in whichever process this is; what goes wrong is an outcome too.

    **Arguments:** `folder`, where the files are; `memory_limit`, the bytes that this process may take in all;
    `surroundings`, a context that the work is done in.
    """
    began, place = time.perf_counter(), Path(folder)
    limits = contextlib.nullcontext() if memory_limit is None else memory.limited(memory_limit)
    compiled = _Compilations()
    with warnings.catch_warnings(record=True) as caught, limits, compiled:
        warnings.simplefilter("always", UserWarning)
        try:
            with contextlib.nullcontext() if surroundings is None else surroundings():
                result = job.function(**job.arguments, **_quiet(job.function))
            if not isinstance(result, xr.Dataset):
                name = job.function.__name__
                raise ArgumentError(f"{name} must return an xarray.Dataset; it returned {type(result).__name__}.")
            _check_names(result, job)
            reason, trace, status = "", "", _verdict(result, caught)
        except Exception as error:  # whatever it is, the other points go on
            result, status = None, "failed"
            reason = str(error) if isinstance(error, ArgumentError) else f"{type(error).__name__}: {error}"
            trace = "" if isinstance(error, ArgumentError) else traceback.format_exc()
    pairs = [(f"{each.category.__module__}.{each.category.__name__}", str(each.message)) for each in caught]
    pairs = [pair for pair, each in zip(pairs, caught, strict=True) if issubclass(each.category, UserWarning)]
    seconds = time.perf_counter() - began
    outcome = Outcome(status, reason, seconds, tuple(dict.fromkeys(pairs)), compiled.count, _process())
    held = {"schema": SCHEMA, "digest": job.digest, "at": _written(job.at), **outcome.plain()}
    if result is None:
        keep_failure(place, job, outcome, trace)
        return outcome
    netcdf.save(result.assign_attrs({ATTRIBUTE: json.dumps(held)}), result_path(place, job.digest), overwrite=True)
    record_path(place, job.digest).unlink(missing_ok=True)
    return outcome


def _check_names(result: xr.Dataset, job: Job) -> None:
    for name in job.at:
        if name in result.variables or name in result.dims:
            raise ArgumentError(
                f"{job.function.__name__} returns a result with {name}, and a swept setting is called so too: rename "
                "one of them."
            )


def keep_failure(folder: Path, job: Job, outcome: Outcome, trace: str = "") -> None:
    """Record that a point failed, and why."""
    held = {"schema": SCHEMA, "digest": job.digest, "at": _written(job.at), **outcome.plain(), "traceback": trace}
    files.write(record_path(folder, job.digest), json.dumps(held, indent=1).encode(), overwrite=True)


def category(qualified: str) -> type[Warning]:
    """The class of a warning by its name; `UserWarning` where it is not one of this library's or Python's own."""
    module, _, name = qualified.rpartition(".")
    if module != "builtins" and not module.startswith(f"{__name__.split('.')[0]}."):
        return UserWarning
    kind = getattr(importlib.import_module(module), name, None)
    return kind if isinstance(kind, type) and issubclass(kind, Warning) else UserWarning


def _quiet(function: Callable[..., Any]) -> dict[str, Any]:
    return {"progress": False} if "progress" in inspect.signature(function).parameters else {}


def _verdict(result: xr.Dataset, caught: list[warnings.WarningMessage]) -> Status:
    if "diverged_step" in result and bool((np.asarray(result["diverged_step"]) >= 0).any()):
        return "diverged"
    return "diverged" if any(issubclass(each.category, DivergenceWarning) for each in caught) else "done"


def _written(at: Mapping[str, Label]) -> dict[str, Any]:
    return {
        dim: str(label) if isinstance(label, float) and not np.isfinite(label) else label for dim, label in at.items()
    }


def _process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


class _Compilations:
    """Counts the programs that jax compiles within, by what jax reports of itself."""

    _EVENT = "/jax/core/compile/backend_compile_duration"
    _listening: list[_Compilations] | None = None

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> _Compilations:
        kind = type(self)
        if kind._listening is None:
            kind._listening = []
            # jax has no public way to take a listener away again: there is one for the process.
            jax.monitoring.register_event_duration_secs_listener(kind._heard)
        kind._listening.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._listening is not None
        self._listening.remove(self)

    @classmethod
    def _heard(cls, event: str, duration_secs: float, **_: Any) -> None:
        if event == cls._EVENT:
            for each in cls._listening or ():
                each.count += 1
