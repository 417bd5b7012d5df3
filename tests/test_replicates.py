"""Replicates that are stepped together: each as it is alone, whatever becomes of the others."""

import numpy as np
import pytest
from helpers import assert_same, of_which_fast, small_task

import widelimit as wl
from widelimit.simulation import grouping, loop, step

NET = wl.MLP(2, wl.Tanh())
CASES = {
    "network": dict(rule=wl.KolenPollack(), width=11, batches=wl.Batches(3)),
    "infinite": dict(rule=wl.FeedbackAlignment(0.5), width=wl.Infinite(200), batches=wl.Batches(3)),
    "all that is recorded": dict(
        rule=wl.DirectFeedbackAlignment(), width=9, record=wl.Record(every=2, two_time=True, fields=True)
    ),
}


def in_groups_of(monkeypatch, size):
    monkeypatch.setattr(grouping, "replicates_together", lambda *arguments: size)


def trained(rule=None, **options):
    options = {"optimizer": wl.SGD(0.05, 0.4), "steps": 5, "replicates": 3, "record": wl.Record(every=2)} | options
    return wl.train(NET, small_task(samples=5, test_samples=2), rule, **options)


@pytest.mark.parametrize("case", of_which_fast(CASES, "network", "all that is recorded"))
def test_a_group_is_its_replicates_one_by_one(case, monkeypatch):
    runs = []
    for size in (1, 3):
        in_groups_of(monkeypatch, size)
        runs.append(trained(**CASES[case]))
    apart, together = runs
    assert set(apart.variables) == set(together.variables)
    assert_same(together, apart, 1e-12)


def test_groups_are_as_equal_as_can_be():
    assert loop.Course.of(7, 3).groups == (range(3), range(3, 6), range(6, 7))
    assert loop.Course.of(5, 4).groups == (range(3), range(3, 5))
    assert loop.Course.of(4, 1).groups == (range(1), range(1, 2), range(2, 3), range(3, 4))


def diverging(every=2):
    options = dict(width=8, optimizer=wl.SGD(0.05), steps=60, replicates=4, record=wl.Record(every=every))
    with pytest.warns(wl.DivergenceWarning):
        return wl.train(wl.MLP(2, wl.Linear()), small_task(), wl.Hebbian(), **options)


def test_a_replicate_that_diverges_leaves_the_others_alone(monkeypatch):
    """Hebbian learning in linear networks diverges, in each at a step of its own."""
    runs = []
    for size in (1, 4):
        in_groups_of(monkeypatch, size)
        runs.append(diverging())
    apart, together = runs
    kept = apart["loss"].notnull().sum("step")
    assert len(np.unique(kept)) > 1
    for name in ("diverged_step", "highest_loss_step"):
        assert np.array_equal(apart[name], together[name])
    assert np.array_equal(apart["loss"].notnull(), together["loss"].notnull())
    for replicate in range(4):
        ours, theirs = (run.isel(replicate=replicate, step=slice(int(kept[replicate]))) for run in (together, apart))
        assert_same(ours, theirs, 1e-9, ["loss", "ntk", "output", "highest_loss"])


def test_a_group_of_which_all_have_diverged_is_not_stepped_further(monkeypatch):
    in_groups_of(monkeypatch, 4)
    steps, proceed = [], step.compiled_proceed_together

    def counted(program, settings, states, taken):
        steps.append(int(states.step) + taken)
        return proceed(program, settings, states, taken)

    monkeypatch.setattr(step, "compiled_proceed_together", counted)
    last = int(diverging(every=3)["diverged_step"].max())
    assert max(steps) <= last + 3 < 60


def test_a_rule_that_fails_in_one_replicate_is_said_of_that_one_alone(monkeypatch):
    class Failing(wl.Rule):
        """Divides by zero where a random vector has a large first entry."""

        def feedback(self, random):
            return {layer: random.vectors(layer) for layer in random.layers}

        def pseudo_gradient(self, view, layer, above):
            ones = np.ones((len(view.features[layer]), 1))
            signal = ones @ view.feedback[layer]
            return signal / (view.feedback[layer][0, 0] < 0.3)

    in_groups_of(monkeypatch, 4)
    with pytest.warns(wl.DivergenceWarning, match=r"in \d of 4 replicates, first at step 0"):
        run = trained(Failing(), width=6, replicates=4, record=wl.Record(kernels=()))
    ended = run["diverged_step"].values >= 0
    assert 0 < ended.sum() < 4
    assert np.isfinite(run["loss"].values[~ended]).all()


def test_on_cpus_small_networks_are_stepped_together_and_nothing_else():
    def simulated(**options):
        return wl.initialize(NET, small_task(), optimizer=wl.SGD(0.1), steps=3, **options)

    if {device.platform for device in simulated(width=2).settings.y.devices()} != {"cpu"}:
        pytest.skip("for CPUs")
    assert simulated(width=50).together(6) == 6
    assert simulated(width=1000).together(6) == 1
    assert simulated(width=wl.Infinite(100)).together(6) == 1


def test_a_group_takes_no_more_than_half_of_the_memory_that_is_free(monkeypatch):
    simulation = wl.initialize(NET, small_task(), width=50, optimizer=wl.SGD(0.1), steps=3)
    monkeypatch.setattr(grouping, "_taken", lambda *arguments: 10.0)
    for free, together in ((70.0, 3), (10.0, 1), (1e9, 6)):
        monkeypatch.setattr(grouping, "_free", lambda device, free=free: free)
        assert simulation.together(6) == together
    assert simulation.together(1) == 1
