"""What is wrong with the front of a GGUF file is said, in little time and memory, and what is right is read."""

import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.core.checkpoint.gguf_bytes import KEYS, SOUND, TENSORS, Entry, File, Key, array, text

from arrayformer.core.checkpoint.gguf_file import MAX_KEYS, MAX_STRING, MAX_VALUES, Gguf, read_gguf
from arrayformer.core.checkpoint.safetensors_file import MAX_TENSORS
from arrayformer.core.errors import ModelFileError
from arrayformer.core.files.untrusted import open_inside

CONTENT = SOUND.pack()


def read(tmp_path: Path, content: bytes) -> Gguf:
    (tmp_path / "model.gguf").write_bytes(content)
    with open_inside(tmp_path, "model.gguf") as file:
        return read_gguf(file)


def with_key(*keys: Key) -> bytes:
    return SOUND.with_(keys=[*KEYS, *keys]).pack()


def with_tensors(*tensors: Entry) -> bytes:
    return SOUND.with_(tensors=tensors).pack()


def aligned_to(n: Any, kind: str = "u32") -> bytes:
    return with_key(Key("general.alignment", kind, n))


def floats(name: str = "a", sizes: tuple[int, ...] = (8,), number: int = 0, offset: int | None = None) -> Entry:
    return Entry(name, sizes, number, bytes(32), offset)


BAD = {
    "empty": (b"", "not a GGUF file: it begins with nothing"),
    "three bytes": (b"GGU", "not a GGUF file: it begins with 47 47 55"),
    "magic alone": (b"GGUF", "the version at byte 4 needs 4 bytes, but 0 are left"),
    "older magic": (b"ggjt" + CONTENT[4:], "not a GGUF file: it begins with 67 67 6a 74"),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\n", "not a GGUF file but a Git LFS pointer"),
    "web page": (b"<!doctype html><html>", "not a GGUF file but an HTML"),
    "version 0": (SOUND.with_(version=0).pack(), "GGUF version 0; versions 2 and 3 are read"),
    "version 1": (SOUND.with_(version=1).pack(), "GGUF version 1; versions 2 and 3 are read"),
    "version 4": (SOUND.with_(version=4).pack(), "GGUF version 4"),
    "big-endian": (SOUND.with_(order=">").pack(), "a big-endian GGUF file"),
    "2**63 tensors": (SOUND.with_(n_tensors=1 << 63).pack(), "9223372036854775808 tensors and 8 keys; at most"),
    "a tensor too many": (SOUND.with_(n_tensors=MAX_TENSORS + 1).pack(), "10001 tensors"),
    "2**64 - 1 keys": (SOUND.with_(n_keys=(1 << 64) - 1).pack(), "18446744073709551615 keys"),
    "a key too many": (SOUND.with_(n_keys=MAX_KEYS + 1).pack(), "1001 keys"),
    "a tensor more than there are": (SOUND.with_(n_tensors=4).pack(), "tensor '': 0 axes"),
    "a key more than there are": (SOUND.with_(n_keys=9).pack(), "the name of a tensor: a text of \\d+ bytes"),
    "key of 2**60 bytes": (SOUND.with_(n_keys=1).pack()[:24] + text(b"a", 1 << 60), "name of a key.*at most 65535"),
    "key longer than the file": (CONTENT[:24] + text(b"a", 60_000), "the name of a key at byte 32 needs 60000 bytes"),
    "text of 2**60 bytes": (with_key(Key("k", "str", text(b"a", 1 << 60))), "'k': a text of 1152921504606846976 bytes"),
    "text of a byte too many": (
        with_key(Key("k", "str", text(b"a" * (MAX_STRING + 1)))), "'k': a text of 1048577 bytes; at most 1048576"),
    "key not UTF-8": (with_key(Key(b"\xff", "u8", 1)), r"the name of a key: not UTF-8 at byte \d+ \(0xff\)"),
    "text not UTF-8": (with_key(Key("k", "str", text(b"ab\xc3"))), r"'k': not UTF-8 at byte \d+ \(0xc3\)"),
    "lone surrogate": (with_key(Key("k", "str", text(b"\xed\xa0\x80"))), "'k': not UTF-8"),
    "key twice": (with_key(KEYS[2]), "'llama.block_count' stands there twice"),
    "unknown type": (with_key(Key("k", 13, b"")), "'k': values of type 13, which the format does not know"),
    "unknown type 2**32 - 1": (with_key(Key("k", (1 << 32) - 1, b"")), "'k': values of type 4294967295"),
    "array of unknown type": (with_key(Key("k", "array", array(13, b"", 0))), "'k': values of type 13"),
    "truth value 2": (with_key(Key("k", "bool", 2)), "'k': a truth value that is neither 0 nor 1"),
    "truth values 0 and 255": (with_key(Key("k", "array", ("bool", [0, 255]))), "'k': a truth value"),
    "array of arrays": (with_key(Key("k", "array", array("array", array("u8", b"", 0), 1))), "'k': an array of arrays"),
    "array of 2**60 bytes": (with_key(Key("k", "array", array("u8", b"", 1 << 60))), "'k': an array of 1152921504606"),
    "array of 2**64 - 1 texts": (with_key(Key("k", "array", array("str", b"", (1 << 64) - 1))), "an array of 184467"),
    "array longer than the file": (
        with_key(Key("k", "array", array("f64", b"", MAX_VALUES - 12))), r"'k' at byte \d+ needs 16777120 bytes"),
    "texts longer than the file": (with_key(Key("k", "array", array("str", b"", MAX_VALUES - 12))), "'k'"),
    "values of all arrays": (
        with_key(Key("k", "array", array("u8", bytes(MAX_VALUES - 11), MAX_VALUES - 11))), "'k'.*in all arrays"),
    "alignment 0": (aligned_to(0), "general.alignment is 0; it must be a power of two"),
    "alignment 24": (aligned_to(24), "general.alignment is 24"),
    "alignment 2**31": (aligned_to(1 << 31), "general.alignment is 2147483648"),
    "alignment as text": (aligned_to("32", "str"), "general.alignment is '32'"),
    "alignment -32": (aligned_to(-32, "i32"), "general.alignment is -32"),
    "another alignment than said": (aligned_to(64), "tensor 'blk.0.attn_q.weight': offset 32 is no multiple"),
    "no axes": (with_tensors(floats(sizes=())), "tensor 'a': 0 axes; 1 to 4 are possible"),
    "five axes": (with_tensors(floats(sizes=(1, 1, 1, 1, 8))), "tensor 'a': 5 axes"),
    "2**32 - 1 axes": (
        with_tensors(Entry("a", (), 0, b"")).replace(b"a" + bytes(4), b"a" + b"\xff" * 4), "4294967295 axes"),
    "size 0": (with_tensors(floats(sizes=(8, 0))), r"tensor 'a': shape \[0, 8\] holds no values"),
    "size 2**63": (with_tensors(floats(sizes=(1 << 63,))), "truncated, .* of 36893488147419103"),
    "product beyond 64 bits": (with_tensors(floats(sizes=(1 << 33, 1 << 33))), "truncated"),
    "part of a block": (with_tensors(floats(sizes=(31,), number=2)), "rows of 31 numbers .* blocks of 32, as Q4_0"),
    "rows of part of a block": (with_tensors(floats(sizes=(16, 2), number=8)), "rows of 16 numbers"),
    "IQ4_NL": (with_tensors(floats(sizes=(32,), number=20)), "format IQ4_NL; F32, F16, Q4_0, .*, BF16 are read"),
    "MXFP4": (with_tensors(floats(sizes=(32,), number=39)), "'a': number format MXFP4"),
    "I32": (with_tensors(floats(number=26)), "'a': number format I32"),
    "format 4": (with_tensors(floats(number=4)), "'a': number format with number 4"),
    "format 2**32 - 1": (with_tensors(floats(number=(1 << 32) - 1)), "'a': number format with number 4294967295"),
    "name of 201 bytes": (with_tensors(floats("a" * 201)), "the name of a tensor: a text of 201 bytes; at most 200"),
    "name not UTF-8": (with_tensors(Entry(b"\xff", (8,), 0, bytes(32))), "the name of a tensor: not UTF-8"),
    "name of control characters": (
        with_tensors(floats("a\x1b[2J\n"), floats("b", offset=0)), r"overlaps a\\x1b\[2J\\n"),
    "name twice": (with_tensors(floats(), floats()), "tensor 'a' stands there twice"),
    "overlap": (with_tensors(floats(sizes=(16,)), floats("b", offset=32)), "tensor 'b' overlaps a at byte"),
    "offset 1": (with_tensors(floats(offset=1)), "tensor 'a': offset 1 is no multiple of the alignment 32"),
    "hole": (with_tensors(floats(), floats("b", offset=64)), "tensor 'b' leaves 32 bytes unused after a"),
    "first tensor late": (with_tensors(floats(offset=32)), "tensor 'a' leaves 32 bytes unused after the header"),
    "offset outside": (with_tensors(floats(), floats("b", offset=1 << 40)), "tensor 'b' leaves"),
    "offset 2**64 - 32": (with_tensors(floats(offset=(1 << 64) - 32)), "tensor 'a' leaves"),
    "trailing bytes": (CONTENT + b"PK\x03\x04", "28 trailing bytes after output_norm.weight"),
    "data too short": (CONTENT[:-25], r"truncated, \d+ of \d+ bytes; fetch it again"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
def test_a_bad_file_is_refused_at_once_naming_itself(tmp_path: Path, content: bytes, message: str) -> None:
    tracemalloc.start()
    began = time.process_time()

    with pytest.raises(ModelFileError, match=message) as raised:
        read(tmp_path, content)

    took, peak = time.process_time() - began, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(tmp_path / "model.gguf") in str(raised.value)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 1000
    assert took < 5
    assert peak < 32 << 20


def test_a_sound_file_is_read(tmp_path: Path) -> None:
    found = read(tmp_path, CONTENT)

    assert found.metadata["general.name"] == "naïve 🦜"
    assert found.metadata["llama.block_count"] == 1
    assert found.metadata["llama.attention.causal"] is True
    assert found.metadata["tokenizer.ggml.tokens"] == ["a", "b", "", "Ġhé"]
    np.testing.assert_array_equal(found.metadata["tokenizer.ggml.scores"], np.array([0, -1, -2.5, 0.25], np.float32))
    assert {name: (t.shape, t.format.name, t.size) for name, t in found.tensors.items()} == {
        "token_embd.weight": ((3, 2), "F32", 24),
        "blk.0.attn_q.weight": ((2, 32), "Q8_0", 68),
        "output_norm.weight": ((2,), "F32", 8),
    }
    for entry in TENSORS:
        tensor = found.tensors[str(entry.name)]
        assert CONTENT[tensor.offset : tensor.offset + tensor.size] == entry.data


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(SOUND.with_(version=2).pack(), id="version 2"),
        pytest.param(SOUND.with_(tensors=[]).pack(), id="a vocabulary alone"),
        pytest.param(SOUND.with_(keys=[]).pack(), id="no keys"),
        pytest.param(CONTENT[: -(-len(CONTENT) // 32) * 32 - 24], id="no padding at the end"),
        pytest.param(
            File([Key("general.alignment", "u32", 8)], TENSORS, alignment=8).pack(), id="another alignment"
        ),
        pytest.param(with_key(Key("k", "array", ("bool", [0, 1, 1]))), id="array of truth values"),
        pytest.param(with_key(Key("k", "array", array("str", b"", 0))), id="empty array"),
        pytest.param(with_key(Key("k", "u64", (1 << 64) - 1), Key("l", "i64", -1), Key("m", "f64", 0.1)), id="64 bits"),
    ],
)  # fmt: skip
def test_an_odd_but_sound_file_is_read_as_the_library_reads_it(tmp_path: Path, content: bytes) -> None:
    library = pytest.importorskip("gguf")

    found = read(tmp_path, content)

    theirs = library.GGUFReader(tmp_path / "model.gguf")
    keys = {name: field.contents() for name, field in theirs.fields.items() if not name.startswith("GGUF.")}
    ours = {name: x.tolist() if isinstance(x, np.ndarray) else x for name, x in found.metadata.items()}
    assert ours == keys
    assert {(t.name, t.offset, t.size) for t in found.tensors.values()} == {
        (t.name, t.data_offset, t.n_bytes) for t in theirs.tensors
    }


def test_a_file_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    whole = -(-len(CONTENT) // 32) * 32 - 24  # the last tensor's own end

    for end in range(whole):
        with pytest.raises(ModelFileError, match=r"model\.gguf: "):
            read(tmp_path, CONTENT[:end])


def test_a_vocabulary_of_a_hundred_thousand_is_read_in_a_moment(tmp_path: Path) -> None:
    words = [f"Ġword{i}" for i in range(98_000)]
    content = SOUND.with_(keys=[*KEYS, Key("words", "array", ("str", words))]).pack()
    (tmp_path / "model.gguf").write_bytes(content)
    took = []

    for _ in range(3):
        began = time.process_time()
        found = read(tmp_path, content)
        took.append(time.process_time() - began)

    assert found.metadata["words"] == words
    assert min(took) < 0.3
