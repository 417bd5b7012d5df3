"""Commands that are killed, and disks that are full: whole files or none, and nothing lost that had been finished."""

import contextlib
import errno
import io
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from fnmatch import fnmatch
from pathlib import Path

import faulty
import matplotlib.image
import numpy as np
import pytest
from helpers import launched, said_by, small_configuration

import widelimit as wl
from widelimit import files, paper
from widelimit.cli import demonstration, main
from widelimit.progress import announced, announcing_bar, progress_bar
from widelimit.results.netcdf import read

SHORT = small_configuration(300)
FAULTY = Path(faulty.__file__)
ENDING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL]

needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="reads /proc")


def start(folder, *arguments, program=("-m", "widelimit"), **options):
    return launched([sys.executable, *program, *arguments], folder, **{"stderr": subprocess.PIPE} | options)


def whole(path):
    """Read a file to its end, and fail if it is not all there."""
    content = path.read_bytes()
    match path.suffix:
        case ".nc":
            read(path)
        case ".json":
            json.loads(content)
        case ".png":
            assert matplotlib.image.imread(path).ndim == 3
        case ".pdf":
            assert content.startswith(b"%PDF")
            assert content.rstrip().endswith(b"%%EOF")
        case ".html":
            assert content.rstrip().endswith(b"</html>")


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check_what_is_left(folder, before, process, said, number, left=frozenset()):
    """What holds after a signal, whenever it came."""
    codes = {0, -number} if number == signal.SIGKILL else {0, 128 + number}
    assert process.returncode in codes, said
    for words in ("Traceback", "Exception ignored", "Fatal", "Segmentation"):
        assert words not in said
    if process.returncode > 0:
        assert said.splitlines()[-1].startswith("widelimit: "), said
    for path in contents(folder):
        if path.suffix == ".part":
            assert number == signal.SIGKILL or path in left
        else:
            whole(path)
    assert {path: path.read_bytes() for path in before} == before


def cpu_seconds(process):
    with open(f"/proc/{process.pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ended_after(moment, number, folder, *arguments):
    """Run a command, and send it a signal once it has used that many seconds of its processor."""
    before = {path: content for path, content in contents(folder).items() if path.suffix != ".part"}
    left = {path for path in contents(folder) if path.suffix == ".part"}
    if "--overwrite" in arguments:  # of a figure, what was computed stays, and what is drawn may be drawn again
        before = {path: content for path, content in before.items() if path.suffix == ".nc"}
    process = start(folder, *arguments)
    while process.poll() is None and cpu_seconds(process) < moment:
        time.sleep(0.01)
    process.send_signal(number)
    said = said_by(process)
    check_what_is_left(folder, before, process, said, number, left)


@pytest.fixture
def folder(tmp_path, short_run):
    """A configuration and two runs."""
    (tmp_path / "short.toml").write_text(SHORT, encoding="utf-8")
    for name in ("a.nc", "b.nc"):
        wl.save(short_run, tmp_path / name)
    return tmp_path


COMMANDS = {
    "train": (("train", "short.toml", "--out"), ".nc", 8.0),
    "report": (("report", "a.nc", "b.nc", "--out"), ".html", 5.0),
    "demo": (("demo", "--quick", "--out"), "", 25.0),
    "figure": (("figure", "2", "--quick", "--out"), "", 60.0),
}
"""Their arguments, the suffix of what they write, and the seconds of a processor that they take, about."""


@needs_proc
@pytest.mark.parametrize(
    ("name", "seed", "number"),
    [
        ("train", 0, signal.SIGTERM),
        pytest.param("train", 1, signal.SIGKILL, marks=pytest.mark.slow),
        ("report", 2, signal.SIGINT),
        ("demo", 3, signal.SIGHUP),
        pytest.param("figure", 4, signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_a_signal_at_some_moment(name, seed, number, folder):
    arguments, suffix, _ = COMMANDS[name]
    moment = random.Random(seed).uniform(1.0, 6.0)  # once Python itself is up
    ended_after(moment, number, folder, *arguments, f"out{suffix}")


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize("name", COMMANDS)
def test_signals_at_many_moments(name, folder):
    """Of one figure in one folder, each call goes on from where the last one was ended."""
    arguments, suffix, lasts = COMMANDS[name]
    chance = random.Random(name)
    for count in range(20):
        out = "out" if name == "figure" else f"out{count}{suffix}"
        flags = ("--overwrite",) if name == "figure" else ()
        moment, number = chance.uniform(1.0, lasts), chance.choice(ENDING)
        ended_after(moment, number, folder, *arguments, out, *flags)


@pytest.mark.parametrize(
    ("function", "count", "number", "arguments", "left"),
    [
        ("mkstemp", 1, signal.SIGHUP, ("compare", "a.nc", "b.nc", "--out", "apart.nc"), ["apart.nc"]),
        ("fsync", 1, signal.SIGINT, ("compare", "a.nc", "b.nc", "--out", "apart.nc"), ["apart.nc"]),
        ("link", 1, signal.SIGTERM, ("compare", "a.nc", "b.nc", "--out", "apart.nc"), ["apart.nc"]),
        ("link", 1, signal.SIGKILL, ("compare", "a.nc", "b.nc", "--out", "apart.nc"), []),
        (
            "fsync",
            2,
            signal.SIGTERM,
            ("figure", "1", "--out", "."),
            ["results/figure1/*.nc", "results/figure1/*.nc"],
        ),
        ("link", 2, signal.SIGINT, ("figure", "1", "--out", "."), ["figure1.json", "figure1.png"]),
    ],
    ids=lambda value: str(value) if isinstance(value, (str, int)) else "",
)
def test_a_signal_while_a_file_is_written(function, count, number, arguments, left, folder):
    before = contents(folder)
    process = start(folder, function, str(count), str(int(number)), *arguments, program=(str(FAULTY),))
    said = said_by(process)
    check_what_is_left(folder, before, process, said, number)
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    after = {path.relative_to(folder).as_posix() for path in contents(folder)}
    assert sum(any(fnmatch(name, pattern) for pattern in left) for name in after) == len(left)
    if number == signal.SIGKILL:
        assert "apart.nc" not in after
    else:
        assert "Interrupted; " in said.splitlines()[-1]


def test_what_a_killed_writer_left_is_removed_by_the_next_one(tmp_path):
    names = [".file.abcdefgh.part", ".file.hgfedcba.part", ".other.abcdefgh.part", ".file.txt.part"]
    for name in names:
        (tmp_path / name).touch()
    for name in (names[0], *names[2:]):
        os.utime(tmp_path / name, (0, 0))
    files.write(tmp_path / "file", b"content")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["file", *names[1:]])


# --- disks


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where results are rescued to."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@contextlib.contextmanager
def mounted(folder, options):
    """A small file system, where the tests may mount one."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        if subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("file systems cannot be mounted here")
    except FileNotFoundError:
        pytest.skip("there is no mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def full(tmp_path):
    """A folder in which 28 kB are left of 32."""
    with mounted(tmp_path / "full", "size=32k") as folder:
        (folder / "old").write_bytes(b"old" * 1000)
        yield folder
        assert (folder / "old").read_bytes() == b"old" * 1000
        assert not list(folder.rglob("*.part"))


@pytest.fixture
def cheap(monkeypatch, short_run):
    """Demonstrations and figures that cost nothing to compute."""

    def train_all(plan, runs):
        runs["gradient descent"] = {math.inf: large(short_run), 100.0: large(short_run)}

    monkeypatch.setattr(demonstration, "train_all", train_all)
    monkeypatch.setattr(paper, "figure", faulty.toy)


def large(run):
    """A run with arrays of 64 kB that no compression helps."""
    return run.assign(noise=("entry", np.random.default_rng(0).normal(size=8000)))


COMMANDS_ON_DISKS = {
    "train": (("train", "short.toml", "--run.steps", "100", "--out"), "run.nc", {"run.nc"}),
    "demo": (("demo", "--quick", "--out"), "", {"demo.nc", "demo.png"}),
    "figure": (("figure", "1", "--out"), "", {"figure1.png"}),
    "report": (("report", "a.nc", "--out"), "page.html", {"page.html"}),
    "compare": (("compare", "long.nc", "long.nc", "--out"), "apart.nc", {"apart.nc"}),
    "show": (("show", "a.nc", "--picture"), "run.png", {"run.png"}),
}
"""Their arguments, what they write, and what of it does not fit in 28 kB."""


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("name", COMMANDS_ON_DISKS)
def test_what_does_not_fit_is_rescued(name, full, folder, temporary, monkeypatch, capsys, short_run):
    monkeypatch.chdir(folder)
    times = {"step": np.arange(200) % short_run.sizes["step"]}
    long = short_run.drop_vars(["step", "time"]).isel(times).assign_coords(time=("step", np.arange(200.0)))
    wl.save(long, folder / "long.nc")
    arguments, file, too_large = COMMANDS_ON_DISKS[name]
    assert main([*arguments, str(full / file)]) == 4
    said = capsys.readouterr().err
    rescued = {path.name: path for path in temporary.rglob("*") if path.is_file()}
    assert too_large <= set(rescued)
    for path in rescued.values():
        whole(path)
        assert str(path) in said
    for path in full.rglob("*"):
        if path.is_file():
            whole(path)


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("name", ["train", "demo", "report"])
def test_what_fits_nowhere_is_lost_in_a_sentence(name, full, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    (full / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(full / "temporary"))
    arguments, file, _ = COMMANDS_ON_DISKS[name]
    assert main([*arguments, str(full / file)]) == 2
    assert "TMPDIR" in capsys.readouterr().err.splitlines()[-1]
    assert not list((full / "temporary").iterdir())


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("name", COMMANDS_ON_DISKS)
def test_a_folder_that_cannot_be_written_to_is_refused_before_the_work(name, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    arguments, file, _ = COMMANDS_ON_DISKS[name]
    wl.save(wl.load("a.nc"), "long.nc")
    with mounted(tmp_path / "read_only", "size=32k,ro") as place:
        assert main([*arguments, str(place / file)]) == 2
        assert "cannot be written to" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("name", ["demo", "figure"])
def test_a_folder_that_is_removed_meanwhile(name, folder, temporary, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    arguments, _, _ = COMMANDS_ON_DISKS[name]
    out = folder / "out"

    def removing(function):
        def called(*given):
            out.rmdir()
            return function(*given)

        return called

    if name == "demo":
        monkeypatch.setattr(demonstration, "train_all", removing(demonstration.train_all))
        expected = {"demo.nc", "demo.png"}
    else:
        monkeypatch.setattr(paper, "figure", lambda number: removed_after(faulty.toy(number), out))
        expected = {"figure1.json", "figure1.png", "figure1.pdf"}
    assert main([*arguments, str(out)]) == 4
    assert expected <= {path.name for path in temporary.rglob("*") if path.is_file()}
    assert "does not exist" in capsys.readouterr().err


def removed_after(figure, out):
    """The figure, with a folder that disappears once its runs are computed."""
    import dataclasses
    import shutil

    def measured(parameters, runs):
        shutil.rmtree(out)
        return figure.claims(parameters, runs)

    return dataclasses.replace(figure, claims=measured)


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("name", ["demo", "figure"])
def test_another_writer_in_the_same_folder(name, folder, temporary, monkeypatch):
    """Both are begun before either has written: the second one's is rescued, and the first one's is not touched."""
    monkeypatch.chdir(folder)
    arguments, _, _ = COMMANDS_ON_DISKS[name]
    first = []
    if name == "demo":
        train_all = demonstration.train_all

        def interrupted(plan, runs):
            monkeypatch.setattr(demonstration, "train_all", train_all)
            first.append(main([*arguments, "out"]))
            train_all(plan, runs)

        monkeypatch.setattr(demonstration, "train_all", interrupted)
    else:

        def interrupted_figure(number):
            monkeypatch.setattr(paper, "figure", faulty.toy)
            first.append(main([*arguments, "out"]))
            return faulty.toy(number)

        monkeypatch.setattr(paper, "figure", interrupted_figure)
    assert main([*arguments, "out"]) == 4
    assert first == [0]
    written = {path.name for path in (folder / "out").glob(f"{name}*")}
    rescued = {path.name for path in temporary.rglob("*") if path.is_file()}
    assert rescued == written != set()
    for path in (*(folder / "out").rglob("*.*"), *temporary.rglob("*.*")):
        if path.is_file():
            whole(path)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_stream_that_is_full(stream, tmp_path):
    with open("/dev/full", "w") as file:
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | {stream: file}
        process = start(tmp_path, *(["show", "nowhere.nc"] if stream == "stderr" else ["--version"]), **options)
        said = process.communicate(timeout=60)
    assert process.returncode == 2
    if stream == "stdout":
        assert said[1] == f"widelimit: {UNWRITTEN}.\n"


UNWRITTEN = "The standard output cannot be written to: No space left on device"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_output_is_named_with_what_is_in_files(unbuffered, folder, monkeypatch):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    with open("/dev/full", "w") as file:
        process = start(folder, "compare", "a.nc", "b.nc", "--out", "apart.nc", stdout=file)
        said = said_by(process)
    assert (process.returncode, said) == (2, f"widelimit: {UNWRITTEN}; apart.nc is written.\n")
    whole(folder / "apart.nc")


class Stopped(io.StringIO):
    """An output that nobody reads any more, or that is full."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def write(self, text):
        raise self.error

    def fileno(self):
        return os.open(os.devnull, os.O_WRONLY)


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize(
    ("error", "code"), [(BrokenPipeError(errno.EPIPE, "Broken pipe"), 0), (OSError(errno.ENOSPC, "Full"), 2)]
)
def test_what_cannot_be_printed_is_written(error, code, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "stdout", Stopped(error))
    assert main(["demo", "--quick", "--out", "out"]) == code
    assert ("The standard output cannot be written to: Full; " in capsys.readouterr().err) == (code == 2)
    for name in ("demo.nc", "demo.png"):
        whole(folder / "out" / name)


def without(closed, folder, *arguments):
    """Run a command by a shell that closes some of its standard streams, as `>&- 2>&-`."""
    words = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "widelimit", *arguments]
    process = launched(words, folder, stderr=subprocess.PIPE)
    return process, said_by(process)


needs_shell = pytest.mark.skipif(os.name != "posix", reason="needs a shell that closes streams")


@needs_shell
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed_is_not_missed(closed, folder):
    process, said = without(closed, folder, "compare", "a.nc", "b.nc", "--out", "apart.nc")
    assert (process.returncode, said) == (0, "")
    whole(folder / "apart.nc")


@needs_shell
def test_nothing_is_said_on_the_output_for_want_of_a_standard_error(folder):
    process, _ = without("2>&-  >said.txt", folder, "show", "nowhere.nc")
    assert process.returncode == 2
    assert (folder / "said.txt").read_text() == ""


OPENED = """
import os, subprocess, sys
from widelimit.streams import open_closed
open_closed()
print("said", file=sys.stderr)
subprocess.run([sys.executable, "-c", "import sys; print(sys.stderr.fileno())"], check=True)
numbers = [stream.fileno() for stream in (sys.stdin, sys.stdout, sys.stderr)]
sys.exit(numbers != [0, 1, 2] or os.open(os.devnull, os.O_RDONLY) <= 2)
"""


@needs_shell
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- 2>&-", "<&- >&- 2>&-"])
def test_what_is_opened_later_is_no_standard_stream(closed, tmp_path):
    process = launched(["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-c", OPENED], tmp_path)
    assert process.wait(60) == 0


def test_without_a_standard_error_there_is_no_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    for bar in (progress_bar(True, total=2), progress_bar(None, total=2), announcing_bar(True, 1, total=2)):
        with bar:
            bar.start_t = 0.0  # long ago
            bar.update(1)
            bar.refresh()
    assert list(announced(["one", "two"], "rule", lambda sentence: None)) == ["one", "two"]


def test_an_error_of_a_full_disk_names_the_file(folder, full, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    (full / "rest").write_bytes(b"a" * 24000)
    (folder / "grid.toml").write_text(SHORT + '[sweep]\n"run.seed" = [0, 1]\n', encoding="utf-8")
    assert main(["sweep", "grid.toml", "--out", str(full / "sweep"), "--workers", "0", "--run.steps", "100"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"widelimit: No space left on device: {full / 'sweep'}")
