"""One simulation at one width: initialisation, the step, what is recorded, planning, and `train`."""

from .step_size import suggest_step_size
from .training import train

__all__ = ["suggest_step_size", "train"]
