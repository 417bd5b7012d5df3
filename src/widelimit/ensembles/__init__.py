"""What many runs say together: the infinite-width limit to a stated accuracy, and corrections in 1/N."""

from .limit import limit

__all__ = ["limit"]
