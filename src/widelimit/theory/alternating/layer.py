"""The fields of one layer in one sweep, from the order parameters of its neighbours.

For each particle, with s_k what is left of the initial weights and m_kj what is left at step k of a change at step j,

    h_k = s_k [u_k + Σ_{j<k} R_kj p_j] + γ0 Σ_{j<k} m_kj Φ^{ℓ-1}_kj E_j p_j
    z_k = s_k [r_k + Σ_{j≤k} B_kj ϕ(h_j)] + γ0 Σ_{j<k} m_kj ⟨g p⟩^{ℓ+1}_kj E_j ϕ(h_j)

p is what the layer's update carries and E its error (see [`OrderParameters`]). R is A under gradient descent, C under
aligned feedback, and nothing else feels what comes back. p itself is g = ϕ'(h) z; or ϕ'(h) z̃ with
z̃_k = ρ [v_k + Σ_{j≤k} D_kj ϕ(h_j)] + √(1−ρ²) ζ̃_k; or ϕ(h).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from ..feedback import FeedbackKind
from .fields import LayerEquations, LayerFields, causal_product, causal_root, drawn, over_outputs, solve
from .orders import OrderParameters
from .replicate import Replicate


@dataclass
class SentBack:
    """What the initial matrix above a layer sends back: r when it is given g, v when it is given g̃.

    * `felt`: the one of the two that h feels, r under gradient descent and v under aligned feedback; None if neither.
    * `felt_covariance`: its covariance, where a hidden layer sends it; the readout sends the same at all steps.
    * `r`: s r, as far as it is known once `felt` is. Only g depends on the rest, which is not drawn.
    * `r_remainder`: the covariance of that rest, which adds to that of g in closed form; None where there is no rest.
    """

    felt: np.ndarray | None
    felt_covariance: np.ndarray | None
    r: np.ndarray
    r_remainder: np.ndarray | None


@dataclass
class Untouched:
    """ϕ(u) and ϕ'(u), the fields of a layer that nothing comes back to: independent of r and v."""

    phi: np.ndarray
    slope: np.ndarray


@dataclass
class Layer:
    """One layer in one sweep. `z` makes the true gradient g = ϕ'(h) z, and answers to ϕ(h) by `into_z`."""

    equations: LayerEquations
    fields: LayerFields
    u: np.ndarray
    back: SentBack
    into_z: np.ndarray
    z: np.ndarray
    untouched: Untouched | None  # only where it is a control variate: where something is felt from above


def solved_layer(replicate: Replicate, index: int, orders: OrderParameters) -> Layer:
    """Draw what is Gaussian in a layer, and solve for its other fields."""
    steps = orders.steps
    carried = replicate.error.carried(replicate.error.signal(orders.output))
    u, back = _sent_up(replicate, index, orders), _sent_back(replicate, index, orders)
    into_h = _into_h(replicate, index, orders, carried)
    into_z = _into_z(replicate, index, orders, carried)
    arriving, into_y = back.r, into_z
    if not replicate.descent:
        arriving, into_y = _feedback(replicate, index, orders, back.felt)
    source = replicate.kept(steps) * u
    gate = replicate.gates[index]
    equations = LayerEquations(replicate.nonlinearity, gate, steps, source, into_h, arriving, into_y)
    fields = solve(equations)
    if replicate.descent:
        assert fields.y is not None
        z = fields.y
    else:  # nothing depends on z, which therefore needs no substitution in time
        z = causal_product(into_z, fields.phi, steps)
        z += back.r
    untouched = None if back.felt is None else _untouched(replicate, index, u, steps)
    return Layer(equations, fields, u, back, into_z, z, untouched)


# --- what is drawn


def _sent_up(replicate: Replicate, index: int, orders: OrderParameters) -> np.ndarray:
    """u ~ GP(0, Φ^{ℓ-1}); in the first layer W^0 x/√D, the same at all steps."""
    noise = replicate.noise[index]["below"]
    if index == 0:
        return np.tile(replicate.coordinates @ noise, (orders.steps, 1))
    return drawn(causal_root(orders.feature[index - 1]), noise)


def _untouched(replicate: Replicate, index: int, u: np.ndarray, steps: int) -> Untouched:
    """ϕ(u) and ϕ'(u)."""
    if index > 0:
        return Untouched(*replicate.nonlinearity.respond(u, replicate.gates[index]))
    # In the first layer u is the same at all steps, and one of them does.
    once = replicate.nonlinearity.respond(u[: replicate.inputs], replicate.gates[index])
    return Untouched(*(np.tile(field, (steps, 1)) for field in once))


def _sent_back(replicate: Replicate, index: int, orders: OrderParameters) -> SentBack:
    """r and v: drawn as far as h feels them, the rest of r integrated out."""
    steps, top = orders.steps, replicate.is_top(index)
    kept = over_outputs(replicate.kept(steps), replicate.outputs)
    if not (replicate.descent or replicate.aligned):
        # h feels neither, and g is linear in r: its mean is 0, and all else of it enters through its covariance.
        pairs = (steps * replicate.inputs,) * 2
        covariance = np.tile(np.eye(replicate.outputs), pairs) if top else orders.gradient[index + 1]
        return SentBack(None, None, np.zeros((1, 1)), kept * covariance * kept.T)
    noise = replicate.noise[index]["above"]
    if top:  # r = v = w(0)
        readout = replicate.at_every_step(noise, steps)
        return SentBack(readout, None, kept * readout, None)
    covariance = orders.carrier[index + 1]
    root = causal_root(covariance)
    felt = drawn(root, noise)
    if replicate.descent:
        return SentBack(felt, covariance, kept * felt, None)
    # Given v = L ξ, r is Gaussian with mean ⟨r v⟩⟨v v⟩^{-1} v = ⟨r v⟩ L^{-T} ξ, and the covariance G less that mean's.
    towards = scipy.linalg.solve_triangular(root, orders.mixed[index + 1].T, lower=True).T
    remainder = orders.gradient[index + 1] - towards @ towards.T
    return SentBack(felt, covariance, kept * (towards @ noise[: len(root)]), kept * remainder * kept.T)


def _feedback(
    replicate: Replicate, index: int, orders: OrderParameters, v: np.ndarray | None
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """z̃ as what arrives of it and its response ρD to the layer's own features; None and None under Hebb."""
    feedback, top = replicate.feedback, replicate.is_top(index)
    if feedback.kind is FeedbackKind.LOCAL:
        return None, None
    rho, noise = feedback.correlation, replicate.noise[index].get("own")
    arriving = np.zeros(()) if v is None else rho * v
    if noise is not None:
        # Frozen vectors from the outputs, or ζ̃ ~ GP(0, G̃̃^{ℓ+1}) from the layer above.
        direct = top or feedback.kind is FeedbackKind.DIRECT
        independent = (
            replicate.at_every_step(noise, orders.steps)
            if direct
            else drawn(causal_root(orders.carrier[index + 1]), noise)
        )
        arriving = arriving + math.sqrt(1 - rho**2) * independent
    # What goes through the readout comes back without having met any features.
    return arriving, rho * orders.feedback_response[index] if replicate.aligned and not top else None


# --- how fields enter one another, as matrices over rows


def _into_h(replicate: Replicate, index: int, orders: OrderParameters, carried: np.ndarray) -> np.ndarray:
    """From p to h: s_k R_kj + γ0 m_kj Φ_kj E_j, strictly causal."""
    steps, inputs = orders.steps, replicate.inputs
    below = np.tile(replicate.input_kernel, (steps, steps)) if index == 0 else orders.feature[index - 1]
    # (step, sample, step2, sample2, output2): E_j multiplies the columns.
    blocks = below.reshape(steps, inputs, steps, inputs, 1)
    learned = replicate.learned(steps)[:, None, :, None, None]
    into_h = (learned * blocks * carried).reshape(steps * inputs, -1)
    if index > 0:  # nothing comes back through the inputs
        into_h += replicate.kept(steps) * orders.forward_response[index - 1]
    return into_h


def _into_z(replicate: Replicate, index: int, orders: OrderParameters, carried: np.ndarray) -> np.ndarray:
    """From ϕ to z: s_k B_kj + γ0 m_kj Σ_c ⟨g_k p_jc⟩ E_jc, with an equal-time part in B alone."""
    steps, inputs, outputs = orders.steps, replicate.inputs, replicate.outputs
    if replicate.is_top(index):
        return _readout_into_z(replicate, orders)
    mixed = orders.mixed[index + 1]
    # One update carries the errors of all outputs: (step, sample × output, step2, sample2) once E is summed over.
    blocks = mixed.reshape(steps, inputs * outputs, steps, inputs, replicate.carried_outputs)
    learned = replicate.learned(steps)[:, None, :, None] * (blocks * carried).sum(axis=-1)
    kept = over_outputs(replicate.kept(steps), outputs)
    return learned.reshape(len(mixed), -1) + kept * orders.backward_response[index]


def _readout_into_z(replicate: Replicate, orders: OrderParameters) -> np.ndarray:
    """The same through the readout, where ⟨g g⟩ = 1 and B = 0: γ0 m_kj Δ_j for each output, the same for all inputs."""
    steps, inputs, outputs = orders.steps, replicate.inputs, replicate.outputs
    error = np.moveaxis(replicate.error.signal(orders.output), -1, 0)  # (output, step2, sample2)
    blocks = replicate.learned(steps)[:, None, None, :, None] * error[None, None]
    return np.broadcast_to(blocks, (steps, inputs, outputs, steps, inputs)).reshape(steps * inputs * outputs, -1)
