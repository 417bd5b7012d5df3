"""A plain NumPy network, written from the equations alone: what a finite network must do, to rounding.

Matrices are (above, below). Vectors sent backward are kept per output: arrays (sample, output, neuron).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import erf, expit, log_softmax, softmax

SQRT2 = np.sqrt(2.0)


def normal_cdf(h):
    return 0.5 * (1 + erf(h / SQRT2))


PHI = {
    "Linear": (lambda h: h, np.ones_like),
    "ReLU": (lambda h: SQRT2 * h * (h > 0), lambda h: SQRT2 * (h > 0)),
    "Tanh": (np.tanh, lambda h: 1 / np.cosh(h) ** 2),
    "Erf": (erf, lambda h: 2 / np.sqrt(np.pi) * np.exp(-h * h)),
    "GELU": (
        lambda h: h * normal_cdf(h),
        lambda h: normal_cdf(h) + h * np.exp(-h * h / 2) / np.sqrt(2 * np.pi),
    ),
    "Softplus": (lambda h: np.logaddexp(0, h), expit),
}

LOSSES = {
    "SquaredError": (lambda f, y: 0.5 * np.sum((f - y) ** 2, axis=-1), lambda f, y: y - f),
    "Logistic": (lambda f, y: np.sum(np.logaddexp(0, -y * f), axis=-1), lambda f, y: y / (1 + np.exp(y * f))),
    "SoftmaxCrossEntropy": (
        lambda f, y: -np.sum(y * log_softmax(f, axis=-1), axis=-1),
        lambda f, y: y - softmax(f, axis=-1),
    ),
}


@dataclass
class Start:
    """Initial weights W^0..W^{L-1} and w (output, neuron), gates of the samples and test points, feedback."""

    weights: list[np.ndarray]
    feedback: dict[int, np.ndarray] = field(default_factory=dict)
    gates: list[np.ndarray] | None = None
    test_gates: list[np.ndarray] | None = None


class Reference:
    """Trains one network step by step; `x` is already the rows used.

    `rule` is "gd", "fa", "dfa", "hebb", "drtp", "kp" (Kolen–Pollack), "signs" or "three" (three-factor Hebb). With a
    `branch_scale`, hidden layers add to the one below.
    """

    def __init__(self, start: Start, x, x_test, y, *, dimension, phi, loss, rule, richness, **options: Any):
        self.start, self.x, self.x_test, self.y, self.rule, self.richness = start, x, x_test, y, rule, richness
        self.weights = [w.copy() for w in start.weights]
        self.velocity = [np.zeros_like(w) for w in start.weights]
        self.layers = len(start.weights) - 1
        self.width = start.weights[-1].shape[1]
        self.skips = options.get("branch_scale") is not None
        branch = options["branch_scale"] if self.skips else 1.0
        self.scales = [1 / np.sqrt(dimension)] + [branch / np.sqrt(self.width)] * (self.layers - 1)
        self.phi, self.loss = PHI.get(phi), LOSSES[loss]
        self.feedback = {layer: np.array(made) for layer, made in start.feedback.items()}
        self.feedback_velocity = {layer: np.zeros_like(made) for layer, made in start.feedback.items()}
        self.correlation = options.get("correlation", 0.0)
        self.tracking = options.get("tracking", True)
        self.error_power = options.get("error_power", 2)

    def forward(self, x, gates):
        """h^ℓ, ϕ(h^ℓ), ϕ'(h^ℓ) with index 0 for the input, and f."""
        h, features, slopes = [None], [x], [None]
        for layer in range(self.layers):
            h.append(features[-1] @ self.weights[layer].T * self.scales[layer])
            if self.skips and layer > 0:
                h[-1] = h[-1] + h[-2]
            if gates is None:
                features.append(self.phi[0](h[-1]))
                slopes.append(self.phi[1](h[-1]))
            else:
                features.append(gates[layer] * h[-1])
                slopes.append(gates[layer])
        output = features[-1] @ self.weights[-1].T / (self.width * self.richness)
        return h, features, slopes, output

    def backward(self, slopes, matrices, top):
        """Back-propagation through the given matrices: the sent-back z^ℓ and g^ℓ = ϕ' ⊙ z^ℓ, ℓ = 1..L."""
        z, g = {}, {}
        for layer in range(self.layers, 0, -1):
            if layer == self.layers:
                z[layer] = np.broadcast_to(top, (len(self.x), *top.shape))
            else:
                z[layer] = np.einsum("pca,ab->pcb", g[layer + 1], matrices[layer]) * self.scales[layer]
            g[layer] = slopes[layer][:, None, :] * z[layer]
            if self.skips and layer < self.layers:
                g[layer] = g[layer] + g[layer + 1]
        return z, g

    def pseudo_gradient(self, features, slopes, gradient, error):
        """g̃^ℓ per output, and the signal δ^ℓ that the update uses."""
        layers = range(1, self.layers + 1)
        if self.rule == "hebb" and self.error_power == 0:
            delta = {m: self.y.shape[1] * features[m] for m in layers}
        elif self.rule == "three":
            delta = {m: np.mean(np.sum(error[self.batch] ** 2, axis=1)) * features[m] for m in layers}
        elif self.rule == "drtp":
            delta = {m: slopes[m] * (self.y @ self.start.feedback[m]) for m in layers}
        else:
            pseudo = self._linear_in_error(features, slopes, gradient, error)
            return pseudo, {m: np.einsum("pc,pcn->pn", error, pseudo[m]) for m in layers}
        share = error / np.sum(error**2, axis=1, keepdims=True)
        return {m: share[:, :, None] * delta[m][:, None, :] for m in layers}, delta

    def _linear_in_error(self, features, slopes, gradient, error):
        layers = range(1, self.layers + 1)
        if self.rule == "gd":
            return gradient
        if self.rule == "dfa":
            return {m: slopes[m][:, None, :] * self.start.feedback[m] for m in layers}
        if self.rule == "hebb":
            return {m: error[:, :, None] ** (self.error_power - 1) * features[m][:, None, :] for m in layers}
        if self.rule == "kp":
            return self.backward(slopes, self.feedback, self.feedback[self.layers])[1]
        if self.rule == "signs":
            seen = self.weights if self.tracking else self.start.weights
            return self.backward(slopes, [np.sign(w) for w in seen], np.sign(seen[-1]))[1]
        rho, own = self.correlation, np.sqrt(1 - self.correlation**2)
        mixed = {m: rho * self.start.weights[m] + (own * self.start.feedback[m] if own else 0) for m in layers}
        return self.backward(slopes, mixed, mixed[self.layers])[1]

    def kernels(self, features, gradient, pseudo):
        """Φ^ℓ, G^ℓ, G̃^ℓ and K, with one output block per pair of samples."""
        layers = range(1, self.layers + 1)
        phi = [self.x @ self.x.T * self.scales[0] ** 2] + [features[m] @ features[m].T / self.width for m in layers]
        seen = [phi[0]] + [phi[m] * self.scales[m] ** 2 * self.width for m in layers[:-1]]
        overlap = {m: np.einsum("pcn,qdn->pqcd", gradient[m], gradient[m]) / self.width for m in layers}
        mixed = {m: np.einsum("pcn,qdn->pqcd", gradient[m], pseudo[m]) / self.width for m in layers}
        ntk = np.einsum("pq,cd->pqcd", phi[-1], np.eye(self.y.shape[1]))
        for m in layers:
            ntk = ntk + mixed[m] * seen[m - 1][:, :, None, None]
        return {
            "feature_kernel": np.stack(phi[1:]),
            "gradient_kernel": np.stack([overlap[m] for m in layers]),
            "pseudo_gradient_kernel": np.stack([mixed[m] for m in layers]),
            "pseudo_gradient_norm": np.stack([np.mean(pseudo[m] ** 2, axis=2) for m in layers]),
            "ntk": ntk,
        }

    def train(self, *, step_size, steps, momentum=0.0, weight_decay=0.0, centred=True, batches=None):
        """Everything that a run records at steps 0..steps, each as it was before that step's update.

        `batches` are the samples that each step learns from, all of them unless given.
        """
        records, histories = [], []
        origin = test_origin = 0.0
        for step in range(steps + 1):
            h, features, slopes, output = self.forward(self.x, self.start.gates)
            test_output = self.forward(self.x_test, self.start.test_gates)[3]
            if step == 0 and centred:
                origin, test_origin = output, test_output
            output = output - origin
            error = self.loss[1](output, self.y)
            self.batch = np.arange(len(self.x)) if batches is None else batches[step]
            z, gradient = self.backward(slopes, self.weights[:-1], self.weights[-1])
            pseudo, delta = self.pseudo_gradient(features, slopes, gradient, error)
            record = {"output": output, "error": error, "loss": self.loss[0](output, self.y).sum()}
            record["test_output"] = test_output - test_origin
            records.append(record | self.kernels(features, gradient, pseudo))
            histories.append((h, features, z, gradient, pseudo))
            learned = np.isin(np.arange(len(self.x)), self.batch)[:, None].astype(float)
            delta = {m: learned * rows for m, rows in delta.items()}
            self._update(features, delta, learned * error, step_size, momentum, weight_decay)
        result = {name: np.stack([record[name] for record in records]) for name in records[0]}
        return result | self._histories(histories)

    def _update(self, features, delta, error, step_size, momentum, weight_decay):
        for layer, matrix in enumerate(self.weights):
            if layer == self.layers:
                change = self.tied(layer, error.T @ features[layer])
            else:
                change = self.tied(layer, self.scales[layer] * delta[layer + 1].T @ features[layer])
            self.velocity[layer] = momentum * self.velocity[layer] + step_size * self.richness * change
            self.weights[layer] = (1 - step_size * weight_decay) * matrix + self.velocity[layer]
            if self.rule == "kp" and layer > 0:
                own = momentum * self.feedback_velocity[layer] + step_size * self.richness * change
                self.feedback[layer] = (1 - step_size * weight_decay) * self.feedback[layer] + own
                self.feedback_velocity[layer] = own

    def tied(self, layer, change):
        """What a change of each entry becomes where entries are tied to one another: here none are."""
        return change

    def _histories(self, histories):
        layers = range(1, self.layers + 1)
        features, gradients, pseudo = (
            np.stack([[moment[i][m] for m in layers] for moment in histories]) for i in (1, 3, 4)
        )
        return {
            "feature_kernel_two_time": np.einsum("tlpn,slqn->ltspq", features, features) / self.width,
            "pseudo_gradient_kernel_two_time": np.einsum("tlpcn,slqdn->ltspqcd", gradients, pseudo) / self.width,
            "final_preactivation": np.stack([histories[-1][0][m] for m in layers]),
            "final_pre_gradient": np.stack([histories[-1][2][m] for m in layers]),
        }


class ConvolutionalReference(Reference):
    """A convolutional network as the fully connected one that it is: large matrices between all positions' channels.

    Filters become block matrices by loops over positions and offsets, and their entries are tied: a change of the large
    matrix is summed over the entries that stand for the same weight. `filters` are (group, tap, above, below) for the
    hidden layers, `readout` (output, window, channel); what they give is written in each direction once, by loops.
    """

    def __init__(
        self, filters, readout, gates, test_gates, feedback, x, x_test, y, *, grid, size, circular, window, **rest
    ):
        self.grid, self.size, self.circular, self.window = grid, size, circular, window
        self.positions = list(np.ndindex(*grid))
        self.scale = rest.pop("filter_scale", 1.0)
        self.shapes = [made.shape for made in filters] + [readout.shape]
        matrices = [self.expand(made) for made in filters] + [self.expand_readout(readout)]
        made = {}
        for layer, one in feedback.items():
            if one.ndim == 4:
                made[layer] = self.expand(one)
            else:
                made[layer] = self.expand_readout(one)
        start = Start(matrices, made, self._flat(gates), self._flat(test_gates))
        super().__init__(
            start, x.reshape(len(x), -1), x_test.reshape(len(x_test), -1), y, dimension=x.shape[-1], **rest
        )
        self.width = readout.shape[-1]
        self.scales = [1 / np.sqrt(x.shape[-1])] + [1 / np.sqrt(self.width)] * (self.layers - 1)

    def _flat(self, fields):
        if fields is None:
            return None
        return [field.reshape(-1, len(self.positions) * field.shape[-1]) for field in fields]

    def links(self):
        """(position above, tap, position below) for every offset that stays inside the grid."""
        offsets = list(np.ndindex(*self.size))
        for above, position in enumerate(self.positions):
            for tap, offset in enumerate(offsets):
                seen = tuple(a + b - (s // 2) for a, b, s in zip(position, offset, self.size, strict=True))
                if self.circular:
                    seen = tuple(a % extent for a, extent in zip(seen, self.grid, strict=True))
                if all(0 <= a < extent for a, extent in zip(seen, self.grid, strict=True)):
                    yield above, tap, self.positions.index(seen)

    def expand(self, filters):
        groups, _, n_above, n_below = filters.shape
        count = len(self.positions)
        large = np.zeros((count, n_above, count, n_below))
        for above, tap, below in self.links():
            large[above, :, below] += self.scale * filters[above if groups > 1 else 0, tap]
        return large.reshape(count * n_above, count * n_below)

    def collapse(self, large, shape):
        """The transpose of `expand`."""
        count, found = len(self.positions), np.zeros(shape)
        large = large.reshape(count, shape[2], count, shape[3])
        for above, tap, below in self.links():
            found[above if shape[0] > 1 else 0, tap] += self.scale * large[above, :, below]
        return found

    def windows(self):
        """The window of each position, and how many positions it has."""
        blocks = [extent // width for extent, width in zip(self.grid, self.window, strict=True)]
        places = [
            tuple(a // width for a, width in zip(position, self.window, strict=True)) for position in self.positions
        ]
        return [int(np.ravel_multi_index(place, blocks)) for place in places], int(np.prod(self.window))

    def expand_readout(self, readout):
        places, many = self.windows()
        return np.concatenate([readout[:, place] / many for place in places], axis=1)

    def collapse_readout(self, large, shape):
        places, many = self.windows()
        found = np.zeros(shape)
        for position, place in enumerate(places):
            found[:, place] += large[:, position * shape[2] : (position + 1) * shape[2]] / many
        return found

    def tied(self, layer, change):
        if layer == self.layers:
            return self.expand_readout(self.collapse_readout(change, self.shapes[-1]))
        return self.expand(self.collapse(change, self.shapes[layer]))

    def kernels(self, features, gradient, pseudo):
        """Kernels of all positions' channels together; K by its definition, ∂f/∂W times the rule's change of W."""
        found = super().kernels(features, gradient, pseudo)
        for name in ("feature_kernel", "gradient_kernel", "pseudo_gradient_kernel"):
            found[name] = found[name] / len(self.positions)
        samples, outputs = self.y.shape
        ntk = np.zeros((samples, samples, outputs, outputs))
        for layer in range(self.layers):
            true, rule = (
                np.array(
                    [
                        [
                            self.collapse(
                                self.scales[layer] * np.outer(g[mu, c], features[layer][mu]), self.shapes[layer]
                            )
                            for c in range(outputs)
                        ]
                        for mu in range(samples)
                    ]
                )
                for g in (gradient[layer + 1], pseudo[layer + 1])
            )
            ntk += np.einsum("pcgtij,qdgtij->pqcd", true, rule) / self.width
        last = np.array([self.collapse_readout(phi[None], (1, *self.shapes[-1][1:])) for phi in features[self.layers]])
        found["ntk"] = ntk + np.einsum("pxwn,qxwn,cd->pqcd", last, last, np.eye(outputs)) / self.width
        return found
