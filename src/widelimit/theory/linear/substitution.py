"""The mean-field equations of a deep linear network, solved by forward substitution in time.

The fields at step k are combinations of what came before, so they are found step by step, and within a step layer by
layer, upwards and then downwards:

    h_k = i_k u_k + Σ_{j<k} [ i_k C_kj + γ0 M_kj Φ_kj Δ_j ] g̃_j
    g_k = i_k r_k + Σ_{j≤k} [ i_k B_kj + γ0 M_kj G̃_kj Δ_j ] h_j
    g̃_k = g_k (gradient descent),  p_k (feedback alignment, direct or not),  Δ_k^{p−1} h_k (Hebb, of power p)

with Φ and C those of the layer below, G̃ and B those of the layer above, and i, M from [`OptimizerMemory`]. Under
gradient descent C g̃ is written A g; under the other rules A = 0, because h meets the noise of the backward pass only
through g̃. A = ∂h/∂r, C = ∂h/∂v = ρ ∂h/∂p and B = ∂g/∂u are coefficients of the fields themselves.
"""

from __future__ import annotations

import numpy as np

from ...faults import DIVERGED
from ...networks import MLP
from ...problem import Task
from ..feedback import FeedbackKind, FeedbackLaw, hebbian_share
from ..histories import equal_times, unfolded
from ..labels import losses
from ..momentum import OptimizerMemory
from .fields import LinearField, LinearLayer, PrimitiveCovariances, Readout, Rows


class ForwardSubstitution:
    """The fields, kernels and outputs of all steps solved so far.

    Features have rows (step, sample), gradients (step, sample, output); where they are is said by `forward` and
    `backward`.
    """

    def __init__(self, net: MLP, task: Task, feedback: FeedbackLaw, memory: OptimizerMemory):
        self.task, self.feedback, self.memory = task, feedback, memory
        self.richness, self.depth = float(net.richness), net.hidden_layers
        self.samples, self.outputs = task.y.shape
        self.steps = len(memory.initial)
        self.solved = 0  # steps whose fields are known and finite
        self.forward, self.backward = Rows(self.samples), Rows(task.y.size)
        rows = self.steps * self.forward.per_step, self.steps * self.backward.per_step
        descent = feedback.kind is FeedbackKind.GRADIENT
        self.layers = [LinearLayer(*rows, feedback.frozen, descent) for _ in range(self.depth)]
        self.readout = Readout(rows[0], self.outputs)
        self.inputs = self._input_kernel(task.x)
        self.output = np.zeros((self.steps, self.samples, self.outputs))
        self.error = np.zeros(rows[1])
        self.losses = np.zeros(self.steps)

    def advance(self, step: int) -> bool:
        """Solve for the fields at `step`, given all earlier ones; False where the loss has left all bounds."""
        with np.errstate(over="ignore", invalid="ignore"):
            for index in range(self.depth):
                self._solve_features(index, step)
            self._solve_output(step)  # Δ is in what comes back, and in Hebb's g̃
            for index in reversed(range(self.depth)):
                self._solve_gradients(index, step)
        loss = self.losses[step]
        bounded = bool(np.isfinite(loss) and loss <= DIVERGED * (self.losses[0] + self.samples))
        self.solved = step + bounded
        return bounded

    # --- one step

    def _solve_features(self, index: int, step: int) -> None:
        """h_k, from u_k and from what earlier steps sent back: each g̃_j has changed the weights, and is met in them."""
        own, now, before = self.layers[index], self.forward.at(step), self.backward.before(step)
        initial = self.memory.initial[step]
        into_h = self._learned_forward(self._feature_below(index)[now], self.memory.learned[[step]])[:, before]
        if index > 0:  # nothing comes back through the inputs
            into_h = into_h + initial * self._response_to_feedback(self.layers[index - 1].h)[now, before]
        own.h.become(now, into_h, own.g_tilde, before)
        own.h.u[now, now] += initial * np.eye(self.samples)
        self._primitive_covariances(index, step).extend(own.feature, own.h, own.h, self.forward, step)

    def _solve_output(self, step: int) -> None:
        """f = ⟨z^L h^L⟩/γ0 at equal times, its error, and the loss."""
        now, top = self.forward.at(step), self.layers[-1]
        # The readout's w(0) is r at the top: one Gaussian an output, the same at all steps, so its first rows do.
        _, of_r, _ = self._primitive_covariances(self.depth - 1, step).with_field(top.h, now)
        known = self.forward.through(step)
        self.output[step] = self._output_of(step, of_r[: self.outputs], top.feature[known, now])
        measured = losses(self.task, {"output": self.output[step]})
        self.error[self.backward.at(step)] = measured["error"].ravel()
        self.losses[step] = measured["loss"]

    def _output_of(self, step: int, initial: np.ndarray, feature: np.ndarray) -> np.ndarray:
        """f of some points at one step, from ⟨w(0) h⟩ (output, point) and their kernel ⟨h h⟩ (step × sample, point)."""
        learned = self._learned_backward(self.readout.mixed[: self.outputs], step)[:, : len(feature)]
        return (self.memory.initial[step] * initial + learned @ feature).T / self.richness

    def _solve_gradients(self, index: int, step: int) -> None:
        """g_k, from r_k and from the features up to this step; then g̃_k, and the kernels of both."""
        own, above = self.layers[index], self._layer_above(index)
        now, known = self.backward.at(step), self.forward.through(step)
        initial = self.memory.initial[step]
        into_g = self._learned_backward(above.mixed[now], step)[:, known]
        if isinstance(above, LinearLayer):  # B = ∂g/∂u of the layer above; nothing goes through the readout
            into_g = into_g + initial * above.g.u[now, known]
        own.g.become(now, into_g, own.h, known)
        own.g.r[now, now] += initial * np.eye(self.backward.per_step)
        self._solve_pseudo_gradients(own, step)
        covariances = self._primitive_covariances(index, step)
        covariances.extend(own.gradient, own.g, own.g, self.backward, step)
        if own.g_tilde is not own.g:
            covariances.extend(own.mixed, own.g, own.g_tilde, self.backward, step)
            covariances.extend(own.pseudo_gradient, own.g_tilde, own.g_tilde, self.backward, step)

    def _solve_pseudo_gradients(self, own: LinearLayer, step: int) -> None:
        """g̃_k, where it is not g_k itself."""
        now = self.backward.at(step)
        if self.feedback.frozen:  # g̃ is a primitive variable
            own.g_tilde.p[now, now] = np.eye(self.backward.per_step)
        elif self.feedback.kind is FeedbackKind.LOCAL:  # for each output its share of the same h
            error = self.error[now].reshape(-1, self.outputs)
            share = hebbian_share(error, self.feedback.error_power).ravel()
            for_outputs = share[:, None] * np.repeat(np.eye(self.samples), self.outputs, axis=0)
            own.g_tilde.become(now, for_outputs, own.h, self.forward.at(step))

    # --- what has been learned, and how the fields respond to noise

    def _learned_forward(self, feature: np.ndarray, learned: np.ndarray) -> np.ndarray:
        """γ0 M_kj Φ_kj Δ_j, by which h_k meets g̃_j: (row, step × sample × output), from Φ_kj and M_kj (row, step)."""
        weights = np.repeat(np.repeat(learned, self.samples, axis=1) * feature, self.outputs, axis=1)
        return self.richness * weights * self.error[: weights.shape[1]]

    def _learned_backward(self, mixed: np.ndarray, step: int) -> np.ndarray:
        """γ0 M_kj Σ_c G̃_kj Δ_j, by which g_k meets h_j: (row, step × sample). One update serves all outputs."""
        learned = np.repeat(self.memory.learned[step], self.samples)
        return self.richness * learned * (mixed * self.error).reshape(len(mixed), -1, self.outputs).sum(axis=2)

    def _response_to_feedback(self, h: LinearField) -> np.ndarray:
        """A = ∂h/∂r under gradient descent, C = ∂h/∂v under aligned feedback, where v enters p with the weight ρ.

        Under the other rules, h holds nothing that the matrix above knows.
        """
        if self.feedback.kind is FeedbackKind.GRADIENT:
            return h.r
        return self.feedback.correlation * h.p if self.feedback.kind is FeedbackKind.CHAIN else np.zeros_like(h.r)

    # --- the layers around a layer

    def _input_kernel(self, x: np.ndarray) -> np.ndarray:
        """⟨u u⟩ of the first layer, between points x and the samples: the same at all pairs of steps."""
        return np.tile(x @ self.task.x.T / x.shape[1], (self.steps, self.steps))

    def _feature_below(self, index: int) -> np.ndarray:
        return self.inputs if index == 0 else self.layers[index - 1].feature

    def _layer_above(self, index: int) -> LinearLayer | Readout:
        return self.layers[index + 1] if index + 1 < self.depth else self.readout

    def _primitive_covariances(self, index: int, step: int) -> PrimitiveCovariances:
        """The covariances of u, r and p of a layer, up to a step."""
        above, rho = self._layer_above(index), self.feedback.correlation
        u, r = self.forward.through(step), self.backward.through(step)
        p = r if self.feedback.frozen else slice(0, 0)
        # Direct feedback comes from the readout's side, past the layers between.
        sender = self.readout if self.feedback.kind is FeedbackKind.DIRECT else above
        rp = rho * above.mixed[r, p] if rho else None
        return PrimitiveCovariances(
            self._feature_below(index)[u, u], above.gradient[r, r], rp, sender.pseudo_gradient[p, p]
        )

    # --- what comes out

    def variables(self) -> dict[str, np.ndarray]:
        """The arrays of the result at the steps solved."""
        two_time = {
            "feature_kernel": self._unfolded([layer.feature for layer in self.layers], False, False),
            "gradient_kernel": self._unfolded([layer.gradient for layer in self.layers], True, True),
            "pseudo_gradient_kernel": self._unfolded([layer.mixed for layer in self.layers], True, True),
            "pseudo_gradient_covariance": self._unfolded([layer.pseudo_gradient for layer in self.layers], True, True),
        }
        variables = {
            "output": self.output[: self.solved],
            **equal_times(two_time, self.inputs[: self.samples, : self.samples]),
            **{f"{name}_two_time": kernels for name, kernels in two_time.items()},
        }
        if self.depth > 1:
            responses = [self._response_to_feedback(layer.h) for layer in self.layers[:-1]]
            to_feedback = self._unfolded(responses, False, True)
            descent, none = self.feedback.kind is FeedbackKind.GRADIENT, np.zeros_like(to_feedback)
            variables["response_a"], variables["response_c"] = (to_feedback, none) if descent else (none, to_feedback)
            variables["response_b"] = self._unfolded([layer.g.u for layer in self.layers[1:]], True, False)
            variables["response_d"] = np.zeros_like(variables["response_b"])
        if len(self.task.x_test):
            variables["test_output"] = self._test_output()
        return variables

    def _unfolded(self, kernels: list[np.ndarray], left: bool, right: bool) -> np.ndarray:
        """Matrices over rows as arrays over steps and samples; `left` and `right` say which side has outputs."""
        rows, columns = ((self.backward if outputs else self.forward).before(self.solved) for outputs in (left, right))
        return unfolded([kernel[rows, columns] for kernel in kernels], self.samples, self.outputs, left, right)

    def _test_output(self) -> np.ndarray:
        """f at the test points: their h meets g̃ as that of training samples does, and sends nothing back.

        So it is h* = i u* + (`into_h`) g̃ at all steps at once, u* being met only through its covariance with u.
        """
        steps, tests, last = self.solved, len(self.task.x_test), self.solved - 1
        rows, columns = self.forward.before(steps), self.backward.before(steps)
        feature = self._input_kernel(self.task.x_test)[: steps * tests, rows]  # ⟨h* h⟩ of the layer below
        initial = np.repeat(self.memory.initial[:steps], tests)[:, None]
        learned = np.repeat(self.memory.learned[:steps, :steps], tests, axis=0)
        into_h = np.zeros((steps * tests, columns.stop))
        for index, own in enumerate(self.layers):
            response: np.ndarray | float = 0.0
            if index > 0:  # ∂h*/∂r or ∂h*/∂v of the layer below: what its g̃ holds of them, as far as h* meets it
                response = into_h @ self._response_to_feedback(self.layers[index - 1].g_tilde)[columns, columns]
            into_h = self._learned_forward(feature, learned) + initial * response
            of_g_tilde = self._primitive_covariances(index, last).between(own.g_tilde, columns, own.h, rows)
            feature = initial * feature @ own.h.u[rows, rows].T + into_h @ of_g_tilde
        _, of_r, _ = self._primitive_covariances(self.depth - 1, last).with_field(self.layers[-1].g_tilde, columns)
        readout = of_r[: self.outputs] @ into_h.T
        at = Rows(tests).at
        return np.stack([self._output_of(k, readout[:, at(k)], feature[at(k)].T) for k in range(steps)])
