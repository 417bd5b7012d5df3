"""The theory's other solutions, each independent of the training loop, each returning the same labelled result."""

from .alternating import ConvergenceWarning, alternating
from .fluctuations import fluctuations, lazy_fluctuations, relu_variance, two_layer_fluctuations
from .lazy import LongRunWarning, SingularKernelWarning, kernel_of_angle, lazy
from .linear import linear
from .two_layer import two_layer, two_layer_fixed_point

__all__ = [
    "ConvergenceWarning",
    "LongRunWarning",
    "SingularKernelWarning",
    "alternating",
    "fluctuations",
    "kernel_of_angle",
    "lazy",
    "lazy_fluctuations",
    "linear",
    "relu_variance",
    "two_layer",
    "two_layer_fixed_point",
    "two_layer_fluctuations",
]
