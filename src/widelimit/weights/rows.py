"""Which rows of noise vectors meet on their way through a matrix."""

from __future__ import annotations

import equinox as eqx
from jaxtyping import Array, Int


class Rows(eqx.Module):
    """tmp"""

    offset: int = eqx.field(static=True)
    places: Int[Array, " row"] | None = None

    @classmethod
    def all(cls):
        return cls(0)
