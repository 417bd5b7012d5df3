"""Outputs and errors through time: the part of Algorithm 1 that integrates Δ with the tangent kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import numpy as np

from ...faults import DIVERGED
from ...problem import Loss, Task
from ..feedback import FeedbackKind, FeedbackLaw
from .fields import Overflow, overlap
from .orders import OrderParameters

if TYPE_CHECKING:
    from .layer import Layer
    from .replicate import Replicate


class ErrorSignal:
    """Δ of the outputs, and the coefficients E of what the hidden layers' updates carry."""

    def __init__(self, task: Task, feedback: FeedbackLaw):
        self.feedback = feedback
        self.target = task.y
        self._loss = task.loss
        self._most = DIVERGED * (float(self.loss(np.zeros_like(task.y))) + task.samples)

    def signal(self, output: np.ndarray) -> np.ndarray:
        """Δ (…, sample, output_unit)."""
        return np.asarray(_error(self._loss, output, self.target))

    def loss(self, output: np.ndarray) -> np.ndarray:
        """The loss (…), summed over samples."""
        return np.asarray(_value(self._loss, output, self.target)).sum(axis=-1)

    def bounded(self, output: np.ndarray) -> bool:
        """Whether the loss at outputs (sample, output_unit) is within the bounds of a run that has not diverged."""
        loss = self.loss(output)
        return bool(np.isfinite(loss) and loss <= self._most)

    def carried(self, error: np.ndarray) -> np.ndarray:
        """E (…, sample, output of p): Δ, or for Hebb Σ_c Δ_c^p, one for all outputs."""
        if self.feedback.kind is not FeedbackKind.LOCAL:
            return error
        return np.sum(error**self.feedback.error_power, axis=-1, keepdims=True)


@jax.jit
def _error(loss: Loss, output: jax.Array, target: jax.Array) -> jax.Array:
    return loss.error(output, target)


@jax.jit
def _value(loss: Loss, output: jax.Array, target: jax.Array) -> jax.Array:
    return loss.value(output, target)


def tangent(replicate: Replicate, orders: OrderParameters) -> tuple[np.ndarray, np.ndarray]:
    """How f_k follows changes of Δ_j and E_j at j < k while the kernels stay: two matrices over (step, sample, output).

    learned_kj Φ^L_kj for the readout, and learned_kj Σ_{ℓ<L} ⟨g^{ℓ+1} p^{ℓ+1}⟩_kj Φ^ℓ_kj for the hidden layers:
    together the two-time tangent kernel.
    """
    steps, inputs, outputs, carried = orders.steps, replicate.inputs, replicate.outputs, replicate.carried_outputs
    learned = replicate.memory.learned[:steps, :steps]
    below = [np.tile(replicate.input_kernel, (steps, steps)), *orders.feature]
    weight = np.repeat(np.repeat(learned, inputs, axis=0), inputs, axis=1)
    readout = np.kron(weight * below[-1], np.eye(outputs)) if outputs > 1 else weight * below[-1]
    hidden = np.zeros((steps * inputs, outputs, steps * inputs, carried))
    for mixed, kernel in zip(orders.mixed, below, strict=False):
        hidden += mixed.reshape(hidden.shape) * (weight * kernel)[:, None, :, None]
    return readout, hidden.reshape(steps * inputs * outputs, -1)


def readout(replicate: Replicate, layer: Layer, orders: OrderParameters) -> np.ndarray:
    """f = ⟨z^L ϕ⟩/γ0 of the top layer with the errors of this sweep, then moved to where outputs and errors agree.

    ⟨w ϕ(u)⟩ = 0 is taken off, so that f is resolved however small γ0 is.
    """
    steps, inputs = orders.steps, replicate.inputs
    kernel = orders.feature[-1].reshape(steps, inputs, steps, inputs)
    error = replicate.error.signal(orders.output)
    output = np.einsum("kj,kpjn,jnc->kpc", replicate.memory.learned[:steps, :steps], kernel, error, optimize=True)
    if layer.back.felt is not None and layer.untouched is not None:  # else ⟨w ϕ⟩ = 0 altogether
        moved = layer.fields.phi - layer.untouched.phi
        initial = overlap(moved, layer.back.felt[: replicate.outputs]).reshape(output.shape)
        output = output + replicate.memory.initial[:steps, None, None] * initial / replicate.richness
    return follow(replicate.error, tangent(replicate, orders), output, orders.output)


def follow(
    error: ErrorSignal, tangent: tuple[np.ndarray, np.ndarray], computed: np.ndarray, output: np.ndarray
) -> np.ndarray:
    """Outputs f* that agree with their own errors, where `computed` was computed with the errors of `output`.

    f*_k = computed_k + Σ_{j<k} 𝒦_kj [Δ(f*_j) − Δ(output_j)], solved forward in time. Substituting the errors back
    without this step is Picard's iteration of a Volterra equation, whose transients grow like e^{ηKT}. The fixed point
    is the same. Raises [`Overflow`] where the loss leaves all bounds.
    """
    readout, hidden = tangent
    steps, per_step = len(output), output[0].size
    old = error.signal(output)
    old_carried = error.carried(old)
    change = np.zeros((steps, per_step))
    carried_change = np.zeros((steps, old_carried[0].size))
    new = np.empty_like(output)
    for step in range(steps):
        rows = slice(step * per_step, (step + 1) * per_step)
        moved = readout[rows, : step * per_step] @ change[:step].ravel()
        moved = moved + hidden[rows, : step * carried_change.shape[1]] @ carried_change[:step].ravel()
        new[step] = computed[step] + moved.reshape(computed[step].shape)
        now = error.signal(new[step])
        if not error.bounded(new[step]):
            raise Overflow(step)
        change[step] = (now - old[step]).ravel()
        carried_change[step] = (error.carried(now) - old_carried[step]).ravel()
    return new


def extrapolate(
    error: ErrorSignal, tangent: tuple[np.ndarray, np.ndarray], output: np.ndarray, known: int
) -> np.ndarray:
    """Outputs after the first `known` steps, as the given kernels continue them.

    f_k = f_last + Σ_{j<k} 𝒦_kj Δ_j − Σ_{j<last} 𝒦_last,j Δ_j.
    """
    readout, hidden = tangent
    steps, per_step = len(output), output[0].size
    new = output.copy()
    errors = np.zeros((steps, per_step))
    carried = np.zeros((steps, hidden.shape[1] // steps))
    base = np.zeros(per_step)
    for step in range(steps):
        rows = slice(step * per_step, (step + 1) * per_step)
        driven = readout[rows, : step * per_step] @ errors[:step].ravel()
        driven = driven + hidden[rows, : carried[:step].size] @ carried[:step].ravel()
        if step < known:
            base = new[step].ravel() - driven
        else:
            new[step] = (base + driven).reshape(new[step].shape)
        if not error.bounded(new[step]):
            new[step:] = new[step - 1]  # a guess that runs away: held, for the sweeps to judge
            break
        now = error.signal(new[step])
        errors[step], carried[step] = now.ravel(), error.carried(now).ravel()
    return new
