"""Recordings: what neurons did, in sessions and trials, while stimuli were shown."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from .. import checks
from ..checks import ArgumentError
from ..results import netcdf

SCHEMA = 1

DIMENSIONS = ("session", "trial", "neuron", "stimulus")


class Recording:
    """Responses of neurons to the same stimuli in several sessions of learning.

    It is held as an `xarray.Dataset`, `recording.dataset`, and files hold the same: `responses` (session, trial,
    neuron, stimulus), NaN where a cell is missing; the coordinate `stimulus` (indices of the task's samples, or names
    in their order); and, where they are known, `inputs` (stimulus, input), `targets` (stimulus[, output]), `step`
    (session) and `performance` (session).

    **Arguments:**

    - `responses`: an array (session, trial, neuron, stimulus), or (session, neuron, stimulus) of one trial each, NaN
      where missing. Or a list with such an array for each session, (trial, neuron, stimulus) or (neuron, stimulus),
      where neurons or trials differ between sessions; neurons are then not tracked, unless `tracked=True` is given and
      all have as many.
    - `stimuli`: what was shown: whole numbers, the indices of samples of the candidates' task; or an array (stimulus,
      input) of the inputs themselves, which are looked up there; or names, of as many stimuli as the task has samples,
      in their order.
    - `targets`: what was to be learned of each stimulus, (stimulus,) or (stimulus, output); kept for the reader alone.
    - `sessions`: names or numbers of the sessions, in their order in time.
    - `performance`: the loss of each session relative to that before learning, or the share that is right; see
      `measure`.
    - `measure`: "loss" or "accuracy", what `performance` is.
    - `tracked`: whether the neurons are the same in all sessions.
    - `steps`: the step of training of each session, where it is known.

    **Raises:** `ArgumentError` if shapes do not belong together, or nothing was recorded.
    """

    def __init__(
        self,
        responses: Any,
        stimuli: Any,
        targets: Any = None,
        sessions: Sequence[Any] | None = None,
        performance: Any = None,
        tracked: bool | None = None,
        steps: Any = None,
        measure: str = "loss",
        multiplicity: float = 1.0,
    ):
        values, apart = _responses(responses)
        tracked = not apart if tracked is None else checks.boolean("tracked", tracked)
        if apart and tracked and len({session.shape[1] for session in apart}) > 1:
            raise ArgumentError("tracked neurons must be as many in each session; pass tracked=False, or NaN for some.")
        count = values.shape[0]
        variables: dict[str, Any] = {"responses": (DIMENSIONS, values)}
        labels, inputs = _stimuli(stimuli, values.shape[3])
        if inputs is not None:
            variables["inputs"] = (("stimulus", "input"), inputs)
        if targets is not None:
            array = checks.finite_array("targets", targets)
            if array.ndim not in (1, 2) or len(array) != values.shape[3]:
                raise ArgumentError(
                    f"targets must have a row for each of {values.shape[3]} stimuli; got {array.shape}."
                )
            variables["targets"] = (("stimulus", "output")[: array.ndim], array)
        names = np.arange(count) if sessions is None else np.asarray(sessions)
        if names.shape != (count,) or names.dtype.kind not in "iufUS":
            raise ArgumentError(f"sessions must be {count} names or numbers, one for each; got {sessions!r}.")
        checks.known("measure", measure, ("loss", "accuracy"))
        for name, given in (("performance", performance), ("step", steps)):
            if given is not None:
                variables[name] = ("session", _of_sessions(name, given, count))
        if "step" in variables:
            _check_steps(variables["step"][1])
        if "performance" in variables:
            _check_performance(variables["performance"][1], measure)
        checks.number("multiplicity", multiplicity, above=0)
        self.dataset = xr.Dataset(variables, coords={"session": names, "stimulus": labels}).assign_attrs(
            recording_schema=SCHEMA, tracked=int(tracked), measure=measure, multiplicity=float(multiplicity)
        )

    @property
    def responses(self) -> xr.DataArray:
        """The responses (session, trial, neuron, stimulus)."""
        return self.dataset["responses"]

    @property
    def tracked(self) -> bool:
        """Whether the neurons are the same in all sessions."""
        return bool(self.dataset.attrs["tracked"])

    @property
    def multiplicity(self) -> float:
        """For how many neurons a row stands: 1, but for recordings that were made of distances."""
        return float(self.dataset.attrs["multiplicity"])

    @property
    def sessions(self) -> int:
        """How many sessions there are."""
        return self.dataset.sizes["session"]

    @property
    def neurons(self) -> int:
        """The neurons of a session, the largest number of them."""
        seen = self.responses.notnull().any(("trial", "stimulus")).sum("neuron")
        return int(seen.max())

    @property
    def steps(self) -> np.ndarray | None:
        """The step of training of each session, where it is known."""
        return self.dataset["step"].values if "step" in self.dataset else None

    @property
    def performance(self) -> np.ndarray | None:
        """The loss of each session relative to that before learning, or its accuracy."""
        return self.dataset["performance"].values if "performance" in self.dataset else None

    def without_times(self) -> Recording:
        """The same recording, of which nobody knows when its sessions were."""
        return Recording.of(self.dataset.drop_vars(["step", "performance"], errors="ignore"))

    def with_steps(self, steps: Any) -> Recording:
        """The same recording, whose sessions were at these steps of training. **Raises:** `ArgumentError`."""
        known = _of_sessions("steps", steps, self.sessions)
        return Recording.of(self.dataset.drop_vars("performance", errors="ignore").assign(step=("session", known)))

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the recording to one NetCDF file. **Raises:** as [`save`]."""
        return netcdf.save(self.dataset, path, overwrite=overwrite)

    @classmethod
    def of(cls, dataset: xr.Dataset) -> Recording:
        """The recording in a dataset of this schema. **Raises:** `ArgumentError` if it is none."""
        if not isinstance(dataset, xr.Dataset) or "responses" not in dataset:
            raise ArgumentError(f"A recording needs responses ({', '.join(DIMENSIONS)}); see the page on inference.")
        dims = set(map(str, dataset["responses"].dims))
        if dims != set(DIMENSIONS):
            raise ArgumentError(
                f"responses must have the dimensions {', '.join(DIMENSIONS)}; they have {', '.join(sorted(dims))}."
            )
        schema = dataset.attrs.get("recording_schema", SCHEMA)
        if not isinstance(schema, (int, np.integer)) or schema > SCHEMA:
            raise ArgumentError(f"The recording has schema {schema!r}, newer than {SCHEMA}; update widelimit.")
        held = lambda name: dataset[name].values if name in dataset else None  # noqa: E731
        inputs = held("inputs")
        if inputs is not None and dataset["inputs"].dims != ("stimulus", "input"):
            dims = ", ".join(map(str, dataset["inputs"].dims))
            raise ArgumentError(f"inputs must have the dimensions stimulus, input; they have {dims}.")
        recording = cls(
            dataset["responses"].transpose(*DIMENSIONS).values,
            dataset["stimulus"].values
            if "stimulus" in dataset.coords
            else (np.arange(dataset.sizes["stimulus"]) if inputs is None else inputs),
            held("targets"),
            held("session"),
            held("performance"),
            _flag(dataset.attrs.get("tracked", True)),
            held("step"),
            str(dataset.attrs.get("measure", "loss")),
            dataset.attrs.get("multiplicity", 1.0),
        )
        if inputs is not None:
            recording.dataset["inputs"] = (("stimulus", "input"), checks.finite_array("inputs", inputs))
        return recording

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Recording:
        """Read a recording from a NetCDF file, of [`Recording.save`] or of the same layout.

        **Raises:** `FileNotFoundError`; `ArgumentError` if the file is damaged or holds no recording.
        """
        return cls.of(netcdf.read(path))

    def __repr__(self) -> str:
        sizes = ", ".join(f"{size} {name}s" for name, size in self.responses.sizes.items())
        known = "steps known" if self.steps is not None else "performance known" if self.performance is not None else ""
        what = "tracked" if self.tracked else "other neurons in each session"
        return f"Recording({sizes}; {what}{'; ' + known if known else ''})".replace("stimuluss", "stimuli")


def _responses(given: Any) -> tuple[np.ndarray, list[np.ndarray]]:
    """The responses as one array, and those of each session (trial, neuron, stimulus) where they came apart."""
    if isinstance(given, (list, tuple)) and given and all(np.ndim(session) >= 2 for session in given):
        apart = [
            _with_trials(f"responses[{i}]", checks.real_array(f"responses[{i}]", s), 3) for i, s in enumerate(given)
        ]
        if len({session.shape[2] for session in apart}) > 1:
            raise ArgumentError("responses of all sessions must have the same stimuli; pass NaN for those not shown.")
        shape = (len(apart), *(max(session.shape[axis] for session in apart) for axis in range(3)))
        values = np.full(shape, np.nan)
        for whole, session in zip(values, apart, strict=True):
            whole[: session.shape[0], : session.shape[1]] = session
    else:
        values, apart = _with_trials("responses", checks.real_array("responses", given), 4), []
    values = values.astype(np.float64)
    if np.isinf(values).any():
        raise ArgumentError("responses hold infinite values; missing ones are NaN.")
    if not values.size or not np.isfinite(values).any():
        raise ArgumentError("responses hold no number: nothing was recorded.")
    return values, apart


def _with_trials(name: str, array: np.ndarray, axes: int) -> np.ndarray:
    if array.ndim == axes - 1:
        return array[np.newaxis] if axes == 3 else array[:, np.newaxis]
    if array.ndim != axes:
        wanted = ", ".join(DIMENSIONS[4 - axes :])
        raise ArgumentError(
            f"{name} must be an array ({wanted}), without trials where there is one; got {array.shape}."
        )
    return array


def _stimuli(given: Any, count: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Labels of the stimuli, and their inputs where these are given."""
    try:
        array = np.asarray(given)
    except ValueError:  # rows of other lengths
        array = np.empty(0)
    if array.ndim == 2:
        inputs = checks.finite_array("stimuli", given)
        if len(inputs) != count:
            raise ArgumentError(f"stimuli must have a row for each of {count} stimuli; got {inputs.shape}.")
        return np.arange(count), inputs
    if array.shape != (count,) or array.dtype.kind not in "iuUS":
        raise ArgumentError(
            f"stimuli must be {count} whole numbers (samples of the task) or names, or an array (stimulus, input); got "
            f"{checks.shortened(given)}."
        )
    if len(np.unique(array)) < count:
        raise ArgumentError("stimuli must be different; repeats of one stimulus are trials.")
    return array, None


def _flag(given: Any) -> bool:
    """A truth that a file holds as a number, as NetCDF does."""
    if isinstance(given, (bool, int, np.integer, np.bool_)) and given in (0, 1):
        return bool(given)
    raise ArgumentError(f"tracked must be 1 or 0; got {given!r}.")


def _check_steps(steps: np.ndarray) -> None:
    if (np.diff(steps) < 0).any():
        raise ArgumentError("steps must not fall from one session to the next: sessions are in their order in time.")
    if steps[0] < 0:
        raise ArgumentError(f"steps must be 0, before learning, or more; got {steps[0]:g}.")


def _check_performance(performance: np.ndarray, measure: str) -> None:
    if measure == "accuracy" and not ((performance >= 0) & (performance <= 1)).all():
        raise ArgumentError(
            f"performance must be between 0 and 1 where it is an accuracy; got {performance.max():g}. Per cent are "
            "hundredths."
        )
    if (performance < 0).any():
        raise ArgumentError(f"performance must be a loss of 0 or more; got {performance.min():g}.")


def _of_sessions(name: str, given: Any, count: int) -> np.ndarray:
    array = checks.finite_array(name, given)
    if array.shape != (count,):
        raise ArgumentError(f"{name} must hold {count} numbers, one for each session; got shape {array.shape}.")
    return array
