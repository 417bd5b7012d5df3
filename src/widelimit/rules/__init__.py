"""Learning rules, one file each: what travels backward, and what the pseudo-gradient g̃ is."""

from .base import (
    Draw,
    Pathway,
    Rule,
    View,
    at_each_position,
    matrices,
    sweep,
    tapped,
    taps,
    untapped,
    with_matrices,
)
from .direct_feedback_alignment import DirectFeedbackAlignment
from .direct_random_target_projection import DirectRandomTargetProjection
from .feedback_alignment import FeedbackAlignment
from .gradient_descent import GradientDescent
from .hebbian import Hebbian
from .kolen_pollack import KolenPollack
from .sign_symmetric import SignSymmetric
from .three_factor_hebbian import ThreeFactorHebbian

__all__ = [
    "DirectFeedbackAlignment",
    "DirectRandomTargetProjection",
    "Draw",
    "FeedbackAlignment",
    "GradientDescent",
    "Hebbian",
    "KolenPollack",
    "Pathway",
    "Rule",
    "SignSymmetric",
    "ThreeFactorHebbian",
    "View",
    "at_each_position",
    "matrices",
    "sweep",
    "tapped",
    "taps",
    "untapped",
    "with_matrices",
]
