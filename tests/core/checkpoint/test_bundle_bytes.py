"""The pieces a TensorFlow index is made of, byte by byte."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from arrayformer.core.checkpoint.bundle import BundleEntry, _Bytes, _check_header, _entry, _fields, _shape
from arrayformer.core.checkpoint.safetensors_file import Entry
from arrayformer.core.errors import ModelFileError
from arrayformer.core.files.kinds import kind_of
from arrayformer.core.files.untrusted import ModelFile, shown


def message(data: bytes) -> _Bytes:
    """`data` as it stands at byte 100 of a file."""
    return _Bytes(cast(ModelFile, SimpleNamespace(path=Path("x.index"))), data, 100)


@pytest.mark.parametrize(
    ("data", "number"),
    [
        (b"\x00", 0),
        (b"\x7f", 127),
        (b"\x80\x01", 128),
        (b"\xff\xff\x03", 0xFFFF),
        (b"\x81\x00", 1),
        (b"\xff" * 9 + b"\x01", 2**64 - 1),
        (b"\xff" * 9 + b"\x02", "an integer of more than 64 bits at byte 110"),
        (b"\x80" * 10 + b"\x00", "an integer of more than 64 bits at byte 110"),
        (b"\x80", "1 bytes announced, 0 are left at byte 101"),
    ],
)
def test_an_integer_has_seven_bits_a_byte_and_64_at_most(data: bytes, number: Any) -> None:
    if isinstance(number, int):
        assert message(data + b"rest").varint() == number
    else:
        with pytest.raises(ModelFileError, match=number):
            message(data).varint()


def test_fields_of_every_kind_are_told_apart() -> None:
    data = b"\x08\x96\x01" + b"\x12\x02ab" + b"\x19" + (7).to_bytes(8, "little") + b"\x25" + (9).to_bytes(4, "little")

    numbers = [(number, value if isinstance(value, int) else value.data) for number, value in _fields(message(data))]

    assert numbers == [(1, 150), (2, b"ab"), (3, 7), (4, 9)]
    inner = next(value for number, value in _fields(message(data)) if number == 2)
    assert cast(_Bytes, inner).start == 105
    for wire in (3, 4, 6, 7):
        with pytest.raises(ModelFileError, match=f"a field of the unknown type {wire} at byte 101"):
            list(_fields(message(bytes([8 | wire]))))


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        (b"", ()),
        (b"\x12\x02\x08\x05", (5,)),
        (b"\x12\x02\x08\x05\x12\x03\x08\x80\x02", (5, 256)),
        (b"\x12\x00", (0,)),  # a size that is not written is 0
        (b"\x12\x04\x08\x05\x08\x06", (6,)),  # the last one counts
        (b"\x12\x02\x10\x05", (0,)),  # another field
        (b"\x18\x01\x12\x02\x08\x05", (5,)),
    ],
)
def test_a_shape_is_the_sizes_of_its_dimensions(data: bytes, shape: tuple[int, ...]) -> None:
    assert _shape(message(data)) == shape


F32, SHAPE, PLACE, SUM = b"\x08\x01", b"\x12\x04\x12\x02\x08\x03", b"\x20\x07\x28\x0c", b"\x35\x09\x00\x00\x00"


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (F32 + SHAPE + PLACE + SUM, BundleEntry(Entry("F32", (3,), 7, 12), 9)),
        (F32 + SHAPE + b"\x28\x0c", BundleEntry(Entry("F32", (3,), 0, 12), 0)),
        (b"\x08\x03" + SHAPE + PLACE, BundleEntry(Entry("number 3 of TensorFlow", (3,), 7, 12), 0)),
        (b"", BundleEntry(Entry("number 0 of TensorFlow", (), 0, 0), 0)),
        (F32 + b"\x28\x04", BundleEntry(Entry("F32", (), 0, 4), 0)),
        (F32 + SHAPE + b"\x28\x0b", r"of shape \[3\] and 11 bytes"),
        (F32 + SHAPE, r"of shape \[3\] and 0 bytes"),
        (F32 + SHAPE + PLACE + b"\x3a\x00", "tensor 'x' in slices"),
    ],
)
def test_an_entry_says_where_a_tensor_lies(data: bytes, found: Any) -> None:
    if isinstance(found, BundleEntry):
        assert _entry("x", message(data)) == found
    else:
        with pytest.raises(ModelFileError, match=found):
            _entry("x", message(data))


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"", "0 data files"), (b"\x08\x02", "2 data files"), (b"\x08\x01\x10\x01", "big-endian")],
)
def test_a_header_of_another_kind_is_refused(data: bytes, said: str) -> None:
    _check_header(message(b"\x08\x01\x10\x00"))
    with pytest.raises(ModelFileError, match=said):
        _check_header(message(data))


@pytest.mark.parametrize(
    ("text", "limit", "line"),
    [
        ("x" * 200, 200, "x" * 200),
        ("x" * 201, 200, "x" * 197 + "..."),
        ("abcdef", 6, "abcdef"),
        ("abcdefg", 6, "abc..."),
        ("a\nb\x1b", 60, "a\\nb\\x1b"),
        ("\n\n\n\n", 6, "\\n\\..."),
        (5, 60, "5"),
    ],
)
def test_what_somebody_else_wrote_is_shown_on_one_line_of_a_length(text: object, limit: int, line: str) -> None:
    assert shown(text, limit) == line
    assert shown("y" * 201) == "y" * 197 + "..."


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\x80\x02}", "pickle"),
        (b"\x80\x05", "pickle"),
        (b"\x80\x06", None),
        (b"\x80", None),
        (b"\x81\x02", None),
        (b"\xef\xbb\xbf \n<html>", "HTML"),
        (b"{}", None),
        (b"", None),
        (b"GGUF", "GGUF"),
    ],
)
def test_a_file_of_another_kind_is_told_by_its_first_bytes(head: bytes, kind: str | None) -> None:
    found = kind_of(head)

    assert found is None if kind is None else kind in str(found)
