"""Finite width through training in the lazy limit: outputs under a tangent kernel that a network drew and keeps."""

from __future__ import annotations

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from ... import checks
from ...checks import ArgumentError
from ...faults import DIVERGED, DivergenceWarning
from ...memory import require_memory
from ...networks import MLP
from ...optimizers import SGD
from ...precision import at_precision
from ...problem import Task
from ...rules import Rule
from ..feedback import FeedbackKind, feedback_of
from ..momentum import with_step_size
from ..networks import fully_connected
from .covariances import fluctuations
from .measures import by_measure

_SOLVER = "theory.lazy_fluctuations"


def lazy_fluctuations(
    net: MLP,
    task: Task,
    rule: Rule | None = None,
    *,
    optimizer: SGD,
    steps: int,
    points: int = 2**16,
    seed: int = 0,
    progress: bool | None = None,
) -> xr.Dataset:
    """What finite width does to lazy training, to leading order in 1/N: Var q_N(t) = C(t)/N + O(1/N²).

    As γ0 → 0 a network of width N keeps the kernel K_N that it has drawn, and its outputs are those of kernel
    regression with it, f_{k+1} = f_k + η K_N Δ(f_k). With K_N = K + δK the first variation of that recursion,

        δf_{k+1} = δf_k + η [K Δ'(f_k) δf_k + δK Δ_k],    Δ_k = Δ(f_k),

    is linear in δK, whose covariance at initialisation `theory.fluctuations` has. Any depth and nonlinearity, any loss,
    one output; gradient descent, feedback alignment, direct feedback alignment and Hebbian learning with p = 1, whose
    kernels stand still when features do. (Bordelon & Pehlevan 2023, "Dynamics of finite width kernel and prediction
    fluctuations in mean field neural networks", in the lazy limit.) The shift of means, which needs ⟨δK⟩ to order 1/N,
    is not known here: [`corrections`] measures it.

    **Arguments:** `net`, an `MLP`, whose richness plays no part; `task` with one output, test points too; `rule`;
    `optimizer`, momentum included; `steps`; `points` and `seed` as for `theory.fluctuations`; `progress`: show a bar,
    by default on a terminal only.

    **Returns:** a dataset with `output`, `error`, `loss`, `test_output` and `ntk` at all steps, along the dimension
    `measure`: "limit", that of `theory.lazy`, and "variance" (C of each entry).

    **Raises:** `ArgumentError` if an argument cannot serve, weight decay included, with which nothing stays lazy, and
    where P⁴ numbers do not fit into memory. A run that diverges stops, warns with `DivergenceWarning` and keeps the
    steps before.
    """
    fully_connected(net, _SOLVER)
    checks.instance("task", task, Task, "widelimit.Task(x, y)")
    if task.outputs > 1:
        raise ArgumentError(
            f"task: {_SOLVER} covers one output; task.y has {task.outputs} columns. Pass a task with one of them at a "
            "time, or measure with widelimit.corrections."
        )
    feedback = feedback_of(rule, _SOLVER)
    if feedback.kind is FeedbackKind.LOCAL and feedback.error_power != 1:
        raise ArgumentError(
            f"rule: {_SOLVER} covers Hebbian with error_power 1; with {feedback.error_power} the kernel follows the "
            "error, and does not stand still."
        )
    optimizer = with_step_size(optimizer, _SOLVER)
    if float(optimizer.weight_decay):
        raise ArgumentError(
            f"optimizer: {_SOLVER} has no weight decay, with which features change however lazy training is; got "
            f"{float(optimizer.weight_decay):g}."
        )
    steps = checks.integer("steps", steps, at_least=0)
    samples = task.samples
    inputs = np.concatenate([task.x, task.x_test]) if len(task.x_test) else task.x
    _check_memory(samples, len(inputs), steps)
    everywhere = Task(inputs, np.ones(len(inputs)))
    initial = fluctuations(net, everywhere, rule, width=1, points=points, seed=seed, progress=progress)
    kernel = initial["ntk"].values[:, :samples]
    covariance = initial["ntk_covariance"].values[:, :samples, :, :samples]

    size, momentum = float(optimizer.step_size), float(optimizer.momentum)
    output, velocity = np.zeros(len(inputs)), np.zeros(len(inputs))
    # How outputs respond to each entry of K: (point, point2, sample).
    response = np.zeros((len(inputs), *kernel.shape))
    pulled = np.zeros_like(response)
    own = np.arange(len(inputs))
    recorded: list[dict[str, dict[str, np.ndarray]]] = []
    for step in range(steps + 1):
        loss, error, slope = _error(task, output[:samples])
        if not np.isfinite(loss) or (recorded and loss > DIVERGED * (float(recorded[0]["limit"]["loss"]) + samples)):
            warnings.warn(
                f"Outputs grow without bound: they diverged at step {step} (time {step * size:g}); the steps before "
                "that are kept. A smaller step size helps unless the rule itself diverges.",
                DivergenceWarning,
                stacklevel=2,
            )
            break
        scatter = _scatter(response, covariance)
        recorded.append(
            {
                "limit": _named(output, samples, error, np.array(loss), kernel),
                "variance": _named(
                    np.diagonal(scatter),
                    samples,
                    slope**2 * np.diagonal(scatter)[:samples],
                    error @ scatter[:samples, :samples] @ error,  # dℓ/df = −Δ
                    np.einsum("abab->ab", covariance),
                ),
            }
        )
        learned = np.einsum("ab,b,bcd->acd", kernel, slope, response[:samples])
        learned[own, own] += error
        velocity = momentum * velocity + size * kernel @ error
        pulled = momentum * pulled + size * learned
        output, response = output + velocity, response + pulled
    return by_measure(recorded, _SOLVER, net, task, rule, optimizer)


def _error(task: Task, output: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """The loss, Δ and dΔ/df at outputs (sample,)."""
    with at_precision("float64"):
        f, y = jnp.asarray(output)[:, None], jnp.asarray(task.y)
        error, slope = jax.jvp(lambda f: task.loss.error(f, y), (f,), (jnp.ones_like(f),))
        loss = float(jnp.sum(task.loss.value(f, y)))
    return loss, np.asarray(error)[:, 0], np.asarray(slope)[:, 0]


def _scatter(response: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """The covariance of the outputs (point, point2) of a response to kernels that have this covariance."""
    flat = response.reshape(len(response), -1)
    size = flat.shape[1]
    return flat @ covariance.reshape(size, size) @ flat.T


def _named(
    output: np.ndarray, samples: int, error: np.ndarray, loss: np.ndarray, kernel: np.ndarray
) -> dict[str, np.ndarray]:
    return {
        "output": output[:samples, None],
        "test_output": output[samples:, None],
        "error": error[:, None],
        "loss": loss,
        "ntk": kernel[:samples, :, None, None],
    }


def _check_memory(samples: int, points: int, steps: int) -> None:
    covariance, response = (points * samples) ** 2, points**2 * samples
    kept = 2 * 4 * (steps + 1) * samples**2
    require_memory(
        8.0 * (covariance + 4 * response + kept),
        parts={"the covariance of K": 8.0 * covariance, "what is recorded": 8.0 * kept},
        remedy="They grow as the fourth power of the number of samples: pass fewer samples or test points.",
        what=f"The fluctuations of {samples} samples and {points - samples} test points through {steps} steps need",
    )
