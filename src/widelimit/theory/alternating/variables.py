"""What a result tells of order parameters: kernels at equal and at all pairs of steps, responses, and K."""

from __future__ import annotations

import numpy as np

from ..feedback import FeedbackKind, FeedbackLaw, hebbian_share
from ..histories import equal_times
from .orders import OrderParameters


def variables_of(
    orders: OrderParameters, steps: int, error: np.ndarray, input_kernel: np.ndarray, feedback: FeedbackLaw
) -> dict[str, np.ndarray]:
    """The variables of one replicate, without the replicate axis, for `steps` steps: NaN after those of `orders`.

    `error` is Δ (step, sample, output_unit). Names and axes are those of `results.DIMENSIONS`.
    """
    known, inputs, outputs = orders.output.shape
    carried = orders.mixed[0].shape[1] // (known * inputs)
    features = np.stack([_pairs(kernel, known, inputs, 1, 1)[..., 0, 0] for kernel in orders.feature])
    gradients = np.stack([_pairs(kernel, known, inputs, outputs, outputs) for kernel in orders.gradient])
    mixed = np.stack([_pairs(kernel, known, inputs, outputs, carried) for kernel in orders.mixed])
    if feedback.kind is FeedbackKind.LOCAL:
        share = hebbian_share(error, feedback.error_power)
        mixed = mixed * share[None, None, :, None, :, None, :]
        left = share[None, :, None, :, None, :, None]
        pseudo = features[..., None, None] * left * share[None, None, :, None, :, None, :]
    else:
        pseudo = np.stack([_pairs(kernel, known, inputs, outputs, outputs) for kernel in orders.carrier])
    two_time = {
        "feature_kernel": features,
        "gradient_kernel": gradients,
        "pseudo_gradient_kernel": mixed,
        "pseudo_gradient_covariance": pseudo,
    }
    variables = {
        "output": orders.output,
        **equal_times(two_time, input_kernel),
        **{f"{name}_two_time": kernels for name, kernels in two_time.items()},
    }
    if len(orders.feature) > 1:
        gradient_descent = feedback.kind is FeedbackKind.GRADIENT
        forward = np.stack([_pairs(a, known, inputs, 1, carried)[..., 0, :] for a in orders.forward_response])
        if carried < outputs:  # Hebb, whose responses of this kind vanish
            forward = np.zeros((*forward.shape[:-1], outputs))
        backward = np.stack([_pairs(b, known, inputs, outputs, 1)[..., 0] for b in orders.backward_response])
        variables["response_a"] = forward if gradient_descent else np.zeros_like(forward)
        variables["response_b"] = backward
        variables["response_c"] = np.zeros_like(forward) if gradient_descent else forward
        variables["response_d"] = np.zeros_like(backward)
        if feedback.kind is FeedbackKind.CHAIN:
            variables["response_d"] = np.stack(
                [_pairs(d, known, inputs, outputs, 1)[..., 0] for d in orders.feedback_response]
            )
    return {name: _padded(name, array, known, steps) for name, array in variables.items()}


def _pairs(matrix: np.ndarray, steps: int, inputs: int, outputs: int, outputs2: int) -> np.ndarray:
    """(step, step2, sample, sample2, output, output2) of a matrix over (step, sample, output) rows and columns."""
    blocks = matrix.reshape(steps, inputs, outputs, steps, inputs, outputs2)
    return blocks.transpose(0, 3, 1, 4, 2, 5)


_LAYER_FIRST = ("two_time", "response")


def _padded(name: str, array: np.ndarray, known: int, steps: int) -> np.ndarray:
    """NaN for the steps that were not reached, along every axis over steps."""
    if known == steps:
        return array
    axes = (1, 2) if any(part in name for part in _LAYER_FIRST) else (0,)
    width = [(0, steps - known) if axis in axes else (0, 0) for axis in range(array.ndim)]
    return np.pad(array, width, constant_values=np.nan)
