"""The fields of a deep linear network at infinite width, by forward substitution in time.

In a linear network every field of a layer is a fixed linear combination of that layer's primitive Gaussian variables:
u (what the layer below sends through the initial weights), r (what the layer above sends back of g through them) and,
where feedback is frozen, p = g̃ itself, with ⟨p p⟩ = G̃̃ and ⟨r p⟩ = ρ G̃ of the layer above.
The coefficients at step k need only what came before, so the mean-field equations are solved row by row in time:

    h_k = i_k u_k + Σ_{j<k} [ i_k C_kj + γ0 M_kj Φ_kj Δ_j ] g̃_j
    g_k = i_k r_k + Σ_{j≤k} [ i_k B_kj + γ0 M_kj G̃_kj Δ_j ] h_j
    g̃_k = g_k (gradient descent),  p_k (feedback alignment, direct or not),  Δ_k^{p−1} h_k (Hebb, of power p)

with Φ and C those of the layer below, G̃ and B those of the layer above, and i, M from [`Memory`]. Under gradient
descent C g̃ is written A g; under the other rules A = 0, because h meets the noise of the backward pass only through g̃.
Kernels are the covariances of the combinations; A = ∂h/∂r, C = ∂h/∂v = ρ ∂h/∂p and B = ∂g/∂u are coefficients too.
"""

from __future__ import annotations

import numpy as np

from ...faults import DIVERGED
from ...networks import MLP
from ...problem import Task
from ..feedback import Feedback, Source, hebbian_share
from ..histories import equal_times, unfolded
from ..labels import losses
from ..momentum import Memory

Coefficients = dict[str, np.ndarray]
"""A field as a combination of primitive variables: for each of u, r, p an array (row of the field, variable)."""

PRIMITIVES = {Source.GRADIENT: "ur", Source.CHAIN: "urp", Source.DIRECT: "urp", Source.LOCAL: "ur"}


class _Layer:
    """One hidden layer: its fields h, g, g̃ as coefficients, and their covariances, over (step, sample[, output])."""

    def __init__(self, forward: int, backward: int, source: Source):
        size = {"u": forward, "r": backward, "p": backward}

        def field(rows: int) -> Coefficients:
            return {name: np.zeros((rows, size[name])) for name in PRIMITIVES[source]}

        self.h, self.g = field(forward), field(backward)
        self.features = np.zeros((forward, forward))
        self.gradients = np.zeros((backward, backward))
        if source is Source.GRADIENT:
            self.pseudo, self.mixed, self.pseudo_gradients = self.g, self.gradients, self.gradients
        else:
            self.pseudo = field(backward)
            self.mixed, self.pseudo_gradients = np.zeros((backward, backward)), np.zeros((backward, backward))


class _Top:
    """What stands above the last hidden layer: the readout, G^{L+1} = G̃^{L+1} = G̃̃^{L+1} = 1 for each output."""

    def __init__(self, rows: int, outputs: int):
        self.gradients = np.tile(np.eye(outputs), (rows, rows))
        self.mixed = self.pseudo_gradients = self.gradients


class LinearFields:
    """The state of the forward substitution in time. Rows of a field are (step, sample[, output_unit]), flattened."""

    def __init__(self, net: MLP, task: Task, feedback: Feedback, memory: Memory):
        self.task, self.feedback, self.memory = task, feedback, memory
        self.richness, self.depth = float(net.richness), net.hidden_layers
        self.samples, self.outputs = task.y.shape
        self.total = len(memory.initial)
        self.known = self.solved = 0
        forward, backward = self.total * self.samples, self.total * task.y.size
        self.layers = [_Layer(forward, backward, feedback.source) for _ in range(self.depth)]
        self.top = _Top(forward, self.outputs)
        self.inputs = self._input_kernel(task.x)
        self.output = np.zeros((self.total, self.samples, self.outputs))
        self.error = np.zeros(backward)
        self.losses = np.zeros(self.total)

    def _input_kernel(self, x: np.ndarray) -> np.ndarray:
        return np.tile(x @ self.task.x.T / x.shape[1], (self.total, self.total))

    def _below(self, layer: int) -> np.ndarray:
        return self.inputs if layer == 0 else self.layers[layer - 1].features

    def _above(self, layer: int) -> _Layer | _Top:
        return self.layers[layer + 1] if layer + 1 < self.depth else self.top

    def _rows(self, first: int, last: int) -> slice:
        """The rows of a forward field that belong to the steps first ≤ k < last."""
        return slice(first * self.samples, last * self.samples)

    def _units(self, first: int, last: int) -> slice:
        """The same of a backward field."""
        return slice(first * self.task.y.size, last * self.task.y.size)

    # --- one step

    def advance(self, step: int) -> None:
        """Solve for the fields at `step`, given all earlier ones."""
        self.known = step + 1
        with np.errstate(over="ignore", invalid="ignore"):
            for layer in range(self.depth):
                self._forward(layer, step)
            self._read_out(step)
            for layer in reversed(range(self.depth)):
                self._backward(layer, step)

    def diverged(self, step: int) -> bool:
        """Whether the loss has left the range that counts as finite; if not, the step counts as solved."""
        loss = self.losses[step]
        bad = not np.isfinite(loss) or loss > DIVERGED * (self.losses[0] + self.samples)
        self.solved = step if bad else step + 1
        return bad

    def _forward(self, layer: int, step: int) -> None:
        own, now, past = self.layers[layer], self._rows(step, step + 1), self._units(0, step)
        kept = self.memory.initial[step]
        met = self._learned_forward(self._below(layer)[now], self.memory.learned[[step]])[:, past]
        if layer > 0:
            met = met + kept * self._response(layer - 1)[now, past]
        for name, coefficients in own.h.items():
            coefficients[now] = met @ own.pseudo[name][past]
        own.h["u"][now, now] += kept * np.eye(self.samples)
        self._fill(
            layer, own.features, (own.h, now, self._rows(0, self.known)), (own.h, now, self._rows(0, self.known))
        )

    def _backward(self, layer: int, step: int) -> None:
        own, above = self.layers[layer], self._above(layer)
        known, now, units = self._rows(0, self.known), self._rows(step, step + 1), self._units(step, step + 1)
        kept, unit = self.memory.initial[step], np.eye(self.task.y.size)
        met = self._learned_backward(above.mixed[units], step)[:, known]
        if isinstance(above, _Layer):
            met = met + kept * above.g["u"][units, known]
        for name, coefficients in own.g.items():
            coefficients[units] = met @ own.h[name][known]
        own.g["r"][units, units] += kept * unit
        match self.feedback.source:
            case Source.CHAIN | Source.DIRECT:
                own.pseudo["p"][units, units] = unit
            case Source.LOCAL:
                error = self.error[units].reshape(-1, self.outputs)
                share = hebbian_share(error, self.feedback.error_power).reshape(-1, 1)
                for name, coefficients in own.pseudo.items():
                    coefficients[units] = share * np.repeat(own.h[name][now], self.outputs, axis=0)
        g, pseudo = ((field, units, self._units(0, self.known)) for field in (own.g, own.pseudo))
        self._fill(layer, own.gradients, g, g)
        if own.pseudo is not own.g:
            self._fill(layer, own.mixed, g, pseudo)
            self._fill(layer, own.pseudo_gradients, pseudo, pseudo)

    def _read_out(self, step: int) -> None:
        """f = ⟨z^L h^L⟩/γ0 at equal times, the error, and the loss."""
        now, units = self._rows(step, step + 1), self._units(step, step + 1)
        top = self.layers[-1]
        initial = self._seen(self.depth - 1, "r", top.h, now)[: self.outputs]
        self.output[step] = self._output(step, initial, top.features[: now.stop, now])
        found = losses(self.task, {"output": self.output[step]})
        self.error[units] = found["error"].ravel()
        self.losses[step] = found["loss"]

    def _output(self, step: int, initial: np.ndarray, features: np.ndarray) -> np.ndarray:
        """f of some points at one step, from ⟨w(0) h⟩ (output, point) and their kernel ⟨h h⟩ (step × sample, point)."""
        learned = self._learned_backward(self.top.mixed[: self.outputs], step)[:, : len(features)]
        return (self.memory.initial[step] * initial + learned @ features).T / self.richness

    # --- what has been learned, and how the fields respond to noise

    def _learned_forward(self, features: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """γ0 M_kj Φ_kj Δ_j, as what multiplies g̃_j: (row, step × sample × unit)."""
        learned = np.repeat(np.repeat(weight, self.samples, axis=1) * features, self.outputs, axis=1)
        return self.richness * learned * self.error[: learned.shape[1]]

    def _learned_backward(self, mixed: np.ndarray, step: int) -> np.ndarray:
        """γ0 M_kj Σ_c G̃_kj Δ_j, as what multiplies h_j: (row, step × sample)."""
        weight = np.repeat(self.memory.learned[step], self.samples)
        return self.richness * weight * (mixed * self.error).reshape(len(mixed), -1, self.outputs).sum(axis=2)

    def _response(self, layer: int) -> np.ndarray:
        """A (gradient descent) or C of a layer: how h answers to what came back through the initial matrix above it."""
        h = self.layers[layer].h
        return self._answer(h) if self._met else np.zeros_like(h["r"])

    def _answer(self, h: Coefficients) -> np.ndarray:
        """∂h/∂r under gradient descent; ∂h/∂v under aligned feedback, where v enters p with the weight ρ."""
        return h["r"] if self._met == "r" else self.feedback.correlation * h["p"]

    @property
    def _met(self) -> str | None:
        """The variables that reach h from the initial matrix above: r with A, p with C, or none."""
        return {Source.GRADIENT: "r", Source.CHAIN: "p"}.get(self.feedback.source)

    # --- covariances

    def _fill(
        self,
        layer: int,
        kernel: np.ndarray,
        a: tuple[Coefficients, slice, slice],
        b: tuple[Coefficients, slice, slice],
    ) -> None:
        """The rows and columns of the kernel ⟨a bᵀ⟩ of the current step; each field with its rows, new and all."""
        (left, left_new, left_all), (right, right_new, right_all) = a, b
        kernel[left_all, right_new] = self._covariance(layer, left, left_all, right, right_new)
        kernel[left_new, right_all] = (
            kernel[left_all, right_new].T
            if left is right
            else self._covariance(layer, left, left_new, right, right_all)
        )

    def _covariance(self, layer: int, a: Coefficients, rows: slice, b: Coefficients, columns: slice) -> np.ndarray:
        """⟨a bᵀ⟩ of two fields of a layer."""
        parts = [a[name][rows, : self._end(name)] @ self._seen(layer, name, b, columns) for name in a]
        return np.sum(parts, axis=0)

    def _seen(self, layer: int, name: str, b: Coefficients, columns: slice) -> np.ndarray:
        """⟨x bᵀ⟩ of the primitive variables x of one kind, up to the current step, with a field."""
        above, rho = self._above(layer), self.feedback.correlation
        match name:
            case "u":
                kernels = {"u": self._below(layer)}
            case "r":
                kernels = {"r": above.gradients}
                if rho != 0 and "p" in b:
                    kernels["p"] = rho * above.mixed
            case _:
                frozen = self.feedback.source is Source.DIRECT
                kernels = {"p": self.top.gradients if frozen else above.pseudo_gradients}
                if rho != 0:
                    kernels["r"] = rho * above.mixed.T
        end = self._end(name)
        parts = [
            kernel[:end, : self._end(other)] @ b[other][columns, : self._end(other)].T
            for other, kernel in kernels.items()
        ]
        return np.sum(parts, axis=0)

    def _end(self, name: str) -> int:
        return (self._rows if name == "u" else self._units)(0, self.known).stop

    # --- what comes out

    def variables(self) -> dict[str, np.ndarray]:
        """The arrays of the result at the steps solved."""
        self.known = self.solved
        two_time = {
            "feature_kernel": self._unfolded([layer.features for layer in self.layers], False, False),
            "gradient_kernel": self._unfolded([layer.gradients for layer in self.layers], True, True),
            "pseudo_gradient_kernel": self._unfolded([layer.mixed for layer in self.layers], True, True),
            "pseudo_gradient_covariance": self._unfolded([layer.pseudo_gradients for layer in self.layers], True, True),
        }
        found = {
            "output": self.output[: self.solved],
            **equal_times(two_time, self.inputs[: self.samples, : self.samples]),
            **{f"{name}_two_time": kernels for name, kernels in two_time.items()},
        }
        if self.depth > 1:
            met = self._unfolded([self._response(layer) for layer in range(self.depth - 1)], False, True)
            responds = self.feedback.source is Source.GRADIENT
            found["response_a"], found["response_c"] = (met, 0 * met) if responds else (0 * met, met)
            found["response_b"] = self._unfolded([layer.g["u"] for layer in self.layers[1:]], True, False)
            found["response_d"] = np.zeros_like(found["response_b"])
        if len(self.task.x_test):
            found["test_output"] = self._test_output()
        return found

    def _unfolded(self, kernels: list[np.ndarray], left: bool, right: bool) -> np.ndarray:
        size = [(self._units if units else self._rows)(0, self.solved) for units in (left, right)]
        return unfolded([kernel[*size] for kernel in kernels], self.samples, self.outputs, left, right)

    def _test_output(self) -> np.ndarray:
        """f at the test points: their fields meet g̃ as those of training samples do, and send nothing back."""
        total, tests = self.solved, len(self.task.x_test)
        rows, units = self._rows(0, total), self._units(0, total)
        kernel = self._input_kernel(self.task.x_test)[: total * tests, rows]
        kept = np.repeat(self.memory.initial[:total], tests)[:, None]
        weight = np.repeat(self.memory.learned[:total, :total], tests, axis=0)
        met, response = np.zeros((total * tests, units.stop)), 0.0
        for layer, own in enumerate(self.layers):
            if layer > 0 and self._met:
                response = met @ self._answer(self.layers[layer - 1].pseudo)[units, units]
            met = self._learned_forward(kernel, weight) + kept * response
            initial = kept * kernel @ own.h["u"][rows, rows].T
            kernel = initial + met @ self._covariance(layer, own.pseudo, units, own.h, rows)
        initial = self._seen(self.depth - 1, "r", self.layers[-1].pseudo, units)[: self.outputs] @ met.T
        each = [slice(step * tests, (step + 1) * tests) for step in range(total)]
        return np.stack([self._output(step, initial[:, now], kernel[now].T) for step, now in enumerate(each)])
