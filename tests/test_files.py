"""Files: written whole or not at all, never over what is not a file, and damaged ones are one sentence."""

import contextlib
import os
import random
import stat
import threading

import h5py
import numpy as np
import pytest
import xarray as xr
from helpers import flipped

import widelimit as wl
from widelimit import files
from widelimit.cli import main


@pytest.fixture
def small():
    return wl.result(time=[0.0, 1.0], loss=np.array([[2.0, 1.0]]), feature_kernel=np.ones((1, 2, 1, 3, 3)))


def leftovers(folder):
    return [path.name for path in folder.iterdir() if path.name.endswith(".part")]


def test_a_file_has_the_mode_that_any_new_file_has_or_that_it_had(tmp_path):
    plain, written = tmp_path / "plain", tmp_path / "written"
    plain.touch()
    files.write(written, b"once")
    assert stat.S_IMODE(written.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
    written.chmod(0o600)
    files.write(written, b"twice", overwrite=True)
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert written.read_bytes() == b"twice"
    assert not leftovers(tmp_path)


def test_a_link_is_followed(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    files.write(tmp_path / "link", b"content")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"content"
    with pytest.raises(FileExistsError):
        files.write(tmp_path / "link", b"other")


def test_what_is_no_regular_file_is_never_written_over(tmp_path, small):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to_device").symlink_to("/dev/null")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("pipe", "to_device", "loop", ".", "x" * 300):
        with pytest.raises(wl.ArgumentError):
            wl.save(small, tmp_path / name, overwrite=True)
    with pytest.raises(wl.ArgumentError, match="device"):
        wl.save(small, "/dev/null", overwrite=True)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert not leftovers(tmp_path)


def test_one_of_several_writers_of_one_file_has_it(tmp_path):
    results = []

    def write(content):
        try:
            files.write(tmp_path / "file", content)
            results.append(content)
        except FileExistsError:
            pass

    threads = [threading.Thread(target=write, args=(bytes([number]) * 10**6,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 1
    assert (tmp_path / "file").read_bytes() == results[0]
    assert not leftovers(tmp_path)


def test_the_configuration_of_a_run_is_not_written_over(tmp_path, capsys):
    path = tmp_path / "run.toml"
    path.write_text("[run]\nsteps = 1\n", encoding="utf-8")
    assert main(["train", str(path), "--out", str(path), "--overwrite"]) == 2
    assert "is what this command reads" in capsys.readouterr().err
    assert path.read_text(encoding="utf-8") == "[run]\nsteps = 1\n"


def test_any_flipped_bit_is_seen(tmp_path, small):
    path = wl.save(small, tmp_path / "run.nc")
    xr.testing.assert_identical(wl.load(path), wl.load(path))
    whole = path.read_bytes()
    for damaged in flipped(whole, 300):
        path.write_bytes(damaged)
        with pytest.raises(wl.ArgumentError, match=r"run\.nc"):
            wl.load(path)
    for size in (0, 1, 100, len(whole) // 2, len(whole) - 200):
        path.write_bytes(whole[:size])
        with pytest.raises(wl.ArgumentError, match=r"run\.nc"):
            wl.load(path)


def test_files_are_what_any_reader_of_netcdf_reads(tmp_path, small):
    path = wl.save(small, tmp_path / "run.nc")
    other = xr.load_dataset(path, engine="h5netcdf")
    xr.testing.assert_identical(other, wl.load(path))
    with h5py.File(path) as file:
        assert file["loss"].fletcher32
    again = wl.load(path).isel(step=[0])  # whose encoding was for two steps
    assert wl.load(wl.save(again, tmp_path / "again.nc")).sizes["step"] == 1


def link_outside(file, path):
    file["loss"] = h5py.ExternalLink(str(path), "loss")


def soft_link(file, path):
    file["loss"] = h5py.SoftLink("/other")


def stored_outside(file, path):
    file.create_dataset("loss", shape=(4,), dtype="u1", external=[(str(path), 0, 4)])


def larger_than_memory(file, path):
    file.create_dataset("loss", shape=(10**13,), dtype="f8", chunks=(1000,))


def configured_by_text(file, path):
    file.attrs["configuration"] = "[1, 2"


def configured_by_a_number(file, path):
    file.attrs["configuration"] = 3.0


def of_no_schema(file, path):
    file.attrs["schema"] = "first"


@pytest.mark.parametrize(
    "make",
    [
        link_outside,
        soft_link,
        stored_outside,
        larger_than_memory,
        configured_by_text,
        configured_by_a_number,
        of_no_schema,
    ],
    ids=lambda make: make.__name__,
)
def test_a_file_that_is_no_result_is_refused(make, tmp_path, small):
    whole = wl.save(small, tmp_path / "whole.nc")
    with h5py.File(tmp_path / "run.nc", "w") as file:
        file.attrs["schema"] = 1
        make(file, whole)
    with pytest.raises(wl.ArgumentError, match=r"run\.nc"):
        wl.load(tmp_path / "run.nc")


@pytest.mark.parametrize(
    "text",
    ["a = " + "[" * 5000 + "]" * 5000, "a = " + "9" * 5000, "[run]\nsteps = " + "9" * 400, "\x00", "[run]\nseed = -1"],
)
def test_configurations_that_cannot_be(tmp_path, text):
    (tmp_path / "run.toml").write_text(text, encoding="utf-8")
    assert main(["train", str(tmp_path / "run.toml"), "--task.samples", "2", "--out", str(tmp_path / "run.nc")]) == 2
    assert not (tmp_path / "run.nc").exists()


def test_archives_are_read_only_as_far_as_they_are_needed(tmp_path):
    np.savez(tmp_path / "own.npz", x=np.eye(3), y=np.array([1.0, -1.0, 1.0]), notes=np.array([None], dtype=object))
    assert wl.datasets.from_npz(tmp_path / "own.npz").samples == 3
    whole = (tmp_path / "own.npz").read_bytes()
    chance = random.Random(1)
    for _ in range(100):
        damaged, place = bytearray(whole), chance.randrange(len(whole))
        damaged[place] ^= 1 << chance.randrange(8)
        (tmp_path / "damaged.npz").write_bytes(damaged)
        with contextlib.suppress(wl.ArgumentError):
            assert wl.datasets.from_npz(tmp_path / "damaged.npz").samples == 3
