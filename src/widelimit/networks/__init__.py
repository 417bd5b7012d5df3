"""Networks as data, without their width: architectures, receptive fields, nonlinearities."""

from .architecture import CNN, MLP, Architecture, Geometry
from .nonlinearity import GELU, AccuracyWarning, Erf, Gated, Linear, Nonlinearity, ReLU, Softplus, Tanh
from .receptive_field import Filter, Pointwise, Readout, ReceptiveField, places_of, rows_of

__all__ = [
    "CNN",
    "GELU",
    "MLP",
    "AccuracyWarning",
    "Architecture",
    "Erf",
    "Filter",
    "Gated",
    "Geometry",
    "Linear",
    "Nonlinearity",
    "Pointwise",
    "ReLU",
    "Readout",
    "ReceptiveField",
    "Softplus",
    "Tanh",
    "places_of",
    "rows_of",
]
