"""What cannot work is refused before work starts, in a sentence that names the argument and what would do."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import grouped, small_task

import widelimit as wl
from widelimit import checks
from widelimit.checks import ArgumentError
from widelimit.simulation import training

X, Y = np.ones((4, 3)), np.array([1.0, -1.0, 1.0, -1.0])
LABELS = np.array([0, 1, 2, 1])


def with_nan(array):
    array = array.copy()
    array.flat[-1] = np.nan
    return array


TASKS = {
    "x is one-dimensional": (lambda: wl.Task(np.ones(4), Y), ["x must have shape", "(4,)"]),
    "x has no samples": (lambda: wl.Task(np.ones((0, 3)), []), ["x must have shape", "at least one sample"]),
    "x has no columns": (lambda: wl.Task(np.ones((4, 0)), Y), ["x must have shape", "one column"]),
    "x holds NaN": (lambda: wl.Task(with_nan(X), Y), ["x holds 1 value(s)", "(3, 2)", "remove or impute"]),
    "x holds text": (lambda: wl.Task([["a", "b"]], [1.0]), ["x must be an array of real numbers"]),
    "x is ragged": (lambda: wl.Task([[1.0, 2.0], [3.0]], [1.0, 2.0]), ["x must be an array of real numbers"]),
    "y holds infinity": (lambda: wl.Task(X, Y * math.inf), ["y holds 4 value(s)", "(0,)"]),
    "y is too short": (lambda: wl.Task(X, Y[:3]), ["y must have shape (4,) or (4, C)", "(3,)"]),
    "y is a number": (lambda: wl.Task(X, 1.0), ["y must have shape (4,)"]),
    "y has no outputs": (lambda: wl.Task(X, np.ones((4, 0))), ["y must have shape (4,)", "(4, 0)"]),
    "y_test without x_test": (lambda: wl.Task(X, Y, y_test=Y), ["y_test", "without x_test", "pass the test inputs"]),
    "x_test has other columns": (lambda: wl.Task(X, Y, np.ones((2, 5))), ["x_test", "3 columns", "(2, 5)"]),
    "x_test holds NaN": (lambda: wl.Task(X, Y, with_nan(X)), ["x_test holds 1"]),
    "y_test is too short": (lambda: wl.Task(X, Y, X, Y[:2]), ["y_test must have shape (4,)"]),
    "y_test has other outputs": (lambda: wl.Task(X, Y, X, np.ones((4, 2))), ["y_test", "as many outputs as y"]),
    "a loss class": (lambda: wl.Task(X, Y, loss=wl.Logistic), ["loss must be an instance", "Logistic()"]),
    "a loss by name": (lambda: wl.Task(X, Y, loss="squared"), ["loss must be a Loss", "widelimit.SquaredError()"]),
    "0/1 labels": (lambda: wl.Task(X, (Y + 1) / 2, loss=wl.Logistic()), ["y must be −1 or +1", "2*y − 1"]),
    "integer labels": (
        lambda: wl.Task(X, LABELS, loss=wl.SoftmaxCrossEntropy()),
        ["y must have shape (P, C)", "numpy.eye(C)[labels]"],
    ),
    "not probabilities": (
        lambda: wl.Task(X, np.ones((4, 2)), loss=wl.SoftmaxCrossEntropy()),
        ["y must hold probabilities", "sum to 1"],
    ),
    "test labels": (
        lambda: wl.Task(X, np.eye(3)[LABELS], X, np.eye(3)[LABELS] * 2, loss=wl.SoftmaxCrossEntropy()),
        ["y_test must hold probabilities"],
    ),
}

DESCRIPTIONS = {
    "no layers": (lambda: wl.MLP(0, wl.Tanh()), ["hidden_layers must be a whole number at least 1", "0"]),
    "half a layer": (lambda: wl.MLP(1.5, wl.Tanh()), ["hidden_layers", "1.5"]),
    "a nonlinearity class": (lambda: wl.MLP(2, wl.Tanh), ["nonlinearity must be an instance", "Tanh()"]),
    "a nonlinearity by name": (lambda: wl.MLP(2, "tanh"), ["nonlinearity", "widelimit.Tanh()"]),
    "zero richness": (lambda: wl.MLP(2, wl.Tanh(), 0.0), ["richness must be a finite number above 0"]),
    "negative richness": (lambda: wl.MLP(2, wl.Tanh(), richness=-1.0), ["richness", "above 0", "-1"]),
    "richness NaN": (lambda: wl.MLP(2, wl.Tanh(), math.nan), ["richness", "nan"]),
    "correlation above 1": (lambda: wl.FeedbackAlignment(1.1), ["correlation", "at least -1 and at most 1", "1.1"]),
    "correlation below -1": (lambda: wl.FeedbackAlignment(-1.5), ["correlation", "-1.5"]),
    "error power": (lambda: wl.Hebbian(3), ["error_power", "at least 0 and at most 2"]),
    "gain": (lambda: wl.ReLU(0.0), ["gain", "above 0"]),
    "a gate class": (lambda: wl.Gated(wl.ReLU), ["shape must be an instance", "ReLU()"]),
    "a gated gate": (lambda: wl.Gated(wl.Gated(wl.ReLU())), ["shape must be a nonlinearity without a gate"]),
    "optimiser": (lambda: wl.SGD(-0.1), ["step_size", "above 0"]),
    "no neurons": (lambda: wl.Finite(0), ["width.neurons", "at least 1", "0"]),
    "no points": (lambda: wl.datasets.sphere(0, 3), ["samples", "at least 1"]),
    "no dimensions": (lambda: wl.datasets.sphere(3, 0), ["dimension", "at least 1"]),
    "one digit": (lambda: wl.datasets.digits(10, 10, classes=(1,)), ["classes must be two or more different digits"]),
    "a digit twice": (lambda: wl.datasets.digits(10, 10, classes=(1, 1)), ["classes", "(1, 1)"]),
    "the digit 10": (lambda: wl.datasets.digits(10, 10, classes=(1, 10)), ["classes", "from 0 to 9"]),
    "too many digits": (lambda: wl.datasets.digits(300, 100), ["samples + test_samples", "images of the digit"]),
}

TRAINING = {
    "a network class": ({"net": wl.MLP}, ["net must be an instance", "MLP()"]),
    "a width for a network": ({"net": 100}, ["net must be an Architecture", "widelimit.MLP("]),
    "arrays for a task": ({"task": (X, Y)}, ["task must be a Task", "widelimit.Task(x, y)"]),
    "a rule class": ({"rule": wl.GradientDescent}, ["rule must be an instance", "write GradientDescent()"]),
    "a rule by name": ({"rule": "gd"}, ["rule must be a Rule", "widelimit.GradientDescent()"]),
    "width 0": ({"width": 0}, ["width must be a whole number of neurons", "math.inf", "got 0"]),
    "width 2.5": ({"width": 2.5}, ["width must be a whole number", "2.5"]),
    "width in words": ({"width": "big"}, ["width must be a whole number", "'big'"]),
    "width NaN": ({"width": math.nan}, ["width must be a whole number", "nan"]),
    "width minus infinity": ({"width": -math.inf}, ["width must be a whole number", "-inf"]),
    "width True": ({"width": True}, ["width must be a whole number", "True"]),
    "one particle": ({"particles": 1}, ["width.particles must be a whole number at least 2"]),
    "half a particle": ({"particles": 100.5}, ["width.particles", "100.5"]),
    "negative steps": ({"steps": -1}, ["steps must be a whole number at least 0", "-1"]),
    "fractional steps": ({"steps": 2.0}, ["steps must be a whole number"]),
    "step size 0": ({"step_size": 0}, ["step_size must be a finite number above 0"]),
    "infinite step size": ({"step_size": math.inf}, ["step_size must be a finite number", "inf"]),
    "step size in words": ({"step_size": "small"}, ["step_size", "'small'"]),
    "a step size for an optimiser": ({"optimizer": 0.1}, ["optimizer must be a SGD", "widelimit.SGD(step_size=0.1)"]),
    "momentum 1": ({"momentum": 1.0}, ["momentum", "at least 0 and below 1"]),
    "negative momentum": ({"momentum": -0.1}, ["momentum", "at least 0"]),
    "negative weight decay": ({"weight_decay": -1.0}, ["weight_decay", "at least 0"]),
    "weight decay beyond the step": ({"weight_decay": 20.0}, ["step_size × weight_decay", "below 1"]),
    "record never": ({"record_every": 0}, ["record.every", "at least 1"]),
    "a number for a record": ({"record": 10}, ["record must be a Record", "widelimit.Record(every=10)"]),
    "no replicates": ({"replicates": 0}, ["replicates", "at least 1"]),
    "negative seed": ({"seed": -1}, ["seed", "at least 0"]),
    "precision": ({"precision": "float16"}, ["precision", "'float16'", "Known: float32, float64"]),
    "precision misspelt": ({"precision": "flaot32"}, ["Did you mean 'float32'?"]),
    "capacity 0": ({"capacity": 0}, ["width.capacity", "at least 1"]),
    "tolerance 1": ({"tolerance": 1.0}, ["width.tolerance", "at least 0 and below 1"]),
    "growth 0": ({"growth": 0}, ["width.growth", "at least 1"]),
    "more capacity than particles": (
        {"capacity": 300, "particles": 400},
        [
            "width.particles: 400 particles",
            "at most 200",
            "capacity 300",
            "Pass Infinite(particles=",
            "smaller capacity",
        ],
    ),
    "more neurons than memory": ({"width": 10**7}, ["GiB of memory", "Lower width", "particles"]),
    "more particles than memory": ({"particles": 10**12}, ["GiB of memory", "particles"]),
    "more records than memory": ({"width": 10, "steps": 10**10}, ["GiB", "raise record.every", "replicates"]),
}


def refused(call, fragments):
    with pytest.raises(wl.ArgumentError) as caught:
        call()
    assert isinstance(caught.value, ValueError)
    for fragment in fragments:
        assert fragment in str(caught.value)


@pytest.mark.parametrize("case", TASKS)
def test_tasks(case):
    refused(*TASKS[case])


@pytest.mark.parametrize("case", DESCRIPTIONS)
def test_descriptions(case):
    refused(*DESCRIPTIONS[case])


@pytest.mark.parametrize("case", TRAINING)
def test_training(case, net, monkeypatch):
    options, fragments = TRAINING[case]
    monkeypatch.setattr(training, "announcing_bar", lambda *_, **__: pytest.fail("training had begun"))
    arguments = {"net": net, "task": small_task(), "step_size": 0.1, "steps": 3} | options
    refused(lambda: wl.train(**grouped(**arguments)), fragments)


@pytest.mark.parametrize(
    ("options", "fragment"),
    [({"safety": 0.0}, "safety"), ({"safety": 2.0}, "at most 1"), ({"rule": wl.Hebbian}, "Hebbian()")],
)
def test_suggested_step_size(options, fragment, net, task):
    refused(lambda: wl.suggest_step_size(net, task, **options), [fragment])


def test_alignment_without_outputs(short_multiclass_run):
    target = short_multiclass_run["target"].isel(output_unit=0)
    refused(lambda: wl.observables.alignment(short_multiclass_run["ntk"], target), ["target", "'output_unit'"])


@pytest.mark.parametrize(
    ("save", "fragments"),
    [
        (lambda path: np.savez(path, x=X), ["lacks y", "holds x"]),
        (lambda path: np.savez(path, a=X), ["lacks x and y"]),
        (lambda path: np.savez(path, x=np.array([{}], dtype=object), y=Y), ["not a whole archive of numeric arrays"]),
        (lambda path: path.write_text("x,y"), ["not a whole archive", "numpy.savez"]),
        (lambda path: np.savez(path, x=X, y=Y[:2]), ["y must have shape"]),
    ],
    ids=["no y", "neither", "objects", "text", "lengths"],
)
def test_archives(save, fragments, tmp_path):
    path = tmp_path / "data.npz"
    save(path)
    refused(lambda: wl.datasets.from_npz(path), fragments)


def test_missing_archive(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no file .*nothing\.npz"):
        wl.datasets.from_npz(tmp_path / "nothing.npz")


class RootOfNegatives(wl.Nonlinearity):
    def value(self, h):
        return jnp.sqrt(h)

    def derivative(self, h):
        return 0.5 / jnp.sqrt(h)


class NotTraceable(wl.Nonlinearity):
    def value(self, h):
        return np.tanh(h)

    def derivative(self, h):
        return 1 - np.tanh(h) ** 2


class OneNumber(wl.Nonlinearity):
    def value(self, h):
        return h

    def derivative(self, h):
        return 1.0


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (RootOfNegatives(), r"RootOfNegatives.value must give one finite number for each h.*nan"),
        (NotTraceable(), r"NotTraceable cannot be computed by jax; write it with jax.numpy"),
        (OneNumber(), r"OneNumber.derivative must give one finite number"),
    ],
)
def test_a_nonlinearity_that_cannot_be_computed(broken, message):
    with pytest.raises(wl.ArgumentError, match=message):
        wl.MLP(2, broken)


KNOWN = ("GradientDescent", "KolenPollack", "ReLU", "ntk", "CNN", "float64")


@pytest.mark.parametrize(
    ("given", "others", "suggestion"),
    [
        ("KolenPolack", (), "KolenPollack"),
        ("relu", ("relu",), "ReLU"),
        ("grad", (), "GradientDescent"),
        ("nkt", (), "ntk"),
        ("ntq", (), "ntk"),
        ("flaot64", ("float16",), "float64"),
        ("float16", ("float16",), None),
        ("LeakyReLU", ("leaky_relu",), None),
        ("RNN", (), None),
        ("TargetPropagation", (), None),
    ],
)
def test_what_is_spelled_right_is_no_misspelling_of_another(given, others, suggestion):
    with pytest.raises(ArgumentError) as caught:
        checks.known("name", given, KNOWN, others)
    said = f" Did you mean {suggestion!r}?" if suggestion else ""
    assert str(caught.value) == f"name: unknown name {given!r}.{said} Known: {', '.join(sorted(KNOWN))}."


def test_no_other_precision_is_suggested(net, task):
    with pytest.raises(ArgumentError, match=r"unknown name 'float16'\. Known"):
        wl.train(net, task, width=5, optimizer=wl.SGD(0.1), steps=1, precision="float16")


def test_no_other_variable_is_suggested():
    with pytest.raises(ArgumentError, match=r"unknown name 'input_kernel'\. Known"):
        wl.Record(kernels=("input_kernel",))


def test_inputs_whose_products_overflow():
    refused(lambda: wl.Task(1e200 * X, Y), ["x has an entry of size", "scale the inputs"])
    refused(lambda: wl.Task(X, Y, 1e200 * X), ["x_test has an entry of size"])
