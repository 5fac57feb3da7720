"""Backends that are wrong on purpose. The suite must catch each one, at the case that names its fault.

    arrayformer conformance --backend arrayformer.conformance.wrong:erf_gelu
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from arrayformer.backends.numpy_backend import NumpyBackend
from arrayformer.conformance.faults import FAULTS, Fault
from arrayformer.conformance.measure import rounded
from arrayformer.core import ops
from arrayformer.core.backend import Backend
from arrayformer.core.params import Params

Array = np.ndarray
Maker = Callable[..., Backend]


@dataclass(frozen=True)
class Wrong:
    """One wrong backend.

    caught_by  the case that names the fault
    says       words its message has
    make       the backend, as a factory
    seconds    how long the case may take, for one that never answers
    """

    name: str
    caught_by: str
    says: str
    make: Maker
    seconds: float = 60.0


WRONG: dict[str, Wrong] = {}


def wrong(caught_by: str, says: str = "", seconds: float = 60.0) -> Callable[[Any], Any]:
    """Register a backend class, or a function giving overrides for NumPy, as a wrong backend."""

    def register(made: Any) -> Any:
        maker = made if isinstance(made, type) else with_functions(made.__name__, made())
        WRONG[made.__name__] = Wrong(made.__name__, caught_by, says, maker, seconds)
        globals()[made.__name__] = maker
        return maker

    return register


def with_functions(name: str, functions: Mapping[str, Callable[..., Any]]) -> type[NumpyBackend]:
    """NumPy with some of the graph's functions replaced."""

    class Changed(NumpyBackend):
        @property
        def overrides(self) -> Mapping[str, Callable[..., Any]]:
            return {**super().overrides, **functions}

    Changed.__name__ = Changed.__qualname__ = name
    return Changed


def with_fault(fault: Fault) -> type[NumpyBackend]:
    """NumPy with a fault."""
    changed = with_functions(fault.name, fault.functions)
    if fault.weights is None:
        return changed
    weights = fault.weights

    class Changed(changed):  # type: ignore[valid-type, misc]
        def place(self, params: Params, *, owned: bool = False) -> Params:
            return super().place(weights(params), owned=owned)  # type: ignore[no-any-return]

    return Changed


# -- faults of the mathematics, as they stand in faults.py: which case names each one

_NAMED = {
    "tf32": ("L1-identity", "TF32"),
    "bfloat16": ("L1-identity", "bfloat16"),
    "float16": ("L1-identity", ""),
    "head_tf32": ("L1-unembed", "TF32"),
    "head_bfloat16": ("L1-unembed", "bfloat16"),
    "attention_tf32": ("L1-attention", "TF32"),
    "attention_bfloat16": ("L1-attention", "bfloat16"),
    "half_probs": ("L1-attention", "float16"),
    "half_activation": ("L1-gelu", "float16"),
    "brain_activation": ("L1-gelu", "bfloat16"),
    "erf_gelu": ("L1-gelu", "erf"),
    "tanh_gelu": ("L1-gelu_erf", "tanh"),
    "sigmoid_gelu": ("L1-gelu", "sigmoid"),
    "relu_for_gelu": ("L1-gelu", "relu"),
    "eps_1e-6": ("L1-layer_norm", "1e-6"),
    "eps_1e-12": ("L1-layer_norm", "epsilon"),
    "eps_outside": ("L1-layer_norm", "epsilon"),
    "unbiased_norm": ("L1-layer_norm", "n - 1"),
    "one_pass_norm": ("L1-layer_norm", "one pass"),
    "no_gain": ("L1-layer_norm", "gain"),
    "no_shift": ("L1-layer_norm", "bias"),
    "no_bias": ("L1-linear", "bias"),
    "mask_sees_next": ("L2-causal", "future"),
    "no_mask": ("L2-causal", "future"),
    "mask_-10": ("L2-causal", "future"),
    "mask_-1e4": ("L2-causal", "future"),
    "mask_is_-10": ("L2-causal", "future"),
    "mask_is_0": ("L2-causal", "future"),
    "mask_hides_self": ("L1-attention", "off by one"),
    "no_scale": ("L1-attention", "sqrt(head_dim)"),
    "scale_d": ("L1-attention", "head_dim"),
    "clamped_ids": ("L1-embed", "last id"),
    "positions_from_1": ("L2-logits", "positions are counted from 1"),
    "no_positions": ("L2-logits", "position embedding"),
    "heads_interleaved": ("L2-logits", "heads"),
    "k_and_v_swapped": ("L2-logits", "keys and values"),
    "norms_swapped": ("L2-logits", "ln_1 and ln_2"),
}
for _name, (_case, _says) in _NAMED.items():
    WRONG[_name] = Wrong(_name, _case, _says, with_fault(FAULTS[_name]))
    globals()[_name.replace("-", "_")] = WRONG[_name].make

__all__ = ["WRONG", "Sequence", "Wrong", "rounded", "time", "ops"]
