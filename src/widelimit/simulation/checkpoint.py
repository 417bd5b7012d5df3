"""A run that keeps itself in a file as it goes, and goes on from there: the same numbers to the last bit.

The file holds a line that says what it is, a digest of all that follows, and an archive of NumPy's: a header in JSON
(the identity of the run, versions, what was chosen for it, how far it has come), the states of all groups of
replicates, leaf by leaf, and what has been recorded. Nothing in it is executed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import time
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from .. import files
from ..checks import ArgumentError
from ..faults import CheckpointWarning
from ..memory import require_memory
from ..optimizers import SGD
from ..precision import at_precision
from ..results import Record
from ..results.configuration import versions
from . import planning, step
from .devices import on_host
from .identity import differences
from .loop import Course
from .recording import Recording, parts
from .simulation import Simulation

INTERVAL, SHARE = 120.0, 0.05
"""Seconds between two times at which a run is kept, and the largest share of the time that may be spent on it."""

_MAGIC = b"widelimit-checkpoint\n"
_DIGEST = hashlib.sha256().digest_size
_VERSIONS = ("widelimit", "jax", "numpy")


@dataclass(frozen=True)
class Place(os.PathLike[str]):
    """Where a run keeps itself, with what its file is to say of the command that began it."""

    path: Path
    command: Mapping[str, Any] | None = None

    def __fspath__(self) -> str:
        return str(self.path)

    @classmethod
    def of(cls, checkpoint: str | os.PathLike[str]) -> Place:
        """The place that an argument names. **Raises:** as [`files.destination`], if no file can be written there."""
        files.destination(checkpoint, overwrite=True)
        return checkpoint if isinstance(checkpoint, Place) else cls(Path(checkpoint))

    def read(self) -> Checkpoint | None:
        """What is there; None if there is no file yet. **Raises:** as [`read`]."""
        return read(self.path) if self.path.exists() else None


@dataclass(frozen=True)
class Checkpoint:
    """A run as it was kept."""

    path: Path
    header: dict[str, Any]
    archive: zipfile.ZipFile

    @property
    def left_out(self) -> tuple[str, ...]:
        """The kernels that there was no memory for."""
        return tuple(self.header["left_out"])

    def optimizer(self, called: Any) -> Any:
        """The optimizer of the same call, with the step size that was chosen for it when the run began.

        **Raises:** `ArgumentError` if the call leaves it open and the one that began the run did not.
        """
        if not left_open(called):
            return called
        of_run = self.header["identity"]["optimizer"]["step_size"]
        if of_run != "auto":
            raise self.another([f"optimizer.step_size was {of_run!r} and is 'auto'"])
        momentum, decay = (0.0, 0.0) if isinstance(called, str) else (called.momentum, called.weight_decay)
        return SGD(self.header["step_size"], float(momentum), float(decay))

    def record(self, called: Any) -> Any:
        """What the same call records, with the kernels that there was memory for when the run began."""
        called = Record() if called is None else called
        if not isinstance(called, Record) or called.kernels is not None:
            return called
        return dataclasses.replace(called, kernels=tuple(self.header["kernels"]))

    def check(self, identity: Mapping[str, Any], steps: int) -> None:
        """Raise unless a call of this identity, for so many steps, goes on with this run.

        More steps than it had are a run that was asked for as many from the start: batches go on in the order in which
        they began. At infinite width that needs bases of the same room, which short runs have less of.
        """
        for name, version in self.header["versions"].items():
            here = versions().get(name)
            if version != here:
                raise ArgumentError(
                    f"checkpoint: {self.path} was written with {name} {version}, and this is {here}, which need not "
                    f"compute the same numbers. Go on with {name} {version}, or name another file to begin anew."
                )
        before = self.header["identity"]
        changed = dict(differences(before, identity))
        if (
            changed
            and set(changed) <= {"width.particles", "width.capacity", "width.growth"}
            and steps > self.header["steps"]
        ):
            capacity, particles = before["width"]["capacity"], before["width"]["particles"]
            raise ArgumentError(
                f"steps: a run of {steps} steps keeps {identity['width']['capacity']} directions of a hidden matrix, "
                f"and the one of {self.header['steps']} steps in {self.path} keeps {capacity}, which is not the same "
                f"from its start. Pass width=Infinite({particles}, capacity={capacity}) to go on with as many, or name "
                "another checkpoint to begin anew."
            )
        if changed:
            raise self.another(list(changed.values()))
        if steps < self.header["steps"]:
            raise ArgumentError(
                f"steps: the run in {self.path} has {self.header['steps']} steps; got {steps}. Ask for as many or "
                "more, or name another checkpoint."
            )

    def another(self, changed: list[str]) -> ArgumentError:
        """The error that says what differs between this run and a call."""
        more = f", and {len(changed) - 3} more" if len(changed) > 3 else ""
        return ArgumentError(
            f"checkpoint: {self.path} holds another run: {', '.join(changed[:3])}{more}. Make the call that began it, "
            "or name another file."
        )

    def course(self, simulation: Simulation, replicates: int, recorded: range) -> Course:
        """How far the run had come, to be gone on with to the last of the `recorded` steps.

        **Raises:** `ArgumentError` if what is there does not fit the simulation.
        """
        course = Course.of(replicates, self.header["together"])
        try:
            with at_precision(simulation.precision):
                state, record, fields = _templates(simulation)
                for index, group in enumerate(course.groups[: self.header["begun"]]):
                    like = state if len(group) == 1 else jax.eval_shape(step.stacked, [state] * len(group))
                    course.states.append(self._tree(f"state/{index}", like))
                    for replicate in group:
                        recording = Recording(recorded, simulation.record)
                        of_run = dict(self.header["recordings"][replicate])
                        for kept, name, like in (
                            (recording.records, "record", record),
                            (recording.history, "fields", fields),
                        ):
                            kept.extend(self._each(f"{name}/{replicate}", like, of_run.pop(name)))
                        for name in ("diverged_at", "rule_failed_at", "highest_loss", "highest_at"):
                            setattr(recording, name, of_run[name])
                        course.recordings.append(recording)
        except (KeyError, IndexError, TypeError, ValueError, zipfile.BadZipFile) as error:
            raise ArgumentError(
                f"checkpoint: {self.path} does not fit the run that it names ({error}). Name another file."
            ) from None
        return course

    def _tree(self, name: str, like: Any, before: tuple[int, ...] = ()) -> Any:
        """A tree of arrays, each of the shape and type that `like` has there, behind the axes `before`."""
        leaves, structure = jax.tree.flatten(like)
        return jax.tree.unflatten(
            structure,
            [self._array(f"{name}/{i}", (*before, *leaf.shape), leaf.dtype) for i, leaf in enumerate(leaves)],
        )

    def _each(self, name: str, like: Any, count: int) -> list[Any]:
        """So many trees like `like`."""
        if not count:
            return []
        trees = self._tree(name, like, (count,))
        return [jax.tree.map(lambda leaf, i=i: leaf[i], trees) for i in range(count)]

    def _array(self, name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        with self.archive.open(f"{name}.npy") as entry:
            array = np.lib.format.read_array(entry, allow_pickle=False)
        if array.shape != shape or array.dtype != dtype:
            raise ValueError(f"{name} is {array.dtype}{list(array.shape)}, not {np.dtype(dtype)}{list(shape)}")
        return array


def left_open(optimizer: Any) -> bool:
    """Whether an optimizer leaves its step size to be chosen."""
    return isinstance(optimizer, str) or (isinstance(optimizer, SGD) and isinstance(optimizer.step_size, str))


def read(path: str | os.PathLike[str]) -> Checkpoint:
    """What is in a file. **Raises:** `FileNotFoundError`; `ArgumentError` if it is damaged or no checkpoint."""
    content = files.read(path)
    if not content.startswith(_MAGIC):
        raise ArgumentError(f"checkpoint: {path} is no checkpoint that widelimit wrote; name another file.")
    start = len(_MAGIC) + _DIGEST
    if hashlib.sha256(memoryview(content)[start:]).digest() != content[len(_MAGIC) : start]:
        raise ArgumentError(
            f"checkpoint: {path} is damaged: it is not what was written. Restore it from a copy, or delete it to begin "
            "anew."
        )
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
        header = json.loads(archive.read("header.json"))
        missing = {"identity", "versions", "steps", "together", "begun", "recordings", "kernels"} - set(header)
        if missing:
            raise ValueError(f"its header lacks {', '.join(sorted(missing))}")
    except (ValueError, TypeError, KeyError, RecursionError, zipfile.BadZipFile) as error:
        raise ArgumentError(f"checkpoint: {path} is no checkpoint that widelimit reads ({error}).") from None
    return Checkpoint(Path(path), header, archive)


def check_memory(simulation: Simulation, recorded: int, replicates: int) -> None:
    """Raise if a run of so many recorded steps cannot be kept: its file is made in memory, beside what it holds."""
    with at_precision(simulation.precision):
        state, record, fields = map(planning.bytes_of, _templates(simulation))
    states = replicates * state
    records = replicates * (recorded * record + (recorded if simulation.record.two_time else 1) * fields)
    require_memory(
        2 * (states + records),
        parts={"states and records": states + records, "the file, which is made in memory": states + records},
        remedy="Do without a checkpoint, lower width or particles, or record less.",
        what="A run with a checkpoint needs",
    )


class FileKeeper:
    """Keeps a run in its file: every few minutes, at a signal, and at the end."""

    def __init__(
        self,
        place: Place,
        simulation: Simulation,
        identity: dict[str, Any],
        course: Course,
        kept: Checkpoint | None,
    ):
        """`kept` is what the file holds already, if the `course` goes on from it."""
        self.place = place
        self.header: dict[str, Any] = {
            "identity": identity,
            "versions": {name: versions()[name] for name in _VERSIONS},
            "steps": simulation.steps,
            "together": max(map(len, course.groups)),
            "step_size": float(simulation.optimizer.step_size),
            "kernels": list(simulation.program.measurement.kernels),
            "left_out": list(simulation.left_out),
            "command": place.command if kept is None or place.command else kept.header.get("command"),
        }
        self.before = 0.0 if kept is None else float(kept.header.get("seconds", 0.0))
        """The seconds that the run had taken before this call."""
        self._began = self._last = time.monotonic()
        self._took = 0.0
        self._ours = kept is not None
        self._warned = False
        self._kept = () if kept is None else (*self._point(course)[:-1], kept.header["steps"])

    def due(self) -> bool:
        return time.monotonic() - self._last >= max(INTERVAL, self._took / SHARE)

    def keep(self, course: Course) -> None:
        """Replace the file by one that holds the course as it is, unless it does; warn once if it cannot be written."""
        if self._point(course) == self._kept:
            return
        began = time.monotonic()
        try:
            # The first one is not written over a file that has come about since the run began.
            files.write(
                self.place,
                _packed(self.header | {"seconds": self.before + began - self._began}, course),
                overwrite=self._ours,
            )
            self._kept, self._ours = self._point(course), True
        except (OSError, ArgumentError, MemoryError) as error:
            if not self._warned:
                reason = getattr(error, "strerror", None) or str(error).rstrip(".") or type(error).__name__
                warnings.warn(
                    f"The checkpoint {self.place.path} could not be written ({reason}). The run goes on, and tries "
                    "again every few minutes; make room for it.",
                    CheckpointWarning,
                    stacklevel=4,
                )
            self._warned = True
        self._last = time.monotonic()
        self._took = self._last - began

    def _point(self, course: Course) -> tuple[int, ...]:
        return (course.taken, len(course.recordings), self.header["steps"])


def _packed(header: dict[str, Any], course: Course) -> memoryview:
    """The bytes of a file."""
    recordings = [
        {
            "record": len(recording.records),
            "fields": len(recording.history),
            "diverged_at": recording.diverged_at,
            "rule_failed_at": recording.rule_failed_at,
            "highest_loss": recording.highest_loss,
            "highest_at": recording.highest_at,
        }
        for recording in course.recordings
    ]
    header = header | {"begun": len(course.states), "recordings": recordings}
    buffer = io.BytesIO()
    buffer.write(_MAGIC + bytes(_DIGEST))
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("header.json", json.dumps(header))
        for name, array in _arrays(course):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)
    content = buffer.getbuffer()
    start = len(_MAGIC) + _DIGEST
    content[len(_MAGIC) : start] = hashlib.sha256(content[start:]).digest()
    return content


def _arrays(course: Course) -> Iterator[tuple[str, np.ndarray]]:
    """All arrays of a course by name; made one at a time, so that what was recorded is not held twice."""
    for index, state in enumerate(course.states):
        for i, leaf in enumerate(jax.tree.leaves(state)):
            yield f"state/{index}/{i}", on_host(leaf)
    for replicate, recording in enumerate(course.recordings):
        for name, kept in (("record", recording.records), ("fields", recording.history)):
            by_leaf = zip(*map(jax.tree.leaves, kept), strict=True)
            for i, leaves in enumerate(by_leaf):
                yield f"{name}/{replicate}/{i}", np.stack(leaves)


def _templates(simulation: Simulation) -> tuple[Any, Any, Any]:
    """The shapes and types of a state, of a record, and of the fields that are recorded with it."""
    state, record = planning.shapes(simulation.program, simulation.settings, simulation.rule)
    return state, *parts(record)
