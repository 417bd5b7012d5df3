"""What the documentation tells a reader to run, run as it stands (the configuration with smaller numbers)."""

import contextlib
import importlib
import inspect
import io
import re
import runpy
import tomllib
from pathlib import Path

import numpy as np
import pytest
import tyro
from helpers import of_which_fast, small_task

import widelimit as wl
from widelimit.cli import COMMANDS, config, main, train
from widelimit.theory.feedback import feedback_of

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "docs" / "examples"
NUMBER = r"[-+]?\d*\.?\d+(?:e[-+]?\d+)?"

TINY = {
    "task.samples": 4,
    "task.test-samples": 4,
    "network.hidden-layers": 2,
    "width.particles": 120,
    "record.every": 1,
    "run.steps": 2,
    "run.replicates": 1,
}


def losses(text):
    """The losses that the example prints, or a page says that it does, by width: at start and end, and the error."""
    line = rf"^width (\w+): loss ({NUMBER}) at the start, ({NUMBER}) ± ({NUMBER}) at the end$"
    return {width: tuple(map(float, numbers)) for width, *numbers in re.findall(line, text, re.M)}


@pytest.fixture(scope="module")
def printed():
    with contextlib.redirect_stdout(io.StringIO()) as out:
        runpy.run_path(str(EXAMPLES / "random_target_projection.py"), run_name="__main__")
    return losses(out.getvalue())


def test_the_rule_of_the_example_learns_alike_at_both_widths(printed):
    assert list(printed) == ["500", "inf"]
    (start, finite, error), (_, infinite, other) = printed.values()
    assert finite < 0.1 * start
    assert infinite < 0.1 * start
    assert abs(finite - infinite) < 5 * (error + other) + 0.01


def test_the_page_prints_what_the_example_prints(printed):
    """Within the errors that are printed, of which none is far from what it is."""
    page = losses((ROOT / "docs" / "own_rule.md").read_text(encoding="utf-8"))
    assert list(page) == list(printed)
    for (start, end, error), (start_now, end_now, error_now) in zip(page.values(), printed.values(), strict=True):
        assert start == pytest.approx(start_now, abs=0.01)
        assert end == pytest.approx(end_now, abs=error + 5e-4)  # and half of the last digit
        assert error == pytest.approx(error_now, rel=0.5, abs=0.001)


def test_the_readme_s_python(capsys):
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    assert len(blocks) == 1
    exec(compile(blocks[0], "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["500", "inf"]
    finite, infinite = ([float(number) for number in re.findall(NUMBER, line.split("[")[1])] for line in lines)
    assert infinite == pytest.approx(finite, abs=0.1)
    assert infinite[-1] > infinite[0]


def blocks_of(page):
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)


def executed(page):
    """The names that a page has defined after its blocks have run, one after the other."""
    names: dict = {}
    for block in blocks_of(page):
        exec(compile(block, f"{page}.md", "exec"), names)
    return names


PAGES = sorted(path.stem for path in (ROOT / "docs").glob("*.md") if blocks_of(path.stem))
SLOW = {"accuracy", "architectures", "corrections"}


@pytest.mark.parametrize("page", of_which_fast(PAGES, *(page for page in PAGES if page not in SLOW)))
def test_the_python_of_the_pages(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert executed(page)


def test_the_rules_of_the_page_are_those_of_the_library():
    names, task = executed("own_rule"), small_task(3, 2)

    def outputs(rule):
        return wl.train(wl.MLP(2, wl.Tanh()), task, rule, width=5, optimizer=wl.SGD(0.1), steps=2)["output"]

    np.testing.assert_array_equal(outputs(names["KolenPollack"]()), outputs(wl.KolenPollack()))
    np.testing.assert_allclose(outputs(names["IndependentFeedback"]()), outputs(wl.FeedbackAlignment(0.0)), rtol=1e-12)


def test_the_page_of_algorithm_1_names_the_rules_that_it_covers():
    covered = set()
    for name, rule in config.RULES.items():
        with contextlib.suppress(wl.ArgumentError):
            feedback_of(rule(), "theory.alternating")
            covered.add(name)
    text = (ROOT / "docs" / "algorithm1.md").read_text(encoding="utf-8")
    said = re.search(r"^## What it covers\n(.*?)^##", text, re.M | re.S)[1].split(".")
    named = [set(re.findall(r"`([A-Z]\w+)`", sentence)) for sentence in said[:2]]
    assert named == [covered, set(config.RULES) - covered]


def test_the_documented_configuration_runs(tmp_path, capsys):
    flags = [word for name, value in TINY.items() for word in (f"--{name}", str(value))]
    out = tmp_path / "run.nc"
    assert main(["train", str(EXAMPLES / "config.toml"), *flags, "--out", str(out)]) == 0
    assert wl.load(out)["loss"].sizes == {"replicate": 1, "step": 3}


def documented_commands():
    """Every command line that the README and the pages show, without `widelimit` and comments."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    blocks = [
        block for page in pages for block in re.findall(r"^```sh\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
    ]
    lines = [line.split("#")[0].split() for block in blocks for line in block.splitlines()]
    return [words[1:] for words in lines if words[:1] == ["widelimit"]]


def test_every_documented_command_can_be_told_so(monkeypatch):
    monkeypatch.chdir(ROOT)
    commands = documented_commands()
    assert {words[0] for words in commands} == set(COMMANDS) - {"demo"}  # which stands behind the setting up
    for name, *arguments in commands:
        if name == "train":
            options = train.parsed(arguments)
            for table in config.TABLES.keys() - {"run"}:
                getattr(options, table).build()
        else:
            command = getattr(importlib.import_module(f"widelimit.cli.{name}"), name.capitalize())
            tyro.cli(command, args=arguments)


def test_the_documented_configuration_names_every_key():
    text = (EXAMPLES / "config.toml").read_text(encoding="utf-8")
    tables = tomllib.loads(text)
    assert list(tables) == list(config.TABLES)
    defaults = config.Configuration()
    for name, table in tables.items():
        section = text.split(f"\n[{name}]")[1].split("\n[")[0]
        known = vars(getattr(defaults, name))
        unnamed = {key for key in known if not re.search(rf"\b{key}\b", section)}
        assert not unnamed, f"[{name}] of config.toml lacks {unnamed}; a comment will do: # {min(unnamed)} = …"
        commented = set(re.findall(r"^# (\w+) = ", section, re.M))
        assert set(table) | commented <= set(known)


def test_the_documented_configuration_says_what_is_not_a_default():
    text = (EXAMPLES / "config.toml").read_text(encoding="utf-8")
    documented = config.read(EXAMPLES / "config.toml")
    for name, table in tomllib.loads(text).items():
        section = text.split(f"\n[{name}]")[1].split("\n[")[0]
        for key in table:
            line = re.search(rf"^{key} = .*", section, re.M)[0]
            options = config.TABLES[name]
            default = getattr(options, key)
            if default is None:  # that of the one class which it is for
                maker = options.makers[options.owners[key][0]]
                default = inspect.signature(maker).parameters[key].default
            assert (getattr(getattr(documented, name), key) != default) == ("default: " in line), line


def test_the_readme_s_commands_stand_where_the_checks_look_for_them():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    commands = [line for line in lines if line.startswith("python3 -m venv")]
    assert sum("pytest" in line for line in commands) == 1
    assert sum(line.endswith("widelimit demo") for line in commands) == 1


def test_the_reference_names_everything_public():
    reference = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    rooms = {name for name in wl.__all__ if inspect.ismodule(getattr(wl, name))}
    names = {f"widelimit.{name}" for name in set(wl.__all__) - rooms}
    names |= {f"widelimit.theory.{name}" for name in wl.theory.__all__}
    assert {name for name in names if not re.search(rf"^.. auto\w+:: {name}$", reference, re.M)} == set()


def test_rules_and_nonlinearities_stand_where_they_are_looked_for():
    rules = (ROOT / "docs" / "rules.md").read_text(encoding="utf-8")
    assert {name for name in config.RULES if not re.search(rf"^\| `{name}\b", rules, re.M)} == set()
    text = (EXAMPLES / "config.toml").read_text(encoding="utf-8")
    for names in (config.RULES, config.NONLINEARITIES, config.LOSSES):
        assert {name for name in names if not re.search(rf"\b{name}\b", text)} == set()


def test_the_citation_is_of_this_release():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^version: (.*)$", citation, re.M)[1] == wl.__version__


def test_the_files_that_contributors_are_sent_to_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = set(re.findall(r"`((?:src|docs|tests)/[\w/]+\.\w+)`", text)) | set(re.findall(r"\]\(([\w/.]+)\)", text))
    assert {path for path in paths if "NAME" not in path and not (ROOT / path).exists()} == set()
