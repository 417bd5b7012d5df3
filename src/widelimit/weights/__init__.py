"""The two kinds of weights behind one interface: dense (finite width) and deferred (infinite width)."""

from .base import Usage, Weights, Width
from .basis import Truncation, scatters
from .deferred import PARTICLES, DeferredWeights, Infinite, default_truncation
from .dense import DenseWeights, Finite, readout
from .population import Population
from .products import overlap
from .rows import Rows

__all__ = [
    "PARTICLES",
    "DeferredWeights",
    "DenseWeights",
    "Finite",
    "Infinite",
    "Population",
    "Rows",
    "Truncation",
    "Usage",
    "Weights",
    "Width",
    "default_truncation",
    "overlap",
    "readout",
    "scatters",
]
