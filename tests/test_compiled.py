"""Compiled programs on disk: filled once, read back to the same numbers, never from a folder that is not private."""

import os
import subprocess
import sys
import warnings

import jax
import pytest

import widelimit as wl
from widelimit.cli import compiled, main

SMALL = [
    *("train", "--task.data", "sphere", "--task.samples", "4", "--task.dimension", "5"),
    *("--network.hidden-layers", "2", "--width.particles", "60", "--optimizer.step-size", "0.05"),
    *("--run.steps", "3", "--record.every", "2", "--run.replicates", "1"),
]


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A folder for compiled programs that is not there yet, and jax as a shell starts it."""
    folder = tmp_path / "own" / "compiled"
    monkeypatch.setenv(compiled.SWITCH, str(folder))
    return folder


def train_in_a_process(out, **environment):
    run = subprocess.run(
        [sys.executable, "-m", "widelimit", *SMALL, "--out", str(out)],
        env={**os.environ, "XLA_FLAGS": "", **environment},  # what takes no time to compile is not kept
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert run.returncode == 0, run.stderr
    return wl.load(out), run.stderr


def entries(root):
    return sorted(path.name for path in root.rglob("*-cache"))


def test_a_second_run_compiles_nothing_and_computes_the_same(root, tmp_path):
    first, _ = train_in_a_process(tmp_path / "first.nc")
    made = entries(root)
    assert any("advance" in name for name in made)
    second, said = train_in_a_process(tmp_path / "second.nc")
    assert entries(root) == made
    assert said == ""
    assert first.drop_attrs().identical(second.drop_attrs())
    folders = [root, *(path for path in root.iterdir() if path.is_dir())]
    assert len(folders) == 2
    assert {folder.stat().st_mode & 0o777 for folder in folders} == {0o700}
    # Damaged entries cost a line and a compilation, once.
    for entry in root.rglob("*-cache"):
        entry.write_bytes(entry.read_bytes()[:-100])
    third, said = train_in_a_process(tmp_path / "third.nc")
    assert said.count("ompiled programs could not be kept or read back") == 1
    assert first.drop_attrs().identical(third.drop_attrs())
    assert entries(root) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (compiled.SWITCH, "off"),
        pytest.param("JAX_ENABLE_COMPILATION_CACHE", "false", marks=pytest.mark.slow),
    ],
    ids=["ours", "jax's"],
)
def test_it_can_be_switched_off(root, tmp_path, name, value):
    _, said = train_in_a_process(tmp_path / "run.nc", XDG_CACHE_HOME=str(tmp_path / "xdg"), **{name: value})
    assert not root.exists()
    assert not (tmp_path / "xdg" / "widelimit").exists()
    assert "ompiled programs" not in said


def test_a_folder_that_the_user_gave_to_jax_wins(root, tmp_path):
    own = tmp_path / "jax"
    train_in_a_process(tmp_path / "run.nc", JAX_COMPILATION_CACHE_DIR=str(own))
    assert own.is_dir()
    assert not root.exists()


def test_settings_of_jax_are_as_before(root):
    names = ("jax_compilation_cache_dir", *compiled._SETTINGS)
    before = {name: getattr(jax.config, name) for name in names}
    with compiled.kept():
        assert jax.config.jax_compilation_cache_dir.startswith(str(root))
        assert jax.config.jax_compilation_cache_max_size == compiled.MOST_BYTES
        assert {name: getattr(jax.config, name) for name in names} != before
    assert {name: getattr(jax.config, name) for name in names} == before


def refused():
    place = compiled.place()
    assert place.folder is None
    assert not place.asked_for
    return place.reason


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o707])
def test_a_folder_that_others_can_write_to_is_refused(root, mode):
    root.mkdir(parents=True)
    root.chmod(mode)
    assert f"{root} can be written to by other users" in refused()
    root.chmod(0o700)
    assert compiled.place().folder is not None


def test_a_folder_above_that_others_can_write_to_is_refused(root):
    root.mkdir(parents=True, mode=0o700)
    root.parent.chmod(0o777)
    assert f"{root.parent} can be written to by other users" in refused()
    root.parent.chmod(0o1777)  # as that of temporary files: nobody replaces what belongs to another
    assert compiled.place().folder is not None


def test_a_link_is_refused(root, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    root.parent.mkdir()
    root.symlink_to(elsewhere)
    assert "is a link" in refused()


def test_the_folder_of_another_user_is_refused(root, monkeypatch):
    root.mkdir(parents=True, mode=0o700)
    monkeypatch.setattr(os, "getuid", lambda: root.stat().st_uid + 1)
    assert "belongs to another user" in refused()


def test_what_is_refused_is_said_and_trains_all_the_same(root, tmp_path, capsys):
    root.mkdir(parents=True)
    root.chmod(0o777)
    assert main([*SMALL, "--out", str(tmp_path / "run.nc")]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "ompiled programs" in line]
    assert len(said) == 1
    assert "code" in said[0]
    assert not list(root.iterdir())


def test_a_relative_folder_is_refused(monkeypatch):
    monkeypatch.setenv(compiled.SWITCH, "here")
    assert "absolute path" in refused()


def test_what_cannot_be_made_is_said(root, monkeypatch, capsys):
    root.parent.write_text("a file is in the way")
    with compiled.kept():
        assert jax.config.jax_compilation_cache_dir is None
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert str(root.parent) in said[0]


def warned(text):
    with compiled.kept():
        warnings.warn(f"Error reading persistent compilation cache entry for 'jit_f': {text}", stacklevel=1)


def test_damaged_entries_are_removed_and_the_others_compiled_anew(root, capsys):
    with compiled.kept():
        folder = next(root.glob("jaxlib-*"))
    (folder / "a-cache").write_bytes(b"half")
    (folder / "a-atime").write_bytes(b"now")
    warned("error: Error -5 while decompressing data\nand more")
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert "Error -5" in said[0]
    assert entries(root) == []
    assert compiled.place().folder == folder


def test_programs_that_jax_does_not_read_back_are_not_tried_again(root, capsys):
    warned("JaxRuntimeError: INTERNAL: Machine type used for compilation does not match")
    assert "does not match" in capsys.readouterr().err
    assert "did not read back" in compiled.place().reason
    with compiled.kept():
        assert jax.config.jax_compilation_cache_dir is None
    assert capsys.readouterr().err == ""


def test_what_was_half_written_and_what_is_old_goes(root):
    with compiled.kept():
        folder = next(root.glob("jaxlib-*"))
    for name in ("whole-cache", "whole-atime", "half-cache"):
        (folder / name).write_bytes(b"0" * 8)
    old, recent = root / "jaxlib-0.1-a", root / "jaxlib-0.2-a"
    for each in (old, recent):
        each.mkdir(mode=0o700)
    os.utime(old, (0, 0))
    with compiled.kept():
        pass
    assert entries(root) == ["whole-cache"]
    assert recent.is_dir()
    assert not old.exists()


def test_other_warnings_pass(root):
    with pytest.warns(UserWarning, match="of something else"), compiled.kept():
        warnings.warn("of something else", UserWarning, stacklevel=1)


def test_the_doctor_says_where_they_are(root, monkeypatch, capsys):
    from widelimit import canaries

    monkeypatch.setattr(canaries, "CANARIES", {})
    monkeypatch.setattr(canaries, "AVOIDED", {"none": lambda: None})
    assert main(["doctor"]) == 0
    assert f"kept in {root}" in capsys.readouterr().out
    monkeypatch.setenv(compiled.SWITCH, "off")
    assert main(["doctor"]) == 0
    assert f"not kept: {compiled.SWITCH} is off" in capsys.readouterr().out


def test_a_full_disk_is_said_once_and_keeps_what_is_there(root, capsys):
    with compiled.kept():
        folder = next(root.glob("jaxlib-*"))
    for name in ("a-cache", "a-atime"):
        (folder / name).write_bytes(b"whole")
    with compiled.kept():
        for program in ("jit_f", "jit_g"):
            warnings.warn(
                f"Error writing persistent compilation cache entry for '{program}': OSError: [Errno 28] No space left",
                stacklevel=1,
            )
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert "No space left" in said[0]
    assert entries(root) == ["a-cache"]
    assert compiled.place().folder == folder
