"""A backend that loads well and answers wrongly."""

from collections.abc import Callable

import numpy as np
import pytest

from arrayformer.api import Model
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


def read(engine: Engine) -> None:
    engine.logits([1, 2, 3])


def draw(engine: Engine) -> None:
    Model(reading.CONFIG, engine).generate([1, 2, 3], max_new_tokens=1)


@pytest.mark.parametrize("use", [read, draw])
@pytest.mark.parametrize(
    ("unembed", "came"),
    [
        ("y[..., :-1]", "float32 and shape (1, {n}, 65)"),
        ("xp.concat([y, y], axis=-1)", "float32 and shape (1, {n}, 132)"),
        ("y[..., None]", "float32 and shape (1, {n}, 66, 1)"),
        ("xp.astype(y, xp.float64)", "float64 and shape (1, {n}, 66)"),
        ("xp.astype(y, xp.float16)", "float16 and shape (1, {n}, 66)"),
        ("xp.astype(y, xp.int64)", "int64 and shape (1, {n}, 66)"),
    ],
)
def test_logits_of_a_wrong_dtype_or_shape_are_the_backend_s_fault(
    install: Install, use: Callable[[Engine], None], unembed: str, came: str
) -> None:
    engine = engine_with(install, unembed)

    with pytest.raises(BackendError) as caught:
        use(engine)

    n = 3 if use is read else 1
    says = f"'acme' returned logits of dtype {came.format(n=n)}; expected float32 and (1, {n}, 66)"
    assert says in str(caught.value)


def test_logits_that_are_not_finite_are_never_drawn_from(install: Install) -> None:
    model = Model(reading.CONFIG, engine_with(install, "y * float('nan')"))

    with np.errstate(all="ignore"), pytest.raises(NumericError):
        model.generate([1, 2, 3], max_new_tokens=1)
