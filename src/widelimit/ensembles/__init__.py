"""What many runs say together: the infinite-width limit to a stated accuracy, and corrections in 1/N."""

from .corrections import corrections
from .corrections_width import width_for
from .limit import limit

__all__ = ["corrections", "limit", "width_for"]
