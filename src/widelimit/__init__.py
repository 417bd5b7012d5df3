"""widelimit: the learning dynamics of deep networks under any learning rule, at finite and at infinite width."""

from . import datasets, observables, theory
from .architecture import CNN, MLP, Architecture
from .checks import ArgumentError
from .distances import compare
from .nonlinearity import GELU, AccuracyWarning, Erf, Gated, Linear, Nonlinearity, ReLU, Softplus, Tanh
from .optimizer import Optimizer
from .results import load, save
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
from .suggestions import suggest_step_size
from .task import Logistic, Loss, SoftmaxCrossEntropy, SquaredError, Task
from .training import DivergenceWarning, TrainingInterrupted, TruncationWarning, train

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
