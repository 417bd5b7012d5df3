"""What a nonlinearity is: ϕ and ϕ', applied element by element, optionally through a frozen gate."""

from __future__ import annotations

import abc

import equinox as eqx
from jaxtyping import Array, Float


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

    def respond(
        self, h: Float[Array, "*shape"], gate: Float[Array, "*shape"] | None
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """The pair (ϕ(h), ϕ'(h)), or (φ̇ h, φ̇) in a gated network."""
        if gate is None:
            return self.value(h), self.derivative(h)
        return gate * h, gate
