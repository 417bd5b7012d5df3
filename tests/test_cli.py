"""The command line, run in this process wherever it can be: small runs, real files."""

import os
import warnings

import numpy as np
import pytest
import xarray as xr
from helpers import small_task

import widelimit as wl
from widelimit import results
from widelimit.cli import config, destinations, main
from widelimit.results.summary import plus_minus
from widelimit.simulation import training

SMALL = """
[task]
data = "sphere"
samples = 4
test_samples = 3
dimension = 5

[network]
hidden_layers = 2

[rule]
name = "DirectFeedbackAlignment"

[training]
width = 20
step_size = 0.05
steps = 2
replicates = 2
"""


@pytest.fixture
def configuration(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SMALL, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """One small finite run, as `train` returns it."""
    task = wl.datasets.sphere(4, 5, test_samples=3)
    net = wl.MLP(2, wl.Tanh())
    return wl.train(net, task, width=20, optimizer=wl.SGD(0.05), steps=2, replicates=2, progress=False)


def refused(capsys, *arguments):
    """The one sentence with which a command refuses."""
    assert main([str(argument) for argument in arguments]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1, said
    assert said[0].startswith("widelimit: ")
    return said[0]


# --- train


def test_flags_override_the_file(configuration, tmp_path, capsys):
    out = tmp_path / "run.nc"
    flags = ["--training.steps", "3", "--training.width", "inf", "--training.particles", "200"]
    flags += ["--network.richness", "0.5", "--rule.name", "FeedbackAlignment", "--rule.correlation", "0.5"]
    assert main(["train", str(configuration), "--out", str(out), *flags]) == 0
    told = results.configuration(wl.load(out))
    assert told["width"] == "inf"
    assert told["particles"] == 200
    assert told["steps"] == 3
    assert told["net"]["richness"] == 0.5
    assert told["net"]["hidden_layers"] == 2
    assert told["rule"] == {"type": "FeedbackAlignment", "correlation": 0.5}
    assert told["samples"] == 4
    printed = capsys.readouterr().out
    for words in ("training loss", "gradient alignment", "task alignment of Φ^2", "directions"):
        assert words in printed


def test_flags_alone_suffice(tmp_path):
    out = tmp_path / "run.nc"
    flags = "--task.data sphere --task.samples 3 --task.test-samples 0 --task.dimension 4 --network.hidden-layers 1"
    flags += " --network.gated --network.nonlinearity ReLU --training.width 10 --training.steps 1"
    assert main(["train", *flags.split(), "--out", str(out)]) == 0
    told = results.configuration(wl.load(out))
    assert told["net"]["nonlinearity"]["type"] == "Gated"
    assert told["step_size"] > 0  # chosen, as step_size is "auto"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[network]", "[netwrok]", ("table", "netwrok", "'network'")),
        ("hidden_layers = 2", "hiden_layers = 2", ("[network]", "hiden_layers", "'hidden_layers'")),
        ('"DirectFeedbackAlignment"', '"DirectFeedbackAlignement"', ("rule.name", "'DirectFeedbackAlignment'")),
        ("steps = 2", 'steps = "2"', ("training.steps", "whole number", "'2'")),
        ("steps = 2", "steps = true", ("training.steps", "whole number", "True")),
        ("step_size = 0.05", 'step_size = "automatic"', ("training.step_size", 'a number or "auto"')),
        ("samples = 4", 'samples = 4\nloss = "Squared"', ("task.loss", "'SquaredError'")),
        ("hidden_layers = 2", 'hidden_layers = 2\nnonlinearity = "tanh"', ("network.nonlinearity", "'Tanh'")),
        ("hidden_layers = 2", "hidden_layers = 2\ngain = 2", ("network.gain", "ReLU")),
        ("[rule]", "[rule]\ncorrelation = 0.5", ("rule.correlation", "FeedbackAlignment")),
        ("[task]", "task = 3\n[other]", ("task", "must be a table")),
        ("[task]", "[task", ("is not TOML",)),
    ],
)
def test_a_wrong_configuration_is_one_sentence(configuration, tmp_path, capsys, old, new, words):
    configuration.write_text(SMALL.replace(old, new), encoding="utf-8")
    sentence = refused(capsys, "train", configuration, "--out", tmp_path / "run.nc")
    for word in words:
        assert word in sentence
    assert not (tmp_path / "run.nc").exists()


def test_a_wrong_configuration_names_its_file(configuration, capsys):
    configuration.write_text(SMALL.replace("steps", "stepps"), encoding="utf-8")
    assert str(configuration) in refused(capsys, "train", configuration)


def test_every_option_of_train_is_an_option_here():
    import inspect

    accepted = set(inspect.signature(wl.train).parameters) - {"net", "task", "rule", "progress"}
    assert accepted == set(config.TrainingOptions.__dataclass_fields__)


def test_the_archive_is_found_beside_the_configuration(tmp_path):
    np.savez(tmp_path / "own.npz", x=np.eye(3), y=np.array([1.0, -1.0, 1.0]))
    (tmp_path / "own.toml").write_text('[task]\ndata = "npz"\nfile = "own.npz"\n', encoding="utf-8")
    assert config.read(tmp_path / "own.toml").task.build().samples == 3


@pytest.fixture
def no_training(monkeypatch):
    def train(*arguments, **options):
        raise AssertionError("trained before the destination was checked")

    monkeypatch.setattr(training, "train", train)


def test_nothing_is_overwritten_nor_trained_in_vain(configuration, tmp_path, capsys, no_training):
    out = tmp_path / "run.nc"
    out.write_text("mine")
    assert "--overwrite" in refused(capsys, "train", configuration, "--out", out)
    assert out.read_text() == "mine"
    assert "does not exist" in refused(capsys, "train", configuration, "--out", tmp_path / "none" / "run.nc")
    assert "is a folder" in refused(capsys, "train", configuration, "--out", tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_that_cannot_be_written_to(configuration, tmp_path, capsys, no_training):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    assert "cannot be written to" in refused(capsys, "train", configuration, "--out", folder / "run.nc")


def test_an_interrupted_run_is_kept(configuration, tmp_path, capsys, saved, monkeypatch):
    def train(*arguments, **options):
        raise training.TrainingInterrupted(saved.isel(step=[0]))

    monkeypatch.setattr(training, "train", train)
    out = tmp_path / "run.nc"
    assert main(["train", str(configuration), "--out", str(out)]) == 130
    assert wl.load(out).sizes["step"] == 1
    assert "Interrupted" in capsys.readouterr().err


def test_an_interruption_with_nothing_recorded(configuration, tmp_path, capsys, monkeypatch):
    def train(*arguments, **options):
        raise training.TrainingInterrupted(xr.Dataset({"target": ("sample", np.ones(3))}))

    monkeypatch.setattr(training, "train", train)
    assert main(["train", str(configuration), "--out", str(tmp_path / "run.nc")]) == 130
    assert "nothing was saved" in capsys.readouterr().err
    assert not (tmp_path / "run.nc").exists()


def test_a_diverged_run_is_kept_and_said(configuration, tmp_path, capsys, saved, monkeypatch):
    def train(*arguments, **options):
        warnings.warn("1 of 2 replicates diverged.", training.DivergenceWarning, stacklevel=2)
        return saved.assign(diverged_step=("replicate", [-1, 2]))

    monkeypatch.setattr(training, "train", train)
    out = tmp_path / "run.nc"
    assert main(["train", str(configuration), "--out", str(out)]) == 3
    printed = capsys.readouterr()
    assert printed.err.strip() == "widelimit: 1 of 2 replicates diverged."
    assert "DIVERGED" in printed.out
    assert out.exists()


def test_a_result_is_not_lost_to_a_full_disk(tmp_path, capsys, saved, monkeypatch):
    save = results.save

    def full(result, path, *, overwrite=False):
        if path.parent == tmp_path / "full":
            raise OSError(28, "No space left on device")
        return save(result, path, overwrite=overwrite)

    (tmp_path / "full").mkdir()
    monkeypatch.setattr(results, "save", full)
    monkeypatch.setattr(destinations.tempfile, "tempdir", str(tmp_path))
    rescued = destinations.keep(saved, tmp_path / "full" / "run.nc", overwrite=False)
    assert wl.load(rescued).identical(wl.load(save(saved, tmp_path / "again.nc")))
    said = capsys.readouterr().err
    assert "No space left on device" in said
    assert str(rescued) in said


# --- show


@pytest.mark.parametrize("targets", ["one output", "three outputs"])
def test_show_prints_and_draws(tmp_path, capsys, saved, targets):
    if targets == "three outputs":
        task = wl.datasets.digits(6, 3, classes=(0, 1, 2))
        saved = wl.train(
            wl.MLP(1, wl.Tanh()), task, width=20, optimizer=wl.SGD(0.05), steps=2, replicates=2, progress=False
        )
    path = wl.save(saved, tmp_path / "run.nc")
    assert main(["show", str(path)]) == 0
    printed = capsys.readouterr().out
    for words in ("GradientDescent", "width 20", "training loss", "±", "test error", "task alignment of K"):
        assert words in printed
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")
    assert "--overwrite" in refused(capsys, "show", path)
    assert main(["show", str(path), "--picture", str(tmp_path / "other.pdf")]) == 0
    assert "picture format" in refused(capsys, "show", path, "--picture", tmp_path / "run.ncd")


@pytest.mark.parametrize(
    ("solve", "words"),
    [
        (lambda: wl.theory.linear(wl.MLP(2, wl.Linear()), small_task(), optimizer=wl.SGD(0.1), steps=3), "step 3 of 3"),
        (lambda: wl.theory.two_layer(targets=[1.0, -1.0], richness=1.0, times=[0, 1]), "continuous time up to 1"),
        (lambda: wl.theory.lazy(wl.MLP(2, wl.Tanh()), small_task(), times=[0, 1]), "continuous time up to 1"),
    ],
    ids=["linear", "two_layer", "lazy"],
)
def test_show_opens_what_theory_solved(tmp_path, capsys, solve, words):
    path = wl.save(solve(), tmp_path / "theory.nc")
    assert main(["show", str(path)]) == 0
    printed = capsys.readouterr().out
    for part in (words, "theory.", "infinite width", "training loss"):
        assert part in printed
    assert "±" not in printed
    assert (tmp_path / "theory.png").read_bytes().startswith(b"\x89PNG")


def test_show_refuses_what_is_no_result(tmp_path, capsys):
    assert "no file" in refused(capsys, "show", tmp_path / "none.nc")
    xr.Dataset({"a": ("x", [1.0])}).to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    assert "not a run that widelimit wrote" in refused(capsys, "show", tmp_path / "other.nc")


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([1.0, 2.0], "1.50 ± 0.50"),
        ([1.0, 1.0], "1 ± 0"),
        ([0.123456], "0.1235"),
        ([1234.0, 1236.0], "1235.0 ± 1.0"),
        ([1.0, 1.0 + 1e-12], "1 ± 5e-13"),
        ([np.nan, np.nan], "none finite"),
    ],
)
def test_numbers_keep_the_digits_that_mean_something(values, text):
    assert plus_minus(xr.DataArray(np.array(values), dims="replicate")) == text


# --- doctor


def test_doctor_finds_nothing(capsys):
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    for words in ("jaxlib", "devices", "free memory", "vmapped products"):
        assert words in printed


def test_doctor_names_the_remedy(capsys, monkeypatch):
    from widelimit import canaries

    def broken():
        raise RuntimeError("no such thing")

    monkeypatch.setattr(
        canaries, "CANARIES", {"one": lambda: "3 rows are wrong.", "two": broken, "three": lambda: None}
    )
    assert main(["doctor"]) == 1
    printed = capsys.readouterr()
    assert "3 rows are wrong" in printed.out
    assert "no such thing" in printed.out
    assert "2 of 3" in printed.err
    assert "!=0.10.2" in printed.err


# --- demo


def test_demo_in_short(tmp_path, capsys):
    folder = tmp_path / "demo"
    assert main(["demo", "--quick", "--out", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "direct feedback alignment" in printed
    result = wl.load(folder / "demo.nc")
    assert list(result["rule"].values) == ["gradient descent", "direct feedback alignment"]
    assert set(result["width"].values) == {100, np.inf}
    one = result.sel(rule="direct feedback alignment", width=np.inf)
    assert one["loss"].notnull().all()
    assert np.allclose(one["time"], one["step"] * 0.02)
    assert (folder / "demo.png").read_bytes().startswith(b"\x89PNG")
    assert "--overwrite" in refused(capsys, "demo", "--quick", "--out", folder)
    assert main(["show", str(folder / "demo.nc"), "--picture", str(tmp_path / "again.png")]) == 0
    assert capsys.readouterr().out.splitlines()[0] == printed.splitlines()[0]


def test_an_interrupted_demo_keeps_the_rules_that_had_finished(tmp_path, monkeypatch, capsys):
    train, begun = training.train, []

    def interrupted(*arguments, **options):
        begun.append(options["width"])
        if len(begun) == 4:
            raise KeyboardInterrupt
        return train(*arguments, **options)

    monkeypatch.setattr("widelimit.training.train", interrupted)
    assert main(["demo", "--quick", "--out", str(tmp_path)]) == 130
    printed = capsys.readouterr()
    assert "gradient descent had run at both widths" in printed.err
    assert list(wl.load(tmp_path / "demo.nc")["rule"].values) == ["gradient descent"]
    assert (tmp_path / "demo.png").exists()
    begun[:] = [1, 2, 3]
    assert main(["demo", "--quick", "--out", str(tmp_path / "nothing")]) == 130
    assert not list((tmp_path / "nothing").iterdir())


def test_the_error_expected_by_chance_is_the_standard_error():
    values = xr.DataArray(np.random.default_rng(0).normal(3.0, 1.0, (400, 50)), dims=("replicate", "sample"))
    found = float(wl.observables.relative_standard_error(values, "sample"))
    assert found == pytest.approx(1 / 20 / 3, rel=0.05)


# --- the program


@pytest.mark.parametrize(
    "command", [[], ["train"], ["show"], ["report"], ["compare"], ["figure"], ["demo"], ["doctor"]]
)
def test_help_explains(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*command, "--help"])
    assert stop.value.code == 0
    assert "usage: widelimit" in capsys.readouterr().out


def test_an_unknown_flag_is_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", "--training.stepps", "3"])
    assert stop.value.code == 2
