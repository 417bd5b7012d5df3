"""A sweep of 60 points on all cores, against as many separate command-line runs; and workers against threads.

    python benchmarks/sweep.py                  # both measurements; the first is a sweep of 6 rules × 10 γ0, P = 12
    python benchmarks/sweep.py --threads        # n workers with one thread each against one worker with n threads

Separate runs are measured for some of the points (`--runs`), each in a process of its own with the compiled programs of
those before it at hand, as a user would run them one after another, and scaled to all. The sweep begins with none.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RULES = (
    "GradientDescent",
    "FeedbackAlignment",
    "DirectFeedbackAlignment",
    "Hebbian",
    "KolenPollack",
    "SignSymmetric",
)
RICHNESS = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)

BASE = """
[task]
data = "digits"
samples = {samples}
test_samples = 50
classes = [3, 8]
[network]
hidden_layers = 2
[width]
kind = "infinite"
particles = {particles}
[optimizer]
step_size = 0.01
[record]
every = 5
[run]
steps = {steps}
replicates = 2
"""


def grid(rules, richness):
    """The table of the grid."""
    return f'[sweep]\n"rule.name" = {list(rules)}\n"network.richness" = {list(richness)}\n'.replace("'", '"')


def seconds(folder, words, cache):
    """The seconds of one command; the folder for compiled programs is `cache`."""
    environment = os.environ | {"WIDELIMIT_COMPILATION_CACHE": str(cache)}
    began = time.perf_counter()
    command = [sys.executable, "-m", "widelimit", *words]
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def against_separate_runs(folder, sizes, runs):
    """60 points in one sweep, and in separate runs of which some are measured."""
    path, single = folder / "grid.toml", folder / "run.toml"
    path.write_text(BASE.format(**sizes) + grid(RULES, RICHNESS))
    single.write_text(BASE.format(**sizes))
    together = seconds(folder, ["sweep", str(path), "--out", "sweep"], folder / "of-sweep")
    first, later = [], []
    for rule in RULES[:: max(len(RULES) // max(runs // 3, 1), 1)]:
        for place, richness in enumerate(RICHNESS[:3]):
            words = ["train", str(single), "--rule.name", rule, "--network.richness", str(richness), "--out"]
            took = seconds(folder, [*words, f"{rule}-{richness}.nc"], folder / "of-runs")
            (later if place else first).append(took)
    count = len(RULES) * len(RICHNESS)
    mean_first, mean_later = sum(first) / len(first), sum(later) / len(later)
    scaled = len(RULES) * mean_first + (count - len(RULES)) * mean_later
    print(f"sweep of {count} points: {together:.0f} s, with nothing compiled before")
    print(
        f"separate runs: {mean_first:.1f} s the first of a rule ({len(first)} measured), {mean_later:.1f} s any other"
    )
    print(
        f"({len(later)} measured); scaled to {count}: {scaled:.0f} s. The sweep takes {together / scaled:.2f} of that."
    )


def workers_against_threads(folder, problems):
    """The seconds of eight points by one worker with all threads, and by a worker for each core."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for sizes in problems:
        path = folder / "threads.toml"
        path.write_text(BASE.format(**sizes) + grid(RULES[:2], RICHNESS[:4]))
        took = {}
        for workers in (1, cores):
            cache = folder / f"threads-{workers}-{sizes['samples']}"
            words = ["sweep", str(path), "--workers", str(workers), "--out"]
            seconds(folder, [*words, f"{cache.name}-first"], cache)
            # All compiled: what is measured is the start of the workers, and the points.
            took[workers] = seconds(folder, [*words, f"{cache.name}-second", "--run.seed", "1"], cache)
        problem = f"P = {sizes['samples']}, S = {sizes['particles']}, {sizes['steps']} steps, 8 points"
        words = ", ".join(f"{each:.1f} s with {workers} × {cores // workers}" for workers, each in took.items())
        print(f"{problem}: {words} (workers × threads)")


def main():
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", action="store_true")
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not options.threads:
            against_separate_runs(folder, {"samples": 12, "particles": 1000, "steps": 50}, options.runs)
        problems = [
            {"samples": 12, "particles": 1000, "steps": 50},
            {"samples": 40, "particles": 4000, "steps": 20},
        ]
        workers_against_threads(folder, problems)


if __name__ == "__main__":
    main()
