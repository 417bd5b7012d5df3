"""One simulation at one width: initialisation, the step, what is recorded, planning, and `train`."""

from .plans import Plan, plan
from .simulation import Simulation
from .state import State
from .step_size import suggest_step_size
from .training import initialize, train

__all__ = ["Plan", "Simulation", "State", "initialize", "plan", "suggest_step_size", "train"]
