"""Level 2: the whole graph on probe models, without a cache."""

import numpy as np

from arrayformer.conformance.lab import Lab
from arrayformer.conformance.probes import probe
from arrayformer.conformance.registry import case

PROBED = ("p1", "p2", "p3", "outliers", "deep", "quiet", "loud", "residual", "untied", "relu", "silu")


@case(2, "logits", over=PROBED)
def logits(lab: Lab, name: str) -> None:
    """The logits of a probe model are right, for every id and every position.

    The main criterion: float32 logits are off by no more than 8 times what an honest NumPy float32 run is off.
    """
    rows = probe(name).rows()[:16]
    lab.judge(lab.forward(name, rows), name, rows)
