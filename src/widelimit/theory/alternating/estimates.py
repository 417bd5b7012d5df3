"""New order parameters, as averages over the particles of a layer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..feedback import FeedbackKind
from .fields import check_finite, over_outputs, overlap
from .layer import Layer
from .orders import Damping, OrderParameters
from .replicate import Replicate
from .responses import Regressor, along_paths

ResponseUpdate = Callable[[Replicate, int, Layer, np.ndarray, OrderParameters, Damping], None]
"""One of [`by_parts`] and [`pathwise`]: they take the index of a layer, the layer itself and its g."""


def update_layer(
    replicate: Replicate,
    index: int,
    layer: Layer,
    orders: OrderParameters,
    damping: Damping,
    update_responses: ResponseUpdate,
) -> None:
    """Replace what a layer determines: its Φ, G, ⟨g p⟩ and ⟨p p⟩, and its responses to the matrices around it."""
    fields = layer.fields
    damping.update(orders.feature, index, overlap(fields.phi, fields.phi))
    if replicate.descent:
        gradient = fields.p
        damping.update(orders.gradient, index, overlap(gradient, gradient))
    else:
        slope = over_outputs(fields.slope, replicate.outputs)
        gradient = slope * layer.z
        check_finite(gradient, orders.steps)
        kernel = overlap(gradient, gradient)
        if layer.back.r_remainder is not None:  # what was not drawn of r is independent of ϕ', so the two factorise
            kernel += layer.back.r_remainder * overlap(slope, slope)
        damping.update(orders.gradient, index, kernel)
        damping.update(orders.mixed, index, overlap(gradient, fields.p))
        if replicate.feedback.kind is not FeedbackKind.LOCAL:  # where p = ϕ, and ⟨p p⟩ is Φ
            damping.update(orders.carrier, index, overlap(fields.p, fields.p))
    update_responses(replicate, index, layer, gradient, orders, damping)
    if replicate.descent:
        orders.mixed = orders.carrier = orders.gradient


def by_parts(
    replicate: Replicate, index: int, layer: Layer, gradient: np.ndarray, orders: OrderParameters, damping: Damping
) -> None:
    """Responses by regression on the Gaussian fields, after averages that vanish are taken off.

    u is independent of r and v, so ⟨ϕ(u) r⟩ = 0 and ⟨ϕ'(u) r u⟩ = 0. What remains is of order γ0, and with it the
    sampling error: without this, that of outputs would grow as 1/γ0.
    """
    back, untouched, steps = layer.back, layer.untouched, orders.steps
    if back.felt is not None and back.felt_covariance is not None and untouched is not None:
        regressor = Regressor(back.felt_covariance, back.felt, steps)
        # Strictly causal: what comes back at step k is met at k + 1.
        forward = regressor.response(layer.fields.phi - untouched.phi, strict=True)
        damping.update(orders.forward_response, index, forward)
    if index == 0:
        return  # u comes from the inputs, through a matrix that nothing goes back through
    regressor = Regressor(orders.feature[index - 1], layer.u, steps)
    # With a part at equal times: g_k holds ϕ'(h_k) z_k, and h_k holds u_k.
    slope = None if untouched is None else over_outputs(untouched.slope, replicate.outputs)
    vanishing = 0.0 if slope is None else slope * back.r
    damping.update(orders.backward_response, index - 1, regressor.response(gradient - vanishing, strict=False))
    if replicate.aligned:
        assert slope is not None
        assert layer.equations.arriving is not None
        vanishing = slope * layer.equations.arriving
        feedback = regressor.response(layer.fields.p - vanishing, strict=False)
        damping.update(orders.feedback_response, index - 1, feedback)


def pathwise(
    replicate: Replicate, index: int, layer: Layer, gradient: np.ndarray, orders: OrderParameters, damping: Damping
) -> None:
    """Responses as averages of each particle's own Jacobian."""
    felt = layer.back.felt is not None and not replicate.is_top(index)
    to_back, g_to_u, p_to_u = along_paths(layer, felt, index > 0, index > 0 and replicate.aligned)
    kept = replicate.kept(orders.steps)
    if felt:  # what arrives holds s r, or ρ v
        per_felt = np.repeat(kept, replicate.outputs) if replicate.descent else replicate.feedback.correlation
        damping.update(orders.forward_response, index, to_back * per_felt)
    if index > 0:  # h holds s u
        damping.update(orders.backward_response, index - 1, g_to_u * kept.T)
    if index > 0 and replicate.aligned:
        damping.update(orders.feedback_response, index - 1, p_to_u * kept.T)
