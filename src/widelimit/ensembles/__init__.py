"""What many runs say together: sweeps over grids of settings."""

from .opened import open_sweep
from .sweep import Sweep, sweep

__all__ = ["Sweep", "open_sweep", "sweep"]
