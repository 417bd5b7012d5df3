"""One sweep of Algorithm 1: every layer's fields from the current order parameters, and new estimates of these."""

from __future__ import annotations

import numpy as np

from . import estimates
from .layer import solved_layer
from .orders import Damping, OrderParameters
from .output import extrapolate, readout, tangent
from .replicate import Replicate


class Sweeper:
    """The map of the order parameters of one replicate whose fixed point is sought."""

    def __init__(self, replicate: Replicate, pathwise: bool):
        self.replicate = replicate
        self._update_responses = estimates.pathwise if pathwise else estimates.by_parts

    def start(self) -> OrderParameters:
        """The order parameters at initialisation, which as many sweeps as there are layers determine."""
        depth, inputs = self.replicate.depth, self.replicate.inputs
        rows, carried = inputs * self.replicate.outputs, inputs * self.replicate.carried_outputs
        orders = OrderParameters(
            steps=1,
            output=np.zeros((1, inputs, self.replicate.outputs)),
            feature=[self.replicate.input_kernel] * depth,
            gradient=[np.ones((rows, rows))] * depth,
            mixed=[np.ones((rows, carried))] * depth,
            carrier=[np.ones((carried, carried))] * depth,
            forward_response=[np.zeros((inputs, carried))] * (depth - 1),
            backward_response=[np.zeros((rows, inputs))] * (depth - 1),
            feedback_response=[np.zeros((carried, inputs))] * (depth - 1),
        )
        # Φ settles from the bottom up and G from the top down; a sweep passes either on by one layer at least.
        for _ in range(depth + 1):
            orders, _ = self.sweep(orders, 1.0)
        return orders

    def extend(self, orders: OrderParameters, steps: int) -> OrderParameters:
        """The same order parameters for more steps: kernels held, the outputs that follow from them."""
        longer = orders.resized(steps)
        longer.output = extrapolate(self.replicate.error, tangent(self.replicate, longer), longer.output, orders.steps)
        return longer

    def sweep(self, orders: OrderParameters, speed: float) -> tuple[OrderParameters, float]:
        """Every layer once, bottom up, each from what the layers before it have become; and the largest change.

        Raises `Overflow` where the fields or the outputs do not stay finite.
        """
        new, damping = orders.copied(), Damping(speed)
        for index in range(self.replicate.depth):
            layer = solved_layer(self.replicate, index, new)
            estimates.update_layer(self.replicate, index, layer, new, damping, self._update_responses)
        # With the top layer's fields, and with the kernels that all layers have now.
        new.output = damping.blended(new.output, readout(self.replicate, layer, new))
        return new, max(damping.changes)
