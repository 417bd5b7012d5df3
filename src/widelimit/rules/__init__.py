"""Learning rules, one file each: what travels backward, and what the pseudo-gradient g̃ is."""

from .base import PositionVectors, RandomObjects, Rule, backward_pass, numbers_of
from .direct_feedback_alignment import DirectFeedbackAlignment
from .direct_random_target_projection import DirectRandomTargetProjection
from .feedback_alignment import FeedbackAlignment
from .gradient_descent import GradientDescent
from .hebbian import Hebbian
from .kolen_pollack import KolenPollack
from .pathway import Batch, Pathway, as_pathways, as_weights, matrices, pathways, with_matrices
from .sign_symmetric import SignSymmetric
from .three_factor_hebbian import ThreeFactorHebbian
from .view import OutputSignal, View, at_each_position

__all__ = [
    "Batch",
    "DirectFeedbackAlignment",
    "DirectRandomTargetProjection",
    "FeedbackAlignment",
    "GradientDescent",
    "Hebbian",
    "KolenPollack",
    "OutputSignal",
    "Pathway",
    "PositionVectors",
    "RandomObjects",
    "Rule",
    "SignSymmetric",
    "ThreeFactorHebbian",
    "View",
    "as_pathways",
    "as_weights",
    "at_each_position",
    "backward_pass",
    "matrices",
    "numbers_of",
    "pathways",
    "with_matrices",
]
