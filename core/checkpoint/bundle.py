"""The index of a TensorFlow tensor bundle (model.ckpt.index), without TensorFlow.

The index is a table of sorted keys and values in LevelDB's table format
(https://github.com/google/leveldb/blob/main/doc/table_format.md), uncompressed. The key "" has a BundleHeaderProto,
each other key is a tensor's name and has a BundleEntryProto
(https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/protobuf/tensor_bundle.proto).
Every length is compared with what is there before it is used, and every block's CRC is checked.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from arrayformer.core.checkpoint.crc32c import crc32c, masked
from arrayformer.core.checkpoint.safetensors_file import MAX_NAME, MAX_TENSORS, Entry
from arrayformer.core.errors import ModelFileError
from arrayformer.core.files.untrusted import ModelFile, shown

# GPT-2 1558M has an index of 38 KB.
MAX_INDEX = 4 << 20

_FOOTER = 48
_MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
_TRAILER = 5  # one byte of compression, four of CRC
_FLOAT = 1  # DataType DT_FLOAT


@dataclass(frozen=True)
class BundleEntry:
    """One tensor of the data file: where it lies, and the CRC of its bytes as it is stored (masked)."""

    entry: Entry
    crc: int


class _Bytes:
    """Part of the index, read from the front; running out is an error that names the place."""

    def __init__(self, file: ModelFile, data: bytes, start: int) -> None:
        self.file, self.data, self.start, self.at = file, data, start, 0

    def __bool__(self) -> bool:
        return self.at < len(self.data)

    def fail(self, what: str) -> NoReturn:
        raise ModelFileError(f"{self.file.path}: {what} at byte {self.start + self.at}; damaged, or not TensorFlow's")

    def take(self, size: int) -> bytes:
        if size > len(self.data) - self.at:
            self.fail(f"{size} bytes announced, {len(self.data) - self.at} are left")
        self.at += size
        return self.data[self.at - size : self.at]

    def varint(self) -> int:
        number = 0
        for shift in range(0, 70, 7):
            byte = self.take(1)[0]
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number if number < 1 << 64 else self.fail("an integer of more than 64 bits")
        return self.fail("an integer of more than 64 bits")


def read_bundle(file: ModelFile) -> dict[str, BundleEntry]:
    """The tensors by name. Raises ModelFileError, naming byte or tensor, for whatever is not as the formats say."""
    if not _FOOTER <= file.size <= MAX_INDEX:
        raise ModelFileError(f"{file.path}: {file.size} bytes; a tensor bundle's index has {_FOOTER} to {MAX_INDEX}")
    footer = file.read(file.size - _FOOTER, _FOOTER)
    if footer[-8:] != _MAGIC:
        raise ModelFileError(f"{file.path}: does not end as a TensorFlow index ends; truncated, or something else")
    handles = _Bytes(file, footer, file.size - _FOOTER)
    _handle(handles)  # of the meta index, which is empty
    values: dict[str, _Bytes] = {}
    for _, handle in _entries(_block(file, *_handle(handles))):
        for key, value in _entries(_block(file, *_handle(handle))):
            if values and key <= next(reversed(values)):
                value.fail(f"the name {shown(key)!r} out of order")
            if len(values) > MAX_TENSORS:
                value.fail(f"more than {MAX_TENSORS} tensors")
            values[key] = value
    if "" not in values:
        raise ModelFileError(f"{file.path}: has no header")
    _check_header(values.pop(""))
    entries = {name: _entry(name, value) for name, value in values.items()}
    _check_apart(file, {name: found.entry for name, found in entries.items()})
    return entries


def _check_apart(file: ModelFile, entries: dict[str, Entry]) -> None:
    """Raises ModelFileError for tensors that share bytes: a file of megabytes could stand for gigabytes of weights."""
    end, before = 0, ""
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].offset, item[1].size)):
        if entry.size and entry.offset < end:
            raise ModelFileError(
                f"{file.path}: tensor {shown(name)!r} at byte {entry.offset} shares bytes with {shown(before)!r}, "
                f"which ends at byte {end}; damaged, or not TensorFlow's"
            )
        if entry.offset + entry.size > end:
            end, before = entry.offset + entry.size, name


def _handle(data: _Bytes) -> tuple[int, int]:
    return data.varint(), data.varint()


def _block(file: ModelFile, offset: int, size: int) -> _Bytes:
    if offset + size + _TRAILER > file.size:
        raise ModelFileError(f"{file.path}: a block of {size} bytes at byte {offset}, beyond the file's {file.size}")
    data = file.read(offset, size + _TRAILER)
    if data[size] != 0:
        raise ModelFileError(f"{file.path}: the block at byte {offset} is compressed, which OpenAI's files are not")
    if masked(crc32c(np.frombuffer(data[: size + 1], np.uint8))) != int.from_bytes(data[size + 1 :], "little"):
        raise ModelFileError(f"{file.path}: the block at byte {offset} does not fit its CRC; damaged, fetch it again")
    return _Bytes(file, data[:size], offset)


def _entries(block: _Bytes) -> Iterator[tuple[str, _Bytes]]:
    """Keys and values. A key shares its first bytes with the one before it; the block ends in a list for searching."""
    count = int.from_bytes(block.data[-4:], "little")
    end = len(block.data) - 4 * (count + 1)
    if end < 0:
        block.fail(f"{count} restarts do not fit")
    entries, key = _Bytes(block.file, block.data[:end], block.start), b""
    while entries:
        shared, fresh, size = entries.varint(), entries.varint(), entries.varint()
        if shared > len(key) or shared + fresh > MAX_NAME:
            entries.fail(f"a name of {shared} + {fresh} bytes after one of {len(key)}")
        key = key[:shared] + entries.take(fresh)
        place = entries.start + entries.at
        yield key.decode("latin-1"), _Bytes(block.file, entries.take(size), place)


def _fields(message: _Bytes) -> Iterator[tuple[int, int | _Bytes]]:
    """Number and value of each field of a protocol buffer message
    (https://protobuf.dev/programming-guides/encoding).
    """
    while message:
        tag = message.varint()
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            yield number, message.varint()
        elif wire == 2:
            size = message.varint()
            place = message.start + message.at
            yield number, _Bytes(message.file, message.take(size), place)
        elif wire in (1, 5):
            yield number, int.from_bytes(message.take(8 if wire == 1 else 4), "little")
        else:
            message.fail(f"a field of the unknown type {wire}")


def _check_header(message: _Bytes) -> None:
    header = {number: value for number, value in _fields(message) if isinstance(value, int)}
    if header.get(1) != 1:
        message.fail(f"{header.get(1, 0)} data files, where OpenAI's form has 1,")
    if header.get(2, 0) != 0:
        message.fail("big-endian data, which is not read,")


def _entry(name: str, message: _Bytes) -> BundleEntry:
    numbers: dict[int, int] = {}
    shape: tuple[int, ...] = ()
    for number, value in _fields(message):
        if isinstance(value, int):
            numbers[number] = value
        elif number == 2:
            shape = _shape(value)
        elif number == 7:
            message.fail(f"tensor {shown(name)!r} in slices")
    dtype = "F32" if numbers.get(1) == _FLOAT else f"number {numbers.get(1, 0)} of TensorFlow"
    size = numbers.get(5, 0)
    if dtype == "F32" and size != math.prod(shape) * 4:
        message.fail(f"tensor {shown(name)!r} of shape {list(shape)} and {size} bytes, which do not fit,")
    return BundleEntry(Entry(dtype, shape, numbers.get(4, 0), size), numbers.get(6, 0))


def _shape(message: _Bytes) -> tuple[int, ...]:
    shape = []
    for number, dimension in _fields(message):
        if number == 2 and isinstance(dimension, _Bytes):
            sizes = [value for field, value in _fields(dimension) if field == 1 and isinstance(value, int)]
            shape.append(sizes[-1] if sizes else 0)
    return tuple(shape)
