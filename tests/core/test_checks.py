"""What a number is, wherever one is taken."""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from arrayformer.core.checks import keep_plain_numbers, real, whole


@pytest.mark.parametrize("value", [3, np.int8(3), np.uint64(3), np.array(3)], ids=repr)
def test_integers_of_any_library_are_whole(value: Any) -> None:
    assert type(whole(value)) is int
    assert whole(value) == real(value) == 3


@pytest.mark.parametrize("value", [0.5, np.float16(0.5), np.array(0.5), Fraction(1, 2), Decimal("0.5")], ids=repr)
def test_numbers_of_any_library_are_real_and_not_whole(value: Any) -> None:
    assert type(real(value)) is float
    assert (whole(value), real(value)) == (None, 0.5)


NONE = [True, np.True_, np.array(True), "1", b"1", None, [1], np.array([1]), np.array([0.5]), 1j, np.complex64(1)]


@pytest.mark.parametrize("value", NONE, ids=repr)
def test_what_is_no_number_is_none(value: Any) -> None:
    assert (whole(value), real(value)) == (None, None)


def test_an_array_of_jax_without_axes_is_a_number() -> None:
    jnp = pytest.importorskip("jax.numpy")

    assert (whole(jnp.asarray(3)), real(jnp.asarray(0.5)), real(jnp.asarray([0.5]))) == (3, 0.5, None)
    assert (whole(jnp.asarray(True)), real(jnp.asarray(True))) == (None, None)


def test_a_number_too_large_for_a_float_is_infinite() -> None:
    assert real(10**400) == float("inf")


def test_fields_of_a_dataclass_become_plain_numbers() -> None:
    @dataclass(frozen=True)
    class Sizes:
        n: Any
        eps: Any
        ends: Any
        switch: Any
        name: Any

        def __post_init__(self) -> None:
            keep_plain_numbers(self)

    sizes = Sizes(np.int64(3), np.float32(0.5), (np.int16(1), 2), np.True_, "a")

    assert sizes == Sizes(3, 0.5, (1, 2), np.True_, "a")
    assert [type(x) for x in (sizes.n, sizes.eps, sizes.ends[0])] == [int, float, int]
