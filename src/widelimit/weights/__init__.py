"""The two kinds of weights behind one interface: dense (finite width) and deferred (infinite width)."""

from .base import Fabric, Traffic, Weights
from .basis import Truncation
from .deferred import DeferredFabric, DeferredWeights, default_truncation
from .dense import DenseFabric, DenseWeights, readout
from .population import Population
from .products import overlap

__all__ = [
    "DeferredFabric",
    "DeferredWeights",
    "DenseFabric",
    "DenseWeights",
    "Fabric",
    "Population",
    "Traffic",
    "Truncation",
    "Weights",
    "default_truncation",
    "overlap",
    "readout",
]
