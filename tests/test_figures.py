"""The figures of the paper: their claims in the small version, what they are made from, and what they share."""

import ast
import dataclasses
import importlib.util
import json
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.optimize
import xarray as xr

import widelimit as wl
from widelimit import paper
from widelimit.cli import main
from widelimit.ensembles import identity
from widelimit.paper import claims, computed, estimates, style
from widelimit.paper.base import PaperFigure, chosen, stated
from widelimit.paper.estimates import Estimate

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "src" / "widelimit" / "paper"
KEPT = ROOT / "docs" / "figures"


@pytest.mark.slow
@pytest.mark.parametrize("number", paper.NUMBERS)
def test_the_claims_of_the_small_version(number, tmp_path):
    figure = paper.figure(number)
    parameters = figure.at(quick=True)
    found, seconds = computed(figure, tmp_path, quick=True)
    assert seconds > 0
    wrong = [
        (claim.statement, claim.measured, claim.error, claim.expected, claim.verdict)
        for claim in figure.claims(parameters, found)
        if claim.verdict != (claims.FAILS if claim.finding else claims.HOLDS)
    ]
    assert not wrong
    with style.printed():
        picture = figure.draw(parameters, found)
        picture.savefig(tmp_path / "picture.png", dpi=60)
    assert picture.get_size_inches()[0] == style.WIDTH


@pytest.mark.parametrize("path", sorted(SOURCES.glob("figure[0-9]*.py")), ids=lambda path: path.stem)
def test_figures_are_made_from_the_public_api(path):
    """Only public names of the library, and no more than drawing and statistics besides."""
    allowed = {"numpy", "scipy", "xarray", "matplotlib", *sys.stdlib_module_names}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                assert name.name == "widelimit" or name.name.split(".")[0] in allowed, name.name
        elif isinstance(node, ast.ImportFrom):
            if node.level:  # what figures share
                assert node.module in (None, "base", "claims", "estimates", "plots") or (
                    node.level == 1 and (SOURCES / f"{node.module}.py").is_file()
                )
            elif node.module == "widelimit":
                assert {name.name for name in node.names} <= set(wl.__all__)
            else:
                assert str(node.module).split(".")[0] in allowed
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "wl":
            assert node.attr in wl.__all__


def test_every_figure_says_where_its_parameters_come_from():
    for number in paper.NUMBERS:
        figure = paper.figure(number)
        assert figure.number == number
        for name, told in figure.described(quick=False).items():
            assert told["source"] in ("paper", "chosen"), name
            assert told["meaning"]
        # What the paper states holds for the whole figure; the small one may take less.
        assert type(figure.quick) is type(figure.parameters)
        assert figure.quick != figure.parameters


# --- the gallery


def gallery():
    spec = importlib.util.spec_from_file_location("write_gallery", ROOT / "docs" / "write_gallery.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_gallery_is_what_the_kept_numbers_say():
    assert (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8") == gallery().page()


@pytest.mark.parametrize("number", paper.NUMBERS)
def test_the_kept_numbers_are_those_of_today_s_parameters(number):
    figure = paper.figure(number)
    told = json.loads((KEPT / f"figure{number}.json").read_text(encoding="utf-8"))
    assert not told["quick"]
    assert told["parameters"] == json.loads(json.dumps(figure.described(quick=False)))
    assert (told["title"], told["caption"]) == (figure.title, figure.caption)
    for claim in told["claims"]:
        assert claim["verdict"] == (claims.FAILS if claim["finding"] else claims.HOLDS), claim["statement"]
    assert (KEPT / f"figure{number}.png").is_file()


# --- what figures share


def test_verdicts():
    assert claims.equals("", Estimate(1.2, 0.1), 1.0).verdict == claims.HOLDS
    assert claims.equals("", Estimate(1.31, 0.1), 1.0).verdict == claims.FAILS
    assert claims.equals("", Estimate(1.31, 0.1), 1.0, within=0.02).verdict == claims.HOLDS
    assert claims.above("", Estimate(0.31, 0.1)).verdict == claims.HOLDS
    assert claims.above("", Estimate(0.29, 0.1)).verdict == claims.OPEN
    assert claims.above("", Estimate(-0.31, 0.1)).verdict == claims.FAILS
    assert claims.above("", Estimate(0.0)).verdict == claims.FAILS
    assert claims.below("", Estimate(0.0, 0.1), 0.31).verdict == claims.HOLDS
    assert claims.below("", Estimate(0.4, 0.01), 0.31).verdict == claims.FAILS
    assert claims.at_most("", Estimate(0.29, 0.1)).verdict == claims.HOLDS
    assert claims.at_most("", Estimate(0.31, 0.1)).verdict == claims.FAILS
    assert claims.above("", Estimate(math.nan, 0.1)).verdict != claims.HOLDS
    assert claims.equals("", Estimate(math.nan, 0.1), 0.0).verdict == claims.FAILS
    assert claims.at_most("", Estimate(math.nan, 0.1)).verdict == claims.FAILS


def test_an_order_is_as_certain_as_its_least_certain_step():
    rising = [Estimate(0.0, 0.01), Estimate(0.1, 0.03), Estimate(0.3, 0.04), Estimate(5.0)]
    claim = claims.ascending("", rising)
    assert claim.measured == pytest.approx(0.1)
    assert claim.error == pytest.approx(math.hypot(0.01, 0.03))
    assert claim.verdict == claims.HOLDS
    assert claims.ascending("", [*rising, Estimate(4.9, 0.5)]).verdict == claims.OPEN
    assert claims.ascending("", [*rising, Estimate(1.0)]).verdict == claims.FAILS
    falling = claims.descending("", rising[::-1])
    assert falling.measured == pytest.approx(-0.1)
    assert falling.verdict == claims.HOLDS
    assert claims.descending("", rising).verdict == claims.FAILS


def replicated(mean, spread, replicates=400, seed=0):
    values = mean + spread * np.random.default_rng(seed).normal(size=(replicates, len(mean)))
    return xr.DataArray(values, dims=("replicate", "step"))


def test_agreement_tells_a_difference_from_chance():
    mean = np.linspace(1.0, 2.0, 50)
    same = claims.agrees("", {"a": (replicated(mean, 0.1), replicated(mean, 0.2, seed=1))}, "step")
    assert same.measured == pytest.approx(1.0, abs=0.5)
    assert same.verdict == claims.HOLDS
    apart = {"a": (replicated(mean, 0.1), replicated(mean + 0.1, 0.2, seed=1)), "b": (replicated(mean, 0.1),) * 2}
    found = claims.agrees("", apart, "step")
    assert found.verdict == claims.FAILS
    # The distance 0.1 against a root mean square of the second, 1.1 to 2.1.
    assert float(re.match(r"a: ([\d.]+) % apart", found.note)[1]) == pytest.approx(10 / 1.63, abs=0.5)
    lone = replicated(mean, 0.1, replicates=1)
    assert claims.agrees("", {"a": (lone, lone + 1)}, "step").verdict == claims.FAILS


def test_the_exponent_of_a_power_law():
    random = np.random.default_rng(0)
    x = np.array([10.0, 30.0, 100.0, 300.0])
    error = 0.05 * x**-1.5
    y = 3 * x**-1.5 + error * random.normal(size=4)
    found = estimates.power_law(x, y, error)
    fit, covariance = scipy.optimize.curve_fit(
        lambda t, a, b: a + b * t, np.log(x), np.log(y), sigma=error / y, absolute_sigma=True
    )
    assert found.value == pytest.approx(fit[1])
    assert found.error == pytest.approx(math.sqrt(covariance[1, 1]))
    assert estimates.power_law(x, 3 * x**-1.5).value == pytest.approx(-1.5)


def test_a_claim_is_json_without_nan():
    claim = claims.Claim("s", math.inf, math.nan, "> 0", claims.FAILS).known_to_fail("because")
    told = json.loads(json.dumps(claim.described(), allow_nan=False))
    assert told["measured"] is None
    assert told["error"] is None
    assert told["finding"] == "because"


# --- results are kept


@dataclasses.dataclass(frozen=True)
class Small:
    size: int = stated(3, "how many")
    seed: int = chosen(0, "which")


class Toy:
    """A figure of two runs that counts how often each is computed."""

    def __init__(self):
        self.calls = []

    def runs(self, given):
        self.size = given.size
        return {name: lambda name=name: self.run(name) for name in ("one", "two")}

    def run(self, name):
        self.calls.append(name)
        return xr.Dataset({"x": ("i", np.arange(self.size, dtype=float))})

    def claims(self, given, found):
        return [
            claims.equals("The sum is right", Estimate(float(found["one"]["x"].sum())), 3.0),
            claims.above("More", Estimate(math.nan, math.nan), note="a note").known_to_fail("nothing was measured"),
        ]

    def draw(self, given, found):
        figure = style.sheet(1.0)
        figure.subplots().plot(found["two"]["x"].values)
        return figure

    def figure(self, parameters=None):
        return PaperFigure(
            1, "A toy", "Nothing.", parameters or Small(), Small(size=2), self.runs, self.claims, self.draw
        )


def test_what_is_kept_is_not_computed_again(tmp_path):
    toy = Toy()
    first, seconds = computed(toy.figure(), tmp_path)
    again, same = computed(toy.figure(), tmp_path)
    assert toy.calls == ["one", "two"]
    assert again["one"].identical(first["one"])
    assert same == seconds
    next(tmp_path.glob("*.nc")).write_bytes(b"half a file")
    computed(toy.figure(), tmp_path)
    assert len(toy.calls) == 3
    computed(toy.figure(Small(seed=1)), tmp_path)
    computed(toy.figure(Small(seed=1)), tmp_path, recompute=True)
    assert toy.calls[3:] == 2 * ["one", "two"]


@dataclasses.dataclass(frozen=True)
class OfNetworks(Small):
    nets: tuple[wl.MLP, ...] = chosen((), "what is run")
    widths: tuple[int, ...] = chosen((1, 2), "how wide")


def test_what_was_computed_with_other_parameters_or_versions_is_computed_again(tmp_path, monkeypatch):
    toy, tanh, relu = Toy(), wl.MLP(1, wl.Tanh()), wl.MLP(1, wl.ReLU())
    for times, net, widths in ((1, tanh, (1, 2)), (1, tanh, (1, 2)), (2, relu, (1, 2)), (3, relu, (1, 3))):
        computed(toy.figure(OfNetworks(nets=(net,), widths=widths)), tmp_path)
        assert toy.calls == times * ["one", "two"]
    monkeypatch.setattr(identity, "computing_versions", lambda: {"widelimit": "another"})
    for _ in range(2):
        computed(toy.figure(OfNetworks(nets=(relu,), widths=(1, 3))), tmp_path)
        assert toy.calls == 4 * ["one", "two"]


def test_an_interruption_keeps_what_was_finished(tmp_path):
    toy = Toy()
    given = toy.figure()

    def stop(name):
        if name == "two":
            raise KeyboardInterrupt
        return whole(name)

    whole, toy.run = toy.run, stop
    with pytest.raises(KeyboardInterrupt):
        computed(given, tmp_path)
    toy.run = whole
    computed(given, tmp_path)
    assert toy.calls == ["one", "two"]


def test_a_run_that_cannot_be_computed_is_named_after_the_others_are_kept(tmp_path):
    toy = Toy()

    def fails(name):
        if name == "one":
            raise wl.ArgumentError("steps must be 1 or more.")
        return whole(name)

    whole, toy.run = toy.run, fails
    with pytest.raises(wl.ArgumentError, match="1 of 2 runs of figure 1 could not be computed: steps must be"):
        computed(toy.figure(), tmp_path)
    toy.run = whole
    computed(toy.figure(), tmp_path)
    assert toy.calls == ["two", "one"]


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(wl.ArgumentError, match="taken"):
        computed(Toy().figure(), tmp_path / "taken")


# --- the command


@pytest.fixture
def toy(monkeypatch):
    toy = Toy()
    monkeypatch.setattr(paper, "figure", lambda number: dataclasses.replace(toy.figure(), number=number))
    return toy


def test_the_command_writes_pictures_and_numbers(toy, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["figure", "1", "3", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    for words in ("Figure 1. A toy", "The sum is right", "holds", "Finding: nothing was measured", "(a note)"):
        assert words in printed
    told = json.loads((out / "figure3.json").read_text(encoding="utf-8"))
    assert told["parameters"]["size"] == {"value": 3, "meaning": "how many", "source": "paper"}
    assert told["claims"][0]["verdict"] == "holds"
    assert told["claims"][1]["measured"] is None
    assert told["versions"]["widelimit"]
    assert (out / "figure3.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "figure3.pdf").read_bytes().startswith(b"%PDF")
    assert toy.calls == 2 * ["one", "two"]


def test_the_command_replaces_nothing_unasked_and_computes_nothing_twice(toy, tmp_path, capsys):
    arguments = ["figure", "2", "--out", str(tmp_path)]
    assert main(arguments) == 0
    assert main(arguments) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*arguments, "--overwrite"]) == 0
    assert toy.calls == ["one", "two"]
    assert main([*arguments, "--overwrite", "--recompute"]) == 0
    assert toy.calls == 2 * ["one", "two"]
    assert main([*arguments, "--quick"]) == 0
    assert (tmp_path / "figure2-quick.png").is_file()
    assert json.loads((tmp_path / "figure2-quick.json").read_text(encoding="utf-8"))["quick"]


@pytest.mark.parametrize("number", ["0", "8", "one", "1.5"])
def test_a_figure_that_is_not_in_the_paper(number, tmp_path, capsys):
    assert main(["figure", number, "--out", str(tmp_path)]) == 2
    assert number in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_no_figure_named(tmp_path, capsys):
    assert main(["figure", "--out", str(tmp_path)]) == 2
    assert "all" in capsys.readouterr().err
