"""GGUF files written byte by byte, sound until a test breaks them."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

ALIGNMENT = 32
TYPES = {"u8": 0, "i8": 1, "u16": 2, "i16": 3, "u32": 4, "i32": 5, "f32": 6, "bool": 7, "str": 8, "array": 9, "u64": 10,
         "i64": 11, "f64": 12}  # fmt: skip
_CODES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}


def text(value: str | bytes, size: int | None = None) -> bytes:
    """A length, which may lie, and the bytes."""
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(data) if size is None else size) + data


def value(kind: str | int, content: Any) -> bytes:
    """A value without its type. Bytes stay as they are; an array is (type of its values, values)."""
    number = TYPES[kind] if isinstance(kind, str) else kind
    if isinstance(content, bytes):
        return content
    if number == TYPES["str"]:
        return text(content)
    if number == TYPES["array"]:
        inner, values = content
        return array(inner, b"".join(value(inner, v) for v in values), len(values))
    return struct.pack(f"<{_CODES[number]}", content)


def array(kind: str | int, content: bytes, count: int) -> bytes:
    """An array's type, its count, which may lie, and its bytes."""
    return struct.pack("<IQ", TYPES[kind] if isinstance(kind, str) else kind, count) + content


@dataclass(frozen=True)
class Key:
    """A pair of the metadata."""

    name: str | bytes
    kind: str | int
    content: Any

    def pack(self) -> bytes:
        number = TYPES[self.kind] if isinstance(self.kind, str) else self.kind
        return text(self.name) + struct.pack("<I", number) + value(number, self.content)


@dataclass(frozen=True)
class Entry:
    """A tensor: sizes innermost first, GGML's number of its format, and its bytes. The offset may lie."""

    name: str | bytes
    sizes: Sequence[int]
    number: int
    data: bytes
    offset: int | None = None

    def pack(self, offset: int) -> bytes:
        head = text(self.name) + struct.pack("<I", len(self.sizes)) + struct.pack(f"<{len(self.sizes)}Q", *self.sizes)
        return head + struct.pack("<IQ", self.number, offset if self.offset is None else self.offset)


@dataclass(frozen=True)
class File:
    """A file; `pack` gives its bytes. Both counts may lie."""

    keys: Sequence[Key]
    tensors: Sequence[Entry]
    version: int = 3
    n_tensors: int | None = None
    n_keys: int | None = None
    alignment: int = ALIGNMENT
    order: str = "<"

    def with_(self, **fields: Any) -> "File":
        return replace(self, **fields)

    def pack(self) -> bytes:
        n_tensors = len(self.tensors) if self.n_tensors is None else self.n_tensors
        n_keys = len(self.keys) if self.n_keys is None else self.n_keys
        head = b"GGUF" + struct.pack(f"{self.order}IQQ", self.version, n_tensors, n_keys)
        head += b"".join(key.pack() for key in self.keys)
        data = b""
        for tensor in self.tensors:
            head += tensor.pack(len(data))
            data += padded(tensor.data, self.alignment)
        return padded(head, self.alignment) + data


def padded(data: bytes, alignment: int) -> bytes:
    """`data` with zeros up to the next multiple."""
    return data + bytes(-len(data) % alignment)


KEYS = [
    Key("general.architecture", "str", "llama"),
    Key("general.name", "str", "naïve 🦜"),
    Key("llama.block_count", "u32", 1),
    Key("llama.rope.freq_base", "f32", 10000.0),
    Key("llama.attention.causal", "bool", 1),
    Key("tokenizer.ggml.tokens", "array", ("str", ["a", "b", "", "Ġhé"])),
    Key("tokenizer.ggml.token_type", "array", ("i32", [1, 1, 3, 1])),
    Key("tokenizer.ggml.scores", "array", ("f32", [0.0, -1.0, -2.5, 0.25])),
]
TENSORS = [
    Entry("token_embd.weight", (2, 3), 0, struct.pack("<6f", *range(6))),
    Entry("blk.0.attn_q.weight", (32, 2), 8, (struct.pack("<e", 0.5) + bytes(range(32))) * 2),
    Entry("output_norm.weight", (2,), 0, struct.pack("<2f", 1, 2)),
]
SOUND = File(KEYS, TENSORS)
