"""A run over several devices is the run on one, and devices exchange no more than sums of small matrices."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from helpers import small_task

import widelimit as wl
from widelimit.simulation.devices import Devices

HERE = Path(__file__).resolve().parent
CASES = ("tanh", "momentum", "batches", "linear", "gated", "networks", "uneven")


def on_eight_devices(kind, number, *cases):
    """What `on_devices` finds with eight virtual devices."""
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    process = subprocess.run(
        [sys.executable, str(HERE / "on_devices.py"), kind, str(number), *cases],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


def test_a_run_over_eight_devices_is_the_run_on_one():
    found = on_eight_devices("distances", 8, "tanh", "networks")
    assert found["tanh"]["8"] < 1e-9
    assert found["networks"]["8"] < 1e-12


@pytest.mark.slow
def test_the_number_of_devices_changes_nothing_beyond_rounding():
    for number in (2, 4, 8):
        for case, distances in on_eight_devices("distances", number, *CASES).items():
            assert distances[str(number)] < 1e-9, (case, number)


@pytest.mark.parametrize("case", [pytest.param("tanh"), pytest.param("linear", marks=pytest.mark.slow)])
def test_devices_exchange_sums_of_small_matrices(case):
    """Of 1024 particles and 4 samples nothing of the size of the particles travels, in any layer or direction."""
    exchanged = on_eight_devices("collectives", 8, case)[case]
    assert exchanged["count"] > 0
    assert exchanged["largest"] < 1024, exchanged
    # In linear networks, whose directions come from triangles of pieces, those triangles are gathered.
    assert exchanged["kinds"] == (["all-gather", "all-reduce"] if case == "linear" else ["all-reduce"])
    assert exchanged["layout kept"]


@pytest.mark.slow
def test_a_run_goes_on_over_other_devices():
    for case, distance in on_eight_devices("resumed", 8, "tanh", "networks").items():
        assert distance < 1e-9, case


def test_shares_are_equal_parts():
    one = jax.devices()[0]
    eight, six, two = Devices((one,) * 8), Devices((one,) * 6), Devices((one,) * 2)
    assert eight.shares(1, 4000) == (1, 8, 1)
    assert eight.shares(4, 4000) == (4, 2, 1)
    assert eight.shares(16, None) == (8, 1, 1)
    assert eight.shares(5, None) == (5, 1, 1)
    assert six.shares(1, 1000) == (1, 5, 1)  # 6 does not divide it
    assert two.shares(3, 1001) == (1, 1, 1)


def test_devices_that_there_are_not():
    there = len(jax.devices())
    with pytest.raises(wl.ArgumentError, match=rf"devices: there are {there} .*; got {there + 1}"):
        wl.train(wl.MLP(1, wl.Tanh()), small_task(), optimizer=wl.SGD(0.1), steps=1, devices=there + 1)
    for wrong in (0, 1.5, "two", True):
        with pytest.raises(wl.ArgumentError, match="devices"):
            wl.train(wl.MLP(1, wl.Tanh()), small_task(), optimizer=wl.SGD(0.1), steps=1, devices=wrong)


@pytest.mark.slow
def test_two_processes_share_a_run():
    with socket.socket() as one:
        one.bind(("localhost", 0))
        address = f"localhost:{one.getsockname()[1]}"
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    }
    sums = {}
    for count in (1, 2):
        processes = [
            subprocess.Popen(
                [sys.executable, str(HERE / "one_of_two.py"), str(index), str(count), address],
                env=environment,
                stdout=subprocess.PIPE,
                text=True,
            )
            for index in range(count)
        ]
        outputs = [process.communicate(timeout=300)[0] for process in processes]
        assert all(process.returncode == 0 for process in processes)
        sums[count] = [json.loads(output.splitlines()[-1]) for output in outputs]
    for of_process in sums[2]:
        assert of_process == pytest.approx(sums[1][0], rel=1e-9)
