"""Activation functions ϕ and gates, one file each."""

from .base import Nonlinearity
from .erf import Erf
from .gated import Gated
from .gelu import GELU
from .linear import Linear
from .relu import ReLU
from .softplus import Softplus
from .tanh import Tanh

__all__ = ["GELU", "Erf", "Gated", "Linear", "Nonlinearity", "ReLU", "Softplus", "Tanh"]
