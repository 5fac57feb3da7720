"""The front of a GGUF file: its metadata and its table of tensors, checked before any of it is believed.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Magic, version and two counts; pairs of keys and
values; the table (name, sizes, number format, offset); then the tensors' bytes, each padded to the alignment. All
numbers are little-endian. Sizes stand innermost first; here they are turned round, as everywhere else.

The package `gguf` makes an array for each string, 5 seconds for a vocabulary of 49,152, and maps the file. Here the
file is read by position, and each length is compared with what is left of it before memory is asked for.
"""

import math
import struct
from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np

from arrayformer.core.checkpoint.gguf_blocks import FORMATS, NOT_READ, Format
from arrayformer.core.checkpoint.safetensors_file import MAX_NAME, MAX_TENSORS
from arrayformer.core.errors import ModelFileError
from arrayformer.core.files.kinds import kind_of
from arrayformer.core.files.untrusted import ModelFile, shown

# A vocabulary of 262,144 with scores and types takes 6 MB, one of 201,088 with its merges 9 MB.
MAX_HEADER = 64 << 20
MAX_KEYS = 1000
MAX_KEY = 65535  # the format's own limit
MAX_STRING = 1 << 20
MAX_VALUES = 1 << 21  # in all arrays together
MAX_AXES = 4

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_BOOL, _STRING, _ARRAY = 7, 8, 9
_CHUNK = 1 << 20
_LENGTH = struct.Struct("<Q")

Value = bool | int | float | str | list[str] | np.ndarray
"""Of a key: a number, a text, a list of texts, or an array of numbers."""


@dataclass(frozen=True)
class Tensor:
    """Where one tensor lies: `offset` and `size` in bytes, from the start of the file."""

    name: str
    shape: tuple[int, ...]
    format: Format
    offset: int
    size: int


@dataclass(frozen=True)
class Gguf:
    """What stands at the front of an open file."""

    file: ModelFile
    metadata: dict[str, Value]
    tensors: dict[str, Tensor]


def read_gguf(file: ModelFile) -> Gguf:
    """The metadata and the table of tensors of an open GGUF file.

    Raises ModelFileError, naming the key, the tensor or the byte, for whatever is not as the format says.
    """
    header = _Header(file)
    n_tensors, n_keys = _counts(header)
    metadata: dict[str, Value] = {}
    for _ in range(n_keys):
        key = header.string("the name of a key", MAX_KEY)
        where = f"key {shown(key)!r}"
        if key in metadata:
            header.fail(f"{where} stands there twice; which one counts is not defined")
        metadata[key] = header.value(header.integer("I", where), where)
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or not 1 <= alignment <= 1 << 16 or alignment & (alignment - 1):
        header.fail(f"general.alignment is {shown(repr(alignment), 60)}; it must be a power of two up to 65536")
    entries = [_entry(header) for _ in range(n_tensors)]
    return Gguf(file, metadata, _check_layout(entries, _up(header.at, alignment), alignment, file))


class _Header:
    """The bytes before the tensors, from front to back; they are fetched as they are needed."""

    def __init__(self, file: ModelFile) -> None:
        self.file = file
        self.data = b""
        self.at = 0
        self.n_values = 0

    def fail(self, what: str) -> NoReturn:
        raise ModelFileError(f"{self.file.path}: {what}")

    def take(self, size: int, what: str) -> int:
        """Where the next `size` bytes begin in `data`."""
        end = self.at + size
        if end > len(self.data):
            if end > self.file.size:
                self.fail(f"{what} at byte {self.at} needs {size} bytes, but {self.file.size - self.at} are left")
            if end > MAX_HEADER:
                self.fail(f"{what} at byte {self.at} needs {size} bytes; a header of at most {MAX_HEADER} is read")
            more = max(end - len(self.data), len(self.data), _CHUNK)
            self.data += self.file.read(len(self.data), min(more, self.file.size - len(self.data)))
        self.at = end
        return end - size

    def integer(self, code: str, what: str) -> int:
        start = self.take(struct.calcsize(f"<{code}"), what)  # before `data` is looked at: it may grow
        return int(struct.unpack_from(f"<{code}", self.data, start)[0])

    def string(self, what: str, most: int = MAX_STRING) -> str:
        start = self.take(8, what)
        (size,) = _LENGTH.unpack_from(self.data, start)
        if size > most:
            self.fail(f"{what}: a text of {size} bytes; at most {most} are read")
        start = self.take(size, what)
        try:
            return self.data[start : self.at].decode()
        except UnicodeDecodeError as error:
            self.fail(f"{what}: not UTF-8 at byte {start + error.start} (0x{self.data[start + error.start]:02x})")

    def value(self, kind: int, what: str) -> Value:
        if kind == _STRING:
            return self.string(what)
        if kind == _ARRAY:
            return self.array(what)
        found: Value = self.numbers(kind, 1, what)[0].item()
        return found

    def array(self, what: str) -> list[str] | np.ndarray:
        kind, count = self.integer("I", what), self.integer("Q", what)
        if kind == _ARRAY:
            self.fail(f"{what}: an array of arrays, which no model has and which is not read")
        self.n_values += count
        if self.n_values > MAX_VALUES:
            self.fail(f"{what}: an array of {count} values; at most {MAX_VALUES} are read in all arrays together")
        if kind != _STRING:
            return self.numbers(kind, count, what)
        return [self.string(what) for _ in range(count)]

    def numbers(self, kind: int, count: int, what: str) -> np.ndarray:
        if kind not in _NUMBERS:
            self.fail(f"{what}: values of type {kind}, which the format does not know")
        dtype = np.dtype(f"<{_NUMBERS[kind]}")
        start = self.take(count * dtype.itemsize, what)
        # Anything but 0 and 1 would make a bool of NumPy that is neither.
        if kind == _BOOL and self.data[start : self.at].strip(b"\0\1"):
            self.fail(f"{what}: a truth value that is neither 0 nor 1")
        return np.frombuffer(self.data, dtype, count, start).copy()


def _counts(header: _Header) -> tuple[int, int]:
    """How many tensors and keys follow, where this is a GGUF file of a known version."""
    file = header.file
    head = file.read(0, min(file.size, 512))
    if not head.startswith(_MAGIC):
        kind = kind_of(head)
        begin = f"begins with {head[:4].hex(' ') or 'nothing'}, not with 'GGUF'"
        header.fail(f"not a GGUF file{f' but {kind}' if kind else f': it {begin}'}")
    header.take(4, "the magic")
    version = header.integer("I", "the version")
    if int.from_bytes(version.to_bytes(4, "little"), "big") in _VERSIONS:
        header.fail("a big-endian GGUF file; convert it with gguf-py's gguf_convert_endian.py")
    if version not in _VERSIONS:
        header.fail(f"GGUF version {version}; versions {' and '.join(map(str, _VERSIONS))} are read")
    n_tensors, n_keys = header.integer("Q", "the number of tensors"), header.integer("Q", "the number of keys")
    if n_tensors > MAX_TENSORS or n_keys > MAX_KEYS:
        header.fail(f"{n_tensors} tensors and {n_keys} keys; at most {MAX_TENSORS} and {MAX_KEYS} are read")
    return n_tensors, n_keys


def _entry(header: _Header) -> Tensor:
    """One line of the table, its offset still counted from the first tensor."""
    name = header.string("the name of a tensor", MAX_NAME)
    where = f"tensor {shown(name)!r}"
    n_axes = header.integer("I", where)
    if not 1 <= n_axes <= MAX_AXES:
        header.fail(f"{where}: {n_axes} axes; 1 to {MAX_AXES} are possible")
    shape = tuple(header.integer("Q", where) for _ in range(n_axes))[::-1]
    number, offset = header.integer("I", where), header.integer("Q", where)
    if number not in FORMATS:
        name_of_format = NOT_READ.get(number, f"with number {number}")
        header.fail(f"{where}: number format {name_of_format}; {', '.join(f.name for f in FORMATS.values())} are read")
    form = FORMATS[number]
    if 0 in shape:
        header.fail(f"{where}: shape {list(shape)} holds no values")
    if shape[-1] % form.size:
        header.fail(f"{where}: rows of {shape[-1]} numbers do not fill blocks of {form.size}, as {form.name} has them")
    return Tensor(name, shape, form, offset, math.prod(shape) // form.size * form.block.itemsize)


def _check_layout(entries: list[Tensor], start: int, alignment: int, file: ModelFile) -> dict[str, Tensor]:
    """The tensors by name, where each begins at the first aligned byte after the one before."""
    found: dict[str, Tensor] = {}
    end, before = start, "the header"
    for tensor in sorted(entries, key=lambda tensor: tensor.offset):
        where, begin = f"{file.path}: tensor {shown(tensor.name)!r}", start + tensor.offset
        if tensor.name in found:
            raise ModelFileError(f"{where} stands there twice")
        if tensor.offset % alignment:
            raise ModelFileError(f"{where}: offset {tensor.offset} is no multiple of the alignment {alignment}")
        if begin != _up(end, alignment):
            what = "overlaps" if begin < end else f"leaves {begin - end} bytes unused after"
            raise ModelFileError(f"{where} {what} {shown(before)} at byte {end}")
        found[tensor.name] = replace(tensor, offset=begin)
        end, before = begin + tensor.size, tensor.name
    if file.size < end:
        raise ModelFileError(f"{file.path}: truncated, {file.size} of {end} bytes; fetch it again")
    if file.size > _up(end, alignment):
        raise ModelFileError(f"{file.path}: {file.size - end} trailing bytes after {shown(before)} at byte {end}")
    return found


def _up(n: int, alignment: int) -> int:
    return -(-n // alignment) * alignment
