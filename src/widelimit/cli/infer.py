"""`widelimit infer`: which rule made a recording, among the candidates of a configuration file."""

from __future__ import annotations

import dataclasses
import itertools
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from ..checks import ArgumentError
from ..inference import Candidates, infer, read
from ..results import inferred
from ..weights import Infinite
from . import compiled, config, destinations
from .messages import warnings_said
from .options import fit

_READ = {
    **{name: config.OPTIONS[name] for name in ("task", "network", "rule", "width", "optimizer", "record")},
    "run": ("steps", "replicates", "seed"),
    "candidates": ("layers", "baselines"),
}
"""The tables of a file of candidates, and their options."""


@dataclass(frozen=True)
class Infer:
    """Say which learning rule made a recording of neurons, among candidates, and whether any of them fits.

    The candidates are a TOML file with the tables of `widelimit train`, in which a value of [network] or [rule] may be
    a list: every combination is a candidate. A further table [candidates] has `layers`, a list, and `baselines`.
    """

    recording: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="recording.nc", metavar="RECORDING.NC")]
    """The recording: NetCDF as `Recording.save` writes it, .npz, or one session of .mat."""
    candidates: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="candidates.toml", metavar="CANDIDATES.TOML")]
    """The candidates."""
    out: Path = Path("posterior.nc")
    """The NetCDF file to write."""
    overwrite: bool = False
    """Replace the file if it exists."""
    steps: tuple[float, ...] = ()
    """The step of training of each session, in place of what the recording says of its times."""
    folder: Path | None = None
    """A folder in which the runs of candidates are kept, and found again; it is made unless it is there."""
    workers: int | None = None
    """How many processes compute them, with --folder; this one alone unless given."""
    scheduler: str | None = None
    """The address of a dask cluster, tcp://…, whose workers share the folder and compute them."""
    refine: bool = True
    """Make γ0 and ρ finer where they are probable."""
    gains: bool = True
    """Give each neuron a gain of its own."""
    baseline: Literal["neuron", "session", "none"] = "neuron"
    """What each neuron may add to its responses: one constant, one in each session, or nothing."""
    shared_noise: int = 0
    """How many dimensions of noise that neurons share are projected out; needs repeats."""
    check: int = 39
    """How many networks of the best candidate are simulated to say whether it fits; 0 for none."""
    check_width: int = 500
    """Their neurons a layer."""
    seed: int = 0
    """Of resamples and of these networks."""

    def run(self) -> int:
        """Infer, save and say; returns the exit code."""
        destinations.check(self.out, self.overwrite, inputs=[self.recording, self.candidates])
        recording = read(self.recording)
        if self.steps:
            recording = recording.with_steps(self.steps)
        if self.folder is not None:
            destinations.folder(self.folder)
        candidates = candidates_of(self.candidates, self.folder, workers=self.workers, scheduler=self.scheduler)
        options = {
            name: getattr(self, name)
            for name in ("refine", "gains", "baseline", "shared_noise", "check", "check_width", "seed")
        }
        with warnings_said(), compiled.kept():
            posterior = infer(recording, candidates, **options)
        path, code = destinations.keep(posterior, self.out, self.overwrite)
        print("\n".join(inferred.lines(posterior)))
        print(f"Saved in {path}; `widelimit show {path}` draws it.")
        return code


def candidates_of(path: Path, folder: Path | None = None, **means: Any) -> Candidates:
    """The candidates of a TOML file, computed by these `means` of [`Candidates`].

    **Raises:** `FileNotFoundError`; `ArgumentError`, naming the file and the key.
    """
    document = config.document(path)
    for name, content in document.items():
        config.check_table(path, name, content, _READ)
        for key in content:
            config.check_key(path, name, key, _READ)
    own = document.pop("candidates", {})
    plain = {name: content for name, content in document.items() if name not in ("network", "rule")}
    configuration = config.configured(path, plain)
    run, given = configuration.run, plain.get("run", {})
    width = configuration.width.build() if "width" in plain else None
    if width is not None and not isinstance(width, Infinite):
        raise ArgumentError(f"{path}: candidates are of infinite width; leave out [width], or its kind.")
    if isinstance(configuration.optimizer.step_size, str):
        raise ArgumentError(f"{path}: optimizer.step_size must be a number: all candidates take the same steps.")
    return Candidates(
        configuration.task.build(),
        _each(path, "network", document.get("network", {})),
        _each(path, "rule", document.get("rule", {})),
        optimizer=configuration.optimizer.build(),
        steps=run.steps,
        record=configuration.record.build() if "record" in plain else None,
        width=width,
        **({"replicates": run.replicates} if "replicates" in given else {}),
        seed=run.seed,
        folder=folder,
        **means,
        **own,
    )


def _each(path: Path, name: str, content: Mapping[str, Any]) -> list[Any]:
    """What a table makes of every combination of its lists; a combination has the options of its own choice alone."""
    kind = config.TABLES[name]
    hints = typing.get_type_hints(kind)
    fields = {field.name for field in dataclasses.fields(kind)}
    swept = {
        key: value
        for key, value in content.items()
        if key in fields and isinstance(value, list) and value and fit(value, hints[key]) is None
    }
    made: dict[str, Any] = {}
    for values in itertools.product(*swept.values()):
        options = {**content, **dict(zip(swept, values, strict=True))}
        chosen = options.get(kind.choice, getattr(kind, kind.choice)) if kind.choice else ""
        # What belongs to another choice of the list is not for this one.
        if kind.choice in swept:
            options = {key: value for key, value in options.items() if chosen in kind.owners.get(key, [chosen])}
        table = getattr(config.configured(path, {name: options}), name)
        made.setdefault(repr(table), table.build())
    return list(made.values())
