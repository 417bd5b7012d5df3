"""The settings at which jax computes, switched on for the library's own work alone.

Besides double precision these are the precision of products, which on accelerators is by default lower than that of
the numbers (TF32 on NVIDIA's: K of one network then differs from double precision by 2e-3, where rounding in single
precision makes 1e-4), and the settings that a user's process may have made strict for its own code.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import jax
import jax.experimental


@contextlib.contextmanager
def at_precision(precision: str) -> Iterator[None]:
    """A context in which jax computes at "float64" or "float32"; importing the library changes no setting of jax."""
    enable = getattr(jax if hasattr(jax, "enable_x64") else jax.experimental, "enable_x64")  # noqa: B009
    with (
        enable(precision == "float64"),
        jax.default_matmul_precision("highest"),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
        jax.transfer_guard("allow"),
    ):
        yield
