"""Runs that go on from a file: the same to the last bit, or refused in a sentence."""

import hashlib
import io
import json
import os
import random
import signal
import sys
import time
import zipfile

import numpy as np
import pytest
from helpers import flipped, launched, of_which_fast, small_configuration, small_task

import widelimit as wl
from widelimit import files
from widelimit.cli import main
from widelimit.simulation import checkpoint, grouping, planning, step, training

NET = wl.MLP(2, wl.Tanh())
TASK = small_task(samples=5, test_samples=2)
OPTIONS = dict(optimizer=wl.SGD(0.05), steps=6, replicates=3, record=wl.Record(every=2), seed=1)
CASES = {
    "network": dict(width=11, rule=wl.FeedbackAlignment(0.5), record=wl.Record(every=2, two_time=True)),
    "a group at a time": dict(width=11, together=2),
    "infinite": dict(width=wl.Infinite(200), rule=wl.DirectFeedbackAlignment(), replicates=2),
    "all that a step can have": dict(
        width=wl.Infinite(200),
        rule=wl.KolenPollack(),
        optimizer=wl.SGD(0.05, momentum=0.4, weight_decay=0.1),
        batches=wl.Batches(3),
        record=wl.Record(every=3, two_time=True, fields=True, test_kernels=True),
        replicates=1,
        together=2,
    ),
}


def trained(checkpoint=None, rule=None, net=NET, task=TASK, **options):
    options.pop("together", None)
    return wl.train(net, task, rule, checkpoint=checkpoint, **{"width": 11} | OPTIONS | options)


def interrupted(path, monkeypatch, after, **options):
    """The same run, with a signal after so many records have been kept or pieces of steps taken."""
    add, proceed, proceed_together = (
        training.Recording.add,
        step.compiled_proceed,
        step.compiled_proceed_together,
    )
    seen = []

    def signalled(work):
        def act(*arguments, **options):
            result = work(*arguments, **options)
            seen.append(None)
            if len(seen) == after:
                os.kill(os.getpid(), signal.SIGINT)
            return result

        return act

    with monkeypatch.context() as patch:
        patch.setattr(training.Recording, "add", signalled(add))
        patch.setattr(step, "compiled_proceed", signalled(proceed))
        patch.setattr(step, "compiled_proceed_together", signalled(proceed_together))
        with pytest.raises(wl.TrainingInterrupted) as caught:
            trained(path, **options)
    return caught.value.result


def assert_identical(result, expected):
    assert set(result.variables) == set(expected.variables)
    for name in expected.variables:
        assert result[name].dims == expected[name].dims
        assert np.array_equal(result[name], expected[name], equal_nan=expected[name].dtype.kind == "f"), name
    ours, theirs = (json.loads(run.attrs["configuration"]) for run in (result, expected))
    assert ours.pop("seconds") > 0
    assert theirs.pop("seconds") > 0
    assert ours == theirs


@pytest.mark.parametrize("case", CASES)
def test_an_interrupted_run_goes_on_to_the_same_numbers(case, tmp_path, monkeypatch):
    options = CASES[case]
    monkeypatch.setattr(grouping, "replicates_together", lambda *arguments: options.get("together", 1))
    whole, path = trained(**options), tmp_path / "run.ckpt"
    last = 0
    for after in (2, 3):  # once and, where that went on, once more; between two records too
        kept = interrupted(path, monkeypatch, after, **options)
        assert not kept.identical(whole)
        state = checkpoint.read(path).header["recordings"]
        assert sum(each["record"] for each in state) >= last
        last = sum(each["record"] for each in state)
    # How replicates are grouped is the run's own, whatever there is memory for when it goes on.
    monkeypatch.setattr(grouping, "replicates_together", lambda *arguments: 3)
    assert_identical(trained(path, **options), whole)


def test_a_run_that_is_done_is_returned_without_a_step(tmp_path, monkeypatch):
    first = trained(tmp_path / "run.ckpt")
    written = (tmp_path / "run.ckpt").stat().st_mtime_ns

    def forbidden(*arguments):
        raise AssertionError("a step was taken")

    forbidden.eval_shape = step.compiled_advance.eval_shape  # what a step would need may be asked
    for name in ("compiled_advance", "compiled_advance_together", "compiled_proceed", "compiled_proceed_together"):
        monkeypatch.setattr(step, name, forbidden)
    monkeypatch.setattr(training, "suggested", forbidden)
    assert_identical(trained(tmp_path / "run.ckpt"), first)
    assert (tmp_path / "run.ckpt").stat().st_mtime_ns == written


@pytest.mark.parametrize(
    "options",
    [
        dict(width=11, batches=wl.Batches(3), optimizer=wl.SGD(0.05, 0.5)),
        dict(width=wl.Infinite(200, capacity=20), record=wl.Record(every=2, fields=True, two_time=True), replicates=1),
    ],
    ids=["finite", "infinite"],
)
def test_more_steps_are_those_of_a_longer_run(options, tmp_path):
    longer = trained(**options, steps=9)
    for steps in (4, 5, 9):
        run = trained(tmp_path / "run.ckpt", **options, steps=steps)
        assert int(run["step"][-1]) == steps // 2 * 2
    assert_identical(run, longer)


def test_more_steps_that_need_more_room_are_refused(tmp_path):
    path, width = tmp_path / "run.ckpt", wl.Infinite(400)
    trained(path, width=width, steps=2, replicates=1)
    before = path.read_bytes()
    with pytest.raises(wl.ArgumentError, match=r"Pass width=Infinite\(400, capacity=15\)") as caught:
        trained(path, width=width, steps=6, replicates=1)
    assert "steps: a run of 6 steps keeps" in str(caught.value)
    assert path.read_bytes() == before
    run = trained(path, width=wl.Infinite(400, capacity=15), steps=6, replicates=1)
    assert_identical(run, trained(width=wl.Infinite(400, capacity=15), steps=6, replicates=1))


def test_what_was_chosen_when_the_run_began_stays(tmp_path, monkeypatch):
    """The step size, and the kernels that there was memory for."""
    path = tmp_path / "run.ckpt"
    with monkeypatch.context() as patch:
        patch.setattr(planning, "available_memory", lambda: 4e4)
        patch.setattr(planning, "require_memory", lambda *arguments, **options: None)
        patch.setattr(training, "suggested", lambda *arguments, **options: 0.0625)
        with pytest.warns(wl.RecordWarning):
            kept = interrupted(path, monkeypatch, 2, optimizer="auto")
    assert "feature_kernel" in kept
    assert "gradient_kernel" not in kept
    monkeypatch.setattr(training, "suggested", None)
    with pytest.warns(wl.RecordWarning, match="gradient_kernel"):
        run = trained(path, optimizer="auto")
    assert float(run["time"][1]) == 0.125
    assert set(run.data_vars) == set(kept.data_vars)
    assert run["loss"].notnull().all()
    with pytest.raises(wl.ArgumentError, match=r"optimizer\.step_size was 'auto' and is 0\.05"):
        trained(path)


def test_a_group_in_which_some_have_diverged_goes_on(tmp_path, monkeypatch):
    """Hebbian learning in linear networks diverges, in each at a step of its own."""
    monkeypatch.setattr(grouping, "replicates_together", lambda *arguments: 4)
    options = dict(net=wl.MLP(2, wl.Linear()), task=small_task(), rule=wl.Hebbian(), width=8, seed=0)
    options |= dict(optimizer=wl.SGD(0.05), steps=60, replicates=4, record=wl.Record(every=2))
    path, add = tmp_path / "run.ckpt", training.Recording.add

    def add_and_signal(self, *arguments):
        add(self, *arguments)
        if self.diverged_at >= 0:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.warns(wl.DivergenceWarning):
        whole = trained(**options)
    with monkeypatch.context() as patch:
        patch.setattr(training.Recording, "add", add_and_signal)
        with pytest.warns(wl.DivergenceWarning), pytest.raises(wl.TrainingInterrupted):
            trained(path, **options)
    ended = [each["diverged_at"] >= 0 for each in checkpoint.read(path).header["recordings"]]
    assert any(ended)
    assert not all(ended)
    for _ in range(2):  # gone on with, and read back
        with pytest.warns(wl.DivergenceWarning):
            assert_identical(trained(path, **options), whole)


def test_a_run_whose_file_would_not_fit_in_memory_is_refused_before_it_begins(tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "check_memory", lambda *arguments: None)
    monkeypatch.setattr("widelimit.memory.available_memory", lambda: 1e4)
    with pytest.raises(wl.ArgumentError, match="A run with a checkpoint needs"):
        trained(tmp_path / "run.ckpt")


# --- refused


class Own(wl.Rule):
    strength: float = 1.0
    table: np.ndarray = None  # pyright: ignore

    def pseudo_gradient(self, view, layer, above):
        return self.strength * view.pulled_back(layer, view.weights[layer].backward(above), above)


class Other(Own):
    pass


REFUSED = {
    "richness": (dict(net=wl.MLP(2, wl.Tanh(), 0.5)), "net.richness was 1.0 and is 0.5"),
    "nonlinearity": (dict(net=wl.MLP(2, wl.Erf())), "net.nonlinearity.type was 'Tanh' and is 'Erf'"),
    "numbers": (dict(task=small_task(samples=5, test_samples=2, seed=1)), "task.x holds other numbers"),
    "samples": (dict(task=small_task(samples=4, test_samples=2)), r"task.x was of shape \(5, 3\) and is of shape \(4"),
    "no test points": (dict(task=small_task(samples=5)), r"task\.x_test was of shape \(2, 3\)"),
    "rule": (dict(rule=Other(0.5)), "rule.type was 'Own' and is 'Other'"),
    "a number of the rule": (dict(rule=Own(0.25)), "rule.strength was 0.5 and is 0.25"),
    "an array of the rule": (dict(rule=Own(0.5, np.ones(2))), "rule.table was None and is an array"),
    "width": (dict(width=12), "width.neurons was 11 and is 12"),
    "kind of width": (dict(width=wl.Infinite(200)), "width.type was 'Finite' and is 'Infinite'"),
    "step size": (dict(optimizer=wl.SGD(0.06)), "optimizer.step_size was 0.05 and is 0.06"),
    "step size left open": (dict(optimizer="auto"), "optimizer.step_size was 0.05 and is 'auto'"),
    "batches": (dict(batches=wl.Batches(2)), "batches was None and is Batches"),
    "record": (dict(record=wl.Record(every=1)), "record.every was 2 and is 1"),
    "seed": (dict(seed=2), "seed was 1 and is 2"),
    "replicates": (dict(replicates=4), "replicates was 3 and is 4"),
    "precision": (dict(precision="float32"), "precision was 'float64' and is 'float32'"),
    "centred": (dict(centred=False), "centred was True and is False"),
    "fewer steps": (dict(steps=5), "has 6 steps; got 5. Ask for as many or more"),
}


@pytest.fixture(scope="module")
def of_own_rule(tmp_path_factory):
    path = tmp_path_factory.mktemp("kept") / "run.ckpt"
    trained(path, Own(0.5))
    return path


@pytest.mark.parametrize("case", REFUSED)
def test_the_file_of_another_run_is_refused_and_left_alone(case, of_own_rule):
    changes, message = REFUSED[case]
    before = of_own_rule.read_bytes()
    with pytest.raises(wl.ArgumentError, match=message) as caught:
        trained(of_own_rule, **{"rule": Own(0.5)} | changes)
    assert str(of_own_rule) in str(caught.value)
    assert str(caught.value).endswith((".", "anew."))
    assert of_own_rule.read_bytes() == before


def test_another_version_is_refused(of_own_rule, monkeypatch):
    newer = {name: "99.0" if name == "jax" else version for name, version in checkpoint.versions().items()}
    monkeypatch.setattr(checkpoint, "versions", lambda: newer)
    with pytest.raises(wl.ArgumentError, match=r"was written with jax \d.*, and this is 99\.0"):
        trained(of_own_rule, Own(0.5))


def test_any_flipped_bit_and_any_missing_end_is_seen(of_own_rule, tmp_path):
    whole, path = of_own_rule.read_bytes(), tmp_path / "run.ckpt"
    for damaged in flipped(whole, 100):
        path.write_bytes(damaged)
        with pytest.raises(wl.ArgumentError, match=r"run\.ckpt is (damaged|no checkpoint)"):
            checkpoint.read(path)
    for size in (0, 1, 30, 60, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(wl.ArgumentError, match=r"run\.ckpt is (damaged|no checkpoint)"):
            trained(path, Own(0.5))
        assert path.read_bytes() == whole[:size]


def test_a_file_whose_arrays_do_not_fit_is_refused(of_own_rule, tmp_path):
    """Sealed by somebody else's program: the digest is right, and what it covers is not."""
    kept, path = checkpoint.read(of_own_rule), tmp_path / "run.ckpt"

    def sealed(change):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name in kept.archive.namelist():
                if (content := change(name, kept.archive.read(name))) is not None:
                    archive.writestr(name, content)
        content = buffer.getvalue()
        path.write_bytes(b"widelimit-checkpoint\n" + hashlib.sha256(content).digest() + content)

    def as_objects(content):
        buffer = io.BytesIO()
        np.save(buffer, np.array([None], dtype=object), allow_pickle=True)
        return buffer.getvalue()

    changes = [
        lambda name, content: None if name == "state/0/0.npy" else content,
        lambda name, content: kept.archive.read("state/0/1.npy") if name == "state/0/0.npy" else content,
        lambda name, content: as_objects(content) if name == "state/0/0.npy" else content,
        lambda name, content: b"{}" if name == "header.json" else content,
        lambda name, content: b"[" * 10**5 if name == "header.json" else content,
        lambda name, content: None if name == "header.json" else content,
    ]
    for change in changes:
        sealed(change)
        with pytest.raises(wl.ArgumentError, match=r"run\.ckpt (does not fit|is no checkpoint)"):
            trained(path, Own(0.5))


@pytest.mark.parametrize("place", [".", "missing/run.ckpt", "pipe"])
def test_places_where_no_run_can_keep_itself(place, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises((wl.ArgumentError, FileNotFoundError)):
        trained(tmp_path / place)
    with pytest.raises(wl.ArgumentError, match="named by a string or a path"):
        trained(3)


def test_a_file_that_cannot_be_written_is_warned_of_once_and_the_run_goes_on(tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "INTERVAL", 0.0)
    monkeypatch.setattr(files, "write", full)
    with pytest.warns(wl.CheckpointWarning, match="No space left on device") as caught:
        run = trained(tmp_path / "run.ckpt")
    assert sum(issubclass(warning.category, wl.CheckpointWarning) for warning in caught) == 1
    assert_identical(run, trained())
    assert not (tmp_path / "run.ckpt").exists()


def test_a_file_that_came_about_during_the_run_is_not_written_over(tmp_path, monkeypatch):
    path, start = tmp_path / "run.ckpt", wl.Simulation.start

    def start_and_write(self, *arguments):
        path.write_bytes(b"somebody else's")
        return start(self, *arguments)

    monkeypatch.setattr(wl.Simulation, "start", start_and_write)
    with pytest.warns(wl.CheckpointWarning, match="exists"):
        trained(path)
    assert path.read_bytes() == b"somebody else's"


def test_it_is_kept_every_so_often(tmp_path, monkeypatch):
    written, write = [], files.write
    monkeypatch.setattr(files, "write", lambda *arguments, **options: written.append(write(*arguments, **options)))
    monkeypatch.setattr(checkpoint, "SHARE", np.inf)
    for interval, times in ((1000.0, 1), (0.0, 4)):
        written.clear()
        monkeypatch.setattr(checkpoint, "INTERVAL", interval)
        trained(tmp_path / f"{interval}.ckpt", steps=2, replicates=1, record=wl.Record(every=1))
        assert len(written) == times


# --- the command line

RUN = small_configuration(
    20000,
    replicates=2,
    step_size=1e-4,
    run='checkpoint = "run.ckpt"',
    tables='[rule]\nname = "FeedbackAlignment"\ncorrelation = 0.5\n[batches]\nsize = 2\n[record]\nevery = 500',
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "run.toml").write_text(RUN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_resume_writes_what_train_would_have(folder, capsys):
    short = ["--run.steps", "1000", "--record.samples", "2", "0", "--record.kernels", "ntk"]
    assert main(["train", "run.toml", "--out", "first.nc", *short]) == 0
    (folder / "run.toml").unlink()
    (folder / "run.ckpt").rename("moved.ckpt")
    assert main(["resume", "moved.ckpt"]) == 2
    assert "first.nc exists" in capsys.readouterr().err
    assert main(["resume", "moved.ckpt", "--out", "moved.ckpt", "--overwrite"]) == 2
    assert "is what this command reads" in capsys.readouterr().err
    assert main(["resume", "moved.ckpt", "--out", "second.nc"]) == 0
    assert_identical(wl.load("second.nc"), wl.load("first.nc"))
    assert main(["resume", "moved.ckpt", "--overwrite", "--steps", "1500"]) == 0
    assert wl.load("first.nc")["step"].values.tolist() == [0, 500, 1000, 1500]
    assert main(["resume", "moved.ckpt", "--out", "third.nc"]) == 0  # as many as were asked for last
    assert wl.load("third.nc").sizes["step"] == 4


def test_what_cannot_be_resumed_is_one_sentence(folder, capsys):
    trained("python.ckpt")
    (folder / "text.ckpt").write_text("text")
    for name, said in (("python", "by a call of widelimit.train"), ("text", "no checkpoint"), ("none", "no file")):
        assert main(["resume", f"{name}.ckpt", "--out", "run.nc"]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert said in lines[0]


def test_a_checkpoint_has_a_file_of_its_own(folder, capsys):
    for place in ("run.toml", "run.nc"):
        flags = ["--run.checkpoint", place, "--out", "run.nc", "--overwrite"]
        assert main(["train", "run.toml", *flags]) == 2
        assert "is what this command reads" in capsys.readouterr().err


def killed(folder, seed):
    """A run that keeps itself whenever it can, and is ended at some moment after the first time."""
    code = (
        "import sys; from widelimit.cli import main; from widelimit.simulation import checkpoint; "
        "checkpoint.INTERVAL, checkpoint.SHARE = 0.0, 0.5; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "train", "run.toml", "--out", "run.nc"]
    process = launched(command, folder)
    ends = time.monotonic() + 100
    while not (folder / "run.ckpt").exists() and process.poll() is None and time.monotonic() < ends:
        time.sleep(0.01)
    time.sleep(random.Random(seed).uniform(0, 3))
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def never_killed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    (folder / "run.toml").write_text(RUN.replace('checkpoint = "run.ckpt"\n', ""), encoding="utf-8")
    assert main(["train", str(folder / "run.toml"), "--out", str(folder / "run.nc")]) == 0
    return wl.load(folder / "run.nc")


@pytest.mark.parametrize("seed", of_which_fast(range(23), 2))
def test_a_run_that_is_killed_goes_on_to_the_same_file(seed, folder, never_killed):
    killed(folder, seed)
    if (folder / "run.nc").exists():  # it was written before the process had ended, or by its end
        assert_identical(wl.load("run.nc"), never_killed)
    began = checkpoint.read("run.ckpt")
    assert began.header["begun"] >= 1
    assert main(["resume", "run.ckpt", "--out", "run.nc", "--overwrite"]) == 0
    assert_identical(wl.load("run.nc"), never_killed)
