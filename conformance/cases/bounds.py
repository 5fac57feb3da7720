"""What the cases of single functions share: their inputs, and bounds on what comes out."""

import math

import numpy as np

from arrayformer.conformance.criterion import metrics
from arrayformer.conformance.run.subject import Host, Subject

U = metrics.UNIT["float32"]


def normal(seed: int, *shape: int) -> Host:
    """Standard normal float32."""
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(shape, dtype=np.float32)


def class_unit(subject: Subject) -> float:
    """How much an operand of a product may be rounded: nothing in float32."""
    precision = subject.backend.precision
    return 0.0 if precision in ("float32", "float64") else metrics.UNIT[precision]


def product_bound(subject: Subject, sizes: Host, n: int) -> Host:
    """What a sum of n products may be off when its terms add up to `sizes` in absolute value."""
    return np.asarray(sizes * (U * (math.sqrt(n) + 2) + class_unit(subject)) + 1e-37)


def kept(subject: Subject, x: Host) -> Host:
    """Weights as this backend stores them."""
    rounded: Host = metrics.rounded(x, subject.backend.dtype)
    return rounded
