"""What a run will take: memory against the arrays of a real run, advice that is followed, times that add up."""

import ast
import dataclasses
import io
import math

import jax
import numpy as np
import pytest
from helpers import small_task

import widelimit as wl
from widelimit import progress
from widelimit.cli import main
from widelimit.simulation import step, timing

NET = wl.MLP(2, wl.Tanh())
MEBIBYTE = 2**20


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    """Timings as short as can be."""
    monkeypatch.setattr(timing, "_BUDGET", 0.0)
    monkeypatch.setattr(timing, "_PIECE", 0.0)


@pytest.fixture
def free(monkeypatch):
    """Sets the memory that is free, in bytes."""

    def set_to(size):
        for room in ("memory", "simulation.planning", "simulation.plans"):
            monkeypatch.setattr(f"{wl.__name__}.{room}.available_memory", lambda: float(size), raising=True)

    return set_to


def planned(task, **options):
    defaults = {"width": wl.Infinite(100), "optimizer": wl.SGD(0.05), "steps": 4, "replicates": 2}
    return wl.plan(NET, task, **(defaults | options))


def nbytes(tree):
    return sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("width", [wl.Infinite(100), 30])
@pytest.mark.parametrize(
    "record", [wl.Record(), wl.Record(every=2, kernels=("ntk",), test_kernels=True)], ids=["default", "some"]
)
def test_memory_is_that_of_the_arrays_of_a_run(task, width, record):
    options = {"width": width, "optimizer": wl.SGD(0.05), "steps": 4, "record": record}
    plan = planned(task, **options)
    simulation = wl.initialize(NET, task, **options)
    # A state, and the next one that a step makes of it.
    assert plan.memory["the network"] == 2 * nbytes(simulation.start())
    run = wl.train(NET, task, replicates=2, progress=False, **options)
    of_steps = sum(run[name].nbytes for name in run.data_vars if {"replicate", "step"} <= set(run[name].dims))
    # Beside what a result shows, a record holds the outputs at test points at the start; losses there are made of it.
    assert of_steps <= plan.memory["what is recorded"] + run["test_loss"].nbytes
    assert plan.memory["what is recorded"] <= 1.1 * of_steps + 2 * plan.recorded * nbytes(run["test_output"][0, 0])
    assert plan.memory["fields and two-time kernels"] == 0
    assert plan.fits
    assert plan.advice == ()


def test_fields_and_two_time_kernels_are_counted(task):
    options = {"record": wl.Record(two_time=True, fields=True), "steps": 4, "replicates": 1}
    plan = planned(task, **options)
    run = wl.train(NET, task, width=wl.Infinite(100), optimizer=wl.SGD(0.05), progress=False, **options)
    taken = sum(run[name].nbytes for name in run.data_vars if "two_time" in name or name.startswith("final_"))
    assert taken <= plan.memory["fields and two-time kernels"] <= 20 * taken


def test_the_plan_is_of_the_run(task):
    plan = planned(task, steps=7, record=wl.Record(every=3), replicates=3)
    run = wl.train(
        NET, task, width=wl.Infinite(100), optimizer=wl.SGD(0.05), steps=7, record=wl.Record(every=3), replicates=1
    )
    configuration = wl.results.configuration(run)
    assert plan.recorded == run.sizes["step"]
    assert plan.width.describe().items() <= configuration.items()
    assert list(plan.kernels) == list(configuration["kernels"])


def test_seconds_add_up_and_are_linear(task):
    plan = planned(task, record=wl.Record(every=2))
    times = (plan.compile_seconds, plan.start_seconds, plan.step_seconds, plan.recorded_step_seconds)
    assert all(math.isfinite(seconds) and seconds > 0 for seconds in times[1:])
    assert times[0] >= 0
    assert math.isfinite(plan.seconds)
    exact = dataclasses.replace(
        plan,
        steps=100,
        every=10,
        replicates=3,
        setup_seconds=1.0,
        compile_seconds=2.0,
        start_seconds=0.5,
        step_seconds=0.01,
        recorded_step_seconds=0.1,
    )
    assert exact.seconds == pytest.approx(3 + 3 * (0.5 + 11 * 0.1 + 90 * 0.01))
    more = dataclasses.replace(exact, replicates=6)
    assert more.seconds - 3 == pytest.approx(2 * (exact.seconds - 3))
    longer = dataclasses.replace(exact, steps=200)
    assert longer.seconds - exact.seconds == pytest.approx(3 * (10 * 0.1 + 90 * 0.01))
    assert dataclasses.replace(exact, every=1, step_seconds=math.nan).seconds == pytest.approx(
        3 + 3 * (0.5 + 101 * 0.1)
    )


def test_what_is_timed_is_shown(task, capsys):
    planned(task)
    assert not capsys.readouterr().err
    planned(task, progress=True)
    assert "drawing weights" in capsys.readouterr().err


def test_a_table_says_it(task):
    text = str(planned(task, record=wl.Record(every=2)))
    for words in ("100 particles", "capacity", "replicates: 2", "ntk", "for the network", "it fits", "a recorded step"):
        assert words in text
    assert "nan" not in text


ADVISED = {
    "every": (wl.Record(kernels=("ntk", "feature_kernel")), 2000, 1),
    "replicates": (wl.Record(kernels=("ntk",), every=10), 100, 50),
}


def changed(advice, options):
    """The arguments of `plan` with what one piece of advice says."""
    words, needs = advice.split(" needs ")
    path, value = words.split("=", 1)
    if path == "record.samples":
        options = options | {"record": dataclasses.replace(options["record"], samples=eval(value, {"range": range}))}
        return options, needs
    value = ast.literal_eval(value)
    if "." not in path:
        return options | {path: value}, needs
    group, name = path.split(".")
    return options | {group: dataclasses.replace(options[group], **{name: value})}, needs


@pytest.mark.slow
@pytest.mark.parametrize("case", ADVISED)
def test_advice_that_is_followed_fits(free, case):
    task = small_task(samples=6)
    record, steps, replicates = ADVISED[case]
    options = {"record": record, "steps": steps, "replicates": replicates, "width": wl.Infinite(100)}
    whole = planned(task, **options)
    # A state, and half of what is recorded.
    limit = whole.memory["the network"] + 0.5 * whole.memory["what is recorded"]
    free(limit)
    plan = planned(task, **options)
    assert not plan.fits
    assert math.isnan(plan.seconds)
    assert "does not fit" in str(plan)
    with pytest.raises(wl.ArgumentError, match="of memory"):
        wl.train(NET, task, optimizer=wl.SGD(0.05), progress=False, **options)
    kinds = {advice.split("=")[0] for advice in plan.advice}
    assert {"record.every", "record.kernels", "record.samples"} <= kinds
    assert ("replicates" in kinds) == (case == "replicates")
    for advice in plan.advice:
        changes, needs = changed(advice, options)
        other = planned(task, **changes)
        assert other.fits, advice
        assert wl.formatting.memory(other.needed) in needs


@pytest.mark.parametrize(
    ("width", "name"),
    [pytest.param(wl.Infinite(3000), "particles", marks=pytest.mark.slow), (wl.Finite(400), "neurons")],
)
def test_a_network_that_does_not_fit_can_be_smaller(task, free, width, name):
    options = {"width": width, "record": wl.Record(kernels=())}
    whole = planned(task, **options)
    free(0.6 * whole.needed)
    plan = planned(task, **options)
    advice = {piece.split("=")[0]: piece for piece in plan.advice}
    assert set(advice) == {f"width.{name}", "precision"}
    for piece in advice.values():
        changes, _ = changed(piece, options)
        other = planned(task, **changes)
        assert other.fits
        assert other.width.size > 0.4 * width.size  # no smaller than it has to be


def test_several_changes_where_none_is_enough(task, free):
    options = {"width": wl.Finite(400), "record": wl.Record(kernels=("ntk",)), "steps": 20000, "replicates": 20}
    free(0.5 * MEBIBYTE)
    plan = planned(task, **options)
    assert len(plan.advice) == 1
    assert "and width.neurons=" in plan.advice[0]
    free(100)
    assert planned(task, **options).advice == ()


def test_networks_where_the_limit_does_not_fit_at_all():
    random = np.random.default_rng(0)
    large = wl.Task(random.normal(size=(1500, 64)), np.eye(10)[random.integers(0, 10, 1500)])
    plan = wl.plan(wl.MLP(3, wl.Tanh()), large, wl.FeedbackAlignment(0.5), optimizer=wl.SGD(0.001), steps=20)
    assert not plan.fits
    assert "extrapolate in 1/N" in plan.advice[0]


def test_images_for_which_the_limit_has_no_room_are_told_so():
    """Nobody asked for a number of particles: what is named is the width."""
    images = wl.Task(np.ones((20, 28, 28, 1)), np.ones(20))
    with pytest.raises(wl.ArgumentError, match=r"^width: at infinite width 20 samples of 784 positions"):
        wl.plan(wl.CNN(2, wl.Tanh()), images, optimizer=wl.SGD(0.001), steps=20)


def test_a_long_run_that_mostly_records_is_told_so(task):
    plan = planned(task, steps=1000)
    slow = dataclasses.replace(plan, recorded_step_seconds=1.0, step_seconds=0.01, replicates=1)
    from widelimit.simulation.plans import _shorter

    (sentence,) = _shorter(slow)
    every = int(sentence.split("record.every=")[1].split()[0])
    assert dataclasses.replace(slow, every=every).seconds < 0.1 * slow.seconds
    assert _shorter(dataclasses.replace(slow, recorded_step_seconds=0.01)) == ()


def test_bases_that_fill_are_timed_full(task):
    """A state that counts as full takes the branches of one: it gains nothing, and numbers stay finite."""
    simulation = wl.initialize(NET, task, width=wl.Infinite(100), optimizer=wl.SGD(0.05), steps=50)
    clock = timing._Clock(simulation, simulation.start())
    with wl.precision.at_precision("float64"):
        clock.record(1)
        assert clock._fullness() < 1
        clock.fill()
        assert clock._fullness() == 1
        programs = step.compiled_advance._cache_size()
        clock.record(2)
    assert clock._fullness() == 1
    assert step.compiled_advance._cache_size() == programs
    assert np.isfinite(np.asarray(clock.state.highest_loss))
    clock.filled = [(1, 0.2), (5, 0.4), (10, 0.6)]
    assert clock.share_with_full_bases(40) == pytest.approx(1 - 20 / 40)  # 0.04 a step: full at 20
    assert clock.share_with_full_bases(15) == 0
    clock.filled = [(1, 0.2), (5, 0.4), (10, 0.4)]
    assert clock.share_with_full_bases(100) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"replicates": 0}, "replicates"),
        ({"steps": -1}, "steps"),
        ({"width": 0}, "width"),
        ({"record": wl.Record(samples=(9,))}, "record.samples"),
        ({"precision": "half"}, "precision"),
    ],
)
def test_bad_arguments_are_refused_as_train_does(task, options, words):
    with pytest.raises(wl.ArgumentError, match=words):
        planned(task, **options)


SMALL = [
    *("train", "--task.data", "sphere", "--task.samples", "4", "--task.dimension", "5"),
    *("--network.hidden-layers", "2", "--width.kind", "finite", "--optimizer.step-size", "0.05", "--plan"),
]


def test_the_command_prints_a_plan_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.nc").write_text("what is there stays")
    assert main([*SMALL, "--width.neurons", "10", "--run.steps", "2"]) == 0
    assert "it fits" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["run.nc"]
    assert main([*SMALL, "--width.neurons", "10000000"]) == 2
    assert "width.neurons=" in capsys.readouterr().out


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def perf_counter(self):
        return self.now


@pytest.mark.parametrize(
    ("seconds", "every", "said"),
    [(1.0, 1, "3.4 min"), (0.5, 10, "2.1 min"), (0.1, 1, None), (30.0, 200, "101 min")],
)
def test_a_long_run_is_announced_from_its_first_steps(monkeypatch, capsys, seconds, every, said):
    """200 steps; recorded ones take thrice as long as the others, and the first of a kind compiles for 3 s."""
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    bar = progress.announcing_bar(True, every, total=200, file=io.StringIO())
    lines = []
    monkeypatch.setattr(type(bar), "write", lambda self, line, file=None: lines.append(line))
    with bar:
        for index in range(200):
            clock.now += 3.0 if index < (1 if every == 1 else 2) else 0.0
            clock.now += seconds * (3 if every > 1 and index % every == 0 else 1)
            bar.update(1)
    assert len(lines) == (said is not None)
    if said:
        assert f"About {said} in all" in lines[0]


def test_a_hidden_bar_announces_nothing():
    bar = progress.announcing_bar(False, 1, total=10)
    with bar:
        bar.update(1)
    assert not bar._announced
