"""The variables of a result: the one table that files, comparisons, pictures, reports and the documentation go by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..problem import Logistic, SoftmaxCrossEntropy, SquaredError

SCHEMA = 1

TIME = {"long_name": "step × step size", "units": "time"}
"""What a file says of the coordinate `time`."""

_SQUARED, _ENTROPIES = {SquaredError.__name__}, {Logistic.__name__, SoftmaxCrossEntropy.__name__}

RECORDED = {"sample": "recorded_sample", "sample2": "recorded_sample2"}
"""What the dimensions over samples become where the kernels of some samples alone were recorded."""


@dataclass(frozen=True)
class Variable:
    """One variable of a result."""

    name: str
    axes: str
    """Its dimensions, in their order. A task with targets (P,) has no output units, a network that is not convolutional
    no positions."""
    meaning: str
    unit: str = "1"
    """In units of the targets y and of time, which is step × step size; "1" for pure numbers. Of what depends on the
    loss, that under the squared error "or" under a cross-entropy."""
    words: str = ""
    symbol: str = ""
    """What it is called in tables; what has neither words nor symbol is not compared with that of another result."""
    image: bool = False
    """Whether pages show it as an image over pairs of samples."""

    @property
    def dims(self) -> tuple[str, ...]:
        """The dimensions."""
        return tuple(self.axes.split())

    @property
    def label(self) -> str:
        """What it is called in tables: words and symbol."""
        return f"{self.words} {self.symbol}".strip()

    def attributes(self, loss: Any = None) -> dict[str, str]:
        """What a file says of it: its meaning, and its unit under the loss that a configuration describes."""
        under = self.unit.split(" or ")
        name = loss.get("type") if isinstance(loss, Mapping) else None
        unit = under[0] if name in _SQUARED else under[-1] if name in _ENTROPIES else self.unit
        return {"long_name": self.meaning, "units": unit}

    @property
    def of_recorded_samples(self) -> bool:
        """Whether it is of the recorded samples alone, where not all were recorded: kernels, and fields of layers."""
        return (
            "sample" in self.dims and ("layer" in self.dims or "sample2" in self.dims) and self.name != "input_kernel"
        )


_PAIRS = "sample sample2"
_BLOCKS = "sample sample2 output_unit output_unit2"
_TWO_TIME = "replicate layer step step2"
_BY_POSITION = "replicate step layer sample position sample2 position2"
_FOUR = "sample sample2 sample3 sample4"

# fmt: off
_TABLE = (
    Variable("input_kernel", _PAIRS, "Φ^0 = x·x'/D"),
    Variable("target", "sample output_unit", "y", "y"),
    Variable("test_target", "test_sample output_unit", "y at the test points", "y"),
    Variable("loss", "replicate step", "training loss, summed over samples", "y² or nats", "loss"),
    Variable("output", "replicate step sample output_unit",
             "f_μ, after subtracting its initial value where the run is centred", "y", "output", "f"),
    Variable("error", "replicate step sample output_unit", "error signal Δ = −∂ℓ/∂f", "y or 1", "error", "Δ"),
    Variable("test_loss", "replicate step", "loss at the test points, summed over them", "y² or nats", "test loss"),
    Variable("test_output", "replicate step test_sample output_unit", "f at the test points", "y", "test output", "f"),
    Variable("ntk", f"replicate step {_BLOCKS}", "eNTK K = Σ_ℓ G̃^{ℓ+1} Φ^ℓ", "1/time", "eNTK", "K", image=True),
    Variable("feature_kernel", f"replicate step layer {_PAIRS}",
             "Φ^ℓ = ⟨ϕ(h) ϕ(h)⟩", "1", "feature kernel", "Φ^ℓ", image=True),
    Variable("gradient_kernel", f"replicate step layer {_BLOCKS}",
             "G^ℓ = ⟨g g⟩", "1", "gradient kernel", "G^ℓ", image=True),
    Variable("pseudo_gradient_kernel", f"replicate step layer {_BLOCKS}",
             "G̃^ℓ = ⟨g g̃⟩, not symmetric", "1", "pseudo-gradient kernel", "G̃^ℓ", image=True),
    Variable("pseudo_gradient_norm", "replicate step layer sample output_unit",
             "⟨g̃ g̃⟩ of each sample", "1", "pseudo-gradient norm", "⟨g̃g̃⟩"),
    Variable("pseudo_gradient_covariance", f"replicate step layer {_BLOCKS}",
             "⟨g̃ g̃⟩ between samples", "1", "pseudo-gradient covariance", "⟨g̃g̃⟩"),
    Variable("ntk_term", f"replicate step weight {_BLOCKS}",
             "G̃^{ℓ+1} Φ^ℓ, what training the weight matrix ℓ = 0..L contributes to K", "1/time"),
    Variable("test_ntk", "replicate step test_sample sample2 output_unit output_unit2",
             "K between test points and training samples", "1/time", "test eNTK", "K"),
    Variable("test_feature_kernel", "replicate step layer test_sample test_sample2",
             "Φ^ℓ between test points", "1", "test feature kernel", "Φ^ℓ"),
    Variable("test_train_feature_kernel", "replicate step layer test_sample sample",
             "Φ^ℓ between test points and training samples", "1", "test-train feature kernel", "Φ^ℓ"),
    Variable("mean_feature", "replicate step layer sample",
             "⟨ϕ(h)⟩, over neurons and positions", "1", "mean feature", "⟨ϕ⟩"),
    Variable("feature_kernel_two_time", f"{_TWO_TIME} {_PAIRS}", "Φ^ℓ(t, s)", "1", "", "Φ^ℓ(t, s)"),
    Variable("gradient_kernel_two_time", f"{_TWO_TIME} {_BLOCKS}", "G^ℓ(t, s) = ⟨g(t) g(s)⟩", "1", "", "G^ℓ(t, s)"),
    Variable("pseudo_gradient_kernel_two_time", f"{_TWO_TIME} {_BLOCKS}",
             "G̃^ℓ(t, s) = ⟨g(t) g̃(s)⟩", "1", "", "G̃^ℓ(t, s)"),
    Variable("pseudo_gradient_covariance_two_time", f"{_TWO_TIME} {_BLOCKS}",
             "G̃̃^ℓ(t, s) = ⟨g̃(t) g̃(s)⟩", "1", "", "⟨g̃(t) g̃(s)⟩"),
    Variable("feature_kernel_positions", _BY_POSITION, "Φ^ℓ between positions of a convolutional network"),
    Variable("gradient_kernel_positions", f"{_BY_POSITION} output_unit output_unit2", "G^ℓ between positions"),
    Variable("pseudo_gradient_kernel_positions", f"{_BY_POSITION} output_unit output_unit2", "G̃^ℓ between positions"),
    Variable("final_preactivation", "replicate layer sample position neuron",
             "h^ℓ of each neuron or particle at the last recorded step"),
    Variable("final_pre_gradient", "replicate layer sample output_unit position neuron",
             "z^ℓ of each neuron or particle at the last recorded step"),
    Variable("final_test_preactivation", "replicate layer test_sample position neuron",
             "h^ℓ at the test points, of each neuron or particle at the last recorded step"),
    Variable("forward_basis_size", "replicate step matrix",
             "directions kept of the features sent through each hidden matrix", "directions"),
    Variable("backward_basis_size", "replicate step matrix",
             "directions kept of the gradients sent back through each hidden matrix", "directions"),
    Variable("forward_dropped_fraction", "replicate step matrix",
             "share of the features' power outside the kept directions"),
    Variable("backward_dropped_fraction", "replicate step matrix",
             "share of the gradients' power outside the kept directions"),
    Variable("unlearned_fraction", "replicate step matrix",
             "share of the power of a hidden matrix's updates up to this step that is outside the kept directions"),
    Variable("unrecognised_fraction", "replicate step",
             "share of the power sent backward up to this step, weighed by the squared error of each step, that had no "
             "kept direction, in that matrix, of the network or of the rule, where it is largest"),
    Variable("diverged_step", "replicate", "step at which the replicate diverged, -1 if it did not", "steps"),
    Variable("highest_loss", "replicate",
             "largest training loss of all steps, or, with minibatches, of the recorded ones", "y² or nats"),
    Variable("highest_loss_step", "replicate", "step at which it was", "steps"),
    Variable("regression_coefficient", "replicate step sample output_unit",
             "α in f = K α, the kernel-regression coefficients of a lazy network", "y·time"),
    Variable("response_a", f"replicate matrix step step2 {_PAIRS} output_unit2",
             "A^ℓ(t, s) = ⟨∂ϕ(h^ℓ(t))/∂r^ℓ(s)⟩, of one step (no γ0, no dt divided out)"),
    Variable("response_b", f"replicate matrix step step2 {_PAIRS} output_unit",
             "B^ℓ(t, s) = ⟨∂g^{ℓ+1}(t)/∂u^{ℓ+1}(s)⟩"),
    Variable("response_c", f"replicate matrix step step2 {_PAIRS} output_unit2", "C^ℓ(t, s) = ⟨∂ϕ(h^ℓ(t))/∂v^ℓ(s)⟩"),
    Variable("response_d", f"replicate matrix step step2 {_PAIRS} output_unit",
             "D^ℓ(t, s) = ⟨∂g̃^{ℓ+1}(t)/∂u^{ℓ+1}(s)⟩"),
    Variable("residual", "replicate sweep", "largest relative change of an order parameter in each sweep"),
    Variable("feature_kernel_covariance", f"layer layer2 {_FOUR}",
             "Cov(Φ^ℓ_{μν}, Φ^ℓ'_{αβ}) over networks of the given width"),
    Variable("gradient_kernel_covariance", f"layer layer2 {_FOUR}", "Cov(G^ℓ_{μν}, G^ℓ'_{αβ})"),
    Variable("feature_gradient_covariance", f"layer layer2 {_FOUR}", "Cov(Φ^ℓ_{μν}, G^ℓ'_{αβ})"),
    Variable("ntk_covariance", _FOUR, "Cov(K_{μν}, K_{αβ}), of one output's block", "1/time²"),
)
# fmt: on

VARIABLES: dict[str, Variable] = {variable.name: variable for variable in _TABLE}
"""The variables of a result, by name."""

DIMENSIONS: dict[str, tuple[str, ...]] = {name: variable.dims for name, variable in VARIABLES.items()}
"""Their dimensions."""

COMPARED: dict[str, str] = {name: variable.label for name, variable in VARIABLES.items() if variable.label}
"""Those that [`compare`] compares, with what they are called in tables."""

IMAGES: dict[str, tuple[str, str]] = {
    name: (variable.symbol.removesuffix("^ℓ"), variable.words) for name, variable in VARIABLES.items() if variable.image
}
"""Those that are shown as images: symbol and words."""
