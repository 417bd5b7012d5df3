"""Outputs under a kernel that does not change, f = K α with dα/dt = Δ(f): kernel regression in time."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import scipy.integrate
import scipy.linalg
from tqdm.auto import tqdm

from ...checks import ArgumentError
from ...faults import DivergenceWarning
from ...precision import at_precision
from ...problem import Task

_RELATIVE, _ABSOLUTE = 1e-9, 1e-12  # tolerances of the integration in time


class SingularKernelWarning(UserWarning):
    """A kernel has modes that are never learned, and the targets have a part in them."""


@dataclass(frozen=True)
class Schedule:
    """When outputs are wanted: at `times` of gradient flow, or at `steps` of the given size."""

    times: np.ndarray
    steps: np.ndarray | None = None
    step_size: float = 0.0


@dataclass(frozen=True)
class LazySolution:
    """α and what it gives at the test points: (step, sample, output_unit) and (step, test sample, output_unit)."""

    output: np.ndarray
    test_output: np.ndarray
    coefficients: np.ndarray
    null_modes: int | None = None


# --- squared loss, in the eigenmodes of K


def squared(kernel: np.ndarray, test_kernel: np.ndarray, target: np.ndarray, schedule: Schedule) -> LazySolution:
    """The exact solution, f = Σ_i u_i [1 − e^{−λ_i t}] u_i·y, by one eigendecomposition; `kernel` is overwritten.

    Steps replace e^{−λt} by (1 − ηλ)^k. Modes with λ = 0, but for rounding, are never learned: their α grows as t
    without any effect, and at t = ∞ is left out, as in the pseudo-inverse.

    **Raises:** `ArgumentError` at t = ∞ if K has a negative eigenvalue.
    """
    values, modes = scipy.linalg.eigh(kernel.T, driver="evd", overwrite_a=True, check_finite=False)
    size = max(abs(values[0]), abs(values[-1]))
    null = np.abs(values) <= max(len(values), 100) * np.finfo(float).eps * size
    values = np.where(null, 0, values)
    _check_end(schedule, values)
    target_modes = modes.T @ target
    with np.errstate(over="ignore", invalid="ignore"):
        growth = np.stack([_growth(values, schedule, index) for index in range(len(schedule.times))])
        learned = np.where(null, 0, growth * values)
        output = _in_samples(modes, learned, target_modes)
        coefficients = _in_samples(modes, growth, target_modes)
        acting = _in_samples(modes, np.where(null, 0, growth), target_modes) if null.any() else coefficients
        test_output = _through(test_kernel, acting)
    _warn_of_null_modes(null, target_modes, schedule)
    _warn_of_divergence(values, schedule, output)
    return LazySolution(output, test_output, coefficients, int(np.sum(null)))


def _growth(values: np.ndarray, schedule: Schedule, index: int) -> np.ndarray:
    """φ(λ) = (1 − e^{−λt})/λ, or with steps (1 − (1 − ηλ)^k)/λ; at λ = 0 it is t, and at t = ∞ nothing."""
    time = schedule.times[index]
    null = values == 0
    divisor = np.where(null, 1, values)
    if math.isinf(time):
        return np.where(null, 0, 1 / divisor)
    if schedule.steps is None:
        left = -np.expm1(-values * time)
    else:
        step, rate = int(schedule.steps[index]), 1 - schedule.step_size * values
        slow = rate > 0.5
        small = np.log1p(np.where(slow, -schedule.step_size * values, 0))
        left = np.where(slow, -np.expm1(step * small), 1 - rate**step)
    return np.where(null, time, left / divisor)


def _in_samples(modes: np.ndarray, factors: np.ndarray, target_modes: np.ndarray) -> np.ndarray:
    """Σ_i u_i factor_i(t) (u_i·y), (step, row, output_unit), from factors (step, mode)."""
    return _through(modes, factors[:, :, None] * target_modes)


def _through(matrix: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """The product with vectors (step, column, output_unit) at all steps at once: (step, row, output_unit)."""
    steps, count, outputs = vectors.shape
    flat = matrix @ vectors.transpose(1, 0, 2).reshape(count, -1)
    return flat.reshape(len(matrix), steps, outputs).transpose(1, 0, 2)


def _check_end(schedule: Schedule, values: np.ndarray) -> None:
    if np.any(np.isinf(schedule.times)) and values[0] < 0:
        raise ArgumentError(
            f"times: K has negative eigenvalues (from {values[0]:.3g} to {values[-1]:.3g}), as feedback alignment with "
            "a negative correlation can have; outputs then grow without bound and t = ∞ has no limit. Give finite "
            "times."
        )


def _warn_of_null_modes(null: np.ndarray, target_modes: np.ndarray, schedule: Schedule) -> None:
    missed = np.linalg.norm(target_modes[null])
    if np.any(np.isinf(schedule.times)) and missed > 1e-10 * np.linalg.norm(target_modes):
        warnings.warn(
            f"K is singular to rounding: {np.sum(null)} of its {len(null)} modes are never learned, with "
            f"{missed**2 / np.sum(target_modes**2):.1%} of |y|². At t = ∞ its pseudo-inverse is used.",
            SingularKernelWarning,
            stacklevel=4,
        )


def _warn_of_divergence(values: np.ndarray, schedule: Schedule, output: np.ndarray) -> None:
    largest = values[-1]
    if schedule.steps is not None and schedule.step_size * largest > 2 and schedule.steps[-1] > 0:
        warnings.warn(
            f"Outputs grow without bound with steps of size {schedule.step_size:g}: steps are stable up to 2/λ = "
            f"{2 / largest:.3g}, with λ = {largest:.3g} the largest eigenvalue of K.",
            DivergenceWarning,
            stacklevel=4,
        )
    elif not np.all(np.isfinite(output)):
        warnings.warn(
            f"Outputs left the range of numbers: K has a negative eigenvalue, {values[0]:.3g}.",
            DivergenceWarning,
            stacklevel=4,
        )


# --- any other loss, step by step or by integration in time


def general(
    kernel: np.ndarray, test_kernel: np.ndarray, task: Task, schedule: Schedule, show: Callable[[float], tqdm]
) -> LazySolution:
    """α by steps, exactly, or by an explicit Runge–Kutta method of order 8 with relative tolerance 1e-9.

    `show(total)` opens a progress bar.
    """
    with at_precision("float64"):
        error_of = jax.jit(task.loss.error)
        target = jnp.asarray(task.y)

        def error(coefficients: np.ndarray) -> np.ndarray:
            return np.asarray(error_of(jnp.asarray(kernel @ coefficients), target))

        solve = _flow if schedule.steps is None else _steps
        with np.errstate(over="ignore", invalid="ignore"):
            coefficients = solve(error, task.y.shape, schedule, show)
            output, test_output = _through(kernel, coefficients), _through(test_kernel, coefficients)
    if not np.all(np.isfinite(output)):
        warnings.warn(
            "Outputs left the range of numbers; a smaller step size or shorter times help.",
            DivergenceWarning,
            stacklevel=3,
        )
    return LazySolution(output, test_output, coefficients)


def _steps(
    error: Callable[[np.ndarray], np.ndarray], shape: tuple[int, ...], schedule: Schedule, show: Callable[[float], tqdm]
) -> np.ndarray:
    """α_{k+1} = α_k + η Δ(K α_k) at the wanted steps."""
    assert schedule.steps is not None
    at_steps = np.empty((len(schedule.steps), *shape))
    coefficients, step = np.zeros(shape), 0
    with show(float(schedule.steps[-1])) as bar:
        for index, wanted in enumerate(schedule.steps):
            while step < wanted:
                coefficients = coefficients + schedule.step_size * error(coefficients)
                step += 1
                bar.update(1)
            at_steps[index] = coefficients
    return at_steps


def _flow(
    error: Callable[[np.ndarray], np.ndarray], shape: tuple[int, ...], schedule: Schedule, show: Callable[[float], tqdm]
) -> np.ndarray:
    """dα/dt = Δ(K α) at the wanted times."""
    end = float(schedule.times[-1])
    with show(end) as bar:

        def slope(time: float, flat: np.ndarray) -> np.ndarray:
            bar.update(max(time - bar.n, 0))
            return error(flat.reshape(shape)).ravel()

        if end == 0:
            return np.zeros((len(schedule.times), *shape))
        solved = scipy.integrate.solve_ivp(
            slope,
            (0.0, end),
            np.zeros(math.prod(shape)),
            method="DOP853",
            t_eval=schedule.times,
            rtol=_RELATIVE,
            atol=_ABSOLUTE,
        )
    if not solved.success:
        raise RuntimeError(f"The integration in time stopped at t = {solved.t[-1]:g}: {solved.message}")
    return solved.y.T.reshape(-1, *shape)
