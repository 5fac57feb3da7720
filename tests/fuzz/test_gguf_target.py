"""The target of the GGUF fuzzer holds on its seeds, on damage to them, and on files that a small grammar makes."""

import struct
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from tests.core.checkpoint.gguf_bytes import Entry, File, Key, array, text
from tests.fuzz.fuzz_gguf import SEEDS, read_one_input

from arrayformer.core.checkpoint import read_checkpoint
from arrayformer.core.checkpoint.gguf_blocks import FORMATS

COUNTS = st.sampled_from([0, 1, 2, 31, 32, 33, 1 << 20, 1 << 31, (1 << 32) - 1, 1 << 60, 1 << 63, (1 << 64) - 1])
NAMES = (
    st.text(max_size=8) | st.sampled_from(["general.alignment", "token_embd.weight", "a" * 300]) | st.binary(max_size=4)
)
CONTENTS: dict[str, st.SearchStrategy[Any]] = {
    "str": st.text(max_size=9) | st.builds(text, st.binary(max_size=9), COUNTS),
    "bool": st.integers(0, 255),
    "u8": st.integers(0, 255),
    "u32": COUNTS.filter(lambda n: n < 1 << 32),
    "u64": COUNTS,
    "f32": st.floats(width=32),
    "array": st.tuples(st.just("str"), st.lists(st.text(max_size=3), max_size=3))
    | st.tuples(st.just("array"), st.just([("u8", [1])]))
    | st.builds(array, st.integers(0, 14), st.binary(max_size=20), COUNTS),
}  # fmt: skip
KEYS = st.one_of(*(st.builds(Key, NAMES, st.just(kind), content) for kind, content in CONTENTS.items())) | st.builds(
    Key, NAMES, st.integers(0, 20) | COUNTS.filter(lambda n: n < 1 << 32), st.binary(max_size=16)
)


@st.composite
def tensors(draw: st.DrawFn) -> Entry:
    number = draw(st.sampled_from([*FORMATS, 4, 20, 39, 1 << 31]))
    block = FORMATS.get(number, FORMATS[0])
    rows = draw(st.integers(0, 3))
    sizes = draw(st.just((block.size, rows)) | st.lists(COUNTS, max_size=6).map(tuple))
    data = bytes(block.block.itemsize * rows)
    return Entry(draw(NAMES), sizes, number, data, draw(st.none() | COUNTS | st.just(32)))


FILES = st.builds(
    File, st.lists(KEYS, max_size=4), st.lists(tensors(), max_size=4), version=st.sampled_from([1, 2, 3, 4, 1 << 31]),
    n_tensors=st.none() | COUNTS, n_keys=st.none() | COUNTS, alignment=st.sampled_from([8, 32, 64]),
)  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
def test_a_sound_seed_is_taken(seed: bytes) -> None:
    read_one_input(seed)


def test_the_seed_of_a_whole_model_becomes_one(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(SEEDS[-1])

    model, params = read_checkpoint(tmp_path / "model.gguf")

    assert (model.n_layer, model.eos_ids, params["wte"].shape) == (1, (257,), (258, 32))


@settings(max_examples=200, deadline=None)
@given(file=FILES)
def test_a_file_of_the_grammar_is_read_or_refused(file: File) -> None:
    read_one_input(file.pack())


@settings(max_examples=200, deadline=None)
@given(
    seed=st.sampled_from(SEEDS),
    edits=st.lists(st.tuples(st.integers(0, 9000), st.binary(max_size=8) | COUNTS, st.integers(0, 8)), max_size=4),
    end=st.none() | st.integers(0, 3000),
)
def test_a_damaged_seed_is_read_or_refused(
    seed: bytes, edits: list[tuple[int, bytes | int, int]], end: int | None
) -> None:
    data = bytearray(seed)
    for place, new, cut in edits:
        place %= len(data)
        data[place : place + cut] = struct.pack("<Q", new) if isinstance(new, int) else new

    read_one_input(bytes(data[:end]))
