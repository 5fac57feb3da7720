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


def test_sizes_of_a_model_may_be_numbers_of_any_library() -> None:
    from arrayformer.core.models.gpt2 import GPT2
    from arrayformer.core.models.llama import Llama
    from arrayformer.core.models.rope import Rope

    eight, two = np.int64(8), np.uint8(2)
    gpt2 = GPT2(eight, eight, eight, two, two, layer_norm_epsilon=np.float32(0.5), eos_token_id=(two, 3))  # type: ignore[arg-type]
    llama = Llama(eight, eight, eight, two, two, two, eight, eight, Rope(np.float64(1e4), eight))  # type: ignore[arg-type]

    assert gpt2 == GPT2(8, 8, 8, 2, 2, layer_norm_epsilon=0.5, eos_token_id=(2, 3))
    assert llama == Llama(8, 8, 8, 2, 2, 2, 8, 8, Rope(1e4, 8))
    assert {type(size) for size in (gpt2.n_vocab, gpt2.eos_ids[0], llama.n_layer, llama.rope.n)} == {int}
    assert type(gpt2.layer_norm_epsilon) is float
