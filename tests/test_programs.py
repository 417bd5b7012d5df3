"""Compiled programs are forgotten before they take all memory maps of a process."""

import jax
import pytest
from helpers import assert_same, small_task

import widelimit as wl
from widelimit import programs


@pytest.mark.parametrize(("limit", "forgotten"), [("65530", False), ("40", True)])
def test_programs_are_forgotten_where_maps_run_short(tmp_path, monkeypatch, limit, forgotten):
    maps, most = tmp_path / "maps", tmp_path / "max_map_count"
    maps.write_text("a map\n" * 30)
    most.write_text(limit)
    calls = []
    monkeypatch.setattr(programs, "_MAPS", maps)
    monkeypatch.setattr(programs, "_LIMIT", most)
    monkeypatch.setattr(jax, "clear_caches", lambda: calls.append(True))
    programs.make_room()
    assert bool(calls) == forgotten


def test_runs_before_and_after_are_the_same(net, task, tmp_path, monkeypatch):
    most = tmp_path / "max_map_count"
    most.write_text("2")
    runs = []
    for _ in range(2):
        runs.append(
            wl.train(net, task, optimizer=wl.SGD(0.05), steps=2, width=wl.Infinite(particles=100), replicates=1)
        )
        monkeypatch.setattr(programs, "_LIMIT", most)
    assert_same(*runs, 0, list(runs[0].data_vars))


def test_systems_without_a_limit_keep_their_programs(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "_MAPS", tmp_path / "none")
    monkeypatch.setattr(jax, "clear_caches", lambda: pytest.fail("nothing calls for it"))
    programs.make_room()
    assert wl.train(wl.MLP(1, wl.Tanh()), small_task(), optimizer=wl.SGD(0.1), steps=1, width=5, replicates=1)
