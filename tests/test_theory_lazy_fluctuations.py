"""Finite width through lazy training: random networks in NumPy, the theory of two layers, the lazy limit."""

import numpy as np
import pytest
from helpers import NONLINEARITIES, RULES, of_which_fast, small_task
from test_theory_fluctuations import inputs, networks

import widelimit as wl
from widelimit.theory import lazy_fluctuations

SGD = wl.SGD(0.15, momentum=0.4)
CASES = [
    (phi, rule, loss)
    for phi in ("tanh", "relu", "linear", "gated")
    for rule in ("gd", "fa-half", "dfa", "hebb-1")
    for loss in ("squared", "logistic")
]
LOSSES = {"squared": wl.SquaredError(), "logistic": wl.Logistic()}
KINDS = RULES | {"hebb-1": wl.Hebbian(error_power=1)}


def variances(values):
    """Variances over networks, and their standard errors."""
    deviations = (values - values.mean(axis=0)) ** 2
    count = len(values)
    return deviations.mean(axis=0) * count / (count - 1), deviations.std(axis=0) / np.sqrt(count)


def trained(kernels, y, loss, steps, samples):
    """Outputs (network, step, point) and losses (network, step) of kernel regression, each with its own kernel."""
    output = np.zeros((len(kernels), kernels.shape[1]))
    velocity, outputs, losses = np.zeros_like(output), [], []
    for _ in range(steps + 1):
        f = output[:, :samples]
        if loss == "squared":
            error, value = y - f, (y - f) ** 2 / 2
        else:
            error, value = y / (1 + np.exp(y * f)), np.log1p(np.exp(-y * f))
        outputs.append(output)
        losses.append(value.sum(axis=1))
        velocity = 0.4 * velocity + 0.15 * np.einsum("rab,rb->ra", kernels[:, :, :samples], error)
        output = output + velocity
    return np.stack(outputs, axis=1), np.stack(losses, axis=1)


@pytest.mark.parametrize(
    "case",
    of_which_fast(CASES, ("tanh", "gd", "logistic"), ("relu", "fa-half", "squared"), ("tanh", "hebb-1", "squared")),
    ids="-".join,
)
def test_random_networks(case):
    """Their kernels at initialisation are drawn in NumPy, at two widths, and what is left of order 1/N² taken out."""
    (phi, rule, loss), x, steps, samples, count = case, inputs(4), 5, 3, 6000
    y = np.array([1.0, -1.0, 1.0, -1.0])
    task = wl.Task(x[:samples], y[:samples], x[samples:], y[samples:], loss=LOSSES[loss])
    net = wl.MLP(2, NONLINEARITIES[phi], richness=0.7)
    solved = lazy_fluctuations(net, task, KINDS[rule], optimizer=SGD, steps=steps, progress=False)
    expected = np.concatenate([solved["output"], solved["test_output"]], axis=-1), solved["loss"].values
    kind = {"fa-half": "fa", "hebb-1": "hebb"}.get(rule, rule)
    found = []
    for width in (60, 120):
        drawn = networks(phi, x, 2, width, count, kind, correlation=0.5, error=np.ones(4), seed=width)[2]
        found.append([variances(values) for values in trained(drawn, y[:samples], loss, steps, samples)])
    for index, wanted in enumerate(expected):
        (narrow, narrow_error), (wide, wide_error) = (each[index] for each in found)
        variance = 2 * 120 * wide - 60 * narrow
        error = np.hypot(2 * 120 * wide_error, 60 * narrow_error)
        # What two widths leave is of order 1/N²; every entry is compared in its own standard errors beside it.
        room = 4.5 * error + 0.05 * np.abs(wanted[1]).max()
        assert np.all(np.abs(variance - wanted[1]) <= room)
        assert np.median(error[1:]) < 0.2 * np.abs(wanted[1]).max()


@pytest.mark.parametrize("rule", ["gd", "fa-half", "dfa"])
def test_two_layers_are_the_lazy_limit_of_their_theory(rule):
    """To O(γ0²), with momentum and test points; the theory of two layers has no kernel that stands still."""
    task = small_task(3, 4, test_samples=2)
    solved = lazy_fluctuations(wl.MLP(1, wl.Linear()), task, RULES[rule], optimizer=SGD, steps=8, progress=False)
    rich = wl.theory.two_layer_fluctuations(
        wl.MLP(1, wl.Linear(), 1e-4), task, RULES[rule], optimizer=SGD, steps=8, progress=False
    )
    for name in ("output", "test_output", "error", "loss", "ntk"):
        other = rich[name].sel(measure=["limit", "variance"]).values
        np.testing.assert_allclose(solved[name].values, other, atol=1e-6 * np.abs(other).max(), err_msg=name)


@pytest.mark.parametrize("loss", [wl.SquaredError(), wl.Logistic()], ids=["squared", "logistic"])
def test_its_limit_is_that_of_the_lazy_solver(loss):
    task, net = small_task(4, 3, loss=loss, test_samples=2), wl.MLP(3, wl.Tanh())
    solved = lazy_fluctuations(net, task, wl.FeedbackAlignment(0.5), optimizer=wl.SGD(0.1), steps=12, progress=False)
    lazy = wl.theory.lazy(net, task, wl.FeedbackAlignment(0.5), optimizer=wl.SGD(0.1), steps=np.arange(13))
    for name in ("output", "test_output", "loss"):
        np.testing.assert_allclose(solved[name].sel(measure="limit"), lazy[name], atol=1e-8, err_msg=name)


def test_networks_of_the_library_at_small_richness():
    """Trained by the library at two widths; their variance of f and of the loss, in standard errors."""
    task, net, sgd = small_task(3, 4), wl.MLP(2, wl.Tanh(), richness=0.02), wl.SGD(0.2)
    solved = lazy_fluctuations(net, task, optimizer=sgd, steps=6, progress=False)
    found = wl.corrections(
        net, task, optimizer=sgd, steps=6, widths=(50, 100), replicates=600, seed=3, of=("output", "loss")
    )
    for name in ("output", "loss"):
        expected = solved[name].sel(measure="variance").values
        measured, error = (found[name].sel(measure=each).values for each in ("variance", "variance_error"))
        assert np.all(np.abs(measured - expected) <= 4 * error + 0.1 * expected.max())


def test_what_diverges_keeps_the_steps_before_and_the_rest_is_refused(tmp_path):
    task, net = small_task(3, 4), wl.MLP(2, wl.Tanh())
    with pytest.warns(wl.DivergenceWarning, match="diverged at step"):
        solved = lazy_fluctuations(net, task, optimizer=wl.SGD(3.0), steps=300, progress=False)
    assert 1 < solved.sizes["step"] < 300
    assert np.isfinite(solved["output"]).all()
    wl.save(solved, tmp_path / "saved.nc")
    assert wl.load(tmp_path / "saved.nc")["output"].equals(solved["output"])
    for bad, message in (
        ({"task": small_task(3, 4, outputs=2)}, "one output"),
        ({"rule": wl.Hebbian()}, "error_power 1"),
        ({"rule": wl.KolenPollack()}, "covers GradientDescent"),
        ({"optimizer": wl.SGD(0.1, weight_decay=0.1)}, "weight decay"),
        ({"steps": -1}, "steps"),
        ({"task": small_task(400, 4)}, "grow as the fourth power"),
    ):
        arguments = {"net": net, "task": task, "rule": None, "optimizer": wl.SGD(0.1), "steps": 2} | bad
        with pytest.raises(wl.ArgumentError, match=message):
            lazy_fluctuations(arguments.pop("net"), arguments.pop("task"), arguments.pop("rule"), **arguments)
    with pytest.raises(wl.ArgumentError, match="it holds"):
        wl.width_for(0.1, corrections=solved, of="output")


def test_it_is_shown_as_corrections_are_and_not_as_a_run(tmp_path, capsys):
    from widelimit.cli import main

    task = wl.datasets.sphere(3, 4)
    found = wl.theory.lazy_fluctuations(wl.MLP(3, wl.ReLU()), task, optimizer=wl.SGD(0.1), steps=4)
    path = wl.save(found, tmp_path / "scatter.nc")
    assert main(["show", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "one network scatters by" in printed
    assert "LOSS ROSE" not in printed
    assert path.with_suffix(".png").is_file()
    with pytest.raises(wl.ArgumentError, match="is no run"):
        wl.report.page(found)
