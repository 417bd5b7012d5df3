"""Pictures of results: each function takes a result and returns a matplotlib figure, which the caller saves or shows.

Nothing here touches a display or matplotlib's global state.
"""

from .comparison import comparison
from .expansions import expansion
from .inference import confusion, posterior
from .parts import PALETTE
from .single import run

__all__ = ["PALETTE", "comparison", "confusion", "expansion", "posterior", "run"]
