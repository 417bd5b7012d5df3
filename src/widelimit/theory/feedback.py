"""What the mean-field equations need to know of a learning rule: where its pseudo-gradient comes from.

Rules say how g̃ is computed in a network, which is all that `train` needs. The solvers of this room work with the law
of the fields instead, and for that the rules fall into four kinds.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .. import checks
from ..checks import ArgumentError
from ..rules import DirectFeedbackAlignment, FeedbackAlignment, GradientDescent, Hebbian, Rule


def hebbian_share(error: np.ndarray, power: int) -> np.ndarray:
    """What Hebb's g̃_c is of ϕ(h), from Δ (…, output_unit): Δ_c^{p−1}; for p = 0 the smallest with Σ_c Δ_c g̃_c = C ϕ."""
    if power > 0:
        return error ** (power - 1)
    size = np.sum(error**2, axis=-1, keepdims=True)
    return error.shape[-1] * error / np.where(size > 0, size, 1)


class FeedbackKind(enum.Enum):
    """What g̃ is made from."""

    GRADIENT = "the true gradient, g̃ = g"
    CHAIN = "a backward pass through feedback matrices correlated with the initial weights"
    DIRECT = "a frozen vector at each layer, g̃ = ϕ'(h) z̃"
    LOCAL = "the layer's own features, g̃ = Δ^{p−1} ϕ(h)"


@dataclass(frozen=True)
class FeedbackLaw:
    """A rule as the mean-field theory sees it.

    `correlation` is that of what travels backward with the initial weights: ρ for ρ-aligned feedback, 1 for the
    gradient, 0 for the others. `error_power` is the Hebbian p.
    """

    kind: FeedbackKind
    correlation: float
    error_power: int = 1

    @property
    def frozen(self) -> bool:
        """Whether g̃ has randomness of its own, in matrices or vectors that are never trained."""
        return self.kind in (FeedbackKind.CHAIN, FeedbackKind.DIRECT)


def feedback_of(rule: Rule | None, solver: str, covered: Iterable[FeedbackKind] = tuple(FeedbackKind)) -> FeedbackLaw:
    """The kind of feedback of a rule, gradient descent by default; raises where `solver` does not cover it."""
    rule = GradientDescent() if rule is None else rule
    checks.instance("rule", rule, Rule, "widelimit.GradientDescent()")
    match rule:
        case GradientDescent():
            law = FeedbackLaw(FeedbackKind.GRADIENT, 1.0)
        case FeedbackAlignment():
            law = FeedbackLaw(FeedbackKind.CHAIN, float(rule.correlation))
        case DirectFeedbackAlignment():
            law = FeedbackLaw(FeedbackKind.DIRECT, 0.0)
        case Hebbian():
            law = FeedbackLaw(FeedbackKind.LOCAL, 0.0, rule.error_power)
        case _:
            law = None
    if law is None or law.kind not in covered:
        names = ", ".join(_NAMES[kind] for kind in FeedbackKind if kind in covered)
        raise ArgumentError(
            f"rule: {solver} covers {names}; got {type(rule).__name__}. train(..., width=math.inf) runs any rule."
        )
    return law


_NAMES = {
    FeedbackKind.GRADIENT: "GradientDescent",
    FeedbackKind.CHAIN: "FeedbackAlignment",
    FeedbackKind.DIRECT: "DirectFeedbackAlignment",
    FeedbackKind.LOCAL: "Hebbian",
}
