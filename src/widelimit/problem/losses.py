"""Losses: ℓ(f, y) of a sample, and the error signal Δ = −∂ℓ/∂f."""

from __future__ import annotations

import abc
from typing import ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..checks import ArgumentError


class Loss(eqx.Module):
    """A loss per sample, ℓ(f_μ, y_μ). The training loss is the **sum** over samples 𝓛 = Σ_μ ℓ(f_μ, y_μ)."""

    curvature: eqx.AbstractClassVar[float]
    """Largest second derivative ∂²ℓ/∂f² of the loss: with K, it bounds the stable step size."""

    @abc.abstractmethod
    def value(
        self, output: Float[Array, "sample output_unit"], target: Float[Array, "sample output_unit"]
    ) -> Float[Array, " sample"]:
        """ℓ(f_μ, y_μ) of each sample."""

    @abc.abstractmethod
    def error(
        self, output: Float[Array, "sample output_unit"], target: Float[Array, "sample output_unit"]
    ) -> Float[Array, "sample output_unit"]:
        """The error signal Δ_μ = −∂ℓ/∂f_μ."""

    @abc.abstractmethod
    def check(self, name: str, target: np.ndarray, scalar: bool) -> None:
        """Raise unless `target` (sample, output_unit) is one that this loss is defined for."""


@final
class SquaredError(Loss):
    """ℓ = ½ Σ_c (f_c − y_c)², so Δ = y − f. Targets: any real numbers."""

    curvature: ClassVar[float] = 1.0

    def value(self, output, target):
        return 0.5 * jnp.sum((output - target) ** 2, axis=-1)

    def error(self, output, target):
        return target - output

    def check(self, name, target, scalar):
        pass


@final
class Logistic(Loss):
    """ℓ = Σ_c log(1 + e^{−y_c f_c}), so Δ = y/(1 + e^{y f}). Targets: −1 or +1."""

    curvature: ClassVar[float] = 0.25

    def value(self, output, target):
        return jnp.sum(jax.nn.softplus(-target * output), axis=-1)

    def error(self, output, target):
        return target * jax.nn.sigmoid(-target * output)

    def check(self, name, target, scalar):
        if not np.all(np.abs(target) == 1):
            raise ArgumentError(
                f"{name} must be −1 or +1 for the Logistic loss; got values such as "
                f"{target[np.abs(target) != 1].flat[0]:g}. For 0/1 labels pass 2*y − 1."
            )


@final
class SoftmaxCrossEntropy(Loss):
    """ℓ = −Σ_c y_c log softmax(f)_c, so Δ = y − softmax(f). Targets: one-hot rows, or probabilities that sum to 1."""

    curvature: ClassVar[float] = 0.5

    def value(self, output, target):
        return -jnp.sum(target * jax.nn.log_softmax(output, axis=-1), axis=-1)

    def error(self, output, target):
        return target - jax.nn.softmax(output, axis=-1)

    def check(self, name, target, scalar):
        if scalar or target.shape[1] < 2:
            raise ArgumentError(
                f"{name} must have shape (P, C) with C ≥ 2 for SoftmaxCrossEntropy, one-hot rows; "
                "turn integer labels into rows with numpy.eye(C)[labels], or use Logistic for two classes."
            )
        if np.any(target < 0) or not np.allclose(target.sum(axis=1), 1.0):
            raise ArgumentError(f"{name} must hold probabilities that sum to 1 in each row for SoftmaxCrossEntropy.")
