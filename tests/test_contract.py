"""One contract for every rule, nonlinearity and kind of weights, in the manner of scikit-learn's estimator checks."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import jax
import numpy as np
import pytest
from helpers import KERNELS, NONLINEARITIES, RULES, assert_same, grouped, relative_error, small_task
from reference import LOSSES

import widelimit as wl

STEPS = 4
FINITE = 30
POINTS = 1e-7  # for outputs at test points, which enter through the root of a rounding error


@dataclass(frozen=True)
class Case:
    """One rule on one nonlinearity at one width, with a complete basis at infinite width."""

    rule: str
    nonlinearity: str
    width: float
    outputs: int | None = None

    @property
    def infinite(self):
        return math.isinf(self.width)

    @property
    def solved_exactly(self):
        """Whether nothing random is left, so that seeds agree."""
        return self.infinite and self.nonlinearity == "linear"

    def __str__(self):
        return f"{self.rule}-{self.nonlinearity}-{self.width}" + (f"-{self.outputs}" if self.outputs else "")

    def train(self, task=None, **options):
        settings = {"step_size": 0.05, "steps": STEPS, "seed": 5, "replicates": 1, "width": self.width}
        settings |= {"particles": 300, "capacity": 4 * (STEPS + 1), "tolerance": 1e-6, "growth": 4} | options
        net = wl.MLP(2, NONLINEARITIES[self.nonlinearity])
        return wl.train(net, self.task if task is None else task, RULES[self.rule], **grouped(**settings))

    @property
    def task(self):
        """Four points, and two test points of which the first repeats the second sample."""
        task = small_task(outputs=self.outputs, test_samples=2)
        y = task.y[:, 0] if task.scalar else task.y
        return wl.Task(task.x, y, np.stack([task.x[1], task.x_test[0]]))


@functools.lru_cache(maxsize=1)
def base_run(case):
    return case.train(replicates=2)


def check_training_happens(case):
    loss = base_run(case)["loss"].values
    assert np.all(np.isfinite(loss))
    assert np.all(loss[:, -1] < 0.99 * loss[:, 0])


def check_causality(case):
    """What step 0 shows of the network cannot depend on a target; what follows does."""
    y = case.task.y.copy()
    y[0] = -y[0]
    task = wl.Task(case.task.x, y[:, 0] if case.task.scalar else y, case.task.x_test)
    base, changed = base_run(case), case.train(task, replicates=2)
    independent = ["output", "test_output", "feature_kernel", "gradient_kernel"]
    if case.rule != "hebb":  # whose pseudo-gradient is the error times the feature
        independent += ["pseudo_gradient_kernel", "pseudo_gradient_norm", "ntk"]
    for name in independent:
        assert np.array_equal(base[name].isel(step=0), changed[name].isel(step=0)), name
    for name in ("output", "test_output"):
        assert relative_error(changed[name].isel(step=1), base[name].isel(step=1)) > 1e-3, name


def check_symmetry(case):
    """The order of the samples does not matter."""
    order = [2, 0, 3, 1]
    y = case.task.y[order]
    task = wl.Task(case.task.x[order], y[:, 0] if case.task.scalar else y, case.task.x_test)
    base = base_run(case).isel(replicate=[0])
    permuted = base.isel(sample=order, sample2=order)
    found = case.train(task)
    names = ["output", "loss", "feature_kernel"]
    if not case.infinite or (case.rule == "gd" and case.task.scalar):
        # Elsewhere g is measured by probes, whose throw-away noise again belongs to a row.
        names += ["gradient_kernel", "pseudo_gradient_kernel", "ntk"]
    missing = rms_outside_basis(base)  # passes with throw-away noise, which belongs to a row and not to a sample
    assert_same(found, permuted, 1e-10 + missing, names)
    if missing < 1e-10:
        assert_same(found, permuted, POINTS, ["test_output"])


def rms_outside_basis(run):
    """The largest relative residual that no lasting direction holds; zero at finite width."""
    fractions = [run[name].max().item() for name in run.data_vars if name.endswith("dropped_fraction")]
    return max(fractions, default=0.0) ** 0.5


def check_kernels_are_positive(case):
    """Φ and G are symmetric and positive semidefinite, output blocks included."""
    run = base_run(case)
    for name in ("feature_kernel", "gradient_kernel"):
        kernel = run[name].values
        if "output_unit" in run[name].dims:
            size = case.task.samples * case.task.outputs
            kernel = np.moveaxis(kernel, -2, -3).reshape(*kernel.shape[:3], size, size)
        assert relative_error(np.swapaxes(kernel, -1, -2), kernel) < 1e-13, name
        eigenvalues = np.linalg.eigvalsh(kernel)
        assert np.all(eigenvalues > -1e-13 * eigenvalues.max()), name
        assert np.all(eigenvalues[..., -1] > 1e-3), name


def rounding_of_groups(case):
    """How far a replicate may lie from itself in company: small networks are stepped together."""
    return 0.0 if case.infinite else 1e-12


def check_replicates(case):
    """A replicate is the same alone and in company, and not the same as another."""
    base = base_run(case)
    assert_same(case.train(), base.isel(replicate=[0]), rounding_of_groups(case))
    spread = relative_error(base["feature_kernel"][1], base["feature_kernel"][0])
    assert spread < 1e-9 if case.solved_exactly else spread > 1e-4


def check_seeds(case):
    """The seed decides everything."""
    base = base_run(case).isel(replicate=[0])
    again, other = case.train(seed=5), case.train(seed=6)
    assert_same(again, base, rounding_of_groups(case))
    spread = relative_error(other["feature_kernel"], base["feature_kernel"])
    assert spread < 1e-9 if case.solved_exactly else spread > 1e-4


def check_recorded_steps(case):
    """Every second and every third step, with the values that recording every step gives."""
    base = base_run(case).isel(replicate=[0])
    for every, steps in ((2, [0, 2, 4]), (3, [0, 3])):
        run = case.train(record_every=every)
        assert run["step"].values.tolist() == steps
        assert np.allclose(run["time"], 0.05 * np.array(steps), rtol=1e-15)
        names = [name for name in base.data_vars if not name.endswith(("fraction", "basis_size"))]
        assert_same(run, base.sel(step=steps), POINTS if case.infinite else 1e-12, names)


def check_tangent_kernel_identity(case):
    """K = Σ_ℓ G̃^{ℓ+1} ⊙ Φ^ℓ with G̃^{L+1} = 1, from the recorded kernels."""
    run = base_run(case)
    phi, pseudo = run["feature_kernel"], run["pseudo_gradient_kernel"]
    top = phi.sel(layer=2)
    if not case.task.scalar:
        units = [run.sizes["output_unit"]] * 2
        top = top.expand_dims(output_unit=units[0], output_unit2=units[1], axis=(-2, -1)) * np.eye(units[0])
    expected = top + pseudo.sel(layer=2) * phi.sel(layer=1) + pseudo.sel(layer=1) * run["input_kernel"]
    expected = expected.transpose(*run["ntk"].dims)
    assert relative_error(run["ntk"], expected) < 1e-12
    assert relative_error(run["input_kernel"], case.task.x @ case.task.x.T / 3) < 1e-12


def check_loss_and_error(case):
    """Loss and error are those of the recorded outputs, which start at zero."""
    run, (value, error) = base_run(case), LOSSES["SquaredError"]
    output = run["output"].values
    target = case.task.y[:, 0] if case.task.scalar else case.task.y
    assert np.all(output[:, 0] == 0)
    assert relative_error(run["error"], error(output, target)) < 1e-14
    columns = output[..., None] if case.task.scalar else output
    assert relative_error(run["loss"], value(columns, case.task.y).sum(axis=-1)) < 1e-14


def check_test_points(case):
    """A test point that repeats a sample has that sample's output."""
    run = base_run(case)
    error = relative_error(run["test_output"].isel(test_sample=0), run["output"].isel(sample=1))
    assert error < (POINTS if case.infinite else 1e-12)


CHECKS = [
    check_training_happens,
    check_causality,
    check_symmetry,
    check_kernels_are_positive,
    check_replicates,
    check_seeds,
    check_recorded_steps,
    check_tangent_kernel_identity,
    check_loss_and_error,
    check_test_points,
]

REPRESENTATIVES = [
    Case("gd", "tanh", FINITE),
    Case("gd", "gated", FINITE),
    Case("fa-0", "relu", FINITE),
    Case("fa-half", "erf", FINITE),
    Case("fa-half", "linear", FINITE),
    Case("fa-1", "gelu", FINITE),
    Case("dfa", "softplus", FINITE),
    Case("hebb", "tanh", FINITE),
    Case("fa-half", "tanh", FINITE, outputs=2),
    Case("gd", "relu", math.inf, outputs=2),
    Case("fa-0", "softplus", math.inf),
    Case("fa-half", "linear", math.inf),
    Case("fa-1", "gated", math.inf),
    Case("dfa", "erf", math.inf),
    Case("hebb", "gelu", math.inf),
]
PRODUCT = [Case(rule, phi, width) for width in (FINITE, math.inf) for rule in RULES for phi in NONLINEARITIES]


def hold_to_contract(case):
    """Run every check, so that one failure does not hide another."""
    failures = []
    for check in CHECKS:
        try:
            check(case)
        except Exception as failure:
            failure.add_note(f"in {check.__name__} of {case}")
            failures.append(failure)
    if failures:
        raise ExceptionGroup(f"{case} breaks the contract", failures)


@pytest.mark.parametrize("case", REPRESENTATIVES, ids=str)
def test_contract(case):
    hold_to_contract(case)


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [*(case for case in PRODUCT if case not in REPRESENTATIVES), Case("gd", "tanh", math.inf, outputs=2)],
    ids=str,
)
def test_contract_of_the_full_product(case):
    hold_to_contract(case)


def test_representatives_leave_nothing_out():
    for width in (FINITE, math.inf):
        assert {case.rule for case in REPRESENTATIVES if case.width == width} == set(RULES)
    assert {case.nonlinearity for case in REPRESENTATIVES} == set(NONLINEARITIES)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(Case("fa-half", "relu", FINITE), marks=pytest.mark.slow),
        Case("hebb", "tanh", math.inf),
        pytest.param(Case("gd", "gated", math.inf), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_compiled_code_does_what_plain_code_does(case):
    compiled = case.train(steps=1)
    with jax.disable_jit():
        plain = case.train(steps=1)
    names = ["output", "test_output", "loss", *KERNELS]
    assert_same(compiled, plain, POINTS if case.infinite else 1e-12, names)


@pytest.mark.parametrize(
    "case",
    [
        Case("fa-half", "tanh", FINITE),
        Case("dfa", "tanh", math.inf),
        pytest.param(Case("gd", "relu", math.inf), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_single_precision_is_as_close_as_its_rounding(case):
    """Both precisions draw the same network, so the difference is rounding: there, and small."""
    single, double = (case.train(precision=name, tolerance=0.1) for name in ("float32", "float64"))
    assert single["output"].dtype == np.float32
    assert double["output"].dtype == np.float64
    assert_same(single, double, 2e-5, ["output", "test_output", *KERNELS])
    assert relative_error(single["ntk"], double["ntk"]) > 1e-9


@pytest.mark.parametrize("case", [Case("gd", "tanh", FINITE), Case("fa-half", "relu", math.inf)], ids=str)
def test_test_points_leave_no_trace(case):
    task = case.task
    with_points, without = base_run(case).isel(replicate=[0]), case.train(wl.Task(task.x, task.y[:, 0]))
    assert "test_output" not in without
    assert_same(with_points, without, 1e-9, ["output", "feature_kernel"])
