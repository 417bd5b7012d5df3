"""widelimit: the learning dynamics of deep networks under any learning rule, at finite and at infinite width."""

from . import theory
from .checks import ArgumentError
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
from .results import Record, load, observables, save
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
from .simulation.step_size import suggest_step_size
from .simulation.training import DivergenceWarning, TrainingInterrupted, TruncationWarning, train
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
    "Rule",
    "SignSymmetric",
    "SoftmaxCrossEntropy",
    "Softplus",
    "SquaredError",
    "Tanh",
    "Task",
    "ThreeFactorHebbian",
    "TrainingInterrupted",
    "TruncationWarning",
    "compare",
    "datasets",
    "load",
    "observables",
    "save",
    "suggest_step_size",
    "theory",
    "train",
]
