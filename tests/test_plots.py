"""Pictures of results: what is drawn where of several runs, of a single step, and of what a result lacks."""

import itertools
import math
import re

import numpy as np
import pytest
from helpers import small_task

import widelimit as wl
from widelimit import plots
from widelimit.cli import main
from widelimit.report import curves
from widelimit.report.runs import gathered

NET, TASK = wl.MLP(2, wl.Linear()), small_task(4, 3)


def trained(rule, width, steps, step_size=0.05, **options):
    options = {"replicates": 2, "progress": False, **options}
    return wl.train(NET, TASK, rule, width=width, optimizer=wl.SGD(step_size), steps=steps, **options)


def at_both_widths(theory, networks):
    return wl.combine({"GD": {math.inf: theory, 12: networks}}, ("rule", "width"))


def lines(axes):
    """The lines with several values, without the grey ones at zero."""
    return [line for line in axes.lines if len(line.get_xdata()) > 1 and line.get_color() != "0.8"]


def images(figure):
    return [axes.images[0].get_array() for axes in figure.axes if axes.images]


@pytest.fixture(scope="module")
def networks():
    return trained(None, 12, 6, record=wl.Record(every=3))


@pytest.fixture(scope="module")
def theory():
    """With twice the step size, recorded more often, and up to a third of the time."""
    return trained(None, wl.Infinite(particles=40), 2, 0.1, record=wl.Record(every=1))


# --- runs with recorded steps of their own


def test_a_line_goes_through_the_steps_of_its_own_run(theory, networks):
    figure = plots.comparison(at_both_widths(theory, networks))
    alignment = wl.observables.alignment(theory["ntk"], theory["target"])
    gradients = wl.observables.gradient_alignment(theory).mean("layer")
    for axes, expected in zip(figure.axes[:3], (theory["loss"], alignment, gradients), strict=True):
        (line,) = [line for line in lines(axes) if line.get_linestyle() == "-"]
        assert np.allclose(line.get_xdata(), theory["time"])
        assert np.allclose(line.get_ydata(), expected.mean("replicate"))
        (bars,) = axes.containers
        assert np.allclose(bars.lines[0].get_xdata(), networks["time"])


def test_kernels_are_those_of_the_last_recorded_step_of_each_run(theory, networks):
    figure = plots.comparison(at_both_widths(theory, networks))
    for image, run in zip(images(figure), (theory, networks), strict=False):
        order, _ = plots.parts.by_class(run["target"])
        last = run["feature_kernel"].mean("replicate").isel(layer=-1, step=-1).values
        assert np.allclose(image, last[np.ix_(order, order)])
    titles = [part._suptitle.get_text() for part in figure.subfigs if part._suptitle]
    assert "at the last recorded time of each" in titles[0]
    assert [axes.get_xlabel() for axes in figure.axes[3:5]] == ["time 0.2", "time 0.3"]
    alike = plots.comparison(at_both_widths(networks, networks))
    assert "at the end of training" in alike.subfigs[1]._suptitle.get_text()
    assert [axes.get_xlabel() for axes in alike.axes[3:5]] == ["", ""]


def test_a_run_that_there_is_not_leaves_its_place_empty(theory, networks):
    grid = {"GD": {math.inf: theory, 12: networks}, "DFA": {12: networks}}
    figure = plots.comparison(wl.combine(grid, ("rule", "width")))
    assert [axes.texts[0].get_text() for axes in figure.axes if axes.texts] == ["not recorded"]
    assert len([axes for axes in figure.axes if axes.images]) == 3


def test_a_run_selected_from_several_is_drawn_as_it_is_alone(theory, networks, tmp_path, capsys):
    selected = at_both_widths(theory, networks).sel(rule="GD", width=math.inf)
    figure, alone = plots.run(selected), plots.run(theory)
    for axes, own in zip(figure.axes, alone.axes, strict=True):
        assert axes.get_title(loc="left") == own.get_title(loc="left")
        for line, expected in zip(axes.lines, own.lines, strict=True):
            assert np.allclose(line.get_xydata(), expected.get_xydata())
    for image, expected in zip(images(figure), images(alone), strict=True):
        assert np.allclose(image, expected)
    path = wl.save(selected, tmp_path / "selected.nc")
    assert main(["show", str(path)]) == 0
    assert "(time 0.2, step size 0.1)" in capsys.readouterr().out
    assert plots.run(wl.load(path)).axes
    pages = [wl.report.page({"run": run}) for run in (selected, theory)]
    assert [page.count("<path") for page in pages[:1]] == [page.count("<path") for page in pages[1:]]


# --- a single recorded step


@pytest.mark.parametrize("steps", [0, 3])
def test_a_single_step_is_seen(steps, theory):
    record = wl.Record(every=10)
    run = trained(None, 12, steps, record=record)
    figure = plots.run(run)
    for axes in figure.axes[:3]:
        assert axes.containers
        for drawn in axes.containers:
            mark = drawn.lines[0]
            assert mark.get_marker() not in ("", "None")
            assert np.isfinite(mark.get_xydata()).all()
    both = plots.comparison(at_both_widths(trained(None, wl.Infinite(particles=40), 0), run))
    dash, points = both.axes[0].containers
    assert dash.lines[0].get_marker() != points.lines[0].get_marker()


def test_corrections_of_a_single_step_are_seen():
    solved = wl.theory.two_layer_fluctuations(wl.MLP(1, wl.Linear()), TASK, optimizer=wl.SGD(0.1), steps=0)
    for axes in plots.expansion(solved).axes:
        if axes.get_visible():
            assert len(axes.containers) == 2


# --- colours


def deep(layers):
    net = wl.MLP(layers, wl.Linear())
    return wl.train(net, TASK, width=6, optimizer=wl.SGD(0.01), steps=2, replicates=1, progress=False)


@pytest.mark.parametrize("layers", [2, 6, 7, 40])
def test_no_two_layers_have_one_colour(layers):
    _, tasks, gradients, *_ = plots.run(deep(layers)).axes
    colours = [line.get_color() for line in tasks.get_legend().get_lines()]
    assert len(set(colours)) == len(colours) == layers + 1
    assert [line.get_color() for line in gradients.get_legend().get_lines()] == colours[1:]


def test_no_two_rules_have_one_colour(theory, networks):
    names = [f"rule {place}" for place in range(9)]
    runs = {name: {math.inf: theory, 12: networks} for name in names}
    figure = plots.comparison(wl.combine(runs, ("rule", "width")))
    drawn = [line.get_color() for line in lines(figure.axes[0]) if line.get_linestyle() == "-"]
    assert len(set(drawn)) == len(drawn) == len(names)
    assert len({axes.get_title(): axes.title.get_color() for axes in figure.axes[3:12]}) == len(names)


def test_no_two_layers_of_a_page_look_alike():
    for page in curves.alignments(gathered(deep(9))):
        swatches = re.findall(r'<svg class="swatch".*?</svg>', page.html, re.S)
        assert len(set(swatches)) == 10  # the eNTK and nine layers, alike in both charts


# --- texts


def widths_of(figure):
    """Where the texts over a figure and its panels begin and end, in parts of its width."""
    figure.draw_without_rendering()
    parts = [figure, *figure.subfigs]
    over = [part._suptitle for part in parts if part._suptitle] + [each for part in parts for each in part.legends]
    bounds = [text.get_window_extent() for text in over]
    return [(box.x0 / figure.bbox.width, box.x1 / figure.bbox.width) for box in bounds]


@pytest.mark.parametrize("kernels", [(), ("ntk",)])
def test_the_title_is_within_a_figure_of_few_panels(kernels):
    rule = wl.DirectRandomTargetProjection()
    run = trained(rule, wl.Infinite(particles=40), 2, record=wl.Record(kernels=kernels))
    figure = plots.run(run)
    assert all(-0.01 <= left < right <= 1.01 for left, right in widths_of(figure))
    words = figure._suptitle.get_text()
    assert words == "DirectRandomTargetProjection, 2 hidden layers, Linear, richness 1, infinite width (40 particles)"


def test_names_of_many_rules_are_within_the_figure_and_apart(theory, networks):
    rules = ("GradientDescent", "DirectFeedbackAlignment", "direct random target projection", "ThreeFactorHebbian")
    names = [f"{name} {place}" for place in (1, 2) for name in rules]
    runs = {name: {math.inf: theory, 12: networks} for name in names}
    figure = plots.comparison(wl.combine(runs, ("rule", "width")))
    assert all(-0.01 <= left < right <= 1.01 for left, right in widths_of(figure))
    heads = [axes.title.get_window_extent() for axes in figure.axes[3 : 3 + 2 * len(names)] if axes.get_title()]
    assert len(heads) == len(names)
    assert all(one.x1 < next.x0 for one, next in itertools.pairwise(sorted(heads, key=lambda box: box.x0)))


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("Hebbian", "Hebbian"),
        ("DirectFeedbackAlignment", "Direct\nFeedback\nAlignment"),
        ("direct feedback alignment", "direct\nfeedback\nalignment"),
        ("ρ is GD", "ρ is GD"),
    ],
)
def test_names_break_between_words(text, lines):
    assert plots.parts.wrapped(text, 10) == lines
