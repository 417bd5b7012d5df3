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
from .optimizers import Optimizer
from .problem import Logistic, Loss, SoftmaxCrossEntropy, SquaredError, Task, datasets
from .results import load, observables, save
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

__all__ = [
    "CNN",
    "GELU",
    "MLP",
    "AccuracyWarning",
    "Architecture",
    "ArgumentError",
    "DirectFeedbackAlignment",
    "DirectRandomTargetProjection",
    "DivergenceWarning",
    "Erf",
    "FeedbackAlignment",
    "Gated",
    "GradientDescent",
    "Hebbian",
    "KolenPollack",
    "Linear",
    "Logistic",
    "Loss",
    "Nonlinearity",
    "Optimizer",
    "ReLU",
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
