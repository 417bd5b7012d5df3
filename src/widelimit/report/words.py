"""What was run, in words: titles, names, and the paragraph at the head of a page. Plain text, not yet HTML.

Each function takes a configuration and says what it knows; nothing, of a result that was measured elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from ..results import observables
from ..results.summary import described, fields, plus_minus
from . import series

if TYPE_CHECKING:
    from .runs import Run


def rule(configuration: Mapping[str, Any]) -> str:
    """The learning rule: "feedback alignment (correlation 0.5)"."""
    learned_by = configuration.get("rule")
    if not isinstance(learned_by, Mapping):
        return "" if learned_by is None else str(learned_by)
    name = _spelled(str(learned_by.get("type", "an unnamed rule")))
    name = "the Hebbian rule" if name == "hebbian" else name
    inside = [f"{key.replace('_', ' ')} {described(value)}" for key, value in learned_by.items() if key != "type"]
    return f"{name} ({', '.join(inside)})" if inside else name


def width(configuration: Mapping[str, Any]) -> str:
    """The width: "infinite width", "N = 1000"."""
    neurons = configuration.get("width")
    if neurons == "inf":
        solver = str(configuration.get("solver", "")).removeprefix("theory.").replace("_", " ")
        return f"infinite width ({solver} theory)" if solver else "infinite width"
    return "" if neurons is None else f"N = {neurons}"


def at_width(configuration: Mapping[str, Any]) -> str:
    """The width with the number of particles that stand for it, where there are any."""
    particles = configuration.get("particles")
    return f"{width(configuration)} ({particles} particles a layer)" if particles else width(configuration)


def network(configuration: Mapping[str, Any]) -> str:
    """The network without its width: "3 hidden layers of Tanh units, richness 1"."""
    net = configuration.get("net")
    if not isinstance(net, Mapping):
        return "" if net is None else str(net)
    layers = net.get("hidden_layers", "?")
    units = _units(net.get("nonlinearity"))
    known = ("hidden_layers", "nonlinearity", "richness")
    more = {key.replace("_", " "): value for key, value in fields(net).items() if key not in known}
    rest = "".join(f", {key} {described(value)}" for key, value in more.items())
    lazy = configuration.get("solver") == "theory.lazy"
    richness = "" if lazy else f", richness γ₀ = {described(net.get('richness', '?'))}"
    return f"{layers} hidden layer{'' if layers == 1 else 's'} of {units}{richness}{rest}"


def task(configuration: Mapping[str, Any]) -> str:
    """The task: "20 samples (100 test points, squared error)"."""
    if configuration.get("samples") is None:
        return ""
    more = [f"{configuration['test_samples']} test points"] if configuration.get("test_samples") else []
    if isinstance(configuration.get("loss"), Mapping):
        more.append(_spelled(str(configuration["loss"].get("type"))))
    text = f"{configuration['samples']} samples"
    return f"{text} ({', '.join(more)})" if more else text


def schedule(configuration: Mapping[str, Any]) -> str:
    """How long and in how many copies: "100 steps of size 0.02 (time 2), 4 replicates"."""
    steps, size = configuration.get("steps"), configuration.get("step_size")
    parts = ["continuous time"] if "solver" in configuration and size is None else []
    if steps is not None and size is not None:
        numbers = isinstance(steps, int) and isinstance(size, (int, float))
        time = f" (time {described(steps * size)})" if numbers else ""
        parts.append(f"{steps} steps of size {described(size)}{time}")
    for key in ("momentum", "weight_decay"):
        if configuration.get(key):
            parts.append(f"{key.replace('_', ' ')} {described(configuration[key])}")
    if configuration.get("replicates"):
        parts.append(f"{configuration['replicates']} replicate{'' if configuration['replicates'] == 1 else 's'}")
    return ", ".join(parts)


def short(configuration: Mapping[str, Any]) -> str:
    """A name for a run that was given none."""
    return ", ".join(filter(None, (rule(configuration), width(configuration)))) or "result"


def whole(run: Run) -> str:
    """All of it, for the list of runs."""
    configuration = run.configuration
    how = " at ".join(filter(None, (rule(configuration), at_width(configuration))))
    return "; ".join(filter(None, (how, network(configuration), schedule(configuration)))) or _holds(run.whole)


def title(runs: Sequence[Run]) -> str:
    """The title of a page that was given none."""
    each = [rule(run.configuration) for run in runs]
    rules, widths = _different(each), _different(width(run.configuration) for run in runs)
    groups = list(dict.fromkeys(run.group for run in runs))
    families = all(run.family for run in runs)
    if not all(each) and not families:
        return _capital(runs[0].name) if len(runs) == 1 else f"{len(runs)} results"
    learned = rules[0] if len(rules) == 1 else f"{max(len(rules), len(groups))} learning rules"
    if families and len(groups) == 1:
        learned = runs[0].family
    elif 0 < len(rules) < len(groups):
        learned = f"{learned} in {len(groups)} networks" if len(rules) == 1 else f"{len(groups)} networks and rules"
    if not widths:
        return _capital(learned)
    where = f"{', '.join(widths[:-1])} and {widths[-1]}" if len(widths) > 1 else widths[0]
    return _capital(f"{learned} at {where}" if len(widths) <= 3 else f"{learned} at {len(widths)} widths")


def paragraph(runs: Sequence[Run], one_task: bool | None) -> str:
    """What was run and what came of it, a sentence or two each."""
    if len(runs) == 1:
        return " ".join(filter(None, (_trained(runs[0]), *_came_of_it(runs[0]))))
    networks, rules, widths, schedules, tasks = (
        _different(of(run.configuration) for run in runs) for of in (network, rule, at_width, schedule, task)
    )
    of_task = " of different tasks" if one_task is False else " of one task" if one_task else ""
    built = all(isinstance(run.configuration.get("net"), Mapping) for run in runs)
    how = [f"by {_joined(rules)}" if rules else "", f"at {_joined(widths)}" if widths else ""]
    sentences = [
        f"{len(runs)} {'runs' if rules else 'results'}{of_task}{f': {tasks[0]}' if one_task and tasks else ''}.",
        _capital(", ".join(filter(None, how))) + "." if any(how) else "",
        f"The networks{' have' if built else ':'} {_joined(networks, ', or ')}." if networks else "",
        f"Each ran for {_joined(schedules, '; or ')}." if schedules else "",
        "Numbers are means ± one standard error over replicates.",
    ]
    return " ".join(filter(None, sentences))


def _trained(run: Run) -> str:
    """What was trained, how, and on what."""
    configuration = run.configuration
    named = "" if isinstance(configuration.get("net"), Mapping) else network(configuration)
    parts = {
        "with ": "" if named else network(configuration),
        "at ": at_width(configuration),
        "trained by ": rule(configuration),
    }
    known = [f"{before}{text}" for before, text in parts.items() if text]
    if not (known or named):
        return f"A result that holds {_holds(run.whole)}."
    text = f"{named}, {', '.join(known)}".removesuffix(", ") if named else f"A network {', '.join(known)}"
    text += f" on {task(configuration)}" if task(configuration) else ""
    return f"{text}: {schedule(configuration)}." if schedule(configuration) else f"{text}."


def _came_of_it(run: Run) -> list[str]:
    """The training loss and the alignment of K at both ends of a run, where it holds them."""
    changes = []
    if len(run.times):
        both = run.result.isel(step=[0, series.last_step(run.result)]).drop_vars("feature_kernel", errors="ignore")
        measured = {
            "training loss": series.losses(both).get("training loss"),
            "task alignment of the eNTK K": observables.task_alignments(both).get("K"),
        }
        for name, values in measured.items():
            if values is not None and np.isfinite(observables.mean(values)).all():
                ends = [plus_minus(end) for end in series.in_time(both, values).transpose("step", ...)]
                changes.append((name, *ends))
    text = ", ".join(
        f"the {name} {'' if place else 'went '}from {start} to {end}"
        for place, (name, start, end) in enumerate(changes)
    )
    replicates = run.result.sizes.get("replicate", 1)
    return [
        f"{_capital(text)}." if text else "",
        f"Numbers are means ± one standard error over {replicates} replicates." if replicates > 1 else "",
    ]


def _holds(result: xr.Dataset) -> str:
    """What a result holds that says nothing of where it came from."""
    names = [str(name).replace("_", " ") for name in result.data_vars]
    words = {"sample": "sample", "layer": "layer", "step": "recorded time", "replicate": "replicate"}
    counts = [(result.sizes[dim], name) for dim, name in words.items() if dim in result.sizes]
    sizes = ", ".join(f"{count} {name}{'' if count == 1 else 's'}" for count, name in counts)
    return f"{_joined(names)}{f' ({sizes})' if sizes else ''}"


def _different(texts: Any) -> list[str]:
    return [text for text in dict.fromkeys(texts) if text]


def _joined(each: Sequence[str], between: str = " and ") -> str:
    return each[0] if len(each) == 1 else f"{', '.join(each[:-1])}{between}{each[-1]}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _units(nonlinearity: Any) -> str:
    if not isinstance(nonlinearity, Mapping):
        return "unknown units" if nonlinearity is None else f"{nonlinearity} units"
    shape = nonlinearity.get("shape")
    if nonlinearity.get("type") == "Gated" and isinstance(shape, Mapping):
        return f"gated linear units with {shape.get('type')} gates"
    return f"{described(nonlinearity).removesuffix('()')} units"


def _spelled(name: str) -> str:
    """DirectFeedbackAlignment as words."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower() if re.fullmatch(r"([A-Z][a-z]+)+", name) else name
