"""The faults of some releases of jax, which `widelimit doctor` looks for: this environment must have none."""

from pathlib import Path

import pytest

import widelimit
from widelimit import canaries


@pytest.mark.parametrize("name", canaries.CANARIES)
def test_no_canary_fails(name):
    assert canaries.CANARIES[name]() is None


def test_nothing_shifts_a_buffer_in_place():
    # Some releases of jax get this wrong that are otherwise sound, so no version pin helps.
    source = Path(widelimit.__file__).parent
    shifts = [path.name for path in source.rglob("*.py") if ".at[1:]" in path.read_text(encoding="utf-8")]
    assert shifts == ["canaries.py"]


def test_a_crash_is_reported_and_not_shared(monkeypatch):
    monkeypatch.setattr(canaries.sys, "executable", "/bin/false")
    assert "failed" in canaries.high_rank_reduction()
