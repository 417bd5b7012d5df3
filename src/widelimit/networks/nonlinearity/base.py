"""What a nonlinearity is: ϕ and ϕ', applied element by element, optionally through a frozen gate."""

from __future__ import annotations

import abc
import functools

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float

from ...checks import ArgumentError
from . import quadrature


class Nonlinearity(eqx.Module):
    """An activation function, as ϕ and its derivative.

    A subclass gives `value` and `derivative`; nothing else is needed for it to run at every width under every rule.
    """

    @abc.abstractmethod
    def value(self, h: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """ϕ(h), element by element."""

    @abc.abstractmethod
    def derivative(self, h: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """ϕ'(h), element by element."""

    @property
    def gated(self) -> bool:
        """Whether each neuron has a frozen gating field m = M x/√D of its own."""
        return False

    @property
    def linear(self) -> bool:
        """Whether ϕ is the identity up to a factor, so that every field stays Gaussian."""
        return False

    def gate(self, m: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """φ̇(m) from the gating field; only for gated nonlinearities."""
        raise NotImplementedError(f"{type(self).__name__} has no gate")

    def check(self) -> None:
        """Raise unless ϕ and ϕ' can be computed, element by element and finite, on both sides of zero."""
        h = np.linspace(-2.87, 3.13, 12, dtype=np.float32)  # not at places where somebody's function has a kink
        try:
            *found, slope = _answer(self, jax.device_put(h))
        except (TypeError, ValueError, jax.errors.JAXTypeError) as error:
            reason = str(error).splitlines()[0]
            raise ArgumentError(
                f"nonlinearity: {type(self).__name__} cannot be computed by jax; write it with jax.numpy ({reason})."
            ) from None
        for name, values in zip(("value", "derivative"), found, strict=True):
            if np.shape(values) != h.shape or not np.all(np.isfinite(values)):
                raise ArgumentError(
                    f"nonlinearity: {type(self).__name__}.{name} must give one finite number for each h; between "
                    f"h = -3 and 3 it gave {np.asarray(values)}."
                )
        off = np.abs(slope - found[1]) > 0.01 * np.max(np.abs(slope), initial=1e-3)
        if np.sum(off) > 2:  # a kink may lie between two of the points
            first = int(np.argmax(off))
            raise ArgumentError(
                f"nonlinearity: {type(self).__name__}.derivative is not the derivative of its value: at h = "
                f"{h[first]:.3g} the value rises by {slope[first]:.4g} a unit, and derivative gives "
                f"{found[1][first]:.4g}."
            )

    def dual(
        self, variance: np.ndarray, variance2: np.ndarray, covariance: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The dual activations ⟨ϕ(u)ϕ(v)⟩ and ⟨ϕ'(u)ϕ'(v)⟩ of jointly Gaussian u, v with zero means.

        (Daniely et al. 2016.) Here by quadrature; nonlinearities with a closed form have it in their own file.

        **Arguments:** `variance` ⟨u²⟩ (row,), `variance2` ⟨v²⟩ (column,), `covariance` ⟨uv⟩ (row, column), in NumPy and
        float64.

        **Returns:** two arrays (row, column).
        """
        return quadrature.dual(self, variance, variance2, covariance)

    def respond(
        self, h: Float[Array, "*shape"], gate: Float[Array, "*shape"] | None
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """The pair (ϕ(h), ϕ'(h)), or (φ̇ h, φ̇) in a gated network."""
        if gate is None:
            return self.value(h), self.derivative(h)
        return gate * h, gate


@eqx.filter_jit
def _answer(nonlinearity: Nonlinearity, h: Array) -> tuple[Array, Array, Array]:
    """ϕ, ϕ' and the slope of ϕ by differences, for a gate that is held."""
    respond = functools.partial(nonlinearity.respond, gate=nonlinearity.gate(h) if nonlinearity.gated else None)
    step = 2.0**-7
    return *respond(h), (respond(h + step)[0] - respond(h - step)[0]) / (2 * step)
