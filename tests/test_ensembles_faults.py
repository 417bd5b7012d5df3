"""What `limit` and `corrections` say where something is not as it should be: NaN, divergence, another task, Ctrl-C."""

import importlib
import math
import warnings
from typing import Any

import numpy as np
import pytest
import xarray as xr
from helpers import small_task
from test_limit import Law, about, forgetting, limited, networks_first

import widelimit as wl
from widelimit.checks import ArgumentError
from widelimit.cli import main
from widelimit.ensembles import limit_search, routes
from widelimit.ensembles.levels import Level
from widelimit.ensembles.quantities import Quantities
from widelimit.interrupts import Interrupted
from widelimit.results import expansions

TASK = small_task(3, 4)
NET = wl.MLP(1, wl.Tanh())
OPTIONS = {"optimizer": wl.SGD(0.1), "steps": 3, "progress": False}
FEW = OPTIONS | {"widths": (50, 100), "replicates": 8}


def cosine(run):
    """0/0 at the first step, where outputs are zero."""
    f, y = run["output"], run["target"]
    return (f * y).sum("sample") / np.sqrt((f**2).sum("sample") * (y**2).sum("sample"))


# limit


def test_a_function_that_is_not_finite_is_refused_and_not_waited_for():
    with pytest.raises(ArgumentError, match="the function is not finite at 1 recorded steps, the first of them 0"):
        wl.limit(NET, TASK, accuracy=0.1, of=cosine, **OPTIONS)
    with pytest.raises(ArgumentError, match="the function is not finite"):
        wl.corrections(NET, TASK, of=cosine, **FEW)
    later = wl.limit(NET, TASK, accuracy=0.2, of=lambda run: cosine(run).isel(step=slice(1, None)), **OPTIONS)
    assert np.isfinite(later["quantity"].sel(step=[1, 2, 3])).all()


def diverging(law, after=2):
    def train(**options):
        run = law(**options).isel(step=slice(after))
        warnings.warn("runs diverged", wl.DivergenceWarning, stacklevel=1)
        return run.assign(diverged_step=("replicate", np.full(run.sizes["replicate"], after)))

    return train


def test_of_two_ways_that_diverge_the_limit_is_kept(monkeypatch):
    networks_first(monkeypatch, pace=0.0)
    with pytest.warns(wl.DivergenceWarning, match="What there is, is of deferred weights, 2000 particles"):
        result = limited(monkeypatch, diverging(Law()))
    assert about(result)["route"] == "deferred weights, 2000 particles"
    assert about(result)["stopped"] == "runs diverged"


def test_truncation_is_not_called_divergence(monkeypatch):
    def failing(**options):
        if isinstance(options["width"], wl.Infinite):
            return forgetting(Law())(**options)
        return diverging(Law())(**options)

    networks_first(monkeypatch, pace=0.0)
    with pytest.warns(wl.LimitWarning, match="not to be trusted"):
        result = limited(monkeypatch, failing)
    assert about(result)["stopped"] == "runs forget too much of what is learned"


def test_a_quantity_that_is_zero_is_given_up(monkeypatch):
    class Nothing(Law):
        def __call__(self, **options):
            run = super().__call__(**options)
            return run.assign(ntk=run["ntk"] - Law(0, 0, 1e-30, 1e-30)(**options)["ntk"])

    with pytest.warns(wl.LimitWarning, match="ntk cannot be told from zero"):
        limited(monkeypatch, Nothing(shift=0.0, particles=0.5))


def test_the_time_budget_holds_before_wider_runs(monkeypatch):
    law = Law(bias=4000.0, particles=0.01, seconds={"deferred": 0.5})
    with pytest.warns(wl.LimitWarning, match="the time budget of"):
        result = limited(monkeypatch, law, time_budget=4.0)
    assert "do not fit" not in about(result)["stopped"]
    assert max(width.size for width, _ in law.calls) == 2000


def test_an_interrupted_pilot_keeps_its_runs(monkeypatch):
    law = Law()

    def interrupt(call):
        if call == 3:
            raise KeyboardInterrupt

    law.event = interrupt
    monkeypatch.setattr(limit_search, "_SHORT", 0.0)  # each run is a call
    monkeypatch.setattr(limit_search, "networks_over_deferred", lambda *problem: 100.0)  # deferred weights come first
    with pytest.raises(wl.TrainingInterrupted) as caught:
        limited(monkeypatch, law)
    assert about(caught.value.result)["route"] == "deferred weights, 2000 particles"
    assert caught.value.result.sizes["replicate"] == 2


def test_the_mean_over_replicates_is_that_of_all_runs():
    law = Law(particles=0.5)
    level = Level(
        wl.Infinite(400, 10, 0.1, 1),
        lambda width, replicates, seed: law(width=width, replicates=replicates, seed=seed),
        Quantities.of("ntk"),
        together=1,
        seed=0,
    )
    level.add(11)
    route = routes.single(level)
    estimates = route.estimates()["ntk"]
    assert len(estimates) == 8
    np.testing.assert_allclose(estimates.mean(axis=0), level.means(1)["ntk"][0], rtol=1e-12)
    np.testing.assert_allclose(estimates.mean(axis=0).ravel(), route.estimate.mean("ntk"), rtol=1e-12)


@pytest.mark.parametrize("name", ["test_ntk", "gradient_kernel_two_time", "pseudo_gradient_covariance_two_time"])
def test_what_no_run_holds_is_no_quantity(name):
    with pytest.raises(ArgumentError, match=f"of: unknown name '{name}'"):
        Quantities.of(name)


# corrections


@pytest.fixture(scope="module")
def anchor():
    record = wl.Record(samples=(0, 2), kernels=("ntk",))
    return wl.train(NET, TASK, width=math.inf, replicates=4, record=record, **OPTIONS)


@pytest.mark.parametrize("samples", [(2, 0), (0, 1)])
def test_a_limit_of_other_samples_is_refused(anchor, samples):
    record = wl.Record(samples=samples, kernels=("ntk",))
    with pytest.raises(ArgumentError, match="its recorded samples"):
        wl.corrections(NET, TASK, of="ntk", limit=anchor, record=record, **FEW)


@pytest.mark.parametrize(
    ("net", "rule", "differs"),
    [
        (wl.MLP(1, wl.ReLU()), None, "net"),
        (NET, wl.DirectFeedbackAlignment(), "rule"),
        (wl.MLP(2, wl.Tanh()), None, "net"),
    ],
)
def test_a_limit_of_another_network_or_rule_is_refused(anchor, net, rule, differs):
    record = wl.Record(samples=(0, 2), kernels=("ntk",))
    with pytest.raises(ArgumentError, match=f"limit must be of the {differs} of the networks"):
        wl.corrections(net, TASK, rule, of="ntk", limit=anchor, record=record, **FEW)


def test_a_limit_of_another_task_is_refused(anchor):
    record = wl.Record(samples=(0, 2), kernels=("ntk",))
    with pytest.raises(ArgumentError, match="its input_kernel"):
        wl.corrections(NET, small_task(3, 4, seed=5), of="ntk", limit=anchor, record=record, **FEW)


def test_a_limit_without_an_error_is_refused(anchor):
    record = wl.Record(samples=(0, 2), kernels=("ntk",))
    with pytest.raises(ArgumentError, match="two replicates or more"):
        wl.corrections(NET, TASK, of="ntk", limit=anchor.isel(replicate=[0]), record=record, **FEW)


def test_the_lazy_limit_is_that_of_any_small_richness():
    lazy = wl.theory.lazy(wl.MLP(1, wl.Tanh()), TASK, optimizer=wl.SGD(0.1), steps=3)
    result = wl.corrections(wl.MLP(1, wl.Tanh(), richness=0.01), TASK, of="ntk", limit=lazy, **FEW)
    assert float(result["ntk"].sel(measure="limit_error").max()) < 1e-12


@pytest.mark.parametrize(
    ("optimizer", "batches", "differs"),
    [
        (wl.SGD(0.1, momentum=0.3), None, "the momentum of the networks, 0; it is of 0.3"),
        (wl.SGD(0.1, weight_decay=0.2), None, "the weight_decay of the networks, 0; it is of 0.2"),
        (wl.SGD(0.1), wl.Batches(1), r"all samples at each step; it is of Batches\(1, seed=0\)"),
    ],
)
def test_a_limit_of_other_training_is_refused(optimizer, batches, differs):
    options: dict[str, Any] = {"steps": 3, "record": wl.Record(kernels=("ntk",)), "progress": False}
    other = wl.train(NET, TASK, width=math.inf, replicates=2, optimizer=optimizer, batches=batches, **options)
    with pytest.raises(ArgumentError, match=differs):
        wl.corrections(NET, TASK, of="ntk", limit=other, **FEW)


def test_a_theory_of_other_batches_is_refused():
    net = wl.MLP(1, wl.Linear())
    options: dict[str, Any] = {"optimizer": wl.SGD(0.1), "steps": 2}
    limit = wl.theory.two_layer_fluctuations(net, TASK, batches=wl.Batches(1, seed=4), **options).sel(measure="limit")
    with pytest.raises(ArgumentError, match=r"Batches\(1, seed=0\); it is of Batches\(1, seed=4\)"):
        wl.corrections(net, TASK, limit=limit, batches=wl.Batches(1), widths=(50,), replicates=4, **options)


def test_steps_are_compared_and_not_times_alone():
    """The recorded times of every second step, and of steps of twice the size, are the same."""
    net = wl.MLP(1, wl.Linear())
    limit = wl.theory.linear(net, TASK, optimizer=wl.SGD(0.2), steps=2)
    options: dict[str, Any] = {"optimizer": wl.SGD(0.1), "steps": 4, "record": wl.Record(every=2)}
    with pytest.raises(ArgumentError, match=r"the step_size of the networks, 0.1; it is of 0.2"):
        wl.corrections(net, TASK, of="loss", limit=limit, widths=(50,), replicates=4, **options)


def test_a_limit_of_finite_width_is_refused():
    finite = wl.train(NET, TASK, width=30, replicates=2, record=wl.Record(kernels=("ntk",)), **OPTIONS)
    with pytest.raises(ArgumentError, match="infinite width; it is of networks of width 30"):
        wl.corrections(NET, TASK, of="ntk", limit=finite, **FEW)


def test_the_lazy_limit_is_none_of_rich_networks_nor_of_steps_that_of_continuous_time():
    lazy = wl.theory.lazy(NET, TASK, optimizer=wl.SGD(0.1), steps=3)
    with pytest.raises(ArgumentError, match=r"theory.lazy is the limit as γ0 → 0, and that of networks of γ0 = 1"):
        wl.corrections(NET, TASK, of="ntk", limit=lazy, **FEW)
    flow = wl.theory.lazy(NET, TASK, times=[0, 0.1, 0.2, 0.3])
    with pytest.raises(ArgumentError, match=r"the step_size of the networks, 0.1; it is of continuous time"):
        wl.corrections(wl.MLP(1, wl.Tanh(), richness=0.01), TASK, of="ntk", limit=flow, **FEW)


def test_limits_that_are_those_of_the_networks_are_taken():
    """All samples as one batch are no minibatch, and a theory with minibatches says so."""
    net = wl.MLP(1, wl.Linear())
    options: dict[str, Any] = {"optimizer": wl.SGD(0.1), "steps": 2}
    few: dict[str, Any] = options | {"of": "loss", "widths": (50,), "replicates": 4}
    for limit, batches in (
        (wl.theory.linear(net, TASK, **options), wl.Batches(3)),
        (
            wl.theory.two_layer_fluctuations(net, TASK, batches=wl.Batches(2), **options).sel(measure="limit"),
            wl.Batches(2),
        ),
        (wl.limit(net, TASK, of="loss", accuracy=0.1, progress=False, **options), None),
    ):
        assert wl.corrections(net, TASK, limit=limit, batches=batches, **few).sizes["step"] == 3


@pytest.mark.filterwarnings("ignore::widelimit.DivergenceWarning")
def test_corrections_of_runs_that_diverge_at_once_say_so():
    with pytest.raises(ArgumentError, match="at no recorded step: they diverge"):
        wl.corrections(wl.MLP(2, wl.ReLU()), TASK, of=cosine, **FEW | {"optimizer": wl.SGD(1e200)})


def test_interrupted_before_a_width_is_complete_there_is_nothing_to_keep(monkeypatch, anchor):
    def interrupted(**options):
        raise wl.TrainingInterrupted(xr.Dataset(), 130)

    monkeypatch.setattr(importlib.import_module("widelimit.ensembles.corrections"), "train", interrupted)
    record = wl.Record(samples=(0, 2), kernels=("ntk",))
    with pytest.raises(Interrupted):
        wl.corrections(NET, TASK, of="ntk", limit=anchor, record=record, **FEW)


@pytest.fixture(scope="module")
def measured():
    return wl.corrections(NET, TASK, of=("ntk", "loss"), directions={"ntk": np.ones((1, 3, 3))}, **FEW)


def test_corrections_are_shown_as_what_they_are(measured, tmp_path, capsys):
    wl.save(measured, tmp_path / "c.nc")
    assert main(["show", str(tmp_path / "c.nc")]) == 0
    text = capsys.readouterr().out
    assert "8 networks of each of N = 50, 100" in text
    assert "ntk_projection" in text
    assert "LOSS ROSE" not in text
    assert (tmp_path / "c.png").stat().st_size > 10_000
    assert main(["report", str(tmp_path / "c.nc")]) != 0
    assert "corrections in 1/N" in capsys.readouterr().err


def test_corrections_without_a_course_are_said_alone(tmp_path, capsys):
    last = wl.corrections(NET, TASK, of=lambda run: run["loss"].isel(step=-1), **FEW)
    wl.save(last, tmp_path / "d.nc")
    assert main(["show", str(tmp_path / "d.nc")]) == 0
    assert "No picture: result holds no quantity with recorded steps" in capsys.readouterr().out


def test_what_is_said_of_corrections_is_what_they_are(measured):
    """By hand, of K: |a|²/|K|² over all recorded steps, less what its error adds."""
    of = measured["ntk"]
    sums = {name: float((of.sel(measure=name) ** 2).sum()) for name in ("limit", "shift", "shift_error")}
    sizes = expansions.sizes(measured, "ntk")
    scatter = float(of.sel(measure="variance").sum()) / sums["limit"]
    assert float((sizes["scatter"] ** 2).mean()) == pytest.approx(scatter)
    each = (of.sel(measure="shift") ** 2 - of.sel(measure="shift_error") ** 2).sum(("sample", "sample2")).clip(min=0)
    assert float((sizes["shift"] ** 2).mean()) == pytest.approx(float(each.sum()) / sums["limit"])


def test_results_with_other_dimensions_are_shown(tmp_path, capsys):
    result = wl.limit(NET, TASK, accuracy=0.3, of=lambda run: run["loss"].expand_dims(kind=1), **OPTIONS)
    wl.save(result, tmp_path / "g.nc")
    assert main(["show", str(tmp_path / "g.nc")]) == 0
