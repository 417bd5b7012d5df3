"""What is learned: tasks, losses, data sets, and the order in which samples are learned from."""

from . import datasets
from .batches import Batches
from .losses import Logistic, Loss, SoftmaxCrossEntropy, SquaredError
from .scaling import Scaling, scaled
from .task import Task

__all__ = [
    "Batches",
    "Logistic",
    "Loss",
    "Scaling",
    "SoftmaxCrossEntropy",
    "SquaredError",
    "Task",
    "datasets",
    "scaled",
]
