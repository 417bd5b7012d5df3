"""What `widelimit demo` trains: two classes of digits by five rules, at infinite width and in finite networks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import xarray as xr

from ..interrupts import hold
from ..networks import MLP, Gated, ReLU, Tanh
from ..optimizers import SGD
from ..problem import datasets
from ..progress import announced
from ..results import Record
from ..rules import DirectFeedbackAlignment, FeedbackAlignment, GradientDescent, Hebbian, Rule
from ..simulation import training
from ..weights import Finite, Infinite
from .messages import say


@dataclass(frozen=True)
class Plan:
    """The sizes of a demonstration."""

    samples: int = 20
    test_samples: int = 100
    hidden_layers: int = 3
    particles: int = 1500
    width: int = 1000
    steps: int = 50
    step_size: float = 0.02
    record_every: int = 2
    replicates: int = 4
    rules: tuple[str, ...] = (
        "gradient descent",
        "feedback alignment",
        "direct feedback alignment",
        "Hebbian",
        "gated linear network",
    )

    @property
    def widths(self) -> tuple[float, float]:
        """The widths at which every rule runs."""
        return math.inf, float(self.width)


# Most of its time is compilation, which every rule and width pays anew: hence two rules.
QUICK = Plan(
    samples=6,
    test_samples=10,
    hidden_layers=2,
    particles=200,
    width=100,
    steps=4,
    replicates=2,
    rules=("gradient descent", "direct feedback alignment"),
)


def settings(plan: Plan) -> dict[str, tuple[MLP, Rule]]:
    """The network and the rule behind each name."""
    tanh = MLP(plan.hidden_layers, Tanh())
    known = {
        "gradient descent": (tanh, GradientDescent()),
        "feedback alignment": (tanh, FeedbackAlignment()),
        "direct feedback alignment": (tanh, DirectFeedbackAlignment()),
        "Hebbian": (tanh, Hebbian()),
        "gated linear network": (MLP(plan.hidden_layers, Gated(ReLU())), GradientDescent()),
    }
    return {name: known[name] for name in plan.rules}


def train_all(plan: Plan, runs: dict[str, dict[float, xr.Dataset]]) -> None:
    """Every rule at both widths, put into runs[rule][width] as they finish."""
    task = datasets.digits(plan.samples, plan.test_samples, classes=(3, 8))
    chosen = settings(plan)
    pairs = {
        f"{name}, {'infinite width' if math.isinf(width) else f'width {plan.width}'}": (name, width)
        for name in chosen
        for width in plan.widths
    }
    for pair in announced(list(pairs), "run", say):
        name, width = pairs[pair]
        net, rule = chosen[name]
        runs.setdefault(name, {})[width] = training.train(
            net,
            task,
            rule,
            width=Infinite(plan.particles) if math.isinf(width) else Finite(plan.width),
            optimizer=SGD(plan.step_size),
            steps=plan.steps,
            record=Record(plan.record_every),
            replicates=plan.replicates,
            progress=False,
        )
        if len(runs[name]) == len(plan.widths):
            hold()
