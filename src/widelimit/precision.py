"""The precision that jax computes at, switched on for the library's own work alone."""

from __future__ import annotations

from typing import Any

import jax
import jax.experimental


def at_precision(precision: str) -> Any:
    """A context in which jax computes at "float64" or "float32"; importing the library changes no setting of jax."""
    enable = getattr(jax if hasattr(jax, "enable_x64") else jax.experimental, "enable_x64")  # noqa: B009
    return enable(precision == "float64")
