"""What was run, in words: titles, names, and the paragraph at the head of a page. Plain text, not yet HTML."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..results import observables, summary
from . import series

if TYPE_CHECKING:
    from .runs import Run


def rule(told: Mapping[str, Any]) -> str:
    """The learning rule: "feedback alignment (correlation 0.5)"."""
    given = told.get("rule")
    if not isinstance(given, Mapping):
        return "an unnamed rule" if given is None else str(given)
    name = _spelled(str(given.get("type", "an unnamed rule")))
    name = "the Hebbian rule" if name == "hebbian" else name
    inside = [f"{key.replace('_', ' ')} {_short(value)}" for key, value in given.items() if key != "type"]
    return f"{name} ({', '.join(inside)})" if inside else name


def width(told: Mapping[str, Any]) -> str:
    """The width: "infinite width", "N = 1000"."""
    given = told.get("width")
    if given == "inf":
        solver = str(told.get("solver", "")).removeprefix("theory.").replace("_", " ")
        return f"infinite width ({solver} theory)" if solver else "infinite width"
    return "unknown width" if given is None else f"N = {given}"


def at_width(told: Mapping[str, Any]) -> str:
    """The width with the number of particles that stand for it, where there are any."""
    return f"{width(told)} ({told['particles']} particles a layer)" if told.get("particles") else width(told)


def network(told: Mapping[str, Any]) -> str:
    """The network without its width: "3 hidden layers of Tanh units, richness 1"."""
    given = told.get("net")
    if not isinstance(given, Mapping):
        return "a network" if given is None else str(given)
    layers = given.get("hidden_layers", "?")
    units = _units(given.get("nonlinearity"))
    known = ("hidden_layers", "nonlinearity", "richness")
    more = {key.replace("_", " "): value for key, value in summary.fields(given).items() if key not in known}
    rest = "".join(f", {key} {_short(value)}" for key, value in more.items())
    richness = "" if told.get("solver") == "theory.lazy" else f", richness γ₀ = {_short(given.get('richness', '?'))}"
    return f"{layers} hidden layer{'' if layers == 1 else 's'} of {units}{richness}{rest}"


def task(told: Mapping[str, Any]) -> str:
    """The task: "20 samples (100 test points, squared error)"."""
    more = [f"{told['test_samples']} test points"] if told.get("test_samples") else []
    if isinstance(told.get("loss"), Mapping):
        more.append(_spelled(str(told["loss"].get("type"))))
    text = f"{told.get('samples', 'an unknown number of')} samples"
    return f"{text} ({', '.join(more)})" if more else text


def schedule(told: Mapping[str, Any]) -> str:
    """How long and in how many copies: "100 steps of size 0.02 (time 2), 4 replicates"."""
    parts = []
    if told.get("step_size") is None:
        parts.append("continuous time")
    elif told.get("steps") is not None:
        steps, size = told["steps"], told["step_size"]
        parts.append(f"{steps} steps of size {_short(size)} (time {_short(steps * size)})")
    for key in ("momentum", "weight_decay"):
        if told.get(key):
            parts.append(f"{key.replace('_', ' ')} {_short(told[key])}")
    if told.get("replicates"):
        parts.append(f"{told['replicates']} replicate{'' if told['replicates'] == 1 else 's'}")
    return ", ".join(parts)


def short(told: Mapping[str, Any]) -> str:
    """A name for a run that was given none."""
    return f"{rule(told)}, {width(told)}"


def whole(told: Mapping[str, Any]) -> str:
    """All of it, for the list of runs."""
    return "; ".join(part for part in (f"{rule(told)} at {at_width(told)}", network(told), schedule(told)) if part)


def title(runs: Sequence[Run]) -> str:
    """The title of a page that was given none."""
    rules = list(dict.fromkeys(rule(run.told) for run in runs))
    widths = list(dict.fromkeys(width(run.told) for run in runs))
    groups = list(dict.fromkeys(run.group for run in runs))
    learned = rules[0] if len(rules) == 1 else f"{len(rules)} learning rules"
    if all(run.family for run in runs):
        learned = f"{len(groups)} learning rules" if len(groups) > 1 else runs[0].family
    elif len(groups) > len(rules):
        learned = f"{learned} in {len(groups)} networks" if len(rules) == 1 else f"{len(groups)} networks and rules"
    where = f"{', '.join(widths[:-1])} and {widths[-1]}" if len(widths) > 1 else widths[0]
    name = f"{learned} at {where}" if len(widths) <= 3 else f"{learned} at {len(widths)} widths"
    return name[:1].upper() + name[1:]


def paragraph(runs: Sequence[Run], one_task: bool) -> list[str]:
    """What was run and what came of it, a sentence or two each."""
    told = [run.told for run in runs]
    if len(runs) == 1:
        one = told[0]
        what = f"A network with {network(one)}, at {at_width(one)}"
        return [f"{what}, trained by {rule(one)} on {task(one)}: {schedule(one)}.", _came_of_it(runs[0])]
    networks, rules, widths, schedules = (
        list(dict.fromkeys(of(one) for one in told)) for of in (network, rule, at_width, schedule)
    )
    return [
        f"{len(runs)} runs" + (f" of one task: {task(told[0])}." if one_task else " of different tasks."),
        f"By {_joined(rules)}, at {_joined(widths)}.",
        f"The networks have {_joined(networks, ', or ')}.",
        f"Each ran for {_joined(schedules, '; or ')}.",
        "Numbers are means ± one standard error over replicates.",
    ]


def _joined(each: Sequence[str], between: str = " and ") -> str:
    return each[0] if len(each) == 1 else f"{', '.join(each[:-1])}{between}{each[-1]}"


def _came_of_it(run: Run) -> str:
    """The training loss and the alignment of K at both ends of a run."""
    last = series.last_step(run.result)
    loss = series.in_time(run.result, run.result["loss"])
    ends = [summary.plus_minus(loss.isel(step=step)) for step in (0, last)]
    text = f"The training loss went from {ends[0]} to {ends[1]}"
    if "ntk" in run.result:
        aligned = series.in_time(run.result, observables.alignment(run.result["ntk"], run.result["target"]))
        ends = [summary.plus_minus(aligned.isel(step=step)) for step in (0, last)]
        text += f", the task alignment of the eNTK K from {ends[0]} to {ends[1]}"
    replicates = run.result.sizes.get("replicate", 1)
    return f"{text}." + (
        f" Numbers are means ± one standard error over {replicates} replicates." if replicates > 1 else ""
    )


def _units(nonlinearity: Any) -> str:
    if not isinstance(nonlinearity, Mapping):
        return "unknown units" if nonlinearity is None else f"{nonlinearity} units"
    shape = nonlinearity.get("shape")
    if nonlinearity.get("type") == "Gated" and isinstance(shape, Mapping):
        return f"gated linear units with {shape.get('type')} gates"
    return f"{summary.described(nonlinearity).removesuffix('()')} units"


def _spelled(name: str) -> str:
    """DirectFeedbackAlignment as words."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower() if re.fullmatch(r"([A-Z][a-z]+)+", name) else name


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, (float, np.floating)) else str(value)
