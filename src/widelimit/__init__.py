"""widelimit: the learning dynamics of deep networks under any learning rule, at finite and at infinite width."""

from . import theory
from .checks import ArgumentError
from .faults import DivergenceWarning, RecordWarning, TrainingInterrupted, TruncationWarning
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
from .problem import Batches, Logistic, Loss, SoftmaxCrossEntropy, SquaredError, Task, datasets
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
from .simulation import Simulation, initialize, suggest_step_size, train
from .weights import Finite, Infinite

__all__ = [
    "CNN",
    "GELU",
    "MLP",
    "SGD",
    "AccuracyWarning",
    "Architecture",
    "ArgumentError",
    "Batches",
    "DirectFeedbackAlignment",
    "DirectRandomTargetProjection",
    "DivergenceWarning",
    "Erf",
    "FeedbackAlignment",
    "Finite",
    "Gated",
    "GradientDescent",
    "Hebbian",
    "Infinite",
    "KolenPollack",
    "Linear",
    "Logistic",
    "Loss",
    "Nonlinearity",
    "ReLU",
    "Record",
    "RecordWarning",
    "Rule",
    "SignSymmetric",
    "Simulation",
    "SoftmaxCrossEntropy",
    "Softplus",
    "SquaredError",
    "Tanh",
    "Task",
    "ThreeFactorHebbian",
    "TrainingInterrupted",
    "TruncationWarning",
    "combine",
    "compare",
    "datasets",
    "initialize",
    "load",
    "observables",
    "result",
    "save",
    "suggest_step_size",
    "theory",
    "train",
]
