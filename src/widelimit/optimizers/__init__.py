"""How changes become steps."""

from .sgd import SGD

__all__ = ["SGD"]
