"""The page: its structure, its numbers against plain NumPy, its kernels unpacked again, hostile text, the command."""

import base64
import itertools
import json
import re
import shutil
from html.parser import HTMLParser
from importlib import resources

import numpy as np
import pytest
import scipy.stats
import xarray as xr
from helpers import small_task
from matplotlib.figure import Figure

import widelimit as wl
from widelimit import theory
from widelimit.cli import main
from widelimit.report import densities, kernels, markup, page, runs, theme

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&<!-- {{ 7 * 7 }} {% raw %}"
VOID = {"meta", "link", "input", "img", "br", "hr"}


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.cells, self.rows, self.words, self.data = [], [], None, [], [], ""
        self.feed(text)
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append((tag, dict(attributes)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        opened = self.open.pop()[0] if self.open else "nothing"
        assert opened == tag, f"</{tag}> closes {opened}"

    def handle_data(self, text):
        inside = [tag for tag, _ in self.open]
        if any(attributes.get("id") == "kernels-data" for _, attributes in self.open):
            self.data += text
        elif "script" not in inside and "style" not in inside:
            self.words.append(text)
        if self.rows and ("th" in inside or "td" in inside):
            self.rows[-1][-1] += text

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self):
        return re.sub(r"\s+", " ", "".join(self.words))

    def row(self, first):
        """The cells of the only row with this head."""
        found = [cells[1:] for cells in self.rows if cells and cells[0].strip() == first]
        assert len(found) == 1, f"{len(found)} rows are called {first}: {[cells[0] for cells in self.rows if cells]}"
        return found[0]

    @property
    def kernels(self):
        return json.loads(self.data)


def checked(text):
    """A page parsed, after all that holds of every page has been checked."""
    found = Page(text)
    every = [attributes for _, attributes in found.elements]
    ids = [attributes["id"] for attributes in every if "id" in attributes]
    assert len(set(ids)) == len(ids)
    for attributes in every:
        for name in ("href", "src", "action", "data", "srcset", "poster", "xlink:href"):
            link = attributes.get(name)
            assert link is None or link == "data:," or (link.startswith("#") and link[1:] in ids), link
        assert not any(name.startswith("on") for name in attributes)
        for used in re.findall(r"url\(([^)]*)\)", " ".join(value or "" for value in attributes.values())):
            assert used.strip("'\"")[1:] in ids
    assert "http:" not in text
    assert "https:" not in text
    assert "@import" not in text
    for svg in found.of("svg"):
        assert svg.get("aria-label") or svg.get("aria-hidden") == "true"
    assert {attributes.get("role") for attributes in found.of("canvas")} <= {"img"}
    assert [name for name, _ in found.elements].count("h1") == 1
    assert found.of("html") == [{"lang": "en"}]
    assert not {tag for tag, _ in found.elements} & {"iframe", "object", "embed", "img", "base", "form"}
    return found


def printed_as(cell, value):
    """Whether a cell says `value`, to half a unit of the last digit it shows."""
    shown = cell.split("±")[0].strip()
    digits = re.fullmatch(r"-?\d+(?:\.(\d+))?(?:e([+-]\d+))?", shown)
    assert digits, cell
    unit = 10.0 ** (int(digits[2] or 0) - len(digits[1] or ""))
    return abs(float(shown) - value) <= 0.5001 * unit


def error_as(cell, value):
    return printed_as(cell.split("±")[1], value)


def error_of(rows):
    return rows.std(ddof=1) / np.sqrt(len(rows))


def cosine(kernel, y):
    outer = np.outer(y, y)
    return (kernel * outer).sum() / np.sqrt((kernel**2).sum() * (outer**2).sum())


@pytest.fixture(scope="module")
def trio(short_run):
    """A short finite run beside its theory, and a run of another rule."""
    task = small_task(test_samples=2)
    options = {"optimizer": wl.SGD(0.05), "steps": 4, "replicates": 3, "progress": False}
    theory_run = wl.train(
        wl.MLP(2, wl.Tanh()), task, width=wl.Infinite(particles=150), record=wl.Record(fields=True), **options
    )
    other = wl.train(
        wl.MLP(2, wl.Tanh()), task, wl.DirectFeedbackAlignment(), width=14, record=wl.Record(fields=True), **options
    )
    return {"theory": theory_run, "network": short_run, "dfa": other}


@pytest.fixture(scope="module")
def several_runs(trio):
    """What `widelimit demo` writes, in small: two rules, of which one was not run at infinite width."""
    fields = ["final_preactivation", "final_pre_gradient"]
    alone = {name: run.drop_vars(fields, errors="ignore") for name, run in trio.items()}
    made = {
        "gradient_descent": {np.inf: alone["theory"], 12.0: alone["network"]},
        "direct": {12.0: alone["dfa"]},
    }
    return wl.combine(made, ("rule", "width")), made


@pytest.fixture
def unrendered(monkeypatch):
    """Without the layout of pictures, which takes most of the time of a page; curves are drawn all the same."""
    empty = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>'
    monkeypatch.setattr(Figure, "savefig", lambda figure, file, **options: file.write(empty))


@pytest.fixture(scope="module")
def short_text(short_run):
    return page(short_run)


@pytest.fixture(scope="module")
def trio_text(trio):
    return page(trio)


# --- Numbers


def test_the_final_numbers_are_those_of_the_run(short_run, short_text):
    found = checked(short_text)
    last, y = short_run.isel(step=-1), short_run["target"].values
    (cell,) = found.row("training loss")
    assert printed_as(cell, last["loss"].values.mean())
    assert error_as(cell, error_of(last["loss"].values))
    aligned = np.array([cosine(kernel, y) for kernel in last["ntk"].values])
    (cell,) = found.row("A(K,yy⊤)")
    assert printed_as(cell, aligned.mean())
    assert error_as(cell, error_of(aligned))
    aligned = np.array([cosine(kernel, y) for kernel in last["feature_kernel"].values[:, 1]])
    assert printed_as(found.row("A(Φ2,yy⊤)")[0], aligned.mean())
    wrong = np.sign(last["test_output"].values) != np.sign(short_run["test_target"].values)
    assert printed_as(found.row("test error (%)")[0], 100 * wrong.mean())


def test_the_gradient_alignment_is_that_of_the_run(trio, trio_text):
    found = checked(trio_text)
    last = trio["dfa"].isel(step=-1)
    for layer in (1, 2):
        one = last.sel(layer=layer)
        traces = [one[f"{name}gradient_kernel"].values.trace(axis1=1, axis2=2) for name in ("", "pseudo_")]
        value = traces[1] / np.sqrt(traces[0] * one["pseudo_gradient_norm"].values.sum(axis=1))
        cell = found.row(f"corr(g, g~), layer {layer}")[2]
        assert printed_as(cell, value.mean())
        assert error_as(cell, error_of(value))


def test_the_numbers_of_curves_are_those_of_the_run(short_run, short_text):
    found = checked(short_text)
    (times,) = {tuple(cells) for cells in found.rows if cells and cells[0] == "time"}
    assert [float(time) for time in times[1:]] == pytest.approx(0.05 * np.arange(5))
    for cell, values in zip(found.row("Test loss"), short_run["test_loss"].values.T, strict=True):
        assert printed_as(cell, values.mean())
        assert error_as(cell, error_of(values))
    aligned = [[cosine(kernel, short_run["target"].values) for kernel in row] for row in short_run["ntk"].values]
    for cell, values in zip(found.row("A(·,yy⊤): K"), np.array(aligned).T, strict=True):
        assert printed_as(cell, values.mean())


def test_no_test_error_where_the_output_is_zero(short_text, trio_text):
    cells = checked(short_text).row("Test error, %")
    assert cells[0] == "–"
    assert "–" not in cells[1:]
    assert "has no class" in short_text
    infinite = checked(trio_text).row("Test error, %: theory")
    assert infinite[0] == "–"  # zero up to rounding
    assert "–" not in infinite[1:]


def test_distances_are_those_of_the_two_runs(trio, trio_text):
    found = checked(trio_text)
    a, b = trio["network"], trio["theory"]
    for label, name, layer in (("eNTK K", "ntk", None), ("feature kernel Φ2", "feature_kernel", 2)):
        kernels = [(one[name] if layer is None else one[name].sel(layer=layer)).values for one in (a, b)]
        means = [one.mean(axis=0) for one in kernels]
        noise = sum((one.var(axis=0, ddof=1) / len(one)).sum() for one in kernels)
        apart, size = ((means[0] - means[1]) ** 2).sum(), (means[1] ** 2).sum()
        distance, chance, ratio, rms = found.row(label)[:4]
        assert printed_as(distance, 100 * np.sqrt(apart / size))
        assert printed_as(chance, 100 * np.sqrt(noise / size))
        assert printed_as(ratio, np.sqrt(apart / noise))
        assert printed_as(rms, np.sqrt(apart / means[0].size))


def test_the_shares_that_were_dropped_are_those_of_the_run(trio, trio_text):
    result = trio["theory"]
    kept, dropped, back, lost = checked(trio_text).row("theory, 1 → 2")
    last = result.isel(step=-1)
    assert int(kept) == last["forward_basis_size"].values.max()
    assert int(back) == last["backward_basis_size"].values.max()
    assert float(dropped) == pytest.approx(result["forward_dropped_fraction"].values.max(), rel=0.06, abs=1e-12)
    assert float(lost) == pytest.approx(result["backward_dropped_fraction"].values.max(), rel=0.06, abs=1e-12)


# --- Kernels


def unpacked(packed, size):
    """The frames of one kernel, as any reader of the page would unpack them."""
    raw = np.frombuffer(base64.b64decode(packed["data"]), dtype="<i2").reshape(packed["frames"], size, size)
    return np.where(raw == -32768, np.nan, raw * packed["scale"])


@pytest.mark.parametrize("fixture", ["short_run", "short_multiclass_run"])
def test_the_kernels_of_a_page_are_those_of_the_run(fixture, request):
    result = request.getfixturevalue(fixture)
    data = checked(page(result)).kernels
    (run,) = data["runs"]
    order = run["samples"]
    assert sorted(order) == list(range(result.sizes["sample"]))
    target = result["target"].values
    classes = target[order] if target.ndim == 1 else -target[order].argmax(axis=1)
    assert np.all(np.diff(classes) <= 0)
    assert run["edges"] == [place + 1 for place in np.flatnonzero(np.diff(classes))]
    assert data["times"] == pytest.approx(0.05 * np.arange(5))
    assert run["at"] == list(range(5))
    assert len(run["kernels"]) == 1 + 3 * result.sizes["layer"]
    for key, packed in run["kernels"].items():
        name, _, layer = key.partition("/")
        kernel = result[name].values.mean(axis=0)
        if layer:
            kernel = kernel[:, int(layer) - 1]
        if kernel.ndim == 5:
            kernel = sum(kernel[..., unit, unit] for unit in range(kernel.shape[-1])) / kernel.shape[-1]
        expected = kernel[:, order][:, :, order]
        apart = np.abs(unpacked(packed, len(order)) - expected).max()
        assert apart <= 0.5001 * packed["scale"]
        assert packed["scale"] == pytest.approx(np.abs(expected).max() / 32767)


def made_up(samples, steps, seed=0, **kernels):
    """A result with kernels of random numbers."""
    random = np.random.default_rng(seed)
    variables = {
        "loss": ("step", np.linspace(1, 0.5, steps)),
        "output": (("step", "sample"), random.normal(size=(steps, samples))),
        "ntk": (("step", "sample", "sample2"), random.normal(size=(steps, samples, samples))),
        "target": ("sample", random.choice([-1.0, 1.0], p=[0.25, 0.75], size=samples)),
        "input_kernel": (("sample", "sample2"), np.eye(samples)),
        **kernels,
    }
    return xr.Dataset(variables).assign_coords(time=("step", 0.1 * np.arange(steps)))


def test_of_many_samples_and_times_a_part_is_shown_and_said():
    result = made_up(300, 90)
    text = page(result)
    found = checked(text)
    (run,) = found.kernels["runs"]
    assert len(run["samples"]) == 200
    assert len(found.kernels["times"]) == 60
    assert "200 of the 300 samples are shown" in found.text
    assert "60 of the 90 recorded times are shown" in found.text
    classes = result["target"].values
    for kind in (-1.0, 1.0):
        shown = (classes[run["samples"]] == kind).sum()
        assert abs(shown - 200 * (classes == kind).mean()) <= 1
    place = 17
    step = round(found.kernels["times"][place] / 0.1)
    expected = result["ntk"].values[step][np.ix_(run["samples"], run["samples"])]
    shown = unpacked(run["kernels"]["ntk"], 200)[run["at"][place]]
    assert np.abs(shown - expected).max() <= 0.5001 * run["kernels"]["ntk"]["scale"]
    assert (found.kernels["times"][0], found.kernels["times"][-1]) == pytest.approx((0.0, 8.9))


def test_a_page_stays_small():
    random = np.random.default_rng(0)
    layered = {
        name: (("step", "layer", "sample", "sample2"), random.normal(size=(50, 3, 20, 20)))
        for name in ("feature_kernel", "gradient_kernel", "pseudo_gradient_kernel")
    }
    result = made_up(20, 50, **layered).assign_coords(layer=[1, 2, 3])
    assert len(page(result).encode()) < 1_000_000
    crowded = kernels.chosen(runs.gathered([made_up(300, 90, seed) for seed in range(6)]))
    numbers = sum(len(at) * len(samples) ** 2 for at, samples in zip(crowded.frames, crowded.samples, strict=True))
    assert numbers <= 3_000_000


def test_runs_are_matched_by_time():
    coarse = made_up(5, 4).assign_coords(time=("step", [0.0, 0.31, 0.6, 0.9]))
    fine = made_up(5, 10, seed=1)
    data = checked(page({"fine": fine, "coarse": coarse})).kernels
    assert data["times"] == pytest.approx(0.1 * np.arange(10))
    assert data["runs"][0]["at"] == list(range(10))
    assert data["runs"][1]["times"] == [0.0, 0.31, 0.6, 0.9]
    assert data["runs"][1]["at"] == [0, 0, 1, 1, 1, 2, 2, 2, 3, 3]


# --- Densities


def test_densities_are_those_of_the_fields(trio):
    fields = trio["theory"]["final_preactivation"].sel(layer=2)
    edges = np.linspace(-1, 1, 9)
    found = densities.density(fields, edges)
    for replicate in range(3):
        values = fields.values[replicate].ravel()
        within = [((values >= low) & (values < high)).mean() for low, high in itertools.pairwise(edges)]
        assert found.values[replicate] == pytest.approx(np.array(within) / 0.25, rel=1e-9)
    assert found["h"].values == pytest.approx((edges[1:] + edges[:-1]) / 2)


def test_initial_densities_are_gaussian(trio):
    at = np.linspace(-2, 2, 7)
    first = densities.initial(trio["theory"], 1, at)
    assert first.values == pytest.approx(scipy.stats.norm.pdf(at))  # inputs of norm √D
    variance = np.diag(trio["theory"]["feature_kernel"].values[:, 0, 0].mean(axis=0))
    second = densities.initial(trio["theory"], 2, at)
    assert second.values == pytest.approx(
        np.mean([scipy.stats.norm.pdf(at, scale=one**0.5) for one in variance], axis=0)
    )


def test_the_page_says_how_to_record_what_it_lacks(short_text, trio_text):
    assert "Train with record=Record(fields=True)" in checked(short_text).text
    found = checked(trio_text)
    assert "Not recorded for network: train with record=Record(fields=True)" in found.text
    assert "Density of h^2. theory; dfa; at initialisation." in [svg.get("aria-label") for svg in found.of("svg")]


# --- Runs of every kind


def test_a_single_run(short_multiclass_run):
    found = checked(page(short_multiclass_run))
    assert "feedback alignment (correlation 0.5)" in found.text
    assert "the mean of the diagonal ones is shown" in found.text
    assert found.row("rule · correlation") == ["0.5"]
    assert found.row("jax") == [json.loads(short_multiclass_run.attrs["versions"])["jax"]]
    assert "Distances" not in found.text


def test_the_runs_of_a_demonstration(several_runs):
    stacked, made = several_runs
    found = checked(page({"demo": stacked}))
    assert len(found.of("canvas")) == 3
    # Infinite width has bases; the network has none, and no row of NaN either.
    assert found.row("gradient descent, infinite width, 1 → 2")
    assert not [cells for cells in found.rows if cells and cells[0].strip() == "gradient descent, N = 12, 1 → 2"]
    places = {"gradient descent, infinite width": 0, "gradient descent, N = 12": 1, "direct, N = 12": 2}
    results = [run for by_width in made.values() for run in by_width.values()]
    assert [head.strip() for head in found.rows[0][1:]] == list(places)
    for name, place in places.items():
        assert printed_as(found.row("training loss")[place], results[place]["loss"].values[:, -1].mean()), name
    gathered = runs.gathered(stacked)
    assert [run.name for run in gathered] == list(places)
    assert [run.colour for run in gathered] == [0, 0, 1]
    assert [run.points for run in gathered] == [False, True, False]
    pairs = {run.name: reference.name for run, reference in runs.references(gathered)}
    assert pairs == dict.fromkeys(("gradient descent, N = 12", "direct, N = 12"), "gradient descent, infinite width")


def test_what_is_compared_with_what(trio):
    def pairs(*names):
        return [(a.name, b.name) for a, b in runs.references(runs.gathered({name: trio[name] for name in names}))]

    assert pairs("theory") == []
    assert pairs("network", "theory") == [("network", "theory")]
    assert pairs("network", "dfa") == [("dfa", "network")]
    assert pairs("network", "dfa", "theory") == [("network", "theory"), ("dfa", "theory")]


@pytest.mark.parametrize("solver", ["lazy", "lazy at the end", "two layers"])
def test_theory_alone(solver):
    task = small_task(test_samples=2)
    if solver == "two layers":
        result = theory.two_layer(targets=[1.0, -0.5, 0.2], richness=2.0, times=[0.0, 0.5, 1.0])
        assert "replicate" not in result.dims
    else:
        times = [0.0, 0.5, np.inf] if solver == "lazy" else [np.inf]
        result = theory.lazy(wl.MLP(2, wl.Tanh()), task, times=times)
        assert "step" not in result["ntk"].dims
    found = checked(page(result))
    assert printed_as(found.row("training loss")[0], float(result["loss"][-1]))
    (run,) = found.kernels["runs"]
    kernel = result["ntk"].values[-1] if "step" in result["ntk"].dims else result["ntk"].values
    expected = kernel[np.ix_(run["samples"], run["samples"])]
    packed = run["kernels"]["ntk"]
    assert np.abs(unpacked(packed, len(expected))[-1] - expected).max() <= 0.5001 * packed["scale"]


def test_a_run_that_diverged(short_run):
    lost = short_run.copy(deep=True)
    lost["diverged_step"][:] = [2, -1, 4]
    for name, values in lost.data_vars.items():
        if "step" in values.dims:  # what was not reached is NaN
            lost[name][0, 2:] = np.nan
            lost[name][2, 4:] = np.nan
    lost["ntk"][:, 3:] = np.nan
    task = small_task(test_samples=2)
    found = checked(page({"lost": lost, "theory": theory.lazy(wl.MLP(2, wl.Tanh()), task, times=[0.0, 0.2])}))
    assert "lost diverged: 2 of 3 replicates, the first at step 2" in found.text
    assert printed_as(found.row("training loss")[0], short_run["loss"].values[1, -1])
    assert found.row("A(K,yy⊤)")[0] == "–"
    run = found.kernels["runs"][0]
    shown = unpacked(run["kernels"]["ntk"], 4)
    assert np.isnan(shown[3:]).all()
    order = run["samples"]
    left = short_run["ntk"].values[1:, 2].mean(axis=0)[np.ix_(order, order)]
    assert np.abs(shown[2] - left).max() <= 0.5001 * run["kernels"]["ntk"]["scale"]


def test_runs_of_different_tasks(short_run):
    other = short_run.isel(sample=slice(0, 3), sample2=slice(0, 3))
    found = checked(page({"one": short_run, "other": other}))
    assert "other cannot be subtracted from one" in found.text
    assert "of different tasks" in found.text
    assert "Distances over" not in found.text
    assert [len(run["samples"]) for run in found.kernels["runs"]] == [4, 3]


def test_the_same_run_gives_the_same_page(short_run, short_text):
    assert page(short_run) == short_text


def test_ids_are_those_of_their_own_curves(trio_text):
    """Two curves of one page must not clip or mark with each other's shapes."""
    drawn = re.findall(r"<svg viewBox=.*?</svg>", trio_text, re.S)
    names = [re.search(r' id="([\w-]+)-figure_1"', one)[1] for one in drawn]
    assert len(set(names)) == len(names) == 3 + 3 + 2 + 2 + 3
    used = 0
    for name, one in zip(names, drawn, strict=True):
        for other in re.findall(r'(?:href="|url\()#([^")]*)', one):
            assert f'id="{other}"' in one
            assert other.startswith(f"{name}-")
            used += 1
    assert used > 20


# --- Hostile text


def test_hostile_names_stay_text(trio):
    result = trio["network"].copy()
    told = json.loads(result.attrs["configuration"])
    told["rule"] = {"type": HOSTILE, HOSTILE: HOSTILE}
    result.attrs["configuration"] = json.dumps(told)
    result.attrs["versions"] = json.dumps({HOSTILE: HOSTILE})
    text = page({"a": trio["theory"], HOSTILE: result}, title=HOSTILE)
    hostile = checked(text)
    assert len(hostile.of("script")) == text.count("<script") == text.count("</script>") == 2
    assert hostile.kernels["runs"][1]["name"] == HOSTILE
    assert HOSTILE in hostile.text
    assert hostile.row(HOSTILE) == ["", HOSTILE]


def renamed(result, name):
    """A result that says of everything that has a name in it that it is called `name`."""

    def described(value):
        if isinstance(value, dict):
            return {key: described(item) for key, item in value.items()} | {name: name}
        return name if isinstance(value, str) and value != "inf" else value

    configuration = json.loads(result.attrs["configuration"])
    attributes = {"configuration": json.dumps(described(configuration)), "versions": json.dumps({name: name})}
    return result.assign_attrs(attributes)


def pages_with_names(trio, name):
    """Pages on which every name is this one: of a run, of several, of many, of different tasks, of one file."""
    named = [renamed(trio[key], name) for key in ("theory", "network", "dfa")]
    named[1]["diverged_step"] = ("replicate", [2, -1, -1])
    named[2] = named[2].isel(sample=slice(0, 3), sample2=slice(0, 3))
    fields = ["final_preactivation", "final_pre_gradient"]
    stacked = wl.combine({name: {np.inf: named[0].drop_vars(fields), 12.0: trio["network"]}}, ("rule", "width"))
    return {
        "one": page(named[1]),
        "several": page({f"{place} {name}": run for place, run in enumerate(named)}, title=name),
        "many": page([*named, named[0]]),
        "of one file": page({name: stacked}),
        "measured elsewhere": page({name: named[0].drop_attrs()}),
    }


def test_hostile_names_add_no_element(trio, unrendered):
    """Wherever a name stands, a page is made of the same elements whatever the name."""
    hostile, harmless = (pages_with_names(trio, name) for name in (HOSTILE, "harmless"))
    for kind, text in hostile.items():
        found, plain = checked(text), checked(harmless[kind])
        assert [tag for tag, _ in found.elements] == [tag for tag, _ in plain.elements], kind
        assert [attributes.keys() for _, attributes in found.elements] == [
            attributes.keys() for _, attributes in plain.elements
        ], kind
        assert found.text == plain.text.replace("harmless", HOSTILE).replace("Harmless", HOSTILE), kind
        assert text.count("<script") == text.count("</script>") == 2, kind


def test_symbols_are_set_as_mathematics():
    assert Page(markup.symbols("A(Φ^2, yyᵀ) < G̃^ℓ, K")).text == "A(Φ2,yy⊤) < G~ℓ, K"
    assert markup.symbols("Keys of GPUs & f(x)") == "Keys of GPUs &amp; <math><mi>f</mi></math>(x)"
    assert markup.symbols("A(<b>, yyᵀ)").startswith("A(&lt;b&gt;, <math>")


# --- Parts of a result

SECTIONS = {
    "loss": [["loss"], ["test_loss"], ["test_output", "test_target"]],
    "kernels": [["ntk"], ["feature_kernel"], ["gradient_kernel"], ["pseudo_gradient_kernel"]],
    "alignment": [
        ["ntk", "target"],
        ["feature_kernel", "target"],
        ["gradient_kernel", "pseudo_gradient_kernel", "pseudo_gradient_norm"],
    ],
    "densities": [["final_preactivation"]],
}
"""The sections of a page about a single result, with the variables of which each needs one list or another."""


def sections(text):
    return {attributes["id"] for attributes in checked(text).of("section")}


@pytest.mark.parametrize("seed", range(32))
def test_any_part_of_a_result_is_shown(seed, trio, short_multiclass_run, unrendered):
    """Random variables of a run as arrays measured elsewhere: with replicates or not, static, once, without values."""
    random = np.random.default_rng(seed)
    result = trio["dfa"] if seed % 2 else short_multiclass_run
    names = [name for name in result.data_vars if random.random() < (0.25, 0.5, 0.8)[seed % 3]]
    part = result[names].drop_attrs()
    static = random.random() < 0.25
    if random.random() < 0.3:
        part = part.isel(step=[1], missing_dims="ignore")
    if random.random() < 0.3:
        part = part.mean("replicate") if random.random() < 0.5 else part.isel(replicate=0, missing_dims="ignore")
    if random.random() < 0.2:
        part = part.sel(layer=2)
    if random.random() < 0.2:
        kept = ("target", "test_target", "final_preactivation")
        part = part.map(lambda values: values if values.name in kept else values * np.nan)
    if static:
        part = part.isel(step=0, step2=0, drop=True, missing_dims="ignore").drop_vars("time", errors="ignore")
    expected = {name for name, needed in SECTIONS.items() if any(set(each) <= set(names) for each in needed)}
    if expected:
        if static:  # curves are drawn in time; where there is none, their values are in the table of final numbers
            expected -= {"loss", "alignment"}
        known = {"diagnostics"} & sections(page(part))
        assert sections(page(part)) == expected | known | {"versions"}
        assert sections(page({"part": part, "whole": result})) >= {"loss", "kernels", "configuration"}
    else:
        with pytest.raises(wl.ArgumentError, match="nothing to show"):
            page(part)


def measured_elsewhere(steps=3, samples=4, layers=2):
    """What one might have measured of a network in another library."""
    random = np.random.default_rng(0)
    return xr.Dataset(
        {
            "feature_kernel": (
                ("step", "layer", "sample", "sample2"),
                random.normal(size=(steps, layers, samples, samples)),
            ),
            "loss": ("step", np.linspace(2.0, 1.0, steps)),
        },
        coords={"time": ("step", np.linspace(0.0, 1.0, steps))},
    )


def test_a_result_measured_elsewhere(trio):
    result = measured_elsewhere()
    text = page(result)
    found = checked(text)
    assert "A result that holds feature kernel and loss (4 samples, 2 layers, 3 recorded times)." in found.text
    assert "The training loss went from 2 to 1." in found.text
    assert found.row("training loss") == ["1"]
    (run,) = found.kernels["runs"]
    assert sorted(run["kernels"]) == ["feature_kernel/1", "feature_kernel/2"]
    assert run["samples"] == [0, 1, 2, 3]
    assert (run["classes"], run["edges"]) == ([], [])
    for lacking in ("configuration", "diagnostics", "densities", "alignment"):
        assert lacking not in sections(text)
    for claim in ("diverged", "unknown", "unnamed", "ordered by"):
        assert claim not in found.text.lower()
    beside = checked(page({"measured": result, "network": trio["network"]}))
    assert beside.row("training loss")[0] == "1"
    assert "2 runs." in beside.text
    assert "2 results" in beside.words


def test_a_result_without_a_single_value():
    result = measured_elsewhere()
    found = checked(page(result * np.nan))
    assert found.row("training loss") == ["–"]
    assert np.isnan(unpacked(found.kernels["runs"][0]["kernels"]["feature_kernel/1"], 4)).all()
    assert "went from" not in found.text


def test_a_result_says_what_is_known_of_it():
    kernels = np.random.default_rng(0).normal(size=(3, 2, 4, 4))
    known = {"net": "ResNet-18", "rule": "SGD", "width": 512, "step_size": 0.1, "steps": 20}
    found = checked(page(wl.result(time=[0.0, 1.0, 2.0], feature_kernel=kernels, configuration=known)))
    assert "ResNet-18, at N = 512, trained by SGD: 20 steps of size 0.1 (time 2)." in found.text
    assert found.of("title") == [{}]
    assert "SGD at N = 512" in found.words
    assert found.row("width") == ["512"]
    assert sections(page(wl.result(time=0.0, feature_kernel=kernels[:1]))) == {"kernels", "versions"}


def test_kernels_of_some_samples_alone():
    task = small_task(samples=6, dimension=4)
    options = {"width": 12, "optimizer": wl.SGD(0.05), "steps": 3, "replicates": 2, "progress": False}
    part = wl.train(wl.MLP(2, wl.Tanh()), task, record=wl.Record(samples=[4, 1, 2], fields=True), **options)
    whole = wl.train(wl.MLP(2, wl.Tanh()), task, **options)
    found = checked(page({"part": part, "whole": whole}))
    run = found.kernels["runs"][0]
    assert sorted(run["samples"]) == [1, 2, 4]
    assert "Kernels of 3 of the 6 samples were recorded." in found.text
    expected = whole["ntk"].values[:, -1].mean(axis=0)[np.ix_(run["samples"], run["samples"])]
    assert np.abs(unpacked(run["kernels"]["ntk"], 3)[-1] - expected).max() <= 0.51 * run["kernels"]["ntk"]["scale"]
    own = whole.isel(sample=[4, 1, 2], sample2=[4, 1, 2]).isel(step=-1)
    aligned = np.array([cosine(kernel, own["target"].values) for kernel in own["ntk"].values])
    assert printed_as(found.row("A(K,yy⊤)")[0], aligned.mean())
    assert float(found.row("eNTK K")[0]) < 1e-9


def test_runs_of_one_file_by_any_label(trio, unrendered):
    fields = ["final_preactivation", "final_pre_gradient"]
    each = {0.5: trio["network"], 1.0: trio["dfa"].drop_vars(fields)}
    names = [run.name for run in runs.gathered(wl.combine(each, "richness"))]
    assert names == ["richness 0.5", "richness 1"]
    widths = wl.combine({12.0: trio["network"], np.inf: trio["theory"].drop_vars(fields)}, "width")
    assert [run.name for run in runs.gathered({"file": widths})] == ["infinite width", "N = 12"]
    assert checked(page(widths)).row("training loss")
    named = wl.combine({"narrow": trio["network"], "wide": trio["dfa"].drop_vars(fields)}, "width")
    assert [run.name for run in runs.gathered(named)] == ["width narrow", "width wide"]


def test_what_is_static_needs_no_time(trio, unrendered):
    kernel = trio["network"]["ntk"].isel(step=0, drop=True)
    found = checked(page(xr.Dataset({"ntk": kernel, "target": trio["network"]["target"]})))
    aligned = np.array([cosine(each, trio["network"]["target"].values) for each in kernel.values])
    assert printed_as(found.row("A(K,yy⊤)")[0], aligned.mean())
    assert found.kernels["runs"][0]["times"] == []
    assert found.of("details") == []


def test_a_layer_alone_keeps_its_number(trio, unrendered):
    alone = trio["theory"].sel(layer=2)
    assert set(checked(page(alone)).kernels["runs"][0]["kernels"]) == {
        "ntk",
        "feature_kernel/2",
        "gradient_kernel/2",
        "pseudo_gradient_kernel/2",
    }
    assert checked(page(trio["theory"].drop_vars("layer"))).kernels == checked(page(trio["theory"])).kernels


def test_only_the_end_of_time(trio, unrendered):
    result = trio["network"].isel(step=[-1]).assign_coords(time=("step", [np.inf]))
    (run,) = checked(page(result)).kernels["runs"]
    assert run["times"] == [None]
    assert run["kernels"]["ntk"]["frames"] == 1


def test_one_run_out_of_several(several_runs, unrendered):
    stacked, _ = several_runs
    found = checked(page(stacked.sel(rule="gradient_descent", width=12.0)))
    assert found.row("width") == ["12"]
    assert "rule · type" not in found.text


def test_variables_that_a_page_cannot_read_are_refused(trio):
    result = trio["network"]
    for broken, message in (
        (measured_elsewhere().rename(sample2="other"), "feature_kernel has the dimensions"),
        (result.isel(sample=0), "has the dimensions"),
        (
            measured_elsewhere().assign(ntk=(("sample", "sample2", "output_unit"), np.ones((4, 4, 2)))),
            "ntk has the dim",
        ),
        (measured_elsewhere().assign(gradient_kernel=(("sample", "sample2"), np.ones((4, 4)))), "no dimension layer"),
        (measured_elsewhere(samples=0), "feature_kernel is empty"),
        (measured_elsewhere().drop_vars("time"), "holds no recorded step"),
        (result[["output", "error"]], "nothing to show: .* the results hold output, error"),
        (xr.Dataset(), "nothing to show"),
    ):
        with pytest.raises(wl.ArgumentError, match=message):
            page(broken)


# --- Colours


def luminance(colour):
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.03928 else ((one + 0.055) / 1.055) ** 2.4 for one in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colours", [theme.LIGHT, theme.DARK], ids=["light", "dark"])
def test_colours_stand_out_from_their_background(colours):
    for name in ("fg", "muted", "accent", "warn"):
        assert min(contrast(colours[name], colours[ground]) for ground in ("bg", "soft")) >= 4.5, name
    for index in range(theme.COLOURS):
        assert contrast(colours[f"c{index}"], colours["bg"]) >= 3, index
    assert colours["d4"] == colours["bg"]  # the zero of a kernel is the background
    steps = [contrast(colours[f"d{index}"], colours["bg"]) for index in range(9)]
    assert steps[:5] == sorted(steps[:5], reverse=True)
    assert steps[4:] == sorted(steps[4:])


def test_every_colour_of_a_curve_follows_the_theme(trio_text):
    drawn = "".join(re.findall(r"<svg.*?</svg>", trio_text, re.S))
    assert not re.findall(r"#[0-9a-fA-F]{6}\b", drawn)
    assert "var(--c0)" in drawn
    assert "font-family" not in drawn


# --- Where it refuses, and the command


def test_what_holds_no_steps_is_refused(short_run):
    for nothing in (short_run.isel(step=slice(0, 0)), short_run.isel(step=-1), short_run.drop_vars("time")):
        with pytest.raises(wl.ArgumentError, match="holds no recorded step"):
            page({"empty": nothing})
    with pytest.raises(wl.ArgumentError, match="at least one result"):
        page([])
    with pytest.raises(wl.ArgumentError, match="runs must be a Dataset"):
        page([short_run["loss"]])


def test_the_command(short_run, tmp_path, capsys):
    run = wl.save(short_run, tmp_path / "a run.nc")
    assert main(["report", str(run)]) == 0
    out = tmp_path / "a run.html"
    said = capsys.readouterr().out
    assert str(out) in said
    assert f"{out.stat().st_size / 1e6:.1f} MB" in said
    found = checked(out.read_text(encoding="utf-8"))
    assert "a run" in found.text
    assert main(["report", str(run)]) == 2
    assert "exists" in capsys.readouterr().err
    assert main(["report", str(run), str(tmp_path / "b.nc"), "--overwrite"]) == 2
    assert "b.nc" in capsys.readouterr().err
    other = wl.save(short_run, tmp_path / "b.nc")
    assert main(["report", str(run), str(other), "--overwrite", "--title", "Two & more"]) == 0
    assert "Two & more" in checked(out.read_text(encoding="utf-8")).text


def test_the_command_takes_a_part_of_a_result(tmp_path):
    run = wl.save(measured_elsewhere().assign_attrs(schema=1), tmp_path / "measured.nc")
    assert main(["report", str(run)]) == 0
    assert "feature_kernel/2" in checked((tmp_path / "measured.html").read_text(encoding="utf-8")).data


def test_the_command_refuses_in_one_sentence(short_run, tmp_path, capsys):
    def refused(*arguments):
        assert main(["report", *map(str, arguments)]) == 2
        (sentence,) = capsys.readouterr().err.strip().splitlines()
        return sentence

    run = wl.save(short_run, tmp_path / "run.nc")
    empty = wl.save(short_run.isel(step=slice(0, 0)), tmp_path / "empty.nc")
    before = run.read_bytes()
    assert "at least one run" in refused()
    assert "empty holds no recorded step" in refused(empty)
    assert "nothing to show" in refused(wl.save(short_run[["output"]], tmp_path / "output.nc"))
    assert not (tmp_path / "empty.html").exists()
    assert "what this command reads" in refused(run, "--out", run, "--overwrite")
    assert "named twice" in refused(run, run)
    assert "does not exist" in refused(run, "--out", tmp_path / "nowhere" / "page.html")
    assert run.read_bytes() == before


def test_the_static_parts_belong_to_the_package():
    folder = resources.files("widelimit.report") / "templates"
    assert {"page.html.jinja", "style.css.jinja", "viewer.js"} <= {file.name for file in folder.iterdir()}


# --- In a browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
FLAGS += " --disable-component-update --disable-sync"

# Every text that is seen, with the colours that it is seen in.
SEEN = """() => {
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const ground = (element) => {
    for (; element; element = element.parentElement) {
      const colour = getComputedStyle(element).backgroundColor;
      if (!/, 0\\)$|transparent/.test(colour)) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !element.checkVisibility()) continue;
    if (element.closest('script, style, :disabled, .unseen, .skip')) continue;
    const style = getComputedStyle(element);
    const colour = element.closest('.panel > svg') ? style.fill : style.color;
    found.push([walker.currentNode.textContent.trim().slice(0, 40), colour, ground(element)]);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def browser():
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no chromium is installed")
    with driver.sync_playwright() as running:
        started = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield started
        started.close()


@pytest.fixture
def opened(browser, tmp_path):
    """A function that opens a page without a network; what the browser complains of fails the test."""
    contexts, complaints = [], []

    def open_page(text, width=1280, **options):
        file = tmp_path / f"page{len(contexts)}.html"
        file.write_text(text, encoding="utf-8")
        context = browser.new_context(viewport={"width": width, "height": 900}, offline=True, **options)
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("requestfailed", lambda request: complaints.append(request.url))
        tab.on("request", lambda request: None if request.url == file.as_uri() else complaints.append(request.url))
        tab.on("dialog", lambda dialog: complaints.append(dialog.message))
        tab.goto(file.as_uri())
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def pixels(tab, run=0):
    """The image of a run, as a string."""
    return tab.evaluate(f"document.querySelectorAll('canvas')[{run}].toDataURL()")


def colour_of(tab, row, column, size, run=0):
    """The colour in the middle of an entry of an image."""
    return tab.evaluate(
        f"""() => {{ const canvas = document.querySelectorAll('canvas')[{run}];
        const at = (place) => Math.round((place + 0.5) * canvas.width / {size});
        return [...canvas.getContext('2d').getImageData(at({column}), at({row}), 1, 1).data].slice(0, 3); }}"""
    )


def rgb(colour):
    return "#" + "".join(f"{int(part):02x}" for part in re.findall(r"\d+", colour)[:3])


def test_the_slider_moves_the_kernels(opened, trio, trio_text):
    tab = opened(trio_text)
    slider, shown = tab.locator("#time"), tab.locator("#time-shown")
    assert shown.inner_text() == "time 0.2"
    last = [pixels(tab, run) for run in range(3)]
    slider.focus()
    tab.keyboard.press("Home")
    assert shown.inner_text() == "time 0"
    first = [pixels(tab, run) for run in range(3)]
    assert all(a != b for a, b in zip(first, last, strict=True))
    tab.keyboard.press("ArrowRight")
    assert shown.inner_text() == "time 0.05"
    assert slider.get_attribute("aria-valuetext") == "time 0.05"
    assert pixels(tab) not in (first[0], last[0])
    tab.keyboard.press("End")
    assert [pixels(tab, run) for run in range(3)] == last


def test_colours_are_those_of_the_values(opened, trio_text):
    tab = opened(trio_text)
    data = checked(trio_text).kernels
    members = data["runs"][:2]  # of one network and rule, and so on one scale
    limit = max(run["kernels"]["ntk"]["scale"] for run in members) * 32767
    anchors = [[int(theme.LIGHT[f"d{i}"][at : at + 2], 16) for at in (1, 3, 5)] for i in range(9)]
    for index, run in enumerate(members):
        last = unpacked(run["kernels"]["ntk"], 4)[-1]
        for row, column in ((0, 0), (0, 3), (2, 1)):
            place = 4 + 4 * last[row, column] / limit
            expected = [np.interp(place, range(9), channel) for channel in zip(*anchors, strict=True)]
            assert colour_of(tab, row, column, 4, index) == pytest.approx(expected, abs=2)


def test_kernel_and_layer_are_chosen_with_the_keyboard(opened, trio_text):
    tab = opened(trio_text)
    before = pixels(tab)
    tab.locator("input[name=kernel]").first.focus()
    tab.keyboard.press("ArrowRight")
    assert tab.evaluate("document.querySelector('input[name=kernel]:checked').value") == "feature_kernel"
    second = pixels(tab)
    assert second != before
    tab.locator("input[name=layer]:checked").focus()
    tab.keyboard.press("ArrowLeft")
    assert pixels(tab) not in (before, second)
    assert "feature kernel Φ¹ of theory at time 0.2" in tab.locator("canvas").first.get_attribute("aria-label")
    outline = tab.evaluate("getComputedStyle(document.querySelector('input[name=layer]:checked + span')).outlineWidth")
    assert outline == "2px"


def test_values_are_read_by_pointing_touching_and_keys(opened, trio_text):
    data = checked(trio_text).kernels
    last = [unpacked(run["kernels"]["ntk"], 4)[-1] for run in data["runs"]]
    samples, classes = data["runs"][0]["samples"], data["runs"][0]["classes"]
    tab = opened(trio_text, has_touch=True)
    canvas = tab.locator("canvas").first
    box = canvas.bounding_box()
    canvas.hover(position={"x": 0.6 * box["width"], "y": 0.1 * box["height"]})

    def read():
        return [float(text.replace("−", "-")) for text in tab.locator(".value").all_inner_texts()]

    assert read() == pytest.approx([kernel[0, 2] for kernel in last], rel=1e-3)
    words = tab.locator("#reading").inner_text()
    assert words == f"sample {samples[0]} ({classes[0]}) and sample {samples[2]} ({classes[2]})"
    canvas.focus()
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("ArrowRight")
    assert read() == pytest.approx([kernel[1, 3] for kernel in last], rel=1e-3)
    box = canvas.bounding_box()
    tab.touchscreen.tap(box["x"] + 0.1 * box["width"], box["y"] + 0.9 * box["height"])
    assert read() == pytest.approx([kernel[3, 0] for kernel in last], rel=1e-3)


def test_play_runs_to_the_end(opened, trio_text):
    tab = opened(trio_text)
    button = tab.locator("#play")
    button.focus()
    tab.keyboard.press("Space")
    assert button.get_attribute("aria-pressed") == "true"
    assert tab.locator("#time-shown").inner_text() == "time 0"
    tab.locator("#play[aria-pressed=false]").wait_for(timeout=20000)
    assert tab.locator("#time-shown").inner_text() == "time 0.2"
    assert button.inner_text() == "Play"


def test_a_phone_shows_it_without_scrolling_sideways(opened, trio_text, several_runs):
    for text in (trio_text, page(several_runs[0], title="Antidisestablishmentarianism_without_a_break" * 3)):
        tab = opened(text, width=360, is_mobile=True, device_scale_factor=2)
        tab.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert tab.evaluate("document.scrollingElement.scrollWidth") <= 360
        tops = tab.evaluate("[...document.querySelectorAll('.panel')].map((one) => one.getBoundingClientRect().top)")
        assert np.all(np.diff(tops) > 100)  # one under the other


@pytest.mark.parametrize("width", [360, pytest.param(1280, marks=pytest.mark.slow)])
def test_tables_that_scroll_say_so(opened, trio, width, unrendered):
    """No table is cut off: what does not fit says so, and the keyboard scrolls it; what fits says nothing."""
    crowd = {f"{name} {place}": run for place in range(2) for name, run in trio.items()}
    scrolled = 0
    for text in (page(trio["network"]), page(crowd)):
        tab = opened(text, width=width, is_mobile=width < 500)
        tab.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        tab.wait_for_function("document.querySelectorAll('.scroll').length > 3")
        tab.wait_for_timeout(200)
        for box in tab.locator(".scroll").all():
            inside, outside = box.evaluate("(one) => [one.scrollWidth, one.clientWidth]")
            hint = box.locator("xpath=../p")
            assert hint.is_visible() == (inside > outside)
            if inside > outside:
                scrolled += 1
                box.focus()
                tab.keyboard.press("ArrowRight")
                tab.wait_for_function("(one) => one.scrollLeft > 0", arg=box.element_handle())
                edges = [part.bounding_box()["x"] for part in (box, box.locator("tbody th").first)]
                assert edges[0] == pytest.approx(edges[1], abs=1)  # heads of rows stay in sight
        beyond = tab.evaluate(
            """() => [...document.querySelectorAll('main *, header *')].filter((one) => one.checkVisibility() &&
            !one.closest('.scroll, math, svg') && one.getBoundingClientRect().right > innerWidth + 0.5).length"""
        )
        assert beyond == 0
    assert scrolled > 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_themes(opened, trio_text, scheme):
    tab = opened(trio_text, color_scheme=scheme)
    tab.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    seen = tab.evaluate(SEEN)
    assert len(seen) > 300
    weak = {(words, front, back) for words, front, back in seen if contrast(rgb(front), rgb(back)) < 4.5}
    assert weak == set()
    assert rgb(tab.evaluate("getComputedStyle(document.body).backgroundColor")) == getattr(theme, scheme.upper())["bg"]


def test_the_theme_can_be_chosen(opened, trio_text):
    tab = opened(trio_text, color_scheme="dark")
    button = tab.locator("#theme")

    def ground():
        return rgb(tab.evaluate("getComputedStyle(document.body).backgroundColor"))

    dark_image = pixels(tab)
    assert (button.inner_text(), ground()) == ("Theme: auto", theme.DARK["bg"])
    button.focus()
    tab.keyboard.press("Enter")
    assert (button.inner_text(), ground()) == ("Theme: light", theme.LIGHT["bg"])
    assert pixels(tab) != dark_image
    button.click()
    assert (button.inner_text(), ground()) == ("Theme: dark", theme.DARK["bg"])
    assert pixels(tab) == dark_image
    button.click()
    tab.emulate_media(color_scheme="light")
    assert (button.inner_text(), ground()) == ("Theme: auto", theme.LIGHT["bg"])
    assert pixels(tab) != dark_image


def test_it_prints_dark_on_white(opened, trio_text):
    tab = opened(trio_text, color_scheme="dark")
    tab.emulate_media(media="print")
    assert rgb(tab.evaluate("getComputedStyle(document.body).backgroundColor")) == "#ffffff"
    assert not tab.locator("#theme").is_visible()
    tab.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    printed = pixels(tab)
    tab.evaluate("window.dispatchEvent(new Event('afterprint'))")
    tab.emulate_media(media="screen")
    tab.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert pixels(tab) != printed


def test_without_scripts_all_but_the_kernels_is_there(opened, trio_text):
    tab = opened(trio_text, java_script_enabled=False)
    assert tab.locator("noscript p").is_visible()
    assert not tab.locator("#viewer").is_visible()
    assert not tab.locator("#theme").is_visible()
    assert tab.locator(".panel svg").first.is_visible()
    assert tab.locator("table").first.is_visible()


def test_hostile_text_does_nothing_in_a_browser(opened, short_run):
    tab = opened(page({HOSTILE: short_run}, title=HOSTILE))
    assert tab.locator("h1").inner_text() == HOSTILE
    assert tab.locator("img").count() == 0
    tab.locator("canvas").last.focus()
    tab.keyboard.press("ArrowDown")
    assert HOSTILE in tab.locator("canvas").last.get_attribute("aria-label")
