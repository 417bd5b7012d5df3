"""`widelimit doctor`: whether this machine and these libraries compute what they should."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass

from .. import formatting
from ..memory import available_memory
from ..results import summary
from . import compiled
from .messages import FAULT, say

_LIBRARIES = (
    "widelimit",
    "jax",
    "jaxlib",
    "equinox",
    "numpy",
    "scipy",
    "xarray",
    "h5netcdf",
    "h5py",
    "matplotlib",
    "tyro",
    "platformdirs",
    "filelock",
)


@dataclass(frozen=True)
class Doctor:
    """Say which versions and devices there are, and check for faults that some releases of jax have.

    Exit codes: 0 all is well; 1 a check failed.
    """

    def run(self) -> int:
        """Print what was found; returns the exit code."""
        import jax

        from .. import canaries

        rows = [("python", f"{platform.python_version()} ({sys.executable})"), ("system", platform.platform())]
        rows += [(name, _version(name)) for name in _LIBRARIES]
        rows.append(("devices", ", ".join(f"{device.device_kind} ({device.platform})" for device in jax.devices())))
        rows.append(("cores", str(os.cpu_count())))
        rows.append(("free memory", formatting.memory(available_memory())))
        rows.append(("compiled programs", compiled.place().described()))
        print("\n".join(summary.aligned(rows)), flush=True)
        print("\nWhat some releases of jax get wrong:")
        width = max(map(len, (*canaries.CANARIES, *canaries.AVOIDED)))
        faults = 0
        for name, canary in canaries.CANARIES.items():
            print(f"  {name:<{width}}  ", end="", flush=True)
            fault = _sing(canary)
            faults += fault is not None
            print(f"FAULT: {fault}" if fault else "right", flush=True)
        for name, canary in canaries.AVOIDED.items():
            fault = _sing(canary)
            print(f"  {name:<{width}}  " + (f"wrong, and used nowhere in widelimit: {fault}" if fault else "right"))
        if not faults:
            return 0
        say(f"{faults} of {len(canaries.CANARIES)} checks failed: results could be wrong. {canaries.REMEDY}")
        return FAULT


def _sing(canary: Callable[[], str | None]) -> str | None:
    try:
        return canary()
    except Exception as error:  # a check that cannot run is a finding, and the others are still wanted
        return f"the check stopped with {type(error).__name__}: {error}"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
