"""Deep linear networks at infinite width, solved algebraically: no particles, no sampling, no iteration."""

from __future__ import annotations

import warnings

import numpy as np
import xarray as xr

from ... import checks
from ...checks import ArgumentError
from ...faults import DivergenceWarning
from ...memory import require_memory
from ...networks import MLP, Linear
from ...optimizers import SGD
from ...problem import Task
from ...progress import progress_bar
from ...rules import Rule
from ..feedback import FeedbackKind, FeedbackLaw, feedback_of
from ..labels import labelled
from ..momentum import OptimizerMemory, with_step_size
from ..networks import fully_connected
from .substitution import ForwardSubstitution


def linear(
    net: MLP,
    task: Task,
    rule: Rule | None = None,
    *,
    optimizer: SGD,
    steps: int,
    progress: bool | None = None,
) -> xr.Dataset:
    """The exact infinite-width dynamics of a deep linear network, with all two-time kernels and response functions.

    The same steps as `train(..., width=math.inf)`, to rounding: finite step size, momentum, weight decay, any loss, C
    outputs, test points (the paper's App. E in discrete time). Kernels over (step, sample) are kept, so memory
    grows as (P T)² and time as (P T)³; `train` is linear in T and serves long runs.

    **Arguments:** `net` with the nonlinearity `Linear()`; `task`; `rule`, gradient descent unless given; `optimizer`
    [`SGD`], whose step size is a number, and `steps`, as for `train`; `progress`: show a bar, by default on a terminal
    only.

    **Returns:** the labelled result at steps 0..`steps`, without replicates, with Φ, G, G̃ and G̃̃ at all pairs of steps
    and, for L ≥ 2, the response functions A, B, C and D of the hidden matrices. A and C are taken with respect to what
    comes back through the *initial* matrix, and are those of one step: the paper's, times γ0 and the time step. D
    vanishes in linear networks.

    **Raises:** `ArgumentError` before any work if an argument cannot serve. A run that diverges (Hebbian learning can)
    stops, warns with `DivergenceWarning` and keeps the steps before.
    """
    fully_connected(net, "theory.linear", "Linear")
    checks.instance("task", task, Task, "widelimit.Task(x, y)")
    if not isinstance(net.nonlinearity, Linear):
        raise ArgumentError(
            f"net: theory.linear covers the nonlinearity Linear(); got {type(net.nonlinearity).__name__}. "
            "theory.alternating and train(..., width=math.inf) cover any."
        )
    feedback = feedback_of(rule, "theory.linear")
    checks.integer("steps", steps, at_least=0)
    step_size = float(with_step_size(optimizer, "theory.linear").step_size)
    _check_memory(net, task, feedback, steps)
    substitution = ForwardSubstitution(net, task, feedback, OptimizerMemory.of(optimizer, steps))
    bar = progress_bar(progress, iterable=range(steps + 1), desc="theory.linear", unit="step")
    for step in bar:
        if not substitution.advance(step):
            bar.close()
            warnings.warn(
                f"The network diverged at step {step} (time {step * step_size:g}); the steps before that are kept. "
                "A smaller step size helps unless the rule itself diverges, as Hebbian does in deep linear networks.",
                DivergenceWarning,
                stacklevel=2,
            )
            break
    numbers = np.arange(substitution.solved)
    return labelled(
        substitution.variables(),
        solver="theory.linear",
        net=net,
        task=task,
        rule=rule,
        times=numbers * step_size,
        steps=numbers,
        settings={
            "step_size": step_size,
            "steps": int(steps),
            "momentum": float(optimizer.momentum),
            "weight_decay": float(optimizer.weight_decay),
        },
    )


def _check_memory(net: MLP, task: Task, feedback: FeedbackLaw, steps: int) -> None:
    forward = (steps + 1) * task.samples
    backward, tests = forward * task.outputs, (steps + 1) * len(task.x_test)
    primitive = forward + backward * (1 + feedback.frozen)  # u, r and, where feedback is frozen, p
    fields = (forward + (1 + (feedback.kind is not FeedbackKind.GRADIENT)) * backward) * primitive  # h, g and g̃
    # Coefficients, kernels, and the copies of the kernels and responses that are the result.
    numbers = net.hidden_layers * (fields + 2 * forward**2 + 12 * backward**2) + 6 * tests * (forward + backward)
    require_memory(
        8 * numbers,
        parts={"kernels and responses over (step, sample)": 8 * numbers},
        remedy="Take fewer steps, or use train(..., width=math.inf), which is exact for linear networks and needs no "
        "such kernels.",
        what=f"theory.linear with {task.samples} samples and {steps} steps needs",
    )
