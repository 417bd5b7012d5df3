"""Kernels of finite networks around their limit, to leading order in the width."""

from .covariances import fluctuations
from .lazy import lazy_fluctuations
from .relu import relu_variance
from .two_layer import two_layer_fluctuations

__all__ = ["fluctuations", "lazy_fluctuations", "relu_variance", "two_layer_fluctuations"]
