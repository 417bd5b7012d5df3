"""What a folder of results is the sweep of: one small file with the dimensions and the points."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import filelock

from .. import files
from ..checks import ArgumentError
from .grid import POINT, VAGUE, Grid, Label
from .identity import flat

NAME = "sweep.json"
SCHEMA = 1
_LOCK = ".sweep.lock"
_LARGEST = 1 << 28


@dataclass(frozen=True)
class Index:
    """A sweep as its folder says: dimensions with their labels, which file holds which point, and what all share."""

    function: str
    dims: Mapping[str, tuple[Label, ...]]
    along_points: Mapping[str, tuple[Label, ...]]
    shared: Mapping[str, Any]
    """The settings that are the same in all points, by dotted names."""
    versions: Mapping[str, str]
    points: Mapping[str, Mapping[str, Label]]
    """The labels of each point by the name of its file."""

    @classmethod
    def of(cls, grid: Grid, configured: Mapping[str, Mapping[str, Any]]) -> Index:
        """That of a grid whose points have these configurations, by the names of their files."""
        digests, each = list(configured), [flat(plain["arguments"]) for plain in configured.values()]
        shared = {name: value for name, value in each[0].items() if all(other.get(name) == value for other in each)}
        # What a dimension is called after may differ, also where it has a single label.
        shared = {name: value for name, value in shared.items() if not any(_named(name, dim) for dim in grid.dims)}
        at = {digest: dict(point.at) for digest, point in zip(digests, grid.points, strict=True)}
        function, versions = configured[digests[0]]["function"], configured[digests[0]]["versions"]
        return cls(function, grid.dims, grid.along_points, shared, versions, at)

    def merged(self, folder: Path, other: Index) -> Index:
        """This one, of a folder, with the points of another sweep.

        **Raises:** `ArgumentError` if the two are not parts of one grid.
        """

        def refuse(reason: str) -> ArgumentError:
            return ArgumentError(
                f"{folder} holds another sweep: {reason}. Several sweeps go into one folder if they differ in the "
                "labels of their dimensions alone; name another folder."
            )

        if self.function != other.function:
            raise refuse(f"of {self.function}, and this is one of {other.function}")
        if set(self.dims) != set(other.dims):
            raise refuse(f"over {', '.join(self.dims)}, and this is one over {', '.join(other.dims)}")
        shared = {name: value for name, value in self.shared.items() if other.shared.get(name) == value}
        for name in self.shared:
            if name in other.shared and name not in shared:
                there, here = _worded(self.shared[name]), _worded(other.shared[name])
                raise refuse(f"{name} is {there} in all of its points, and {here} in those of this one")
        if POINT in self.dims:
            length = min(len(self.dims[POINT]), len(other.dims[POINT]))
            for dim in {*self.along_points, *other.along_points}:
                held = [each[dim][:length] for each in (self.along_points, other.along_points) if dim in each]
                # What is the same in all points of a list has no labels there.
                alike = held[0] == held[1] if len(held) == 2 else len(set(held[0])) == 1
                if not alike:
                    raise refuse("its list of points begins otherwise")
            longer = max(self, other, key=lambda each: len(each.dims[POINT]))
            dims, along = longer.dims, longer.along_points
        else:
            dims = {dim: _union(labels, other.dims[dim]) for dim, labels in self.dims.items()}
            along = {}
        # A point of other versions, or of code that is called otherwise by now, gives way to that which is asked for.
        asked = {_place(at, dims) for at in other.points.values()}
        kept = {digest: at for digest, at in self.points.items() if _place(at, dims) not in asked}
        return replace(other, dims=dims, along_points=along, shared=shared, points={**kept, **other.points})


def _named(setting: str, dim: str) -> bool:
    """Whether a dimension is called after a setting with this dotted name."""
    parts = setting.split(".")
    return dim in (parts[0], f"{parts[0]}_{parts[-1]}") or (dim not in VAGUE and dim in parts)


def _place(at: Mapping[str, Label], dims: Iterable[str]) -> tuple[str, ...]:
    """The labels of a point, told apart to the last digit."""
    return tuple(repr(float(at[dim])) if isinstance(at[dim], (int, float)) else str(at[dim]) for dim in dims)


def _union(labels: tuple[Label, ...], more: tuple[Label, ...]) -> tuple[Label, ...]:
    """All labels: numbers in their order, words as they came."""
    union = tuple(dict.fromkeys([*labels, *more]))
    if all(isinstance(label, (int, float)) for label in union) and set(union) != set(labels):
        return tuple(sorted(union))  # type: ignore[type-var]
    return union


def read(folder: Path) -> Index | None:
    """The index of a folder; None where it has none.

    **Raises:** `ArgumentError` if it is damaged or of a newer release.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        held = json.loads(files.read(path)[:_LARGEST])
        if held["schema"] > SCHEMA:
            raise ArgumentError(f"{path} has schema {held['schema']}, newer than {SCHEMA}; update widelimit.")
        dims = {str(each["name"]): tuple(map(_label, each["labels"])) for each in held["dims"]}
        along = {str(each["name"]): tuple(map(_label, each["labels"])) for each in held["along_points"]}
        points = {}
        for digest, places in held["points"].items():
            if not digest.isalnum() or len(places) != len(dims):
                raise ValueError(f"there is no point {digest[:40]!r}")
            points[digest] = {dim: dims[dim][place] for dim, place in zip(dims, places, strict=True)}
        return Index(str(held["function"]), dims, along, dict(held["shared"]), dict(held["versions"]), points)
    except ArgumentError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError) as error:
        raise ArgumentError(
            f"{path} is damaged ({str(error) or type(error).__name__}). Remove it and call the sweep again: what is "
            "computed is found by its own name."
        ) from None


def write(folder: Path, index: Index) -> Index:
    """Write the index of a sweep, merged with that which is there, whole or not at all.

    **Returns:** the merged one. **Raises:** `ArgumentError` if the two are not parts of one grid.
    """
    with filelock.FileLock(folder / _LOCK, timeout=60):
        before = read(folder)
        merged = index if before is None else before.merged(folder, index)
        if merged != before:
            plain = {
                "schema": SCHEMA,
                "function": merged.function,
                "dims": [{"name": dim, "labels": list(map(_plain, each))} for dim, each in merged.dims.items()],
                "along_points": [
                    {"name": dim, "labels": list(map(_plain, each))} for dim, each in merged.along_points.items()
                ],
                "shared": merged.shared,
                "versions": merged.versions,
                "points": {
                    digest: [merged.dims[dim].index(at[dim]) for dim in merged.dims]
                    for digest, at in merged.points.items()
                },
            }
            files.write(folder / NAME, json.dumps(plain, indent=1, allow_nan=False).encode(), overwrite=True)
    return merged


def _worded(value: Any) -> str:
    return "an array" if isinstance(value, dict) else "none" if value is None else str(value)


def _plain(label: Label) -> Any:
    """A label as JSON, which has no word for infinity."""
    return {"number": str(label)} if isinstance(label, float) and not math.isfinite(label) else label


def _label(plain: Any) -> Label:
    if isinstance(plain, dict):
        return float(plain["number"])
    if not isinstance(plain, (int, float, str)):
        raise ValueError(f"{plain!r} is no label")
    return plain
