"""The table at the front of a safetensors file, checked more strictly than the library checks it.

Format: 8 bytes little-endian header length, a JSON header {name: {dtype, shape, data_offsets}}, then the tensors'
bytes without gaps (https://github.com/huggingface/safetensors, README, "Format").

The library lets duplicate names through, maps files (a file that shrinks then kills the process) and gives NumPy no
bfloat16, so tensors are read from here by position. What is accepted here the library accepts too, with the same
table: a test holds the two together.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from arrayformer.core.checks import has_lone_surrogate
from arrayformer.core.errors import ModelFileError
from arrayformer.core.files import strict_json
from arrayformer.core.files.kinds import kind_of
from arrayformer.core.files.untrusted import ModelFile, decode, shown

# Those the library and this reader both know, with their bytes; a model's weights may have the first three.
ITEM_SIZES = {
    "F32": 4, "F16": 2, "BF16": 2, "F64": 8, "F8_E4M3": 1, "F8_E5M2": 1, "BOOL": 1,
    "I8": 1, "U8": 1, "I16": 2, "U16": 2, "I32": 4, "U32": 4, "I64": 8, "U64": 8,
}  # fmt: skip

# GPT-2 1558M has 580 tensors in a header of 60 KB.
MAX_HEADER = 4 << 20
MAX_TENSORS = 10_000
MAX_NAME = 200


@dataclass(frozen=True)
class Entry:
    """Where one tensor lies: `offset` and `size` in bytes, from the start of the file."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    size: int


def read_table(file: ModelFile) -> dict[str, Entry]:
    """The tensors of an open safetensors file, by name.

    Raises ModelFileError, naming the tensor, for whatever is not as the format says.
    """
    start = 8 + _header_size(file)
    header = _parse_header(file, start)
    table = {name: _entry(name, info, start, file) for name, info in header.items() if name != "__metadata__"}
    _check_layout(table, start, file)
    return table


def _header_size(file: ModelFile) -> int:
    if file.size < 8:
        what = "empty file (0 bytes)" if file.size == 0 else f"truncated: {file.size} bytes"
        raise ModelFileError(f"{file.path}: {what}; a safetensors file has 8 bytes of header length at least")
    head = file.read(0, min(file.size, 512))
    size = int.from_bytes(head[:8], "little")
    if 0 < size <= min(file.size - 8, MAX_HEADER) and head[8:9] in (b"{", b" ", b"\n", b"\t", b"\r"):
        return size
    if kind := kind_of(head):
        raise ModelFileError(f"{file.path}: not a safetensors file but {kind}")
    if size == 0:
        raise ModelFileError(f"{file.path}: header length 0; not a safetensors file")
    if size > MAX_HEADER:
        raise ModelFileError(
            f"{file.path}: header length {size}, more than the {MAX_HEADER} bytes a model could need; "
            "not a safetensors file, or a damaged one"
        )
    if size > file.size - 8:
        raise ModelFileError(
            f"{file.path}: header length {size}, but only {file.size - 8} bytes follow; a truncated download? "
            "Fetch it again"
        )
    raise ModelFileError(f"{file.path}: the header begins with byte 0x{head[8]:02x}, not with '{{'")


def _parse_header(file: ModelFile, start: int) -> dict[str, Any]:
    where = f"{file.path}: header"
    header = strict_json.parse(decode(file.read(8, start - 8), where), where)
    if not isinstance(header, dict):
        raise ModelFileError(f"{where}: a {type(header).__name__}, not an object of tensors")
    if len(header) > MAX_TENSORS:
        raise ModelFileError(f"{where}: {len(header)} tensors; at most {MAX_TENSORS} are read")
    metadata = header.get("__metadata__") or {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ModelFileError(f"{where}: __metadata__ is not an object of strings")
    for text in _strings(metadata):
        _check_text(text, where)
    return header


def _strings(metadata: dict[str, str]) -> Iterator[str]:
    for key, value in metadata.items():
        yield key
        yield value


def _check_text(text: str, where: str) -> None:
    if has_lone_surrogate(text):
        raise ModelFileError(f"{where}: {shown(text)!r} holds half a surrogate pair, which is no character")


def _entry(name: str, info: Any, start: int, file: ModelFile) -> Entry:
    where = f"{file.path}: tensor {shown(name)!r}"
    _check_text(name, where)
    if not name or len(name) > MAX_NAME:
        raise ModelFileError(f"{where}: a name of {len(name)} characters; 1 to {MAX_NAME} are read")
    if not isinstance(info, dict):
        raise ModelFileError(f"{where}: described by {shown(repr(info), 60)}, not by an object")
    for field in ("dtype", "shape", "data_offsets"):
        if field not in info:
            raise ModelFileError(f"{where}: has no {field}")
    if len(info) > 3:
        extra = next(key for key in info if key not in ("dtype", "shape", "data_offsets"))
        raise ModelFileError(f"{where}: has a field {shown(extra)!r}, which the format does not know")
    return _checked(where, info["dtype"], info["shape"], info["data_offsets"], start)


def _checked(where: str, dtype: Any, shape: Any, offsets: Any, start: int) -> Entry:
    if not isinstance(dtype, str) or dtype not in ITEM_SIZES:
        raise ModelFileError(f"{where}: dtype {shown(repr(dtype), 60)} is not one of {', '.join(ITEM_SIZES)}")
    if not _naturals(shape) or len(shape) > 32:
        raise ModelFileError(f"{where}: shape {shown(repr(shape), 60)} is not a list of sizes of 0 or more")
    if not _naturals(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ModelFileError(f"{where}: data_offsets {shown(repr(offsets), 60)} are not [begin, end]")
    # Python's integers do not overflow; those of the library do, so [0, 2**63, 2] is refused by it as well.
    if 0 in shape:
        raise ModelFileError(f"{where}: shape {shown(shape, 60)} holds no values")
    size, need = offsets[1] - offsets[0], math.prod(shape) * ITEM_SIZES[dtype]
    if size != need:
        raise ModelFileError(
            f"{where}: data_offsets {offsets} hold {size} bytes; shape {shown(shape, 60)} of {dtype} needs {need}"
        )
    return Entry(dtype, tuple(shape), start + offsets[0], size)


def _naturals(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 1 << 63 for n in value)


def _check_layout(table: dict[str, Entry], start: int, file: ModelFile) -> None:
    end, before = start, "the header"
    for name, entry in sorted(table.items(), key=lambda item: item[1].offset):
        if entry.offset != end:
            what = "overlaps" if entry.offset < end else f"leaves {entry.offset - end} bytes unused after"
            raise ModelFileError(f"{file.path}: tensor {shown(name)!r} {what} {shown(before)} at byte {end}")
        end, before = entry.offset + entry.size, name
    if file.size < end:
        raise ModelFileError(f"{file.path}: truncated, {file.size} of {end} bytes; fetch it again")
    if file.size > end:
        raise ModelFileError(f"{file.path}: {file.size - end} trailing bytes after the last tensor at byte {end}")
