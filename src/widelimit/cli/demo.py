"""`widelimit demo`: five learning rules at infinite width, beside finite networks, on two classes of digits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from ..networks import MLP, Gated, ReLU, Tanh
from ..problem import datasets
from ..progress import announced
from ..results import combine
from ..rules import DirectFeedbackAlignment, FeedbackAlignment, GradientDescent, Hebbian, Rule
from ..simulation import training
from . import comparison, destinations
from .messages import DIVERGED, INTERRUPTED, diverged, say, warnings_said
from .show import draw


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
_QUICK = Plan(
    samples=6,
    test_samples=10,
    hidden_layers=2,
    particles=200,
    width=100,
    steps=4,
    replicates=2,
    rules=("gradient descent", "direct feedback alignment"),
)


@dataclass(frozen=True)
class Demo:
    """Train two classes of handwritten digits by five rules, at infinite width and in networks of 1000 neurons.

    Prints a table, and writes demo.nc and demo.png. It takes about a minute and a half on two cores. Exit codes: 0
    done; 2 a mistake in the options; 3 a run diverged, and the steps before are kept; 130 interrupted, and the rules
    that had run at both widths are kept.
    """

    out: Path = Path("widelimit-demo")
    """The folder to write into; it is made if it does not exist."""
    overwrite: bool = False
    """Replace what an earlier demonstration left in the folder."""
    quick: bool = False
    """Two rules, few samples and few steps: shows in seconds that all works, and not much else."""

    def run(self) -> int:
        """Train, print, save and draw; returns the exit code."""
        from .. import plots

        destinations.folder(self.out)
        file, picture = self.out / "demo.nc", self.out / "demo.png"
        for path in (file, picture):
            destinations.check(path, self.overwrite)
        plan, code = _QUICK if self.quick else Plan(), 0
        runs: dict[str, dict[float, xr.Dataset]] = {}
        with warnings_said() as caught:
            try:
                train_all(plan, runs)
            except KeyboardInterrupt:
                code = INTERRUPTED
        complete = {name: by_width for name, by_width in runs.items() if len(by_width) == len(plan.widths)}
        if code:
            say(f"Interrupted; {', '.join(complete) or 'nothing'} had run at both widths.")
        if not complete:
            return code
        # Single precision is far below the standard errors, and half of the file.
        result = combine(complete, ("rule", "width")).map(
            lambda values: values.astype("float32") if values.dtype == "float64" else values, keep_attrs=True
        )
        print("\n".join(comparison.lines(result)), flush=True)
        file = destinations.keep(result, file, self.overwrite)
        draw(plots.comparison(result), picture)
        print(f"\nSaved in {file}, drawn in {picture}. To go on in Python:")
        print(f'  runs = widelimit.load("{file}"); runs["loss"].sel(rule="{result["rule"].values[0]}", width=math.inf)')
        return code or (DIVERGED if diverged(caught) else 0)


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
            width=width,
            particles=plan.particles,
            step_size=plan.step_size,
            steps=plan.steps,
            record_every=plan.record_every,
            replicates=plan.replicates,
            progress=False,
        )
