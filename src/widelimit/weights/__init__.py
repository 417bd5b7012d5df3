"""The two kinds of weights behind one interface: dense (finite width) and deferred (infinite width)."""

from .base import Fabric, Traffic, Weights
from .deferred import DeferredFabric, DeferredWeights, default_truncation
from .dense import DenseFabric, DenseWeights
from .population import Population
from .products import overlap
from .receptive_field import Filter, Pointwise, Readout, ReceptiveField, places_of
from .revealed import Truncation

__all__ = [
    "DeferredFabric",
    "DeferredWeights",
    "DenseFabric",
    "DenseWeights",
    "Fabric",
    "Filter",
    "Pointwise",
    "Population",
    "Readout",
    "ReceptiveField",
    "Traffic",
    "Truncation",
    "Weights",
    "default_truncation",
    "overlap",
    "places_of",
]
