"""The command line, with a signal to itself at a chosen call of what files are written through.

`python faulty.py FUNCTION COUNT SIGNAL COMMAND ...`, where figures have one run of three numbers.
"""

import os
import sys
import tempfile
import time

from widelimit import paper
from widelimit.__main__ import main

MODULES = {"mkstemp": tempfile, "fsync": os, "chmod": os, "link": os, "replace": os}


def signalling(function, count, number):
    """The function, which signals in the call of that count, before it does what it is for."""
    calls = []

    def called(*arguments, **options):
        calls.append(arguments)
        if len(calls) == count:
            os.kill(os.getpid(), number)
            time.sleep(0.3)  # for the main thread to look
        return function(*arguments, **options)

    return called


def toy(number):
    """A figure that takes no time."""
    import dataclasses

    import xarray as xr

    from widelimit.paper import claims, style
    from widelimit.paper.base import PaperFigure, chosen
    from widelimit.paper.estimates import Estimate

    @dataclasses.dataclass(frozen=True)
    class Size:
        size: int = chosen(3, "how many")

    def draw(parameters, runs):
        figure = style.sheet(1.0)
        figure.subplots().plot(runs["one"]["x"].values)
        return figure

    runs = {name: lambda: xr.Dataset({"x": ("i", [0.0, 1.0, 2.0])}) for name in ("one", "two")}
    return PaperFigure(
        number,
        "A toy",
        "Nothing.",
        Size(),
        Size(2),
        lambda parameters: runs,
        lambda parameters, found: [claims.equals("The sum", Estimate(float(found["one"]["x"].sum())), 3.0)],
        draw,
    )


if __name__ == "__main__":
    name, count, number = sys.argv[1:4]
    paper.figure = toy
    setattr(MODULES[name], name, signalling(getattr(MODULES[name], name), int(count), int(number)))
    sys.argv[1:] = sys.argv[4:]
    sys.exit(main())
