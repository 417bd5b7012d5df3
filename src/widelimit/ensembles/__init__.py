"""What many runs say together: the limit to a stated accuracy, corrections in 1/N, sweeps over grids of settings."""

from .corrections import corrections
from .corrections_width import width_for
from .limit import limit
from .opened import open_sweep
from .sweep import Sweep, sweep

__all__ = ["Sweep", "corrections", "limit", "open_sweep", "sweep", "width_for"]
