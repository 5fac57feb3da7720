"""The fuzzer's target holds on its own seeds and on some damage, so that it is known to work when it is needed."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from tests.fuzz.fuzz_checkpoints import READERS, SEEDS, read_one_input


@pytest.mark.parametrize("seed", SEEDS, ids=[reader.__name__ for reader, _ in READERS])
def test_a_sound_seed_is_taken(seed: bytes) -> None:
    read_one_input(seed)


@settings(max_examples=100, deadline=None)
@given(
    seed=st.sampled_from(SEEDS),
    edits=st.lists(st.tuples(st.integers(1, 2000), st.binary(max_size=4), st.integers(0, 4)), max_size=4),
)
def test_a_damaged_seed_is_read_or_refused(seed: bytes, edits: list[tuple[int, bytes, int]]) -> None:
    data = bytearray(seed)
    for place, new, cut in edits:
        place = 1 + place % len(data)
        data[place : place + cut] = new

    read_one_input(bytes(data))
