"""widelimit: the learning dynamics of deep networks under any learning rule, at finite and at infinite width."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import theory
    from .checks import ArgumentError
    from .ensembles import Sweep, corrections, limit, open_sweep, sweep, width_for
    from .faults import (
        CheckpointWarning,
        DivergenceWarning,
        ExpansionWarning,
        LimitWarning,
        PrecisionWarning,
        RecordWarning,
        RisingLossWarning,
        SweepWarning,
        TaskWarning,
        TrainingInterrupted,
        TruncationWarning,
    )
    from .inference import Candidates, Recording, identifiability, infer, record
    from .networks import (
        CNN,
        GELU,
        MLP,
        AccuracyWarning,
        Architecture,
        Erf,
        Gated,
        Linear,
        Nonlinearity,
        ReLU,
        Softplus,
        Tanh,
    )
    from .optimizers import SGD
    from .problem import Batches, Logistic, Loss, Scaling, SoftmaxCrossEntropy, SquaredError, Task, datasets, scaled
    from .results import Record, combine, load, observables, result, save
    from .results.distances import compare
    from .rules import (
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
    from .simulation import Plan, Simulation, initialize, plan, suggest_step_size, train
    from .weights import Finite, Infinite

__version__ = "0.1.0"

__all__ = [
    "CNN",
    "GELU",
    "MLP",
    "SGD",
    "AccuracyWarning",
    "Architecture",
    "ArgumentError",
    "Batches",
    "Candidates",
    "CheckpointWarning",
    "DirectFeedbackAlignment",
    "DirectRandomTargetProjection",
    "DivergenceWarning",
    "Erf",
    "ExpansionWarning",
    "FeedbackAlignment",
    "Finite",
    "Gated",
    "GradientDescent",
    "Hebbian",
    "Infinite",
    "KolenPollack",
    "LimitWarning",
    "Linear",
    "Logistic",
    "Loss",
    "Nonlinearity",
    "Plan",
    "PrecisionWarning",
    "ReLU",
    "Record",
    "RecordWarning",
    "Recording",
    "RisingLossWarning",
    "Rule",
    "Scaling",
    "SignSymmetric",
    "Simulation",
    "SoftmaxCrossEntropy",
    "Softplus",
    "SquaredError",
    "Sweep",
    "SweepWarning",
    "Tanh",
    "Task",
    "TaskWarning",
    "ThreeFactorHebbian",
    "TrainingInterrupted",
    "TruncationWarning",
    "combine",
    "compare",
    "corrections",
    "datasets",
    "identifiability",
    "infer",
    "initialize",
    "limit",
    "load",
    "observables",
    "open_sweep",
    "plan",
    "record",
    "result",
    "save",
    "scaled",
    "suggest_step_size",
    "sweep",
    "theory",
    "train",
    "width_for",
]

# Where the names are, in an order in which importing one room imports those before it anyway.
_ROOMS = (
    "checks",
    "faults",
    "problem",
    "networks",
    "optimizers",
    "weights",
    "rules",
    "results",
    "results.distances",
    "simulation",
    "ensembles",
    "inference",
)


def __getattr__(name: str) -> Any:
    """A room or a public name, imported when it is first used: jax and xarray take a second or two."""
    if not name.startswith("_") and importlib.util.find_spec(f"{__name__}.{name}") is not None:
        return importlib.import_module(f"{__name__}.{name}")
    # There is a module of results of that name, which is not meant.
    rooms = ("inference",) if name == "record" else _ROOMS
    for room in rooms if name in __all__ else ():
        value = vars(importlib.import_module(f"{__name__}.{room}")).get(name)
        if value is not None:
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
