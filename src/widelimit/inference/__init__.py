"""Which rule made these representations: recordings, candidates, evidence, identifiability."""

from .candidates import Candidates
from .posterior import infer
from .power import identifiability
from .readers import from_distances, from_matlab, from_npz, from_rsatoolbox, from_table, read, to_rsatoolbox
from .recording import Recording
from .simulated import record

__all__ = [
    "Candidates",
    "Recording",
    "from_distances",
    "from_matlab",
    "from_npz",
    "from_rsatoolbox",
    "from_table",
    "identifiability",
    "infer",
    "read",
    "record",
    "to_rsatoolbox",
]
