"""What `widelimit train` can be told, by a TOML file and by flags: the same dataclasses serve both.

Nothing in a file is executed: names are looked up in the tables below. Losses, nonlinearities and rules are those that
their rooms export, and the options of all tables but [task] those of the classes that they are passed to.
"""

from __future__ import annotations

import dataclasses
import inspect
import tomllib
import typing
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from .. import checks, networks, problem, rules
from ..checks import ArgumentError
from ..networks import CNN, MLP, Architecture, Gated, Nonlinearity, ReLU
from ..optimizers import SGD
from ..problem import Batches, Loss, Task, datasets
from ..results import Record
from ..rules import Rule
from ..simulation import train
from ..weights import Finite, Infinite
from .options import Options, fit, one_of, required, spelled, table


def _exported(room: ModuleType, kind: type) -> dict[str, Any]:
    """The classes of one kind that a room exports and that can be made from numbers alone."""
    members = {name: getattr(room, name) for name in room.__all__}
    made = {name: each for name, each in members.items() if inspect.isclass(each) and issubclass(each, kind)}
    return {name: each for name, each in made.items() if not inspect.isabstract(each) and not required(each)}


LOSSES = _exported(problem, Loss)
NONLINEARITIES = _exported(networks, Nonlinearity)
RULES = _exported(rules, Rule)
DATA = ("digits", "sphere", "npz")


@dataclass(frozen=True)
class TaskOptions(Options):
    """What is learned."""

    table = "task"
    choice = "data"

    data: str = "digits"
    """digits: handwritten digits; sphere: random points with random labels; npz: arrays of your own, see file."""
    samples: int = 20
    """P, the number of training samples (digits, sphere)."""
    test_samples: int = 100
    """Samples never trained on (digits, sphere)."""
    classes: tuple[int, ...] = (0, 1)
    """The digits to tell apart; two give one output with targets ±1, more give one output each (digits)."""
    dimension: int = 50
    """D, the dimension of the inputs (sphere)."""
    seed: int = 0
    """Which samples are drawn (digits, sphere)."""
    file: Path | None = None
    """A NumPy archive with arrays x and y, and optionally x_test and y_test (npz)."""
    loss: one_of(LOSSES) = "SquaredError"  # pyright: ignore[reportInvalidTypeForm]

    def build(self) -> Task:
        """The task. **Raises:** `ArgumentError` if the options cannot serve."""
        checks.known("task.data", self.data, DATA)
        checks.known("task.loss", self.loss, LOSSES)
        loss = LOSSES[self.loss]()
        if self.data == "npz":
            if self.file is None:
                raise ArgumentError("task.file must name a NumPy archive where task.data is npz.")
            return datasets.from_npz(self.file, loss=loss)
        if self.file is not None:
            raise ArgumentError(f"task.file is read only where task.data is npz; it is {self.data}.")
        for option, owner in (("dimension", "sphere"), ("classes", "digits")):
            self.belongs(option, [owner])
        if self.data == "sphere":
            return datasets.sphere(
                self.samples, self.dimension, test_samples=self.test_samples, seed=self.seed, loss=loss
            )
        return datasets.digits(self.samples, self.test_samples, classes=self.classes, seed=self.seed, loss=loss)


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
        checks.known("network.nonlinearity", self.nonlinearity, NONLINEARITIES)
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
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ArgumentError(f"{path} is not TOML: {error}.") from None
    return Configuration(**{name: _table(path, name, content) for name, content in document.items()})


def _table(path: Path, name: str, content: Any) -> Any:
    """One table of the file as its dataclass."""
    checks.known(f"{path}, table", name, TABLES)
    if not isinstance(content, dict):
        raise ArgumentError(f"{path}: {name} must be a table; write [{name}] on a line of its own.")
    hints = typing.get_type_hints(TABLES[name])
    kinds = {field.name: hints[field.name] for field in dataclasses.fields(TABLES[name])}
    values = {}
    for key, value in content.items():
        checks.known(f"{path}, key in [{name}]", key, kinds)
        fitted = fit(value, kinds[key])
        if fitted is None:
            raise ArgumentError(f"{path}: {name}.{key} must be {spelled(kinds[key])}; got {value!r}.")
        values[key] = fitted
    if isinstance(values.get("file"), Path):
        values["file"] = path.parent / values["file"]  # relative to the configuration, wherever it is run from
    return TABLES[name](**values)
