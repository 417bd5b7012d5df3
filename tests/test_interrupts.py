"""What ends a run from outside: what was recorded is saved, what was finished is kept, and nothing is half-written."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from helpers import launched, said_by, small_configuration, small_task

import widelimit as wl
from widelimit import interrupts
from widelimit.interrupts import Interrupted, raised, watched
from widelimit.results import summary
from widelimit.simulation import grouping, training

LONG = small_configuration(9000000, tables="[record]\nevery = 1000")


def test_the_first_signal_waits_and_the_second_does_not():
    with watched() as watch:
        os.kill(os.getpid(), signal.SIGINT)
        assert watch.number == signal.SIGINT
        with pytest.raises(Interrupted) as caught:
            watch.check()
        assert caught.value.code == 130
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_signals_of_schedulers_are_interruptions_within_the_command_line_alone():
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with raised():
        with pytest.raises(Interrupted) as caught:
            os.kill(os.getpid(), signal.SIGTERM)
        assert caught.value.code == 143
        with watched() as watch:
            os.kill(os.getpid(), signal.SIGTERM)
            assert watch.number == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def signalled(number=signal.SIGTERM):
    """Signal, and give the main thread the time to look."""
    os.kill(os.getpid(), number)
    time.sleep(0.3)


def test_a_command_with_nothing_to_keep_is_not_waited_for():
    never, after = threading.Event(), []

    def work():
        signalled()
        never.wait()
        after.append(1)

    with pytest.raises(Interrupted) as caught:
        interrupts.run(work)
    assert (caught.value.code, caught.value.kept, after) == (143, "", [])
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    never.set()


def test_a_command_with_something_to_keep_is_waited_for():
    done = []

    def work(pieces):
        interrupts.hold(pieces)
        with watched() as watch:
            for _ in range(pieces + 1):
                watch.check()
            signalled()
            done.append("not cut short")
            with contextlib.suppress(KeyboardInterrupt):
                watch.check()
                done.append("never here")
        signalled()  # the same signal, sent twice
        interrupts.kept("all is in files.")
        time.sleep(0.3)
        done.append("saved")
        return 7

    for pieces in (0, 2):
        done.clear()
        assert interrupts.run(lambda pieces=pieces: work(pieces)) == 7
        assert done == ["not cut short", "saved"]


def test_a_signal_that_nobody_has_looked_for_ends_a_command_once_all_is_in_files():
    done, never = [], threading.Event()

    def work():
        interrupts.hold()
        signalled()
        with interrupts.saving():
            interrupts.kept("all is in files.")
            time.sleep(0.3)
            done.append("saved")
        time.sleep(0.3)
        never.wait()
        done.append("never here")

    with pytest.raises(Interrupted) as caught:
        interrupts.run(work)
    assert caught.value.kept == "all is in files."
    assert done == ["saved"]
    never.set()

    with pytest.raises(Interrupted) as caught:  # where the command ends by itself meanwhile
        interrupts.run(lambda: (interrupts.hold(), signalled(signal.SIGINT), 0)[-1])
    assert caught.value.code == 130


def test_a_second_signal_is_not_waited_for_but_a_file_is(monkeypatch):
    monkeypatch.setattr(interrupts, "_TWICE", 0.1)
    done, never = [], threading.Event()

    def work():
        interrupts.hold()
        with interrupts.saving():
            signalled()
            signalled()
            done.append("saved")
        time.sleep(0.3)
        never.wait()

    with pytest.raises(Interrupted):
        interrupts.run(work)
    assert done == ["saved"]
    never.set()


def test_what_a_command_raises_is_raised():
    for error in (ValueError("a"), SystemExit(3), KeyboardInterrupt()):

        def work(error=error):
            raise error

        with pytest.raises(type(error)) as caught:
            interrupts.run(work)
        assert caught.value is error
    results = []
    thread = threading.Thread(target=lambda: results.append(interrupts.run(lambda: 5)))
    thread.start()
    thread.join()
    assert results == [5]


def test_a_run_is_interrupted_between_two_pieces_and_keeps_what_it_has(monkeypatch):
    monkeypatch.setattr(grouping, "replicates_together", lambda *arguments: 1)
    add, records = training.Recording.add, []

    def add_and_signal(self, *arguments):
        add(self, *arguments)
        records.append(self)
        if len(records) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(training.Recording, "add", add_and_signal)
    options = dict(width=10, optimizer=wl.SGD(1e-6), steps=10**6, record=wl.Record(every=10, kernels=()), replicates=2)
    with pytest.raises(wl.TrainingInterrupted) as caught:
        wl.train(wl.MLP(2, wl.Tanh()), small_task(), **options)
    assert caught.value.code == 130
    loss = caught.value.result["loss"]
    assert loss.sizes == {"replicate": 1, "step": 3}
    assert np.isfinite(loss).all()
    assert summary.interruption(caught.value.result) == [
        ("INTERRUPTED", "1 of 2 replicates at step 20, 1 of 2 not begun")
    ]


def test_a_signal_after_the_last_step_keeps_its_exit_code(monkeypatch):
    add = training.Recording.add

    def add_and_signal(self, *arguments):
        add(self, *arguments)
        if len(self.records) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(training.Recording, "add", add_and_signal)
    with raised(), pytest.raises(wl.TrainingInterrupted) as caught:
        wl.train(wl.MLP(2, wl.Tanh()), small_task(), width=10, optimizer=wl.SGD(0.01), steps=2, replicates=1)
    assert caught.value.code == 143
    assert caught.value.result.sizes["step"] == 3


def test_a_thread_that_gets_no_signals_trains():
    runs = []
    options = dict(width=10, optimizer=wl.SGD(0.01), steps=2, replicates=1)
    thread = threading.Thread(target=lambda: runs.append(wl.train(wl.MLP(2, wl.Tanh()), small_task(), **options)))
    thread.start()
    thread.join()
    assert runs[0].sizes["step"] == 3


def command(folder, *arguments, before=()):
    arguments = [*before, sys.executable, "-m", "widelimit", *arguments]
    return launched(arguments, folder, stderr=subprocess.PIPE)


def begun(process):
    """Wait until a process has compiled its step: until it has used a few seconds of its processor."""
    ends = time.monotonic() + 60
    while time.monotonic() < ends and process.poll() is None:
        with open(f"/proc/{process.pid}/maps") as maps:
            if sum("jaxlib" in line for line in maps) and cpu_seconds(process) > 9:
                return
        time.sleep(0.1)


def cpu_seconds(process):
    with open(f"/proc/{process.pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="reads /proc")


@needs_proc
@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        (signal.SIGTERM, 143),
        pytest.param(signal.SIGHUP, 129, marks=pytest.mark.slow),
        (signal.SIGKILL, -9),
    ],
)
def test_a_run_that_a_signal_ends(tmp_path, number, code):
    (tmp_path / "long.toml").write_text(LONG, encoding="utf-8")
    process = command(tmp_path, "train", "long.toml", "--out", "run.nc")
    begun(process)
    process.send_signal(number)
    said = said_by(process)
    assert process.returncode == code, said
    if number == signal.SIGKILL:
        assert not (tmp_path / "run.nc").exists()
        return
    assert "Traceback" not in said
    if "before there was anything" not in said:
        assert wl.load(tmp_path / "run.nc").sizes["step"] > 0
        assert "what had been recorded is in run.nc" in said


def test_an_interruption_while_modules_are_imported_is_one_line(tmp_path):
    process = command(tmp_path, "train")
    time.sleep(0.4)
    process.send_signal(signal.SIGINT)
    said = said_by(process)
    assert len(said.splitlines()) <= 1 or "KeyboardInterrupt" in said.splitlines()[-1]  # before Python itself is up
    assert process.returncode in (130, -2)


def test_a_full_disk_is_one_sentence(tmp_path):
    (tmp_path / "short.toml").write_text(LONG.replace("9000000", "2000"), encoding="utf-8")
    (tmp_path / "old.nc").write_bytes(b"old")
    # No file grows beyond a few kB, which is as a disk that is full.
    limited = ("sh", "-c", 'trap "" XFSZ; ulimit -f 8; exec "$@"', "sh")
    arguments = ("train", "short.toml", "--out", "old.nc", "--overwrite")
    process = command(tmp_path, *arguments, before=limited)
    said = said_by(process)
    assert process.returncode == 2, said
    assert "could not be written" in said
    assert "Traceback" not in said
    assert (tmp_path / "old.nc").read_bytes() == b"old"
    assert {path.name for path in tmp_path.iterdir()} == {"old.nc", "short.toml"}


def test_a_result_that_cannot_be_written_where_it_should_is_elsewhere(tmp_path, capsys, monkeypatch):
    from widelimit.cli import destinations

    result = wl.result(time=[0.0], loss=np.ones((1, 1)))
    monkeypatch.setattr(destinations.tempfile, "tempdir", str(tmp_path))
    (tmp_path / "run.nc").write_bytes(b"somebody else's, from the time of the run")
    place, code = destinations.keep(result, tmp_path / "run.nc", overwrite=False)
    assert code == 4
    assert wl.load(place)["loss"].item() == 1
    assert (tmp_path / "run.nc").read_bytes() == b"somebody else's, from the time of the run"
    with contextlib.suppress(FileExistsError):
        wl.save(result, tmp_path / "run.nc")
    assert str(place) in capsys.readouterr().err


def test_what_an_interruption_says_is_kept_is_said():
    def work():
        interrupts.hold()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)
        raise interrupts.Interrupted(signal.SIGINT, "3 of 5 points are in a folder.")

    with pytest.raises(interrupts.Interrupted) as caught:
        interrupts.run(work)
    assert caught.value.kept == "3 of 5 points are in a folder."


def test_an_interruption_tells_what_was_kept_last():
    never = threading.Event()

    def work():
        interrupts.kept("figure 1 is written.")
        interrupts.so_far("")
        signalled()
        never.wait()

    with pytest.raises(interrupts.Interrupted) as caught:
        interrupts.run(work)
    assert caught.value.kept == "figure 1 is written."
    never.set()


def test_results_that_were_interrupted_say_so(short_run):
    run = json.loads(short_run.attrs["configuration"])
    last = run["steps"] // run["record_every"] * run["record_every"]

    def told(reached, diverged=(-1, -1, -1)):
        changed = short_run.assign(diverged_step=("replicate", list(diverged)))
        changed.attrs["configuration"] = json.dumps(run | {"interrupted_at": reached})
        return changed, summary.interruption(changed)

    half, rows = told([last, 1, last])
    assert rows == [("INTERRUPTED", "1 of 3 replicates at step 1")]
    assert "INTERRUPTED" in "\n".join(summary.lines(half))
    assert "was interrupted: 1 of 3 replicates at step 1." in wl.report.page(half)
    (title,) = [text.get_text() for text in wl.plots.run(half).texts]
    assert title.endswith("interrupted")
    # It had come to the end of those that were begun, or those had diverged.
    assert told([last, 1, last], diverged=(-1, 2, -1))[1] == []
    assert told([last, last])[1] == [("INTERRUPTED", "1 of 3 not begun")]
    assert summary.interruption(short_run) == []
