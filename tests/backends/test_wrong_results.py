"""A backend that loads well and answers wrongly."""

import numpy as np
import pytest

from arrayformer.backends.registry import get_backend
from arrayformer.core.engine import Engine
from arrayformer.core.errors import BackendError, NumericError

from . import reading
from .conftest import Install, backend_source


def engine_with(install: Install, unembed: str) -> Engine:
    """An engine on a plugin whose `unembed` gives back this expression of the right logits `y`."""
    override = f"overrides = {{'unembed': lambda x, wte: (lambda y: {unembed})(x @ wte.T)}}"
    install(backend_source(override))
    return Engine(reading.CONFIG, reading.PARAMS, get_backend("acme"))


@pytest.mark.parametrize("unembed", ["y[..., :-1]", "y[..., None]"])
def test_logits_of_a_wrong_shape_are_the_backend_s_fault(install: Install, unembed: str) -> None:
    engine = engine_with(install, unembed)

    with pytest.raises(BackendError, match="backend 'acme' returned an array of shape"):
        engine.logits([1, 2, 3])


def test_logits_that_are_not_finite_are_never_drawn_from(install: Install) -> None:
    from arrayformer.api import Model

    model = Model(reading.CONFIG, engine_with(install, "y * float('nan')"))

    with np.errstate(all="ignore"), pytest.raises(NumericError):
        model.generate([1, 2, 3], max_new_tokens=1)
