"""Deep linear networks at infinite width, solved algebraically."""

from .solver import linear

__all__ = ["linear"]
