"""What is wrong with the front of a safetensors file is said, and what passes here passes the library."""

import copy
import json
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
import safetensors as library
from hypothesis import HealthCheck, given, settings
from tests.core.checkpoint.model_files import data_of, named, packed, safetensors, table, write_model

from arrayformer.core.checkpoint import read_checkpoint
from arrayformer.core.checkpoint.safetensors_file import read_table
from arrayformer.core.errors import ModelFileError
from arrayformer.core.files.untrusted import open_inside

TENSORS = named()
SOUND = safetensors(TENSORS)
DATA = data_of(TENSORS)
WTE = "transformer.wte.weight"
WTE_SIZE = TENSORS[WTE].nbytes


def with_wte(**fields: Any) -> Any:
    """The file with other fields for wte; a field that is `...` goes away."""
    header = table(TENSORS)
    header[WTE] = {name: value for name, value in (header[WTE] | fields).items() if value is not ...}
    return packed(header, DATA)


def with_text(old: Any, new: Any) -> Any:
    """The file with `old` in its header's text replaced."""
    text = json.dumps(table(TENSORS))
    assert old in text
    return packed(text.replace(old, new, 1).encode(), DATA)


def renamed(name: str) -> Any:
    header = table(TENSORS)
    header = {name if key == WTE else key: value for key, value in header.items()}
    return packed(header, DATA)


def with_metadata(metadata: Any) -> Any:
    return packed({"__metadata__": metadata} | table(TENSORS), DATA)


def many_names() -> Any:
    entry = json.dumps({"dtype": "U8", "shape": [1], "data_offsets": [0, 1]})
    return packed(("{" + ",".join(f'"{i}":{entry}' for i in range(10_001)) + "}").encode(), b"\0")


BAD = {
    "S-01 empty": (b"", "empty file"),
    "S-02 seven bytes": (b"1234567", "truncated: 7 bytes"),
    "S-03 length 0": (struct.pack("<Q", 0) + b"{}", "header length 0"),
    "S-04 length 2**64 - 1": (b"\xff" * 8 + b"{}", "header length 18446744073709551615"),
    "S-05 length 100,000,001": (packed(b"{}", length=100_000_001), "header length 100000001"),
    "S-07 length beyond the file": (packed(b"{}  ", length=200), "truncated download"),
    "S-08 not UTF-8": (packed(b'{"\xff": 1}'), "not UTF-8 at byte 2"),
    "S-09 byte order mark": (packed(b"\xef\xbb\xbf{}"), "begins with byte 0xef"),
    "S-11 array": (packed(b" []"), "not an object"),
    "S-11 null": (packed(b" null"), "not an object"),
    "S-11 number": (packed(b" 12"), "not an object"),
    "S-11 string": (packed(b' "a"'), "not an object"),
    "S-12 text after the end": (packed(b"{} x"), "not JSON at line 1, column 4"),
    "S-12 nested too deeply": (packed(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "nested too deeply"),
    "S-14 duplicate tensor": (with_text('"transformer.ln_f.bias"', '"transformer.ln_f.weight"'), "ln_f.weight.*twice"),
    "S-15 duplicate metadata": (packed(b'{"__metadata__": {}, "__metadata__": {}}'), "__metadata__.*twice"),
    "S-16 duplicate dtype": (with_text('"dtype": "F32"', '"dtype": "F32", "dtype": "F32"'), "dtype.*twice"),
    "S-18 no shape": (with_wte(shape=...), "wte.*has no shape"),
    "S-18 no dtype": (with_wte(dtype=...), "wte.*has no dtype"),
    "S-18 no data_offsets": (with_wte(data_offsets=...), "wte.*has no data_offsets"),
    "S-18 not an object": (with_text(json.dumps(table(TENSORS)[WTE]), "[]"), "not by an object"),
    "S-18 a field too many": (with_wte(code="x"), "wte.*a field 'code'"),
    "S-19 unknown dtype": (with_wte(dtype="Q32"), "wte.*'Q32' is not one of F32"),
    "S-19 lower case": (with_wte(dtype="f32"), "wte.*'f32'"),
    "S-19 dtype is a list": (with_wte(dtype=["F32"]), "wte.*dtype"),
    "S-20 integers": (with_wte(dtype="I32"), "wte.*dtype I32 is not one of F32, F16, BF16"),
    "S-20 complex": (with_wte(dtype="C64"), "wte.*'C64'"),
    "S-21 negative": (with_wte(shape=[-11, -6]), r"wte.*shape \[-11, -6\]"),
    "S-21 float": (with_wte(shape=[11.0, 6]), "wte.*shape"),
    "S-21 string": (with_wte(shape=["11", 6]), "wte.*shape"),
    "S-21 true": (with_wte(shape=[66, True]), "wte.*shape"),
    "S-21 null": (with_wte(shape=None), "wte.*shape"),
    "S-21 minus zero": (with_text('"data_offsets": [0,', '"data_offsets": [-0,'), "data_offsets"),
    "S-22 overflow": (with_wte(shape=[2, 1 << 63]), "wte.*shape"),
    "S-22 a number of 5,000 digits": (with_text('"shape": [11, 6]', '"shape": [' + "1" * 5000 + "]"), "5000 digits"),
    "S-23 zero times huge": (with_wte(shape=[0, 1 << 62, 4]), "wte.*holds no values"),
    "S-25 no axes": (with_wte(shape=[], data_offsets=[0, 4]), "wte|overlap"),
    "S-26 nothing in it": (with_wte(shape=[0, 6], data_offsets=[0, 0]), "wte.*holds no values"),
    "S-27 negative offset": (with_wte(data_offsets=[-1, WTE_SIZE - 1]), "wte.*data_offsets"),
    "S-27 reversed": (with_wte(data_offsets=[WTE_SIZE, 0]), "wte.*data_offsets"),
    "S-27 float": (with_wte(data_offsets=[0.0, WTE_SIZE]), "wte.*data_offsets"),
    "S-27 huge": (with_wte(data_offsets=[0, 1 << 70]), "wte.*data_offsets"),
    "S-27 one offset": (with_wte(data_offsets=[0]), "wte.*data_offsets"),
    "S-28 overlap": (with_wte(data_offsets=[4, 4 + WTE_SIZE]), "overlaps|leaves"),
    "S-29 many names on one range": (many_names(), "10001 tensors"),
    "S-30 hole": (with_wte(shape=[10, 6], data_offsets=[24, WTE_SIZE]), "leaves 24 bytes unused after the header"),
    "S-31 trailing bytes": (SOUND + b"PK\x03\x04", "4 trailing bytes"),
    "S-32 data too short": (SOUND[:-5], rf"truncated, {len(SOUND) - 5} of {len(SOUND)} bytes"),
    "S-33 size is not shape times dtype": (with_wte(shape=[11, 5]), r"wte.*hold 264 bytes.*needs 220"),
    "S-35 empty name": (renamed(""), "a name of 0 characters"),
    "S-35 lone surrogate": (renamed("\ud800"), "half a surrogate pair"),
    "S-35 long name": (renamed("x" * 5000), "a name of 5000 characters"),
    "S-35 lone surrogate in the metadata": (with_metadata({"a": "\ud800"}), "half a surrogate pair"),
    "S-36 metadata of numbers": (with_metadata({"a": 1}), "__metadata__"),
    "S-36 metadata is a list": (with_metadata(["a"]), "__metadata__"),
    "S-38 a million tensors": (packed(b'{"' + b'a":0,"' * 1_000_000 + b'a":0}'), "header length"),
    "S-39 NaN": (with_text('"shape": [11, 6]', '"shape": NaN'), "NaN is not a JSON number"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
def test_a_bad_file_is_refused_at_once_naming_itself(tmp_path: Path, content: bytes, message: str) -> None:
    model = write_model(tmp_path / "model", weights=content)
    tracemalloc.start()
    began = time.process_time()

    with pytest.raises(ModelFileError, match=message) as raised:
        read_checkpoint(model)

    took, peak = time.process_time() - began, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(model) in str(raised.value)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 1000
    assert took < 5
    assert peak < 64 << 20


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(packed(b"   " + json.dumps(table(TENSORS)).encode(), DATA), id="S-10 spaces before"),
        pytest.param(packed(json.dumps(table(TENSORS)).encode() + b"   ", DATA), id="spaces after"),
        pytest.param(with_metadata(None), id="S-36 metadata null"),
        pytest.param(with_metadata({"format": "pt", "__reduce__": "os.system"}), id="S-37 metadata like code"),
    ],
)
def test_an_odd_but_sound_file_is_read(tmp_path: Path, content: bytes) -> None:
    model = write_model(tmp_path / "model", weights=content)

    config, params = read_checkpoint(model)

    assert params["wte"].shape == (config.n_vocab, config.n_embd)


MUTATIONS = st.lists(
    st.tuples(st.integers(0, 400), st.sampled_from([*b'{}[]":,-0123456789eE.\\unFB \n\x00\xff\x80']), st.booleans()),
    max_size=4,
)
VALUES: st.SearchStrategy[Any] = st.sampled_from(
    ["F32", "F16", "BF16", "U8", "I64", "F64", "q", [], [2], [2, 3], [0], [1, 0], [0, 24], [24, 48], [0, 48], [12, 24],
     None, True, -1, {}, [[]], "", "é", 1e3]
)  # fmt: skip
deserialize: Callable[[bytes], list[tuple[str, Any]]] = library.deserialize
SMALL = {
    "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b": {"dtype": "BF16", "shape": [12], "data_offsets": [24, 48]},
}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from(["dtype", "shape", "data_offsets", "x"]), VALUES), max_size=3
    ),
    bytes_changed=MUTATIONS,
    cut=st.integers(0, 60),
    length=st.integers(-3, 3),
)
def test_what_is_accepted_the_library_accepts_with_the_same_table(
    tmp_path: Path, edits: Any, bytes_changed: Any, cut: Any, length: Any
) -> None:
    header = copy.deepcopy(SMALL)
    for tensor, field, value in edits:
        header[tensor][field] = value
    text = bytearray(json.dumps(header).encode())
    for place, byte, insert in bytes_changed:
        place %= len(text)
        text[place : place + (not insert)] = bytes([byte])
    content = packed(bytes(text), bytes(range(48)), len(text) + length)
    content = content[: len(content) - cut] if cut < 10 else content
    (tmp_path / "a.safetensors").write_bytes(content)

    try:
        with open_inside(tmp_path, "a.safetensors") as file:
            found = {
                name: (e.dtype, e.shape, content[e.offset : e.offset + e.size]) for name, e in read_table(file).items()
            }
    except ModelFileError:
        return

    theirs = {name: (info["dtype"], tuple(info["shape"]), bytes(info["data"])) for name, info in deserialize(content)}
    assert found == theirs
