"""Algorithm 1 of the paper: the mean-field equations by alternating Monte Carlo."""

from __future__ import annotations

import math
import time
import warnings

import numpy as np
import xarray as xr

from ... import checks
from ...checks import ArgumentError
from ...faults import DivergenceWarning, TrainingInterrupted
from ...memory import require_memory
from ...networks import MLP
from ...optimizers import SGD
from ...precision import at_precision
from ...problem import Task
from ...programs import make_room
from ...progress import progress_bar
from ...rules import Rule
from ..feedback import FeedbackKind, FeedbackLaw, feedback_of
from ..labels import labelled
from ..momentum import OptimizerMemory, with_step_size
from ..networks import fully_connected
from .fields import ArrayNonlinearity
from .iteration import Outcome, iterate
from .replicate import Replicate
from .sweeps import Sweeper
from .variables import variables_of

RESPONSES = ("by parts", "pathwise")


class ConvergenceWarning(UserWarning):
    """The fixed-point iteration stopped before its residual reached the tolerance."""


def alternating(
    net: MLP,
    task: Task,
    rule: Rule | None = None,
    *,
    optimizer: SGD,
    steps: int,
    particles: int = 2000,
    update_speed: float = 1.0,
    tolerance: float = 1e-3,
    max_sweeps: int = 100,
    responses: str | None = None,
    replicates: int = 1,
    seed: int = 0,
    progress: bool | None = None,
) -> xr.Dataset:
    """Solve the infinite-width equations by alternating Monte Carlo, the paper's Algorithm 1.

    From the current order parameters (kernels and responses at all pairs of steps) the Gaussian fields of S particles
    are drawn in every layer, the other fields follow by forward substitution in time,

        h_k = s_k [u_k + Σ_{j<k} (A_kj g_j + C_kj g̃_j)] + γ0 Σ_{j<k} m_kj Φ_kj Δ_j g̃_j
        z_k = s_k [r_k + Σ_{j≤k} B_kj ϕ(h_j)] + γ0 Σ_{j<k} m_kj G̃_kj Δ_j ϕ(h_j)

    (m_kj = η and s_k = 1 without momentum and decay), and averages over particles are the next order parameters. Steps
    are those of `train`, with no limit η → 0, so the two agree within their sampling errors while sharing no method:
    an independent check, at a cost of O(S (P T)²) a sweep against O(S P R T) for `train`.

    **Arguments:**

    - `net`, `task`, `rule`, `optimizer`, `steps`: as for `train`; the step size is a number, and the rule one of this
      library's. Test points are left out.
    - `particles`: S, the draws of a layer's fields; errors fall as 1/√S.
    - `update_speed`: β ∈ (0, 1], the share of the new estimates in an update. The noise is the same in all sweeps
      and causal in time, so that undamped sweeps converge from the first step to the last; the paper's 0.6 takes about
      twice as many. It is halved where an iteration stalls.
    - `tolerance`: stop once no order parameter changes by more than this, relative to its norm.
    - `max_sweeps`: stop then in any case, and warn.
    - `responses`: how response functions are estimated. "by parts" (Gaussian integration by parts, right for every
      nonlinearity) or "pathwise" (each particle's Jacobian, at O(S (P T)³) a sweep; needs a continuous ϕ'). By default
      by parts, and pathwise for linear networks, where one particle's Jacobian is exact.
    - `replicates`: independent repetitions; standard errors are over them.
    - `progress`: show a progress bar; by default on a terminal only.

    **Returns:** the labelled result at steps 0..`steps`, with Φ, G, G̃ and G̃̃ at all pairs of steps, the responses A, B,
    C, D of the hidden matrices (zero where the rule has none) for L ≥ 2, and `residual` of every sweep.
    `attrs["verdict"]` says in a sentence how the iteration ended.

    **Raises:** `ArgumentError` before any work if an argument cannot serve or memory does not suffice;
    `TrainingInterrupted` on Ctrl-C, holding what there is. `ConvergenceWarning` where the residual stays above the
    tolerance. A run that diverges warns with `DivergenceWarning` and keeps the steps before.
    """
    fully_connected(net, "theory.alternating")
    checks.instance("task", task, Task, "widelimit.Task(x, y)")
    feedback = feedback_of(rule, "theory.alternating")
    step_size = float(with_step_size(optimizer, "theory.alternating").step_size)
    checks.integer("steps", steps, at_least=0)
    checks.integer("particles", particles, at_least=10)
    checks.number("update_speed", update_speed, above=0, at_most=1)
    checks.number("tolerance", tolerance, above=0)
    checks.integer("max_sweeps", max_sweeps, at_least=1)
    checks.integer("replicates", replicates, at_least=1)
    checks.integer("seed", seed, at_least=0)
    make_room()
    with at_precision("float64"):
        pathwise = _pathwise(net, responses)
    task = Task(task.x, task.y[:, 0] if task.scalar else task.y, loss=task.loss)
    _check_memory(net, task, feedback, steps, particles, replicates)
    settings = {
        "step_size": step_size,
        "steps": steps,
        "momentum": float(optimizer.momentum),
        "weight_decay": float(optimizer.weight_decay),
        "particles": particles,
        "update_speed": update_speed,
        "tolerance": tolerance,
        "max_sweeps": max_sweeps,
        "responses": RESPONSES[pathwise],
        "replicates": replicates,
        "seed": seed,
    }
    began = time.perf_counter()
    memory = OptimizerMemory.of(optimizer, steps)
    outcomes: list[Outcome] = []
    bar = progress_bar(
        progress,
        total=replicates * max_sweeps,
        desc="theory.alternating",
        unit="sweep",
    )

    def tell(residual: float) -> None:
        bar.set_postfix_str(f"residual {residual:.1e}", refresh=False)
        bar.update(1)

    with at_precision("float64"), bar:
        for index in range(replicates):
            generator = np.random.default_rng([seed, index])
            replicate = Replicate(net, task, feedback, memory, particles, generator)
            outcomes.append(iterate(Sweeper(replicate, pathwise), steps + 1, update_speed, tolerance, max_sweeps, tell))
            bar.update((index + 1) * max_sweeps - bar.n)
            if outcomes[-1].interrupted:
                break
        settings["seconds"] = time.perf_counter() - began
        kept = max(outcome.orders.steps for outcome in outcomes)
        variables = _gathered(outcomes, kept, replicate)
    result = labelled(
        variables,
        solver="theory.alternating",
        net=net,
        task=task,
        rule=rule,
        times=np.arange(kept) * step_size,
        steps=np.arange(kept),
        settings=settings,
    )
    result.attrs["verdict"] = _verdict(outcomes, steps, step_size, tolerance)
    if any(outcome.interrupted for outcome in outcomes):
        raise TrainingInterrupted(result)
    if any(outcome.diverged_at >= 0 for outcome in outcomes):
        warnings.warn(result.attrs["verdict"], DivergenceWarning, stacklevel=2)
    if not all(outcome.converged for outcome in outcomes):
        warnings.warn(result.attrs["verdict"], ConvergenceWarning, stacklevel=2)
    return result


def _pathwise(net: MLP, responses: str | None) -> bool:
    """Whether responses are estimated pathwise; raises where that cannot be right."""
    if responses is None:
        return net.nonlinearity.linear
    if not isinstance(responses, str):
        raise ArgumentError(f"responses must be one of {', '.join(RESPONSES)}, or None; got {responses!r}.")
    checks.known("responses", responses, RESPONSES)
    if responses == "pathwise" and not ArrayNonlinearity(net.nonlinearity).smooth:
        raise ArgumentError(
            f"responses: the derivative of {type(net.nonlinearity).__name__} jumps, which pathwise Jacobians miss; "
            "pass responses='by parts', which is right for every nonlinearity."
        )
    return responses == "pathwise"


def _check_memory(net: MLP, task: Task, feedback: FeedbackLaw, steps: int, particles: int, replicates: int) -> None:
    """Raise if the fields of a layer and the order parameters do not fit into memory."""
    rows, outputs, depth = (steps + 1) * task.samples, task.outputs, net.hidden_layers
    chain = feedback.kind is FeedbackKind.CHAIN
    wide = rows * outputs
    per_layer = (
        rows + wide * (feedback.kind is FeedbackKind.GRADIENT) + wide * chain * (2 if feedback.correlation else 1)
    )
    fields = 8.0 * particles * (depth * per_layer + 4 * rows + 5 * wide)
    orders = 8.0 * (depth * (rows**2 + wide**2 * (3 if chain else 1) + 3 * rows * wide) * 2 + 6 * wide**2)
    result = 8.0 * replicates * depth * (2 * rows**2 + 3 * wide**2 + 4 * rows * wide) * 2
    require_memory(
        fields + orders + result,
        parts={
            f"the fields of {particles} particles": fields,
            f"kernels and responses over {rows} (step, sample) pairs": orders + result,
        },
        remedy="Pass fewer steps, particles or replicates; train(..., width=math.inf) needs memory in proportion to "
        "the steps recorded.",
        what="steps: this run needs",
    )


def _gathered(outcomes: list[Outcome], steps: int, last: Replicate) -> dict[str, np.ndarray]:
    """The variables of all replicates; what the result needs of a replicate is the same in each."""
    by_replicate = []
    for outcome in outcomes:
        error = last.error.signal(outcome.orders.output)
        by_replicate.append(variables_of(outcome.orders, steps, error, last.input_kernel, last.feedback))
    variables = {name: np.stack([arrays[name] for arrays in by_replicate]) for name in by_replicate[0]}
    longest = max(len(outcome.residuals) for outcome in outcomes)
    variables["residual"] = np.full((len(outcomes), longest), np.nan)
    for row, outcome in zip(variables["residual"], outcomes, strict=True):
        row[: len(outcome.residuals)] = outcome.residuals
    variables["diverged_step"] = np.array([outcome.diverged_at for outcome in outcomes])
    return variables


def _verdict(outcomes: list[Outcome], steps: int, step_size: float, tolerance: float) -> str:
    """How the iteration ended, in a sentence."""
    count = len(outcomes)
    sweeps = [len(outcome.residuals) for outcome in outcomes]
    took = f"{min(sweeps)}" if min(sweeps) == max(sweeps) else f"{min(sweeps)} to {max(sweeps)}"
    if any(outcome.interrupted for outcome in outcomes):
        return f"Interrupted after {sweeps[-1]} sweeps of replicate {count - 1}: its residual is {_last(outcomes[-1])}."
    stuck = [outcome for outcome in outcomes if not outcome.converged]
    if stuck:
        worst = max(stuck, key=_last_residual)
        cut = min(outcome.orders.steps for outcome in stuck)
        reached = "" if cut > steps else f" and only steps below {cut} stayed finite"
        return (
            f"{len(stuck)} of {count} replicates did not converge: after {len(worst.residuals)} sweeps the residual is "
            f"{_last(worst)}, above the tolerance {tolerance:g}{reached}. Pass a larger max_sweeps, more particles or "
            "a smaller update_speed."
        )
    diverged = [outcome.diverged_at for outcome in outcomes if outcome.diverged_at >= 0]
    if diverged:
        first = min(diverged)
        return (
            f"{len(diverged)} of {count} replicates diverged, the first at step {first} (time {first * step_size:g}); "
            "the steps before that are kept and have converged. A smaller step size helps unless the rule itself "
            "diverges, as Hebbian does in deep linear and ReLU networks."
        )
    return f"Converged in {took} sweeps to a residual below {tolerance:g}."


def _last_residual(outcome: Outcome) -> float:
    return outcome.residuals[-1] if outcome.residuals else math.inf


def _last(outcome: Outcome) -> str:
    return f"{_last_residual(outcome):.1e}"
