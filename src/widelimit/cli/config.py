"""What `widelimit train` can be told, by a TOML file and by flags: the same dataclasses serve both.

Nothing in a file is executed: names are looked up in the tables below. Losses, nonlinearities and rules are those that
their rooms export, and the options of all tables but [task] those of the classes that they are passed to.
"""

from __future__ import annotations

import dataclasses
import inspect
import tomllib
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import jax

from .. import checks, files, networks, problem, rules
from ..checks import ArgumentError
from ..networks import CNN, MLP, Architecture, Gated, Nonlinearity, ReLU
from ..optimizers import SGD
from ..problem import Batches, Loss, Task, datasets
from ..results import Record
from ..rules import Rule
from ..simulation import train
from ..weights import Finite, Infinite
from .options import fit, one_of, required, spelled, table


def _exported(room: ModuleType, kind: type) -> dict[str, Any]:
    """The classes of one kind that a room exports and that can be made from numbers alone."""
    members = {name: getattr(room, name) for name in room.__all__}
    made = {name: each for name, each in members.items() if inspect.isclass(each) and issubclass(each, kind)}
    return {name: each for name, each in made.items() if not inspect.isabstract(each) and not required(each)}


LOSSES = _exported(problem, Loss)
NONLINEARITIES = _exported(networks, Nonlinearity)
RULES = _exported(rules, Rule)


_DataOptions = table(
    "task",
    {"digits": datasets.digits, "sphere": datasets.sphere, "npz": datasets.from_npz},
    "What is learned.",
    choice="data",
)


@dataclass(frozen=True)
class TaskOptions(_DataOptions):
    """What is learned: handwritten digits, random points with random labels (sphere), or arrays of your own (npz)."""

    loss: one_of(LOSSES) = "SquaredError"  # pyright: ignore[reportInvalidTypeForm]

    def build(self) -> Task:
        """The task. **Raises:** `ArgumentError` if the options cannot serve."""
        checks.known("task.loss", self.loss, LOSSES)
        return super().build(loss=LOSSES[self.loss]())


_ArchitectureOptions = table(
    "network", {"MLP": MLP, "CNN": CNN}, "What is trained.", choice="architecture", hidden_layers=3
)


@dataclass(frozen=True)
class NetworkOptions(_ArchitectureOptions):
    """What is trained: a fully connected network (MLP) or, for inputs on a grid, a convolutional one (CNN)."""

    nonlinearity: one_of(NONLINEARITIES) = "Tanh"  # pyright: ignore[reportInvalidTypeForm]
    gain: float | None = None
    """The factor of ReLU, √2 unless given; other nonlinearities take none."""
    gated: bool = False
    """Gate linear units by frozen random fields, with the derivative of the nonlinearity as the gate."""

    def build(self) -> Architecture:
        """The network. **Raises:** `ArgumentError` if the options cannot serve."""
        checks.known("network.nonlinearity", self.nonlinearity, NONLINEARITIES, dir(jax.nn))
        shape = NONLINEARITIES[self.nonlinearity]()
        if self.gain is not None:
            if not isinstance(shape, ReLU):
                raise ArgumentError(f"network.gain belongs to ReLU; the nonlinearity is {self.nonlinearity}.")
            shape = ReLU(gain=self.gain)
        return super().build(nonlinearity=Gated(shape) if self.gated else shape)


TABLES: dict[str, type[Any]] = {
    "task": TaskOptions,
    "network": NetworkOptions,
    "rule": table("rule", RULES, "How it learns.", choice="name", name="GradientDescent"),
    "width": table(
        "width",
        {"infinite": Infinite, "finite": Finite},
        "How wide: infinite, the mean-field limit by particles, or finite, a network of so many neurons a layer.",
        choice="kind",
    ),
    "optimizer": table("optimizer", SGD, "How changes become steps.", step_size="auto"),
    "batches": table("batches", Batches, "Which samples a step learns from: all of them, unless a size is given."),
    "record": table("record", Record, "What is recorded, and when; outputs and losses always are."),
    "run": table(
        "run",
        train,
        "How long, how often, and from which random weights.",
        without=("width", "optimizer", "progress"),
        steps=100,
    ),
}

OPTIONS = {name: tuple(field.name for field in dataclasses.fields(kind)) for name, kind in TABLES.items()}
"""The options of each table."""

Configuration: type[Any] = dataclasses.make_dataclass(
    "Configuration",
    [(name, kind, dataclasses.field(default_factory=kind)) for name, kind in TABLES.items()],
    namespace={"__doc__": "Everything that `widelimit train` can be told."},
    frozen=True,
)


def read(path: Path) -> Any:
    """The configuration in a TOML file with the tables of [`Configuration`].

    **Raises:** `FileNotFoundError`; `ArgumentError`, naming the file and what it holds, for what is not TOML, unknown
    tables and keys, and values of another type.
    """
    return configured(path, document(path))


def document(path: Path) -> dict[str, Any]:
    """What a TOML file holds. **Raises:** as [`read`], for what is not TOML."""
    try:
        return tomllib.loads(files.read(path).decode("utf-8"))
    except (ValueError, RecursionError) as error:  # not TOML or not UTF-8; nested too deeply, or too long a number
        if isinstance(error, ArgumentError):
            raise
        raise ArgumentError(f"{path} is not TOML: {str(error).rstrip('.')}.") from None


def configured(path: Path, document: dict[str, Any]) -> Any:
    """The configuration of the tables that the file at `path` holds. **Raises:** as [`read`]."""
    return Configuration(**{name: _table(path, name, content) for name, content in document.items()})


def tables(configuration: Any) -> dict[str, dict[str, Any]]:
    """The tables of a configuration as plain data, without what is as it is by default; [`configured`] reads them.

    Names of files are made absolute, so that they hold wherever the tables are read.
    """
    plain: dict[str, dict[str, Any]] = {}
    for name, kind in TABLES.items():
        values = {key: value for key, value in vars(getattr(configuration, name)).items() if value is not None}
        changed = {key: value for key, value in values.items() if value != getattr(kind, key)}
        plain[name] = {key: _absolute(value) if key == "file" else value for key, value in changed.items()}
    return plain


def _absolute(file: Any) -> str:
    return str(Path(file).absolute())


def _table(path: Path, name: str, content: Any) -> Any:
    """One table of the file as its dataclass."""
    check_table(path, name, content, OPTIONS)
    return TABLES[name](**{key: option(path, name, key, value) for key, value in content.items()})


def check_table(path: Path, name: str, content: Any, options: Mapping[str, Iterable[str]]) -> None:
    """Raise unless a name stands for one of the tables that have these `options`, and its content is a table."""
    _check_place(path, "outside of all tables", name, options, options)
    checks.known(f"{path}, table", name, options)
    if not isinstance(content, dict):
        raise ArgumentError(f"{path}: {name} must be a table; write [{name}] on a line of its own.")


def check_key(path: Path, table: str, key: str, options: Mapping[str, Iterable[str]]) -> None:
    """Raise unless a key is one of the `options` of its table."""
    _check_place(path, f"in [{table}]", key, options[table], options)
    checks.known(f"{path}, key in [{table}]", key, options[table])


def _check_place(
    path: Path, where: str, name: str, choices: Iterable[str], options: Mapping[str, Iterable[str]]
) -> None:
    """Raise if a name is none of `choices`, and one of the `options` of tables elsewhere in the file."""
    homes = [f"[{table}]" for table, names in options.items() if name in names]
    if name not in choices and homes:
        raise ArgumentError(f"{path}: {name} stands {where}, and belongs in {' or '.join(homes)}.")


def option(path: Path, name: str, key: str, value: Any) -> Any:
    """One value of the table `name` in the file at `path`, as its dataclass takes it. **Raises:** as [`read`]."""
    check_key(path, name, key, OPTIONS)
    kind = typing.get_type_hints(TABLES[name])[key]
    fitted = fit(value, kind)
    if fitted is None:
        raise ArgumentError(f"{path}: {name}.{key} must be {spelled(kind)}; got {value!r}.")
    # A file is relative to the configuration, wherever it is run from.
    return str(path.parent / fitted) if key == "file" else fitted
