"""What the documentation tells a reader to run, run as it stands (the configuration with smaller numbers)."""

import re
import runpy
import tomllib
from pathlib import Path

import pytest

import widelimit as wl
from widelimit.cli import config, main

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "docs" / "examples"
NUMBER = r"[-+]?\d*\.?\d+(?:e[-+]?\d+)?"

TINY = {
    "task.samples": 4,
    "task.test-samples": 4,
    "network.hidden-layers": 2,
    "training.particles": 120,
    "training.steps": 2,
    "training.record-every": 1,
    "training.replicates": 1,
}


def test_the_rule_of_the_example_learns_alike_at_both_widths(capsys):
    runpy.run_path(str(EXAMPLES / "random_target_projection.py"), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["width 500", "width inf"]
    found = [re.search(rf"({NUMBER}) at the start, ({NUMBER}) ± ({NUMBER}) at the end", line) for line in lines]
    (start, finite, error), (_, infinite, other) = ([float(text) for text in one.groups()] for one in found if one)
    assert finite < 0.1 * start
    assert infinite < 0.1 * start
    assert abs(finite - infinite) < 5 * (error + other) + 0.01


def test_the_page_prints_what_the_example_prints():
    page = (ROOT / "docs" / "own_rule.md").read_text(encoding="utf-8")
    assert re.search(rf"^width inf: loss {NUMBER} at the start, {NUMBER} ± {NUMBER} at the end$", page, re.M)


def test_the_readme_s_python(capsys):
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    assert len(blocks) == 1
    exec(compile(blocks[0], "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["500", "inf"]
    finite, infinite = ([float(number) for number in re.findall(NUMBER, line.split("[")[1])] for line in lines)
    assert infinite == pytest.approx(finite, abs=0.1)
    assert infinite[-1] > infinite[0]


@pytest.mark.parametrize("page", ["solvers", "lazy", "exact", "algorithm1", "fluctuations", "result"])
def test_the_python_of_the_pages(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    names: dict = {}
    assert blocks
    for block in blocks:
        exec(compile(block, f"{page}.md", "exec"), names)


def test_the_documented_configuration_runs(tmp_path, capsys):
    flags = [word for name, value in TINY.items() for word in (f"--{name}", str(value))]
    out = tmp_path / "run.nc"
    assert main(["train", str(EXAMPLES / "config.toml"), *flags, "--out", str(out)]) == 0
    assert wl.load(out)["loss"].sizes == {"replicate": 1, "step": 3}


def test_the_documented_configuration_names_every_key():
    text = (EXAMPLES / "config.toml").read_text(encoding="utf-8")
    tables = tomllib.loads(text)
    defaults = config.Configuration()
    for name in ("task", "network", "rule", "training"):
        section = text.split(f"[{name}]")[1].split("\n[")[0]
        known = set(vars(getattr(defaults, name)))
        assert set(tables[name]) <= known
        assert {key for key in known if not re.search(rf"\b{key}\b", section)} == set()


def test_the_readme_s_commands_stand_where_the_checks_look_for_them():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    commands = [line for line in lines if line.startswith("python3 -m venv")]
    assert sum("pytest" in line for line in commands) == 1
    assert sum(line.endswith("widelimit demo") for line in commands) == 1
