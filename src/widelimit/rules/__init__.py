"""Learning rules, one file each: what travels backward, and what the pseudo-gradient g̃ is."""

from .base import Draw, Rule, Tap, View, sweep, tapped, taps, untapped
from .direct_feedback_alignment import DirectFeedbackAlignment
from .feedback_alignment import FeedbackAlignment
from .gradient_descent import GradientDescent
from .hebbian import Hebbian

__all__ = [
    "DirectFeedbackAlignment",
    "Draw",
    "FeedbackAlignment",
    "GradientDescent",
    "Hebbian",
    "Rule",
    "Tap",
    "View",
    "sweep",
    "tapped",
    "taps",
    "untapped",
]
