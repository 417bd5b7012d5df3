"""What `widelimit train` can be told, by a TOML file and by flags: the same dataclasses serve both.

Nothing in a file is executed: names are looked up in the tables below.
"""

from __future__ import annotations

import dataclasses
import functools
import tomllib
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from .. import checks
from ..checks import ArgumentError
from ..networks import CNN, GELU, MLP, Architecture, Erf, Gated, Linear, Nonlinearity, ReLU, Softplus, Tanh
from ..problem import Logistic, Loss, SoftmaxCrossEntropy, SquaredError, Task, datasets
from ..rules import (
    DirectFeedbackAlignment,
    DirectRandomTargetProjection,
    FeedbackAlignment,
    GradientDescent,
    Hebbian,
    KolenPollack,
    Rule,
    SignSymmetric,
    ThreeFactorHebbian,
)

LOSSES: dict[str, Callable[[], Loss]] = {
    "SquaredError": SquaredError,
    "Logistic": Logistic,
    "SoftmaxCrossEntropy": SoftmaxCrossEntropy,
}
NONLINEARITIES: dict[str, Callable[[], Nonlinearity]] = {
    "Tanh": Tanh,
    "ReLU": ReLU,
    "Erf": Erf,
    "GELU": GELU,
    "Softplus": Softplus,
    "Linear": Linear,
}
RULES: dict[str, Callable[[RuleOptions], Rule]] = {
    "GradientDescent": lambda options: GradientDescent(),
    "FeedbackAlignment": lambda options: FeedbackAlignment(options.correlation),
    "DirectFeedbackAlignment": lambda options: DirectFeedbackAlignment(),
    "Hebbian": lambda options: Hebbian(options.error_power),
    "ThreeFactorHebbian": lambda options: ThreeFactorHebbian(),
    "DirectRandomTargetProjection": lambda options: DirectRandomTargetProjection(),
    "KolenPollack": lambda options: KolenPollack(),
    "SignSymmetric": lambda options: SignSymmetric(options.tracking),
}
ARCHITECTURES: dict[str, tuple[Callable[..., Architecture], tuple[str, ...]]] = {
    "MLP": (MLP, ("residual", "branch_scale")),
    "CNN": (CNN, ("filter_size", "padding", "filter_scale", "pool", "shared")),
}
DATA = ("digits", "sphere", "npz")


def _default(options: Any, name: str) -> Any:
    """What an option is unless it is given."""
    return next(field.default for field in dataclasses.fields(options) if field.name == name)


@dataclass(frozen=True)
class TaskOptions:
    """What is learned."""

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
    loss: str = "SquaredError"
    """SquaredError, Logistic or SoftmaxCrossEntropy."""

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
            if getattr(self, option) != _default(self, option) and self.data != owner:
                raise ArgumentError(f"task.{option} belongs to task.data {owner}; it is {self.data}.")
        if self.data == "sphere":
            return datasets.sphere(
                self.samples, self.dimension, test_samples=self.test_samples, seed=self.seed, loss=loss
            )
        return datasets.digits(self.samples, self.test_samples, classes=self.classes, seed=self.seed, loss=loss)


@dataclass(frozen=True)
class NetworkOptions:
    """What is trained."""

    hidden_layers: int = 3
    """L, the number of hidden layers."""
    nonlinearity: str = "Tanh"
    """Tanh, ReLU, Erf, GELU, Softplus or Linear."""
    gain: float | None = None
    """The factor of ReLU, √2 unless given; other nonlinearities take none."""
    gated: bool = False
    """Gate linear units by frozen random fields, with the derivative of the nonlinearity as the gate."""
    richness: float = 1.0
    """γ0: near 0 the kernels stay as they are (lazy), of order 1 features are learned."""
    architecture: str = "MLP"
    """MLP (fully connected) or CNN (convolutional, for inputs on a grid)."""
    residual: bool = False
    """Let each hidden layer add to the one below (MLP)."""
    branch_scale: float = 1.0
    """β, the factor of what they add (MLP with residual connections)."""
    filter_size: int = 3
    """Positions that a filter looks at in each dimension; odd (CNN)."""
    padding: str = "zero"
    """What is outside the grid: zero, or circular (CNN)."""
    filter_scale: float = 1.0
    """σ, the factor of filters: 1 as in the paper, or one over the root of the number of their taps (CNN)."""
    pool: int | Literal["all"] = 1
    """Windows that are averaged before the readout, in each dimension, or all positions (CNN)."""
    shared: bool = True
    """Let all positions share one filter; if false, each has its own (CNN)."""

    def build(self) -> Architecture:
        """The network. **Raises:** `ArgumentError` if the options cannot serve."""
        checks.known("network.nonlinearity", self.nonlinearity, NONLINEARITIES)
        shape = NONLINEARITIES[self.nonlinearity]()
        if self.gain is not None:
            if not isinstance(shape, ReLU):
                raise ArgumentError(f"network.gain belongs to ReLU; the nonlinearity is {self.nonlinearity}.")
            shape = ReLU(gain=self.gain)
        checks.known("network.architecture", self.architecture, ARCHITECTURES)
        kind, own = ARCHITECTURES[self.architecture]
        for name, (_, options) in ARCHITECTURES.items():
            for option in () if name == self.architecture else options:
                if getattr(self, option) != _default(self, option):
                    raise ArgumentError(
                        f"network.{option} belongs to network.architecture {name}; it is {self.architecture}."
                    )
        options = {option: getattr(self, option) for option in own}
        return kind(self.hidden_layers, Gated(shape) if self.gated else shape, self.richness, **options)


@dataclass(frozen=True)
class RuleOptions:
    """How it learns."""

    name: str = "GradientDescent"
    """GradientDescent, FeedbackAlignment, DirectFeedbackAlignment, Hebbian, ThreeFactorHebbian,
    DirectRandomTargetProjection, KolenPollack or SignSymmetric."""
    correlation: float = 0.0
    """ρ between feedback weights and initial forward weights (FeedbackAlignment)."""
    error_power: int = 2
    """The total power of the error in the update: 0, 1 or 2 (Hebbian)."""
    tracking: bool = True
    """Signs of the weights as they are now, or, if false, as they were at the start (SignSymmetric)."""

    def build(self) -> Rule:
        """The rule. **Raises:** `ArgumentError` if the options cannot serve."""
        checks.known("rule.name", self.name, RULES)
        for option, owner in (
            ("correlation", "FeedbackAlignment"),
            ("error_power", "Hebbian"),
            ("tracking", "SignSymmetric"),
        ):
            if getattr(self, option) != _default(self, option) and self.name != owner:
                raise ArgumentError(f"rule.{option} belongs to {owner}; the rule is {self.name}.")
        return RULES[self.name](self)


@dataclass(frozen=True)
class TrainingOptions:
    """At what width, for how long, and what is recorded."""

    width: float = float("inf")
    """N, the number of neurons in a layer; inf is the mean-field limit."""
    particles: int = 4000
    """S, Monte Carlo samples per layer at infinite width; errors fall as 1/√S."""
    step_size: float | Literal["auto"] = "auto"
    """η, with time = step × η; auto takes a quarter of what is stable at initialisation, as by gradient descent."""
    steps: int = 100
    """The number of steps."""
    momentum: float = 0.0
    """β of heavy-ball momentum, in [0, 1)."""
    weight_decay: float = 0.0
    """λ: every weight matrix shrinks by 1 − ηλ a step."""
    batch_size: int | None = None
    """Samples that each step learns from; all of them unless given."""
    batch_seed: int = 0
    """Seed of the order in which minibatches take the samples."""
    record_every: int = 1
    """Record steps 0, record_every, 2·record_every, and so on."""
    replicates: int = 4
    """Independent repetitions; standard errors are over them."""
    seed: int = 0
    """Seed of the random weights."""
    centred: bool = True
    """Subtract the initial output of a finite network."""
    positions: bool = False
    """Also record the kernels between all pairs of positions (CNN)."""
    two_time: bool = False
    """Also record the kernels at all pairs of recorded steps."""
    fields: bool = False
    """Also keep the fields of every neuron or particle at the last recorded step."""
    capacity: int | None = None
    """Directions kept of each deferred matrix; chosen from the task unless given."""
    tolerance: float | None = None
    """The share of a vector below which a new direction is not worth keeping; chosen unless given."""
    growth: int | None = None
    """Directions that a deferred matrix may gain in one step."""
    precision: str = "float64"
    """float64 or float32."""


@dataclass(frozen=True)
class Configuration:
    """Everything that `widelimit train` can be told."""

    task: TaskOptions = field(default_factory=TaskOptions)
    network: NetworkOptions = field(default_factory=NetworkOptions)
    rule: RuleOptions = field(default_factory=RuleOptions)
    training: TrainingOptions = field(default_factory=TrainingOptions)


def read(path: Path) -> Configuration:
    """The configuration in a TOML file with tables [task], [network], [rule] and [training].

    **Raises:** `FileNotFoundError`; `ArgumentError`, naming the file and what it holds, for what is not TOML, unknown
    tables and keys, and values of another type.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ArgumentError(f"{path} is not TOML: {error}.") from None
    tables = typing.get_type_hints(Configuration)
    return Configuration(**{name: _table(path, name, content, tables) for name, content in document.items()})


def _table(path: Path, name: str, content: Any, tables: dict[str, Any]) -> Any:
    """One table of the file as its dataclass."""
    if not isinstance(content, dict):
        checks.known(f"{path}, table", name, tables)
        raise ArgumentError(f"{path}: {name} must be a table; write [{name}] on a line of its own.")
    checks.known(f"{path}, table", name, tables)
    kinds = typing.get_type_hints(tables[name])
    values = {}
    for key, value in content.items():
        checks.known(f"{path}, key in [{name}]", key, kinds)
        fitted = _fit(value, kinds[key])
        if fitted is None:
            raise ArgumentError(f"{path}: {name}.{key} must be {_spelled(kinds[key])}; got {value!r}.")
        values[key] = fitted
    if isinstance(values.get("file"), Path):
        values["file"] = path.parent / values["file"]  # relative to the configuration, wherever it is run from
    return tables[name](**values)


def _fit(value: Any, kind: Any) -> Any:
    """A TOML value as `kind`, or None if it does not fit."""
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        fitted = (_fit(value, member) for member in typing.get_args(kind) if member is not types.NoneType)
        return next((one for one in fitted if one is not None), None)
    if typing.get_origin(kind) is Literal:
        return value if value in typing.get_args(kind) else None
    if typing.get_origin(kind) is tuple:
        return tuple(value) if isinstance(value, list) and all(type(item) is int for item in value) else None
    if kind is float:
        return float(value) if type(value) in (int, float) or value == "inf" else None
    if kind is Path:
        return Path(value) if isinstance(value, str) else None
    return value if type(value) is kind else None


_SPELLED = {int: "a whole number", float: "a number", bool: "true or false", str: "a string", Path: "a file's name"}


def _spelled(kind: Any) -> str:
    """A type in words."""
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        members = [_spelled(member) for member in typing.get_args(kind) if member is not types.NoneType]
        return functools.reduce(lambda left, right: f"{left} or {right}", members)
    if typing.get_origin(kind) is Literal:
        return " or ".join(f'"{choice}"' for choice in typing.get_args(kind))
    return "a list of whole numbers" if typing.get_origin(kind) is tuple else _SPELLED[kind]
