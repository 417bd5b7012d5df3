"""Suggestions read off the initial tangent kernel."""

from __future__ import annotations

import numpy as np

from .. import checks
from ..checks import ArgumentError
from ..networks import Architecture
from ..optimizers import SGD
from ..problem import Task
from ..results import Record
from ..rules import GradientDescent, Rule
from .simulation import Simulation

_WIDTH, _NETWORKS = (
    500,
    4,
)  # of the networks whose K(0) stands for the limit's: a few per cent from it, with a margin of 75


def suggest_step_size(
    net: Architecture,
    task: Task,
    rule: Rule | None = None,
    *,
    momentum: float = 0.0,
    safety: float = 0.25,
    seed: int = 0,
    progress: bool | None = None,
) -> float:
    """A step size that is stable at initialisation, with a margin for the kernel's growth.

    Near initialisation a step multiplies the error of a mode of the eNTK with eigenvalue λ by 1 − η c λ, with c the
    curvature of the loss; with momentum β it is stable up to η c λ = 2(1 + β). The suggestion is `safety` times that
    bound for the largest |λ| of K(0) at infinite width, under the rule or under gradient descent, whichever is larger:
    a rule with feedback of its own starts from a small kernel, which grows towards that of gradient descent as the
    forward weights align. Feature learning makes K grow, up to several times at γ0 > 1, hence the default of a quarter.

    **Arguments:** as for `train`; `safety` in (0, 1]; `seed` matters only for rules that `theory` does not cover, whose
    K(0) is that of a few networks; `progress` shows a bar for kernels of many samples, by default on a terminal only.

    **Returns:** η.
    """
    checks.number("safety", safety, above=0, at_most=1)
    rule = GradientDescent() if rule is None else rule
    checks.instance("rule", rule, Rule, "widelimit.GradientDescent()")
    task = Task(task.inputs, task.y[:, 0] if task.scalar else task.y, loss=task.loss)
    rules = [GradientDescent()] if rule.is_gradient else [GradientDescent(), rule]
    largest = max(_largest_eigenvalue(net, task, one, seed, progress) for one in rules)
    return safety * 2 * (1 + momentum) / (task.loss.curvature * largest)


def _largest_eigenvalue(net: Architecture, task: Task, rule: Rule, seed: int, progress: bool | None) -> float:
    """The largest |λ| of the initial eNTK, over samples and outputs together."""
    kernel = _initial_kernel(net, task, rule, seed, progress)
    if kernel.ndim == 4:
        size = task.samples * task.outputs
        kernel = kernel.transpose(0, 2, 1, 3).reshape(size, size)
    return float(np.max(np.abs(np.linalg.eigvals(kernel))))


def _initial_kernel(net: Architecture, task: Task, rule: Rule, seed: int, progress: bool | None) -> np.ndarray:
    """K(0): in closed form for the rules that the theory knows, and from networks for any other."""
    from ..theory import lazy  # with scipy's integrators, which training need not wait for
    from ..theory.feedback import feedback_of

    try:
        feedback_of(rule, "suggest_step_size")
    except ArgumentError:
        simulation = Simulation.of(
            net,
            task,
            rule,
            width=_WIDTH,
            optimizer=SGD(1.0),
            steps=0,
            batches=None,
            record=Record(kernels=("ntk",)),
            seed=seed,
            centred=True,
            precision="float64",
        )
        kernels = [simulation.measure(simulation.start(replicate))["ntk"].values for replicate in range(_NETWORKS)]
        return np.mean(kernels, axis=0)
    alone = Task(
        task.inputs, task.y[:, 0]
    )  # with several outputs the same block stands for each, and nothing between them
    return lazy(net, alone, rule, times=[0.0], kernels=("ntk",), progress=progress)["ntk"].values
