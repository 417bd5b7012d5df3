"""Finite width through training: two-layer linear networks, mean shift and variance to leading order in 1/N.

The fields of a neuron, z_k = (h_1 … h_P, w, g̃) at step k, are linear in its normal initial values ξ, and all neurons
share the matrix: z_k = T_k ξ, T_{k+1} = M(Δ_k) T_k. All that the errors Δ need of the network is X = (1/N) Σ ξξᵀ,
because averages over neurons are T X Tᵀ. That is exact at every width. X is a Wishart matrix, with the mean 1 and the
covariance N Cov(X_ij, X_kl) = δ_ik δ_jl + δ_il δ_jk, so that expanding T in X − 1 gives every order in 1/N.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import xarray as xr

from ... import checks
from ...checks import ArgumentError
from ...faults import DIVERGED, DivergenceWarning
from ...memory import require_memory
from ...networks import MLP, Linear
from ...optimizers import SGD
from ...problem import Batches, SquaredError, Task
from ...progress import progress_bar
from ...rules import Rule
from ..feedback import FeedbackKind, FeedbackLaw, feedback_of
from ..momentum import with_step_size
from ..networks import fully_connected
from .measures import MEASURES, by_measure
from .series import Series, product


def two_layer_fluctuations(
    net: MLP,
    task: Task,
    rule: Rule | None = None,
    *,
    optimizer: SGD,
    steps: int,
    batches: Batches | None = None,
    centred: bool = True,
    progress: bool | None = None,
) -> xr.Dataset:
    """What finite width does to a two-layer linear network all along training, exact to leading order in 1/N.

    For every quantity q of a run, ⟨q_N(t)⟩ = q_∞(t) + a(t)/N and Var q_N(t) = C(t)/N over networks of width N, up to
    O(1/N²). With T_k the linear map from a neuron's initial values to its fields at step k, Q_k = T_k X T_kᵀ holds all
    averages over neurons,

        T_{k+1} = M(Δ_k) T_k,    Δ_k = y − f(Q_k),    X = 1 + O(1/√N) a Wishart matrix,

    and a and C are the second and the first derivative of that recursion along the independent entries of X, times
    their variances (2/N on the diagonal, 1/N off it). It is the expansion of Bordelon & Pehlevan (2023, "Dynamics of
    finite width kernel and prediction fluctuations in mean field neural networks") in discrete time, for each rule
    whose equations close: gradient descent, feedback alignment, direct feedback alignment (ρ = 0 here) and Hebbian
    learning. In deeper linear networks averages over one layer do not close, and only their limit is known
    (`theory.linear`).

    **Arguments:** `net`, an `MLP(1, Linear(), richness)`; `task` with the squared error, any number of outputs and test
    points; `rule`, `optimizer` (momentum and weight decay too), `steps`, `batches` and `centred` as for [`train`];
    `progress`: show a bar, by default on a terminal only.

    **Returns:** a dataset with `output`, `error`, `loss`, `test_output`, `feature_kernel`, `gradient_kernel`,
    `pseudo_gradient_kernel` and `ntk` at all steps, along the dimension `measure`: "limit", "shift" (a) and "variance"
    (C of each entry), as [`corrections`] measures them.

    **Raises:** `ArgumentError` if an argument cannot serve. A run that diverges (Hebbian learning can) stops, warns
    with `DivergenceWarning` and keeps the steps before.
    """
    fully_connected(net, "theory.two_layer_fluctuations", "Linear")
    if not isinstance(net.nonlinearity, Linear) or net.hidden_layers != 1:
        raise ArgumentError(
            "net: theory.two_layer_fluctuations covers MLP(1, Linear()), one hidden layer; got "
            f"MLP({net.hidden_layers}, {type(net.nonlinearity).__name__}()). widelimit.corrections measures any "
            "network."
        )
    checks.instance("task", task, Task, "widelimit.Task(x, y)")
    if not isinstance(task.loss, SquaredError):
        raise ArgumentError(f"task: theory.two_layer_fluctuations covers SquaredError; got {type(task.loss).__name__}.")
    feedback = feedback_of(rule, "theory.two_layer_fluctuations")
    if feedback.kind is FeedbackKind.LOCAL and feedback.error_power == 0:
        raise ArgumentError(
            "rule: theory.two_layer_fluctuations covers Hebbian with error_power 1 or 2; got 0, whose pseudo-gradient "
            "is no polynomial of the error."
        )
    steps = checks.integer("steps", steps, at_least=0)
    checks.boolean("centred", centred)
    if batches is not None:
        checks.instance("batches", batches, Batches, "widelimit.Batches(size=32)")
    optimizer = with_step_size(optimizer, "theory.two_layer_fluctuations")
    recursion = _Recursion.of(net, task, feedback, optimizer, centred)
    _check_memory(recursion, task, steps)
    order = None if batches is None else batches.order(task.samples, steps + 1)
    if batches is not None and batches.size == task.samples:  # in any order, all of them
        order = None
    recorded: list[dict[str, dict[str, np.ndarray]]] = []
    with progress_bar(progress, total=steps + 1, desc="theory.two_layer_fluctuations", unit="step") as bar:
        for step in range(steps + 1):
            with np.errstate(over="ignore", invalid="ignore"):
                series = recursion.advance(None if order is None else order[step])
            loss = float(series["loss"].value)
            if not all(np.isfinite(each).all() for each in vars(series["ntk"]).values()) or (
                recorded and loss > DIVERGED * max(float(recorded[0]["limit"]["loss"]), 1e-300)
            ):
                warnings.warn(
                    f"The network diverged at step {step} (time {step * float(optimizer.step_size):g}); the steps "
                    "before that are kept. A smaller step size helps unless the rule itself diverges.",
                    DivergenceWarning,
                    stacklevel=2,
                )
                break
            recorded.append({measure: recursion.measure(measure, series) for measure in MEASURES})
            bar.update()
    return by_measure(recorded, "theory.two_layer_fluctuations", net, task, rule, optimizer, batches)


@dataclass
class _Recursion:
    """The maps T (field, initial value) of fields and of their velocities, expanded in X − 1."""

    task: Task
    feedback: FeedbackLaw
    optimizer: SGD
    richness: float
    centred: bool
    inputs: np.ndarray
    """K^x between all points, training points first, and training points."""
    directions: Series
    """X (initial, initial): 1, and a symmetric pair of entries along each direction."""
    variances: np.ndarray
    """N times the variance of X along each direction."""
    fields: Series
    """h of all points, then w of each output."""
    velocity: Series
    frozen: np.ndarray | None
    """g̃ of each output in feedback that is never trained."""
    start: Series | None = None
    """The output before training."""

    @classmethod
    def of(cls, net: MLP, task: Task, feedback: FeedbackLaw, optimizer: SGD, centred: bool) -> _Recursion:
        points = np.concatenate([task.x, task.x_test]) if len(task.x_test) else task.x
        gram = points @ points.T / task.x.shape[1]
        values, vectors = np.linalg.eigh(gram)
        kept = values > 1e-12 * max(values.max(), 1e-300)
        root = vectors[:, kept] * np.sqrt(values[kept])
        outputs, rank = task.outputs, root.shape[1]
        size = rank + outputs * (2 if feedback.frozen else 1)
        fields = np.zeros((len(points) + outputs, size))
        fields[: len(points), :rank] = root
        readout = np.eye(size)[rank : rank + outputs]
        fields[len(points) :] = readout
        frozen = None
        if feedback.frozen:
            own = np.eye(size)[rank + outputs :]
            frozen = feedback.correlation * readout + np.sqrt(1 - feedback.correlation**2) * own
        first, second = np.triu_indices(size)
        change = np.zeros((len(first), size, size))
        place = np.arange(len(first))
        change[place, first, second] = change[place, second, first] = 1.0
        constant = Series.constant(fields, len(first))
        return cls(
            task,
            feedback,
            optimizer,
            float(net.richness),
            centred,
            gram[:, : task.samples],
            Series(np.eye(size), change, np.zeros_like(change)),
            np.where(first == second, 2.0, 1.0),
            constant,
            0.0 * constant,
            frozen,
        )

    def measure(self, measure: str, series: dict[str, Series]) -> dict[str, np.ndarray]:
        """One of `MEASURES` of everything that is recorded at a step."""
        of = {
            "limit": lambda each: each.value,
            "shift": lambda each: each.shift(self.variances),
            "variance": lambda each: each.variance(self.variances),
        }[measure]
        return {name: of(each) for name, each in series.items()}

    def advance(self, batch: np.ndarray | None) -> dict[str, Series]:
        """What is recorded before a step, and the step."""
        samples, points = self.task.samples, len(self.inputs)
        hidden, readout = self.fields[:points], self.fields[points:]
        seen = product("ij,jk->ik", readout, self.directions)  # ⟨w ξᵀ⟩
        output = (1 / self.richness) * product("ci,pi->pc", seen, hidden)
        if self.start is None:
            self.start = output
        if self.centred:
            output = output - self.start
        count = len(self.variances)
        error = Series.constant(self.task.y.reshape(samples, -1), count) - output[:samples]
        recorded = self._measured(hidden[:samples], readout, output, error)
        mask = np.ones((samples, 1))
        if batch is not None:
            mask = np.zeros((samples, 1))
            mask[batch] = 1.0
        self._step(mask * error, hidden[:samples], readout)
        return recorded

    def _step(self, error: Series, hidden: Series, readout: Series) -> None:
        size, decay = float(self.optimizer.step_size), float(self.optimizer.weight_decay)
        if self.feedback.kind is FeedbackKind.LOCAL:
            share = error.power(self.feedback.error_power).mapped("pc->p")
            sent = product("p,pi->pi", share, hidden)
        elif self.frozen is not None:
            sent = error.mapped("pc,ci->pi", self.frozen)
        else:
            sent = product("pc,ci->pi", error, readout)
        below = sent.mapped("pi,qp->qi", self.inputs)
        above = product("pc,pi->ci", error, hidden)
        change = (size * self.richness) * _joined(below, above)
        self.velocity = float(self.optimizer.momentum) * self.velocity + change
        self.fields = (1 - size * decay) * self.fields + self.velocity

    def _measured(self, hidden: Series, readout: Series, output: Series, error: Series) -> dict[str, Series]:
        samples, outputs = error.value.shape
        features = _average(hidden, self.directions, hidden)
        gradient = _average(readout, self.directions, readout)
        if self.feedback.kind is FeedbackKind.LOCAL:
            across = _average(readout, self.directions, hidden)
            share = error.power(self.feedback.error_power - 1)
            pseudo = product("qe,cq->qce", share, across).mapped("qce,p->pqce", np.ones(samples))
        else:
            other = readout if self.frozen is None else Series.constant(self.frozen, len(self.variances))
            pseudo = _everywhere(_average(readout, self.directions, other), samples)
        kernel = pseudo.mapped("pqce,pq->pqce", self.inputs[:samples])
        kernel = kernel + features.mapped("pq,ce->pqce", np.eye(outputs))
        squared = product("pc,pc->", error, error)
        return {
            "output": output[:samples],
            "test_output": output[samples:],
            "error": error,
            "loss": 0.5 * squared,
            "feature_kernel": features.of_one_layer(),
            "gradient_kernel": _everywhere(gradient, samples).of_one_layer(),
            "pseudo_gradient_kernel": pseudo.of_one_layer(),
            "ntk": kernel,
        }


def _average(a: Series, x: Series, b: Series) -> Series:
    """⟨a bᵀ⟩ over neurons, of fields that are linear in the initial values."""
    return product("ij,kj->ik", product("ij,jk->ik", a, x), b)


def _everywhere(block: Series, samples: int) -> Series:
    """A block over outputs that is the same for all pairs of samples."""
    return block.mapped("ce,pq->pqce", np.ones((samples, samples)))


def _joined(a: Series, b: Series) -> Series:
    return Series(
        np.concatenate([a.value, b.value]),
        np.concatenate([a.first, b.first], axis=1),
        np.concatenate([a.second, b.second], axis=1),
    )


def _check_memory(recursion: _Recursion, task: Task, steps: int) -> None:
    directions, (fields, size) = len(recursion.variances), recursion.fields.value.shape
    block = (task.samples * task.outputs) ** 2
    held = 8 * directions * (fields * size + 2 * block)
    kept = 3 * 4 * (steps + 1) * block
    require_memory(
        8.0 * (held + 2 * kept),
        parts={"derivatives along all directions": 8.0 * held, "what is recorded": 16.0 * kept},
        remedy="They grow as the fourth power of the number of samples: pass fewer samples.",
        what=f"The fluctuations of {task.samples} samples through {steps} steps need",
    )
