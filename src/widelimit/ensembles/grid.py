"""The points of a sweep, and what its dimensions are called: read off the lists that are given for arguments."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checks import ArgumentError, shortened
from ..problem import Task
from ..results import DIMENSIONS, VARIABLES
from ..results.registry import RECORDED
from ..weights import Finite, Infinite
from .identity import described

Label = float | int | str

POINT = "point"
"""The dimension of a list of points, which are no grid."""

_TAKEN = (
    {dim for dims in DIMENSIONS.values() for dim in dims}
    | set(RECORDED.values())
    | {*VARIABLES, POINT, "time", "status", "seconds"}
)
VAGUE = {"size", "seed", "every", "kernels", "samples", "data", "file", "test_samples"}
"""Fields whose names do not say what they are of; the name of the argument is put before them."""


@dataclass(frozen=True)
class Point:
    """One point of a sweep: its labels by dimension, and all arguments of the call."""

    at: Mapping[str, Label]
    arguments: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The point in words: "rule=Hebbian, richness=0.3"."""
        return named(self.at)


@dataclass(frozen=True)
class Grid:
    """Dimensions with their labels, in their order, and the points."""

    dims: Mapping[str, tuple[Label, ...]]
    points: tuple[Point, ...]
    along_points: Mapping[str, tuple[Label, ...]] = dataclasses.field(default_factory=dict)
    """Of a list of points, what is set in each."""


def named(at: Mapping[str, Label]) -> str:
    """A point in words."""
    return ", ".join(f"{dim}={_number(value) if isinstance(value, float) else value}" for dim, value in at.items())


def _number(value: float) -> str:
    """A number in as few digits as tell it from any other."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


def product(arguments: Mapping[str, Any]) -> Grid:
    """The grid of all combinations of what is listed: a list, or a mapping from labels to values, is swept.

    **Raises:** `ArgumentError` for lists that are empty or name one thing twice, for dimensions that would be called
    the same or like one of a result's own, and where nothing is swept.
    """
    swept = {name: value for name, value in arguments.items() if isinstance(value, (list, Mapping))}
    shared = {name: value for name, value in arguments.items() if name not in swept}
    axes: list[tuple[tuple[str, ...], list[tuple[tuple[Label, ...], str, Any]]]] = []
    dims: dict[str, tuple[Label, ...]] = {}
    for name, values in swept.items():
        axis, each = _axis(name, values)
        for dim in axis:
            if dim in dims:
                raise ArgumentError(f"{name}: two swept settings would be called {dim}; label one by a dictionary.")
        for place, dim in enumerate(axis):
            dims[dim] = tuple(dict.fromkeys(labels[place] for labels, _, _ in each))
        axes.append((axis, each))
    if not axes:
        raise ArgumentError(
            "There is nothing to sweep: give a list for at least one argument, as rule=[...], or points=[...]."
        )
    points = []
    for chosen in itertools.product(*(each for _, each in axes)):
        at: dict[str, Label] = {}
        for (axis, _), (labels, _, _) in zip(axes, chosen, strict=True):
            at |= dict(zip(axis, labels, strict=True))
        given = {name: value for _, name, value in chosen}
        points.append(Point(at, shared | given))
    return Grid(check_dims(dims), tuple(points))


def listed(points: Sequence[Mapping[str, Any]], shared: Mapping[str, Any]) -> Grid:
    """The points of a list, each the arguments that it sets, on top of those that all share.

    The dimension is `point`; what is set in the points are coordinates along it, named as those of a grid.
    """
    if not isinstance(points, (list, tuple)) or not points or not all(isinstance(each, Mapping) for each in points):
        raise ArgumentError(
            "points must be a list of dictionaries, each with the arguments that a point sets, as "
            f'[{{"steps": 10, "width": 50}}, ...]; got {shortened(points)}.'
        )
    swept = [name for name, value in shared.items() if isinstance(value, (list, Mapping))]
    if swept:
        raise ArgumentError(f"points are given, and {swept[0]} is a list too: name in each point what it is there.")
    names = list(dict.fromkeys(name for each in points for name in each))
    coordinates: dict[str, tuple[Label, ...]] = {}
    for name in names:
        values = [{**shared, **each}.get(name) for each in points]
        distinct = _distinct(values)
        if len(distinct) == 1:
            continue
        axis, labelled = _axis(name, distinct)
        labels = {_key(value): label for label, _, value in labelled}
        for place, dim in enumerate(axis):
            coordinates[dim] = tuple(labels[_key(value)][place] for value in values)
    check_dims(coordinates)
    made = [Point({POINT: index}, {**shared, **each}) for index, each in enumerate(points)]
    return Grid({POINT: tuple(range(len(made)))}, tuple(made), coordinates)


def check_dims(dims: Mapping[str, tuple[Label, ...]]) -> Mapping[str, tuple[Label, ...]]:
    """The same; raises where one is called like a dimension of a result."""
    for dim in dims:
        if dim in _TAKEN:
            raise ArgumentError(f"A swept setting cannot be called {dim}, which every result has.")
    return dims


def axis_of(name: str, values: Sequence[Any]) -> tuple[tuple[str, ...], list[tuple[Label, ...]]]:
    """The dimensions along which the values of one argument differ, and their labels there."""
    if all(_is_plain(value) for value in values):
        return (name,), [(label,) for label in _plain_labels(values)]
    if name == "width" and all(isinstance(value, (Finite, Infinite, int, float)) for value in values):
        sizes = [_width(value) for value in values]
        if len(set(sizes)) == len(sizes):
            return ("width",), [(size,) for size in sizes]
    if len({None if inspect.isroutine(value) else type(value) for value in values}) > 1:  # functions are of one kind
        return (name,), [(label,) for label in _unique(name, [_among(value, values) for value in values])]
    if isinstance(values[0], Task):
        return _task_axis(name, values)
    differing = _differing(values)
    if not differing:
        return (name,), [(label,) for label in _unique(name, [_short(value) for value in values])]
    axes = [axis_of(field, _distinct([getattr(value, field) for value in values])) for field in differing]
    if all(len(dims) == 1 for dims, _ in axes):
        tables = [
            {_key(value): labels[0] for value, labels in zip(_distinct_of(values, field), each, strict=True)}
            for field, (_, each) in zip(differing, axes, strict=True)
        ]
        labels = [
            tuple(table[_key(getattr(value, field))] for table, field in zip(tables, differing, strict=True))
            for value in values
        ]
        # Several fields are several dimensions where all combinations of them are there.
        if len(set(labels)) == math.prod(len(table) for table in tables):
            dims = tuple(f"{name}_{dim}" if dim in VAGUE else dim for (dim,), _ in axes)
            return dims, labels
    return (name,), [(label,) for label in _unique(name, [_spelled(value, differing) for value in values])]


def _axis(name: str, values: Any) -> tuple[tuple[str, ...], list[tuple[tuple[Label, ...], str, Any]]]:
    """The dimensions of one swept argument, and its values with their labels there."""
    if not len(values):
        raise ArgumentError(f"{name} is an empty list; give what it is to be, or one value that is no list.")
    if isinstance(values, Mapping):
        labels = [(label,) for label in _plain_labels(list(values))]
        return (name,), [(label, name, value) for label, value in zip(labels, values.values(), strict=True)]
    if len(_distinct(values)) < len(values):
        raise ArgumentError(f"{name} lists one thing twice: {shortened(values)}.")
    dims, labels = axis_of(name, values)
    return dims, [(label, name, value) for label, value in zip(labels, values, strict=True)]


def _task_axis(name: str, tasks: Sequence[Task]) -> tuple[tuple[str, ...], list[tuple[Label, ...]]]:
    """Tasks are told apart by their numbers of samples, or by their losses where nothing else differs, or counted."""
    sizes = [task.samples for task in tasks]
    if len(set(sizes)) == len(sizes):
        return ("samples",), [(size,) for size in sizes]
    losses = [type(task.loss).__name__ for task in tasks]
    data = [json.dumps({**described(task), "loss": None}) for task in tasks]
    if len(set(data)) == 1 and len(set(losses)) == len(losses):
        return ("loss_function",), [(loss,) for loss in losses]
    return (name,), [(place,) for place in range(len(tasks))]


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str, np.integer, np.floating))


def _plain_labels(values: Sequence[Any]) -> list[Label]:
    """Numbers as they are, if all are; else words."""
    if all(isinstance(value, (int, float, np.number)) and not isinstance(value, bool) for value in values):
        return [value.item() if isinstance(value, np.generic) else value for value in values]
    return [str(value) for value in values]


def _width(value: Any) -> float:
    if isinstance(value, Infinite):
        return math.inf
    return value.neurons if isinstance(value, Finite) else value


def _differing(values: Sequence[Any]) -> list[str]:
    """The fields in which objects of one class differ."""
    if not dataclasses.is_dataclass(values[0]):
        return []
    fields = [field.name for field in dataclasses.fields(values[0]) if field.init]
    return [field for field in fields if len(_distinct_of(values, field)) > 1]


def _distinct_of(values: Sequence[Any], field: str) -> list[Any]:
    return _distinct([getattr(value, field) for value in values])


def _distinct(values: Sequence[Any]) -> list[Any]:
    return list({_key(value): value for value in values}.values())


def _key(value: Any) -> str:
    return json.dumps(described(value), sort_keys=True)


def _among(value: Any, values: Sequence[Any]) -> str:
    """An object in words among others of several classes: its class, and what sets it apart from others of that."""
    alike = [other for other in values if type(other) is type(value)]
    inside = f"({_spelled(value, _differing(alike))})" if len(alike) > 1 else ""
    return f"{type(value).__name__ if value is not None else None}{inside}"


def _spelled(value: Any, fields: Sequence[str]) -> str:
    """Some fields of an object in words; itself where it has none."""
    return ", ".join(f"{field}={_short(getattr(value, field))}" for field in fields) or str(value)


def _short(value: Any) -> str:
    if isinstance(value, float) or (hasattr(value, "ndim") and not value.ndim):
        return _number(float(value))
    if inspect.isroutine(value) or isinstance(value, type):
        return value.__qualname__
    return type(value).__name__ if dataclasses.is_dataclass(value) else str(value)


def _unique(name: str, labels: list[str]) -> list[str]:
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise ArgumentError(
            f"{name}: two of what is listed would both be called {twice}; label them by a dictionary, "
            f"{name}={{'first': ..., 'second': ...}}."
        )
    return labels
