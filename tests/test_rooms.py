"""Which room may import which: imports run one way, and the solvers of `theory` share no code with the simulation."""

import ast
from pathlib import Path

import pytest

import widelimit as wl

SOURCE = Path(__file__).resolve().parent.parent / "src" / "widelimit"

LOOSE = {
    "canaries",
    "checks",
    "faults",
    "files",
    "formatting",
    "interrupts",
    "memory",
    "precision",
    "programs",
    "progress",
    "streams",
    "threads",
}
"""Modules at the top that any room may import, and that import no room."""

ROOMS: dict[str, set[str]] = {
    "problem": set(),
    "networks": set(),
    "optimizers": set(),
    "weights": {"networks"},
    "rules": {"networks", "weights"},
    "results": {"problem"},
    "theory": {"problem", "networks", "optimizers", "rules", "results"},
    "simulation": {"problem", "networks", "optimizers", "weights", "rules", "results", "theory"},
    "ensembles": {"problem", "networks", "optimizers", "weights", "rules", "results", "theory", "simulation"},
    "inference": {"problem", "networks", "optimizers", "weights", "rules", "results", "simulation", "ensembles"},
    "plots": {"results"},
    "report": {"results", "ensembles", "plots"},
    "paper": {"results", "plots", "ensembles"},  # beside the public names
    "cli": {
        "problem",
        "networks",
        "optimizers",
        "weights",
        "rules",
        "results",
        "simulation",
        "ensembles",
        "inference",
        "plots",
        "report",
        "paper",
    },
}
"""What each room may import."""

PUBLIC = {"paper", "cli"}
"""Rooms that stand above the public names, and may import the package itself."""


def imports(path: Path) -> list[str]:
    """The modules and names below `widelimit` that a file imports, dotted, wherever in the file."""
    package = ["widelimit", *path.relative_to(SOURCE).parent.parts]
    targets: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            targets += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            targets += [f"{module}.{name.name}" for name in node.names]
    return [target for target in targets if target.split(".")[0] == "widelimit"]


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).with_suffix("").parts[0]


FILES = sorted(
    path for path in SOURCE.rglob("*.py") if path.name not in ("__init__.py", "__main__.py") or path.parent != SOURCE
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_room_imports_only_what_it_may(path):
    room = room_of(path)
    allowed = LOOSE | ROOMS.get(room, set()) | {room}
    for target in imports(path):
        parts = target.split(".")
        if parts == ["widelimit"] or (len(parts) == 2 and parts[1] not in ROOMS and parts[1] not in LOOSE):
            assert room in PUBLIC or parts[-1] == "__version__", f"{path.name} imports the public package"
        else:
            other = parts[1]
            assert other in allowed, f"{room} imports {other}: {target}"


def test_theory_knows_rules_by_name_alone():
    """The solvers ask which rule they are given; how it computes g̃ in a network is none of their business."""
    rules = {
        name for name in wl.__all__ if isinstance(getattr(wl, name), type) and issubclass(getattr(wl, name), wl.Rule)
    }
    for path in (SOURCE / "theory").rglob("*.py"):
        used = {target.split(".")[2] for target in imports(path) if target.startswith("widelimit.rules.")}
        assert used <= rules, path


def test_every_module_has_a_room():
    known = {*ROOMS, *LOOSE, "__init__", "__main__"}
    assert {room_of(path) for path in SOURCE.rglob("*.py")} <= known
    assert {path.stem for path in SOURCE.glob("*.py")} <= known


def test_rooms_are_in_order():
    """No circle: each room imports only rooms that are named before it."""
    order = list(ROOMS)
    for room, allowed in ROOMS.items():
        assert all(order.index(other) < order.index(room) for other in allowed), room


def test_a_breach_is_found(tmp_path, monkeypatch):
    """The check itself: a solver that imports the simulation, inside a function, relatively or not."""
    breach = SOURCE / "theory" / "breach.py"
    monkeypatch.setattr(Path, "read_text", lambda path, **_: "def f():\n    from ..simulation import train\n")
    assert imports(breach) == ["widelimit.simulation.train"]
    with pytest.raises(AssertionError, match="theory imports simulation"):
        test_a_room_imports_only_what_it_may(breach)
