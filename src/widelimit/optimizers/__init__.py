"""How changes become steps."""

from .sgd import Optimizer

__all__ = ["Optimizer"]
