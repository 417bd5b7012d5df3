"""Results: the registry of all variables, files, observables, comparison, and results in words."""

from .combined import apart, combine
from .configuration import configuration, describe, described, versions
from .dataset import assemble, expanded, of_task
from .measured import result
from .netcdf import load, save
from .record import Record
from .registry import DIMENSIONS, SCHEMA, VARIABLES
from .samples import of_recorded_samples

__all__ = [
    "DIMENSIONS",
    "SCHEMA",
    "VARIABLES",
    "Record",
    "apart",
    "assemble",
    "combine",
    "configuration",
    "describe",
    "described",
    "expanded",
    "load",
    "of_recorded_samples",
    "of_task",
    "result",
    "save",
    "versions",
]
