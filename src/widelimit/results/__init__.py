"""Results: the registry of all variables, files, observables, comparison, and results in words."""

from .configuration import configuration, describe, described, versions
from .dataset import assemble, expanded, of_task
from .files import load, save
from .record import Record
from .registry import DIMENSIONS, MEANING, SCHEMA

__all__ = [
    "DIMENSIONS",
    "MEANING",
    "SCHEMA",
    "Record",
    "assemble",
    "configuration",
    "describe",
    "described",
    "expanded",
    "load",
    "of_task",
    "save",
    "versions",
]
