"""The lazy limit γ0 → 0: static kernels, and training as kernel regression."""

from .costs import LongRunWarning
from .dynamics import SingularKernelWarning
from .regression import kernel_of_angle, lazy

__all__ = ["LongRunWarning", "SingularKernelWarning", "kernel_of_angle", "lazy"]
