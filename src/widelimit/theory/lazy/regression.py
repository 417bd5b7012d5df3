"""The lazy limit γ0 → 0: static kernels, and training as kernel regression with the rule's own eNTK."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import xarray as xr
from tqdm.auto import tqdm

from ... import checks
from ...checks import ArgumentError
from ...networks import MLP, Architecture
from ...optimizers import SGD
from ...problem import SquaredError, Task
from ...progress import progress_bar
from ...results import VARIABLES
from ...rules import Rule
from ..feedback import FeedbackKind, FeedbackLaw, feedback_of, hebbian_share
from ..labels import labelled, losses
from ..momentum import with_step_size
from ..networks import fully_connected
from .connections import Matrices
from .costs import Costs
from .dynamics import LazySolution, Schedule, general, squared
from .kernels import KERNELS, TaskKernels, layers_between, variances_of


def lazy(
    net: Architecture,
    task: Task,
    rule: Rule | None = None,
    *,
    times: float | Sequence[float] | np.ndarray | None = None,
    optimizer: SGD | None = None,
    steps: int | Sequence[int] | np.ndarray | None = None,
    kernels: Sequence[str] | None = None,
    time_limit: float = 4 * 3600.0,
    progress: bool | None = None,
) -> xr.Dataset:
    """The infinitely wide network in the lazy limit γ0 → 0 (paper, Table 2 and App. D).

    Kernels keep their initial values, Φ^ℓ = ⟨ϕ(u)ϕ(u)⟩ and G^ℓ = G^{ℓ+1} ⊙ ⟨ϕ'(u)ϕ'(u)⟩ with u ~ N(0, Φ^{ℓ−1}), and

        K = Σ_{ℓ=0..L} ρ^{L−ℓ} G^{ℓ+1} ⊙ Φ^ℓ,   df/dt = K Δ,   f(0) = 0,

    with ρ = 1 for gradient descent, the feedback correlation for ρ-FA, and 0 for DFA and Hebbian learning, which leaves
    K = Φ^L. On a gated network ⟨φ̇(m)φ̇(m)⟩ stands for ⟨ϕ'ϕ'⟩ and Φ^ℓ = ⟨φ̇φ̇⟩ ⊙ Φ^{ℓ−1}. Outputs are f = K α and, at
    test points, K_* α, where dα/dt = Δ. With C outputs each has the same K and nothing passes between them.

    In a convolutional network kernels are those of positions too: u has the covariance σ² Σ_b Φ^{ℓ−1}_{a+b,a'+b}, what
    passes down is σ² Σ_b G^{ℓ+1}_{a−b,a'−b}, and K sums over positions; kernels in the result are averages over them,
    as `train` records them. With residual connections covariances add up, and G^ℓ = G^{ℓ+1} ⊙ (1 + β² ⟨ϕ'ϕ'⟩), with ρβ²
    for ρ-FA.

    For [`SquaredError`] everything is exact: f = K_* K^{-1} (1 − e^{−Kt}) y by one eigendecomposition of K (P × P), or
    (1 − ηK)^k for e^{−Kt}. For other losses steps are taken one by one, and gradient flow is integrated in time to a
    relative tolerance of 1e-9.

    **Arguments:**

    - `net`, `task`, `rule`: as for `train`; the rule is gradient descent unless given. The richness plays no role: it
      is taken to zero.
    - `times`: gradient flow at these times t ≥ 0, ascending, `math.inf` allowed; **or**
    - `optimizer` and `steps`: steps 0..`steps`, or those listed, as `train` takes them at small richness. [`SGD`] has a
      step size that is a number here, and neither momentum nor weight decay.
    - `kernels`: which kernels the result holds, of feature_kernel, gradient_kernel, pseudo_gradient_kernel, ntk_term,
      ntk and test_ntk; by default all. Each takes P² numbers, those with layers as many for each layer; for large
      tasks choose some, or none by `kernels=()`.
    - `time_limit`: seconds. A run that is estimated to take longer is refused; `math.inf` lets it run. The time grows
      as (P × positions)².
    - `progress`: show a progress bar; by default on a terminal only.

    **Returns:** the labelled result, without replicates. What does not change in time has no `step` dimension, and
    kernels have none over outputs: each output has them, and between two outputs there is nothing, which [`compare`]
    and the observables know. `regression_coefficient` is α. For squared loss the configuration counts the modes of K
    that are null, up to rounding, as `null_modes`.

    **Raises:** `ArgumentError` before any work if an argument cannot serve, and at t = ∞ where there is no limit: for a
    loss without a minimum, or if K has negative eigenvalues (ρ < 0). Warns with `SingularKernelWarning` if K is
    singular and t = ∞, with `DivergenceWarning` if the step size is too large, and with `LongRunWarning` if the run
    takes minutes.
    """
    checks.instance("net", net, Architecture, "widelimit.MLP(hidden_layers=3, nonlinearity=widelimit.Tanh())")
    checks.instance("task", task, Task, "widelimit.Task(x, y)")
    feedback = feedback_of(rule, "theory.lazy")
    schedule = _schedule(times, optimizer, steps)
    exact = isinstance(task.loss, SquaredError)
    if not exact and math.isinf(schedule.times[-1]):
        raise ArgumentError(
            "times: t = ∞ is covered for SquaredError, whose minimum is reached; got the loss "
            f"{type(task.loss).__name__}, under which outputs can grow for ever. Give finite times."
        )
    names = _chosen(kernels, len(task.x_test) > 0)
    Costs(net, task, schedule, names, exact).check(time_limit)
    began = time.perf_counter()
    computed = TaskKernels(net, task, feedback.correlation, names)
    with _bar(computed.pairs, "kernels", " pairs", progress) as bar:
        computed.compute(bar)
    if exact:
        with _bar(1, "eigenmodes", "", progress) as bar:
            if task.samples > 1500:  # seconds without a step to show
                bar.refresh()
            solution = squared(computed.tangent, computed.test_tangent, task.y, schedule)
            bar.update(1)
    else:
        what = " times" if schedule.steps is None else " steps"
        solution = general(
            computed.tangent,
            computed.test_tangent,
            task,
            schedule,
            lambda total: _bar(total, "outputs", what, progress),
        )
    variables = {
        "output": solution.output,
        "regression_coefficient": solution.coefficients,
        "pseudo_gradient_norm": _pseudo_gradient_norm(feedback, computed, solution, task),
        **computed.kept,
    }
    if len(task.x_test):
        variables["test_output"] = solution.test_output
    settings = {
        "step_size": None if schedule.steps is None else schedule.step_size,
        "steps": None if schedule.steps is None else int(schedule.steps[-1]),
        "null_modes": solution.null_modes,
        "seconds": time.perf_counter() - began,
    }
    return labelled(
        variables,
        solver="theory.lazy",
        net=net,
        task=task,
        rule=rule,
        times=schedule.times,
        steps=schedule.steps,
        settings={name: value for name, value in settings.items() if value is not None},
    )


def kernel_of_angle(net: MLP, rule: Rule | None, theta: float | Sequence[float] | np.ndarray) -> xr.DataArray:
    """The lazy eNTK K(θ) between inputs with |x|² = D at the angle θ (paper, Fig. 2a–c).

    **Arguments:** `net`, whose richness plays no role; `rule`, gradient descent if None; `theta`, angles in [0, π].

    **Returns:** K with the dimension `angle`, whose coordinate is θ in radians.

    **Raises:** `ArgumentError` for angles outside [0, π] and rules that the theory does not cover.
    """
    if not isinstance(net, MLP):
        fully_connected(net, "theory.kernel_of_angle")
    feedback = feedback_of(rule, "theory.kernel_of_angle")
    angles = np.atleast_1d(checks.finite_array("theta", theta))
    if angles.ndim != 1 or np.any((angles < 0) | (angles > np.pi)):
        raise ArgumentError("theta must be an angle or a list of angles in radians, between 0 and π.")
    connections = Matrices(net)
    first, others = (variances_of(net, connections, np.ones(count)) for count in (1, len(angles)))
    kernel = layers_between(net, connections, first, others, np.cos(angles)[None]).tangent(feedback.correlation)
    return xr.DataArray(
        kernel[0],
        dims="angle",
        coords={"angle": ("angle", angles, {"long_name": "angle between inputs", "units": "rad"})},
        name="ntk",
        attrs={"long_name": "lazy eNTK between inputs with |x|² = D", "units": "1/time"},
    )


def _schedule(times, optimizer, steps) -> Schedule:
    """The times at which outputs are wanted, from the arguments."""
    if (times is None) == (optimizer is None and steps is None):
        raise ArgumentError(
            "times: give either times (gradient flow), or optimizer and steps (training in steps); got "
            + ("neither." if times is None else "both.")
        )
    if times is not None:
        return Schedule(_ascending("times", times))
    if optimizer is None or steps is None:
        raise ArgumentError(f"{'optimizer' if optimizer is None else 'steps'} must be given too, or times alone.")
    optimizer = with_step_size(optimizer, "theory.lazy")
    if optimizer.momentum or optimizer.weight_decay:
        raise ArgumentError(
            f"optimizer: theory.lazy takes plain steps; got momentum {float(optimizer.momentum):g} and weight decay "
            f"{float(optimizer.weight_decay):g}. train(..., width=math.inf) at a small richness takes both."
        )
    step_size = float(optimizer.step_size)
    if np.ndim(steps) == 0:
        checks.integer("steps", steps, at_least=0, at_most=10**7)
        numbers = np.arange(int(steps) + 1)  # type: ignore[arg-type]
    else:
        listed = _ascending("steps", steps)
        if not np.array_equal(listed, np.floor(listed)) or np.isinf(listed).any():
            raise ArgumentError("steps must be a whole number, or a list of whole numbers.")
        numbers = listed.astype(int)
    return Schedule(numbers * step_size, numbers, step_size)


def _ascending(name: str, values) -> np.ndarray:
    """Numbers from 0 on, each larger than the one before."""
    try:
        numbers = np.atleast_1d(np.asarray(values, dtype=np.float64))
    except (TypeError, ValueError):
        raise ArgumentError(f"{name} must be numbers; got {values!r}.") from None
    if numbers.ndim != 1 or not numbers.size or not numbers[0] >= 0 or not np.all(numbers[1:] > numbers[:-1]):
        raise ArgumentError(
            f"{name} must be one number or an ascending list of numbers, none negative; got {values!r}."
        )
    return numbers


def _chosen(kernels: Sequence[str] | None, tests: bool) -> tuple[str, ...]:
    """The names of the kernels that the result holds."""
    if isinstance(kernels, str) or not (kernels is None or isinstance(kernels, Sequence)):
        raise ArgumentError(f"kernels must be a list of names, for example kernels=('ntk',); got {kernels!r}.")
    names = KERNELS if kernels is None else tuple(dict.fromkeys(kernels))
    for name in names:
        checks.known("kernels", name, KERNELS, VARIABLES)
    return names if tests else tuple(name for name in names if name != "test_ntk")


def _pseudo_gradient_norm(
    feedback: FeedbackLaw, kernels: TaskKernels, solution: LazySolution, task: Task
) -> np.ndarray:
    """⟨g̃g̃⟩ of each sample, (layer, sample); of Hebbian learning (step, layer, sample, output_unit)."""
    own, mean = kernels.own, kernels.connections.mean
    if feedback.kind is FeedbackKind.LOCAL:
        weight = hebbian_share(losses(task, {"output": solution.output})["error"], feedback.error_power)
        return weight[:, None] ** 2 * np.stack(list(map(mean, own.features[1:])))[:, :, None]
    top = kernels.connections.top(own.features[0])
    direct = feedback.kind is FeedbackKind.DIRECT
    return np.stack([mean(g) for g in ([slope * top for slope in own.slopes] if direct else own.gradients[:-1])])


def _bar(total: float, what: str, unit: str, progress: bool | None) -> tqdm:
    return progress_bar(progress, total=total, desc=f"theory.lazy, {what}", unit=unit, unit_scale=True)
