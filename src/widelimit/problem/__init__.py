"""What is learned: tasks, losses, data sets, and the order in which samples are learned from."""

from . import datasets
from .batches import batch_order
from .losses import Logistic, Loss, SoftmaxCrossEntropy, SquaredError
from .task import Task

__all__ = ["Logistic", "Loss", "SoftmaxCrossEntropy", "SquaredError", "Task", "batch_order", "datasets"]
