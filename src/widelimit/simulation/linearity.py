"""Whether a rule answers the error as it says: asked of the rule itself, before a run."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..checks import ArgumentError
from ..rules import OutputSignal, Rule, View, as_pathways, backward_pass
from .state import Program, Settings
from .usage import of_few_neurons

_NEURONS = 8
_APART = 1e-3
"""Relative differences above it are no rounding, in single precision either."""


def check_linear(program: Program, settings: Settings, rule: Rule) -> None:
    """Raise where a user's rule is taken to be linear in the error, and is not.

    Its backward pass through a small network has to be −2 times as large for coefficients that are: it would otherwise
    train as another rule, and its K would be wrong. On the error itself g̃ may depend, as that of [`Hebbian`] does.
    """
    if not program.linear_in_error or type(rule).__module__.startswith(Rule.__module__.rpartition(".")[0]):
        return
    initialization = of_few_neurons(program, settings, _NEURONS, (0, 0))
    network = initialization.network()
    network, feedback = initialization.measurements(network, initialization.feedback(rule))
    activity, network = network.forward(settings.net, settings.inputs.train)
    complete = eqx.combine(settings.rule_numbers, program.rule)

    def answer(coefficients: Array) -> Float[Array, " number"]:
        layers, matrices = as_pathways((network.layers, feedback))
        start = OutputSignal(coefficients)
        view = View(layers, matrices, activity.fields, error, settings.y, start, settings.net.skips)
        return jnp.concatenate([signal.ravel() for signal in backward_pass(complete, view)])

    random = np.random.default_rng(0)
    error, coefficients = (jnp.asarray(random.normal(size=settings.y.shape), settings.y.dtype) for _ in range(2))
    usual, scaled = answer(coefficients), answer(-2 * coefficients)
    if program.outputs == 1 and _apart(scaled, usual) < _APART:  # it gives g̃, which the update multiplies by Δ
        return
    share = _apart(scaled, -2 * usual)
    if share > _APART:
        raise ArgumentError(
            f"rule: {type(rule).__name__} is not linear in the error: for view.coefficients that are −2 times as large "
            f"its signals are off by {share:.2g} of their size. Let its property linear_in_error return False, and "
            "pseudo_gradient the whole signal of the update."
        )


def _apart(one: Array, other: Array) -> float:
    """Relative to the other; NaN where both are nothing."""
    return float(jnp.linalg.norm(one - other) / jnp.linalg.norm(other))
