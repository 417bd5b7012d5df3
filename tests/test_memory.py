"""How much memory a run may take: the machine's, a container's, and what `ulimit` allows; and how more is refused."""

import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest

import widelimit as wl
from widelimit import memory

GIB = 2**30


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with 8 GiB free, no limits, and a folder for its control groups."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=8 * GIB))
    monkeypatch.setattr(memory, "_left_by_limits", lambda: [])
    monkeypatch.setattr(memory, "_MEMBERSHIP", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "_GROUPS", tmp_path / "groups")
    return tmp_path


def member_of(machine, line):
    (machine / "cgroup").write_text(line + "\n")


def group(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".", 1)).write_text(text)


def test_what_the_machine_has(machine):
    assert memory.available_memory() == 8 * GIB  # there is no file on control groups
    member_of(machine, "0::/")
    assert memory.available_memory() == 8 * GIB  # none of them has a limit


def test_a_container_has_what_its_group_leaves(machine):
    member_of(machine, "0::/docker/one")
    folder = machine / "groups" / "docker" / "one"
    group(
        folder, memory_max=f"{4 * GIB}\n", memory_current=f"{3 * GIB}\n", memory_stat=f"anon 7\ninactive_file {GIB}\n"
    )
    assert memory.available_memory() == 2 * GIB
    group(folder, memory_max="max\n")
    assert memory.available_memory() == 8 * GIB
    # A limit of a group above holds as well, and what is over the limit already is no memory at all.
    group(folder.parent, memory_max=f"{GIB}\n", memory_current=f"{3 * GIB}\n", memory_stat="inactive_file 0\n")
    assert memory.available_memory() == 0


def test_only_the_root_of_the_groups_is_mounted(machine):
    member_of(machine, "0::/../../kubepods/pod1")
    group(machine / "groups", memory_max=str(3 * GIB), memory_current=str(GIB), memory_stat="")
    assert memory.available_memory() == 2 * GIB


def test_groups_of_the_first_version(machine):
    member_of(machine, "5:cpu,cpuacct:/a\n4:memory:/a\n0::/")
    files = {"memory_limit_in_bytes": str(5 * GIB), "memory_usage_in_bytes": str(4 * GIB)}
    group(machine / "groups" / "memory" / "a", **files, memory_stat=f"inactive_file 5\ntotal_inactive_file {GIB}")
    assert memory.available_memory() == 2 * GIB


@pytest.mark.skipif(memory.resource is None, reason="limits of processes are those of POSIX")
def test_a_limit_of_the_process_is_kept():
    """In a process of its own: a network that the machine has room for is refused, and one that fits still trains."""
    code = """
import psutil, resource, widelimit as wl
net, task = wl.MLP(2, wl.Tanh()), wl.datasets.sphere(4, 5)
options = dict(optimizer=wl.SGD(0.05), steps=1, replicates=1, progress=False)
for limit, use in ((resource.RLIMIT_AS, "vms"), (resource.RLIMIT_DATA, "data")):
    taken, (_, hard) = getattr(psutil.Process().memory_info(), use), resource.getrlimit(limit)
    resource.setrlimit(limit, (taken + 3 * 2**29, hard))
    wl.train(net, task, width=10, **options)
    try:
        wl.train(net, task, width=20_000, **options)
    except wl.ArgumentError as error:
        print(error)
    resource.setrlimit(limit, (hard, hard))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    refusals = run.stdout.splitlines()
    assert len(refusals) == 2
    for refusal in refusals:
        assert refusal.startswith("This run needs about")
        assert 0.3 < float(refusal.split(" of memory and ")[1].split(" GiB")[0]) <= 1.5


def test_a_refusal_says_what_takes_it_and_what_to_do(machine):
    parts = {"the network": 9 * GIB, "what is recorded": 3 * 2**20}
    with pytest.raises(wl.ArgumentError) as refusal:
        memory.require_memory(9.01 * GIB, parts=parts, remedy="Lower width.")
    assert str(refusal.value) == (
        "This run needs about 9.0 GiB of memory and 8.0 GiB are free: 9.0 GiB for the network, 3.0 MiB for what is "
        "recorded. Lower width."
    )
    memory.require_memory(8 * GIB, parts=parts, remedy="")
