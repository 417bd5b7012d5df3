"""Kernels of finite networks around their limit, to leading order in the width."""

from .covariances import fluctuations
from .scalar import pade_mean, relu_variance

__all__ = ["fluctuations", "pade_mean", "relu_variance"]
