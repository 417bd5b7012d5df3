"""Activation functions ϕ and gates, one file each."""

from .base import Nonlinearity
from .erf import Erf
from .gated import Gated
from .gelu import GELU
from .linear import Linear
from .quadrature import AccuracyWarning
from .relu import ReLU
from .softplus import Softplus
from .tanh import Tanh

__all__ = ["GELU", "AccuracyWarning", "Erf", "Gated", "Linear", "Nonlinearity", "ReLU", "Softplus", "Tanh"]
