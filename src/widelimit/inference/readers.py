"""Recordings from the layouts in which data are passed on: NumPy, MATLAB, long tables, rsatoolbox, distances."""

from __future__ import annotations

import inspect
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import checks, files
from ..checks import ArgumentError
from ..results.representations import kernel_of_rdm
from .recording import Recording


def read(path: str | os.PathLike[str], **options: Any) -> Recording:
    """A recording from a file, by its suffix: .nc, .npz or .mat.

    **Arguments:** `path`; `options` of [`from_npz`] or [`from_matlab`].

    **Raises:** `FileNotFoundError`; `ArgumentError` for another suffix, and for what is damaged.
    """
    place = files.existing(path)
    suffix = place.suffix.lower()
    if suffix == ".nc":
        if options:
            raise ArgumentError(f"A NetCDF file says all itself; got {', '.join(options)}.")
        return Recording.load(place)
    if suffix == ".npz":
        return from_npz(place, **options)
    if suffix == ".mat":
        return from_matlab([place], **options)
    raise ArgumentError(f"{path}: recordings are read from .nc, .npz and .mat; got {suffix or 'no suffix'}.")


def from_npz(path: str | os.PathLike[str], **options: Any) -> Recording:
    """A recording from a NumPy archive with the arguments of [`Recording`] as its arrays, none of them pickled.

    **Arguments:** `path`; `options`, arguments of [`Recording`] that the archive lacks.
    """
    content = files.read(path)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            held = {name: archive[name] for name in archive.files}
    except Exception as error:  # NumPy and zipfile raise whatever damaged bytes lead to
        raise ArgumentError(f"{path} is no readable .npz file of plain arrays ({error}).") from None
    for name in held:  # what is not known may be misspelt
        checks.known(f"{path}, array", name, inspect.signature(Recording).parameters)
    held = {name: array.item() if array.ndim == 0 else array for name, array in held.items()} | options
    if np.ndim(held.get("responses", 0)) < 2:
        raise ArgumentError(f"{path} must hold an array named responses (session, trial, neuron, stimulus).")
    held.setdefault("stimuli", np.arange(np.shape(held["responses"])[-1]))
    return Recording(**held)


def from_matlab(
    paths: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    *,
    responses: str = "responses",
    stimuli: str = "stimuli",
    cells: str | None = "cells",
    shown: Any = None,
    **options: Any,
) -> Recording:
    """A recording from MATLAB files, one for each session: a matrix trials × cells, and the stimulus of each trial.

    **Arguments:**

    - `paths`: the files, in the order of the sessions; versions 4 to 7 of the format.
    - `responses`, `stimuli`: the variables that hold the matrix and the whole numbers of the stimuli.
    - `cells`: the variable with the identity of each column, by which neurons are tracked through sessions; where the
      files have none, neurons are others in each session.
    - `shown`: what the stimuli are, in the order of their numbers: `stimuli` of [`Recording`]. Unless given, their
      numbers are indices of the task's samples.
    - `options`: arguments of [`Recording`] beside `responses` and `stimuli`.
    """
    options = options if shown is None else {"stimuli": shown} | options
    paths = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    if not paths:
        raise ArgumentError("paths must name a file for each session; got none.")
    sessions = [_matlab(Path(path), responses, stimuli, cells) for path in paths]
    return _from_trials(
        [trials for trials, _, _ in sessions], [s for _, s, _ in sessions], [c for _, _, c in sessions], options
    )


def _matlab(path: Path, responses: str, stimuli: str, cells: str | None) -> tuple[np.ndarray, np.ndarray, Any]:
    import scipy.io

    content = files.read(path)
    if content[:8] == b"\x89HDF\r\n\x1a\n" or b"MATLAB 7.3" in content[:64]:
        raise ArgumentError(f"{path} is of version 7.3, which is HDF5: save it with '-v7', or as NetCDF.")
    try:
        held = scipy.io.loadmat(io.BytesIO(content), squeeze_me=False)
    except Exception as error:  # scipy raises whatever damaged bytes lead to
        raise ArgumentError(f"{path} is no readable MATLAB file ({error}).") from None
    for name in (responses, stimuli):
        if name not in held:
            names = ", ".join(key for key in held if not key.startswith("__"))
            raise ArgumentError(f"{path} holds no variable {name}; it holds {names or 'none'}.")
    matrix = checks.real_array(f"{path}: {responses}", held[responses]).astype(float)
    shown = checks.real_array(f"{path}: {stimuli}", held[stimuli]).reshape(-1)
    if matrix.ndim != 2 or len(shown) != len(matrix):
        raise ArgumentError(
            f"{path}: {responses} must be trials × cells, and {stimuli} one number a trial; got {matrix.shape} and "
            f"{len(shown)}."
        )
    identity = None
    if cells is not None and cells in held:
        identity = checks.real_array(f"{path}: {cells}", held[cells]).reshape(-1)
        if len(identity) != matrix.shape[1]:
            raise ArgumentError(f"{path}: {cells} must be one number a column, {matrix.shape[1]}; got {len(identity)}.")
    return matrix, shown, identity


def _from_trials(
    trials: Sequence[np.ndarray],
    shown: Sequence[np.ndarray],
    cells: Sequence[np.ndarray | None],
    options: dict[str, Any],
) -> Recording:
    """A recording from matrices (trial, cell) with the stimulus of each trial and, where known, the cells' identity."""
    if not sum(len(matrix) for matrix in trials):
        raise ArgumentError("responses of all sessions are without a trial: nothing was recorded.")
    stimuli = np.array(sorted(np.unique(np.concatenate(list(shown))).tolist(), key=_by_number))
    if stimuli.dtype.kind == "f":
        if (stimuli != np.round(stimuli)).any():
            raise ArgumentError("stimuli must be whole numbers or names, one for each trial.")
        stimuli = stimuli.astype(int)
    known = [identity for identity in cells if identity is not None]
    tracked = len(known) == len(cells)
    every = np.unique(np.concatenate(known)) if tracked else np.arange(max(matrix.shape[1] for matrix in trials))
    repeats = max(int((labels == stimulus).sum()) for labels in shown for stimulus in stimuli)
    values = np.full((len(trials), repeats, len(every), len(stimuli)), np.nan)
    for session, (matrix, labels, identity) in enumerate(zip(trials, shown, cells, strict=True)):
        columns = np.arange(matrix.shape[1]) if not tracked or identity is None else np.searchsorted(every, identity)
        if len(np.unique(columns)) < len(columns):
            raise ArgumentError(f"cells of session {session} stand twice.")
        for place, stimulus in enumerate(stimuli):
            rows = np.flatnonzero(labels == stimulus)
            for trial, row in enumerate(rows):
                values[session, trial, columns, place] = matrix[row]
    return Recording(values, **({"stimuli": stimuli, "tracked": tracked} | options))


def from_table(
    table: Any,
    *,
    session: str = "session",
    neuron: str = "neuron",
    stimulus: str = "stimulus",
    response: str = "response",
    **options: Any,
) -> Recording:
    """A recording from a pandas table with a row for each response of a neuron in a trial.

    Rows of one session, neuron and stimulus are its trials, in their order. A neuron that has the same name in several
    sessions is tracked; pass `tracked=False` where names are used again for others.

    Sessions and stimuli that are numbers stand in the order of these, names as a reader would count them (img2 before
    img10), sessions with names in the order in which the table has them, and a pandas `Categorical` in its own. See
    `recording.dataset` for what came of it: where stimuli are names, their order is that of the task's samples.

    **Arguments:** `table`; `session`, `neuron`, `stimulus` and `response`, the names of its columns; `options`,
    arguments of [`Recording`] beside `responses` and `stimuli`.
    """
    columns = (session, neuron, stimulus, response)
    lacking = [name for name in columns if name not in getattr(table, "columns", ())]
    if lacking:
        raise ArgumentError(
            f"table must be a pandas table with the columns {', '.join(columns)}; it lacks {lacking[0]}."
        )
    if not len(table):
        raise ArgumentError("table holds no row.")
    sessions, at = _labels(table[session], session, as_met=True)
    neurons, which = _labels(table[neuron], neuron)
    stimuli, shown = _labels(table[stimulus], stimulus)
    rows = table.groupby([session, neuron, stimulus], sort=False, observed=True).cumcount().to_numpy()
    values = np.full((len(sessions), int(rows.max()) + 1, len(neurons), len(stimuli)), np.nan)
    values[at, rows, which, shown] = checks.real_array(response, table[response])
    return Recording(values, **({"stimuli": stimuli, "sessions": sessions, "tracked": True} | options))


def _labels(column: Any, name: str, as_met: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The different labels of a table's column in their order, and which of them each row has.

    Names have that in which the rows have them (`as_met`), or that of the numbers in them.
    """
    if column.isna().any():
        raise ArgumentError(f"table: {name} is missing in row {int(np.argmax(column.isna().to_numpy()))}.")
    if hasattr(column, "cat"):
        met = set(column)
        ordered = [label for label in column.cat.categories if label in met]
    else:
        met = list(dict.fromkeys(column))
        named = [isinstance(label, str) for label in met]
        if any(named) and not all(named):
            raise ArgumentError(f"table: {name} must be numbers or names, not both.")
        ordered = met if as_met and all(named) else sorted(met, key=_by_number)
    where = {label: place for place, label in enumerate(ordered)}
    labels = np.array(ordered)
    return labels if labels.dtype.kind in "iufUS" else labels.astype(str), column.map(where).to_numpy(int)


def _by_number(label: Any) -> Any:
    """A key by which names stand as a reader would count them: img2 before img10."""
    if not isinstance(label, str):
        return label
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", label) if part]


def from_rsatoolbox(data: Any, *, stimulus: str = "stimulus", cell: str = "neuron", **options: Any) -> Recording:
    """A recording from datasets or RDMs of rsatoolbox.

    **Arguments:**

    - `data`: a list of its `Dataset`s, one for each session, with the descriptor `stimulus` of their observations and,
      where neurons are tracked, `cell` of their channels; its `TemporalDataset`s, which are averaged over time within
      each session; or its `RDMs`, one for each session, of squared Euclidean distances, for which see
      [`from_distances`].
    - `stimulus`, `cell`: the names of these descriptors. Stimuli that are names are ordered as in [`from_table`].
    - `options`: arguments of [`Recording`] beside `responses` and `stimuli`; with RDMs, of [`from_distances`].
    """
    if hasattr(data, "get_matrices"):
        if "neurons" not in options:
            raise ArgumentError("neurons must be given with RDMs: of how many these distances are.")
        return from_distances(data.get_matrices(), **options)
    datasets = list(data) if isinstance(data, (list, tuple)) else [data]
    if not datasets:
        raise ArgumentError("data must be a dataset for each session; got none.")
    trials, shown, cells = [], [], []
    for dataset in datasets:
        if not hasattr(dataset, "measurements") or not hasattr(dataset, "obs_descriptors"):
            raise ArgumentError(f"data must be RDMs or datasets of rsatoolbox; got {type(dataset).__name__}.")
        matrix = np.asarray(dataset.measurements, float)
        if stimulus not in dataset.obs_descriptors:
            raise ArgumentError(f"data lack the descriptor {stimulus}; they have {', '.join(dataset.obs_descriptors)}.")
        trials.append(matrix.mean(axis=2) if matrix.ndim == 3 else matrix)
        shown.append(np.asarray(dataset.obs_descriptors[stimulus]))
        named = dataset.channel_descriptors.get(cell)
        cells.append(None if named is None else np.asarray(named))
    return _from_trials(trials, shown, cells, options)


def from_distances(distances: Any, neurons: int, stimuli: Any = None, **options: Any) -> Recording:
    """A recording of which there are squared Euclidean distances alone, (session, stimulus, stimulus).

    Under the Gaussian law the second moment is all that the responses of so many neurons say, so that the likelihood
    (Wishart's) is that of any responses with the same distances: stand-ins, each for `neurons`/(P − 1) neurons. They
    are not tracked. Distances per neuron are meant, or any multiple; crossnobis distances, which noise does not add to,
    may be negative where they are small.

    **Arguments:** `distances`; `neurons`, of how many these are: it decides how certain they make anything; `stimuli`
    and `options` as for [`Recording`].
    """
    values = checks.finite_array("distances", distances)
    values = values[None] if values.ndim == 2 else values
    if values.ndim != 3 or values.shape[1] != values.shape[2]:
        raise ArgumentError(f"distances must be of shape (session, stimulus, stimulus); got {values.shape}.")
    if values.shape[1] < 2:
        raise ArgumentError(f"distances must be between two stimuli or more; got {values.shape}.")
    if not np.allclose(values, values.transpose(0, 2, 1), atol=1e-6 * np.abs(values).max()):
        raise ArgumentError("distances must be symmetric.")
    neurons = checks.integer("neurons", neurons, at_least=2)
    kernels = kernel_of_rdm(values).values
    eigenvalues, vectors = np.linalg.eigh((kernels + kernels.transpose(0, 2, 1)) / 2)
    count = values.shape[1] - 1  # centred: one direction has nothing
    roots = np.sqrt(np.maximum(eigenvalues[:, -count:], 0.0) * count)
    responses = (vectors[:, :, -count:] * roots[:, None]).transpose(0, 2, 1)  # session, stand-in, stimulus
    shown = np.arange(values.shape[1]) if stimuli is None else stimuli
    return Recording(responses, shown, **({"tracked": False, "multiplicity": neurons / count} | options))


def to_rsatoolbox(recording: Recording) -> list[Any]:
    """The recording as datasets of rsatoolbox, one for each session, without cells that are missing in any trial.

    **Raises:** `ArgumentError` for a session without responses, or where rsatoolbox is not installed:
    `pip install "widelimit[neuroscience]"`.
    """
    try:
        from rsatoolbox.data.dataset import Dataset
    except ImportError:
        raise ArgumentError('rsatoolbox is not installed: pip install "widelimit[neuroscience]".') from None
    each = []
    labels = recording.dataset["stimulus"].values
    for session, values in zip(recording.dataset["session"].values, recording.responses.values, strict=True):
        rows = np.argwhere(np.isfinite(values).any(axis=1))  # of (trial, neuron, stimulus): trial, stimulus
        if not len(rows):
            raise ArgumentError(f"recording has no response in session {session}, and rsatoolbox no empty datasets.")
        matrix = np.stack([values[trial, :, place] for trial, place in rows])
        whole = np.isfinite(matrix).all(axis=0)
        descriptors = {"stimulus": labels[rows[:, 1]], "trial": rows[:, 0]}
        each.append(
            Dataset(
                matrix[:, whole],
                obs_descriptors=descriptors,
                channel_descriptors={"neuron": np.flatnonzero(whole)},
            )
        )
    return each
