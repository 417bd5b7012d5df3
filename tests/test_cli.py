"""The command line, run in this process wherever it can be: small runs, real files."""

import ast
import dataclasses
import importlib
import inspect
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Literal, get_type_hints

import numpy as np
import pytest
import xarray as xr
from helpers import small_task

import widelimit as wl
from widelimit import results
from widelimit.cli import COMMANDS, config, destinations, main, options, train
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

[width]
kind = "finite"
neurons = 20

[optimizer]
step_size = 0.05

[run]
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
    configuration.write_text(SMALL.replace("neurons = 20\n", "").replace("finite", "infinite"), encoding="utf-8")
    flags = ["--run.steps", "3", "--width.particles", "200", "--optimizer.momentum", "0.5", "--batches.size", "2"]
    flags += ["--network.richness", "0.5", "--rule.name", "FeedbackAlignment", "--rule.correlation", "0.5"]
    assert main(["train", str(configuration), "--out", str(out), *flags]) == 0
    told = results.configuration(wl.load(out))
    assert told["width"] == "inf"
    assert told["particles"] == 200
    assert told["steps"] == 3
    assert (told["momentum"], told["batch_size"], told["step_size"]) == (0.5, 2, 0.05)
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
    flags += " --network.gated --network.nonlinearity ReLU --width.kind finite --width.neurons 10"
    flags += " --run.steps 3 --run.no-centred --record.every 3 --record.kernels ntk --record.samples 2 0"
    assert main(["train", *flags.split(), "--out", str(out)]) == 0
    run = wl.load(out)
    told = results.configuration(run)
    assert run.sizes["step"] == 2
    assert run["ntk"].sizes["recorded_sample"] == 2
    assert "feature_kernel" not in run
    assert not told["centred"]
    assert told["net"]["nonlinearity"]["type"] == "Gated"
    assert told["step_size"] > 0  # chosen, as step_size is "auto"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[network]", "[netwrok]", ("table", "netwrok", "'network'")),
        ("hidden_layers = 2", "hiden_layers = 2", ("[network]", "hiden_layers", "'hidden_layers'")),
        ('"DirectFeedbackAlignment"', '"DirectFeedbackAlignement"', ("rule.name", "'DirectFeedbackAlignment'")),
        ("steps = 2", 'steps = "2"', ("run.steps", "whole number", "'2'")),
        ("steps = 2", "steps = true", ("run.steps", "whole number", "True")),
        ("step_size = 0.05", 'step_size = "automatic"', ("optimizer.step_size", 'a number or "auto"')),
        ("samples = 4", 'samples = 4\nloss = "Squared"', ("task.loss", "'SquaredError'")),
        ("hidden_layers = 2", 'hidden_layers = 2\nnonlinearity = "tanh"', ("network.nonlinearity", "'Tanh'")),
        ("hidden_layers = 2", "hidden_layers = 2\ngain = 2", ("network.gain", "ReLU")),
        ("[rule]", "[rule]\ncorrelation = 0.5", ("rule.correlation", "FeedbackAlignment")),
        ('"finite"', '"infinite"', ("width.neurons", "width.kind finite", "it is infinite")),
        ("neurons = 20", "neurons = 20\nparticles = 100", ("width.particles", "width.kind infinite", "it is finite")),
        ("neurons = 20", "neurons = 0", ("width.neurons", "at least 1")),
        ("neurons = 20", "", ("width.neurons must be given", "finite")),
        ('"finite"', '"Infinit"', ("width.kind", "'infinite'")),
        ("[run]", "[batches]\nseed = 1\n[run]", ("batches.size must be given",)),
        ("[run]", '[record]\nkernels = ["ntq"]\n[run]', ("record.kernels", "'ntk'")),
        ("[run]", '[record]\nkernels = "ntk"\n[run]', ("record.kernels", "a list of strings", "'ntk'")),
        ("[run]", "[record]\nsamples = [0.5]\n[run]", ("record.samples", "a list of whole numbers")),
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
    """Its groups are tables, and its other arguments are those of [run]; each option says what it is."""
    groups = set(inspect.signature(wl.train).parameters) - set(fields_of("run")) - {"progress"}
    assert groups | {"network", "run"} == {*config.TABLES, "net"}
    for name, group in {"optimizer": wl.SGD, "batches": wl.Batches, "record": wl.Record, "rule": wl.Hebbian}.items():
        assert set(inspect.signature(group).parameters) <= set(fields_of(name))
    for width in (wl.Infinite, wl.Finite):
        assert set(inspect.signature(width).parameters) < set(fields_of("width"))
    for name in config.TABLES:
        hints = get_type_hints(config.TABLES[name], include_extras=True)
        for option in set(fields_of(name)) - {"nonlinearity", "gain", "gated", "loss"}:
            assert len(hints[option].__metadata__[0].help) > 5, f"{name}.{option}"


def fields_of(table):
    return [field.name for field in dataclasses.fields(config.TABLES[table])]


def test_options_follow_the_signature_of_what_they_are_passed_to():
    @dataclasses.dataclass
    class Few:
        """**Arguments:** `count` n, how many; `scale`: of each [`Few`], or "auto"; `shape`, a thing no file holds."""

        count: int
        scale: float | Literal["auto"] = 1.0
        shape: wl.Nonlinearity | None = None

    @dataclasses.dataclass
    class Many:
        """**Arguments:** `count` n; `names` of them.

        **Raises:** nothing.
        """

        count: int
        names: tuple[str, ...] = ()

    kind = options.table("thing", {"few": Few, "many": Many}, "Things.", choice="kind", count=3)
    assert kind().build() == Few(3)
    assert kind(scale="auto").build() == Few(3, "auto")
    assert kind(kind="many", count=5, names=("a",)).build() == Many(5, ("a",))
    hints = get_type_hints(kind, include_extras=True)
    assert hints["scale"].__metadata__[0].help == 'Of each Few, or "auto" (few).'
    assert hints["names"].__metadata__[0].help == "Of them (many)."
    assert hints["count"].__metadata__[0].help == "n, how many."
    with pytest.raises(wl.ArgumentError, match=r"thing\.names belongs to thing\.kind many; it is few"):
        kind(names=("a",)).build()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("steps = 3", "steps stands outside of all tables, and belongs in [run]."),
        ("seed = 3", "seed stands outside of all tables, and belongs in [task] or [batches] or [run]."),
        ("[network]\nparticles = 3", "particles stands in [network], and belongs in [width]."),
        ("[runs]\nsteps = 3", "table: unknown name 'runs'. Did you mean 'run'?"),
        ("[run]\nstpes = 3", "key in [run]: unknown name 'stpes'. Did you mean 'steps'?"),
        ("[run]\nlayers = 3", "key in [run]: unknown name 'layers'. Known: "),
    ],
)
def test_a_name_at_the_wrong_place_of_a_file_is_told_the_right_one(text, sentence, tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(wl.ArgumentError, match=re.escape(sentence)):
        config.read(path)


@pytest.mark.parametrize(
    ("flags", "table", "built"),
    [
        ("--width.kind infinite", "width", wl.Infinite()),
        ("--width.kind infinite --width.particles 50", "width", wl.Infinite(50)),
        ("--rule.name Hebbian", "rule", wl.Hebbian()),
        ("--width.neurons 30", "width", wl.Finite(30)),
    ],
)
def test_what_a_file_says_for_another_choice_is_left_aside(configuration, flags, table, built):
    text = SMALL.replace('"DirectFeedbackAlignment"', '"FeedbackAlignment"\ncorrelation = 0.5')
    configuration.write_text(text, encoding="utf-8")
    assert getattr(train.parsed([str(configuration), *flags.split()]), table).build() == built


def test_options_that_a_source_of_data_does_not_read_are_refused(configuration, tmp_path, capsys):
    np.savez(tmp_path / "own.npz", x=np.eye(3), y=np.array([1.0, -1.0, 1.0]))
    sentence = refused(capsys, "train", "--task.data", "npz", "--task.file", tmp_path / "own.npz", "--task.samples", 2)
    assert "task.samples belongs to task.data digits or sphere; it is npz" in sentence
    # of a file, what its own choice does not read is refused, and what a flag's does not is left aside
    task = train.parsed([str(configuration), "--task.data", "npz", "--task.file", str(tmp_path / "own.npz")]).task
    assert task.build().samples == 3


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
    rescued, code = destinations.keep(saved, tmp_path / "full" / "run.nc", overwrite=False)
    assert code == 4
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
    assert "!=0.10.*" in printed.err


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

    monkeypatch.setattr("widelimit.simulation.training.train", interrupted)
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
        main(["train", "--run.stepps", "3"])
    assert stop.value.code == 2


def test_an_unknown_command_is_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["trian"])
    assert stop.value.code == 2
    assert "train" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_the_list_of_commands_says_what_their_own_help_says(command):
    module = importlib.import_module(f"widelimit.cli.{command}")
    documented = inspect.getdoc(getattr(module, command.capitalize())).replace("\n", " ")
    assert documented.startswith(COMMANDS[command])


# --- what starts quickly


def imported_by(code, *arguments):
    """What a process prints that runs some code, and the packages that it then has imported."""
    code += "\nimport sys\nprint(*{name.split('.')[0] for name in sys.modules}, *(n for n in sys.modules if '.' in n))"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    *printed, modules = done.stdout.splitlines()
    return printed, set(modules.split())


COMMAND = """
import sys
from widelimit.cli import main
try:
    print(main(sys.argv[1:]))
except SystemExit as stop:
    print(stop.code)
"""


def test_the_package_starts_without_what_is_slow():
    slow = {"scipy.stats", "scipy.integrate", "scipy.special", "matplotlib", "sklearn"}
    _, modules = imported_by("import widelimit")
    assert not modules & (slow | {"jax", "xarray"})
    _, modules = imported_by("import widelimit; widelimit.train; widelimit.datasets")
    assert not modules & slow
    assert "jax" in modules


@pytest.mark.parametrize("flag", ["--version", "--help"])
def test_what_needs_no_numbers_needs_no_jax(flag):
    printed, modules = imported_by(COMMAND, flag)
    assert printed[-1] == "0"
    assert "jax" not in modules
    if flag == "--version":
        assert printed[0] == f"widelimit {wl.__version__}"


@pytest.mark.parametrize(
    "command", [["train", "--out", "run.nc"], ["demo", "--out", "."], ["figure", "2", "--out", "."]]
)
def test_what_is_in_the_way_is_seen_before_jax_is_imported(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("run.nc", "demo.nc", "figure2.json"):
        (tmp_path / name).write_text("mine")
    printed, modules = imported_by(COMMAND, *command)
    assert printed == ["2"]
    assert not modules & {"jax", "xarray"}


def test_the_figures_that_there_are():
    from widelimit import paper
    from widelimit.cli import figure

    assert tuple(figure.NUMBERS) == paper.NUMBERS


def test_it_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "widelimit", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"widelimit {wl.__version__}\n"


def test_every_public_name_is_what_type_checkers_are_told():
    source = Path(wl.__file__).read_text(encoding="utf-8")
    block = next(node for node in ast.parse(source).body if isinstance(node, ast.If))
    told = {}
    for statement in block.body:
        module = importlib.import_module("." * statement.level + (statement.module or ""), "widelimit")
        told.update({alias.name: getattr(module, alias.name) for alias in statement.names})
    assert sorted(told) == sorted(wl.__all__)
    assert set(told) <= set(dir(wl))
    for name, value in told.items():
        assert getattr(wl, name) is value
    assert wl.rules.View is not None  # rooms too
    with pytest.raises(AttributeError, match="trian"):
        _ = wl.trian
