"""Algorithm 1 of the paper: the mean-field equations by alternating Monte Carlo."""

from .solver import ConvergenceWarning, alternating

__all__ = ["ConvergenceWarning", "alternating"]
