"""Kernels of finite networks around their limit, to leading order in the width."""

from .covariances import fluctuations
from .relu import relu_variance

__all__ = ["fluctuations", "relu_variance"]
