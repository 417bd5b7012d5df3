"""`widelimit demo`: five learning rules at infinite width, beside finite networks, on two classes of digits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from . import compiled, destinations
from .messages import DIVERGED, INTERRUPTED, diverged, say, warnings_said


@dataclass(frozen=True)
class Demo:
    """Train two classes of handwritten digits by five rules, at infinite width and in networks of 1000 neurons.

    Prints a table, and writes demo.nc and demo.png. It takes a minute and a half on two cores. Exit codes: 0
    done; 2 a mistake in the options; 3 a run diverged, and the steps before are kept; 4 a file could not be written,
    and is in another place; 129, 130 and 143 interrupted, and the rules that had run at both widths are kept.
    """

    out: Path = Path("widelimit-demo")
    """The folder to write into; it is made if it does not exist."""
    overwrite: bool = False
    """Replace what an earlier demonstration left in the folder."""
    quick: bool = False
    """Two rules, few samples and few steps: shows in seconds that all works, and not much else."""

    def run(self) -> int:
        """Train, print, save and draw; returns the exit code."""
        destinations.folder(self.out)
        file, picture = self.out / "demo.nc", self.out / "demo.png"
        for path in (file, picture):
            destinations.check(path, self.overwrite)
        # Imported after what can be refused at once.
        from .. import plots
        from ..results import combine
        from . import comparison
        from .demonstration import QUICK, Plan, train_all
        from .show import draw

        plan, code, runs = QUICK if self.quick else Plan(), 0, {}
        with warnings_said() as caught, compiled.kept():
            try:
                train_all(plan, runs)
            except KeyboardInterrupt as interruption:
                code = getattr(interruption, "code", INTERRUPTED)
        complete = {name: by_width for name, by_width in runs.items() if len(by_width) == len(plan.widths)}
        if code:
            say(f"Interrupted; {', '.join(complete) or 'nothing'} had run at both widths.")
        if not complete:
            return code
        # Single precision is far below the standard errors, and half of the file.
        result = combine(complete, ("rule", "width")).map(
            lambda values: values.astype("float32") if values.dtype == "float64" else values, keep_attrs=True
        )
        # Saved before anything is printed: whoever reads that may have stopped, and what it is written to may be full.
        file, rescued = destinations.keep(result, file, self.overwrite)
        picture, elsewhere = draw(plots.comparison(result), picture, self.overwrite)
        print("\n".join(comparison.lines(result)))
        print(f"\nSaved in {file}, drawn in {picture}. To go on in Python:")
        print(f'  runs = widelimit.load("{file}"); runs["loss"].sel(rule="{result["rule"].values[0]}", width=math.inf)')
        return code or rescued or elsewhere or (DIVERGED if diverged(caught) else 0)
