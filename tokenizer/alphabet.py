"""The printable alphabet: one visible character for each of the 256 bytes.

A byte-level BPE works on bytes, but its table is a text file. So that every token can be written there, each byte
has a character that prints: itself where Latin-1 prints it, else the next character from U+0100 on. The space
becomes `Ġ`, the newline `Ċ`. The order, which is also the order of GPT-2's first 256 ids, is that of
`bytes_to_unicode` in OpenAI's `encoder.py`.
"""

from arrayformer.core.errors import TokenizerError

_VISIBLE = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
_HIDDEN = [byte for byte in range(256) if byte not in _VISIBLE]

BYTE_ORDER: list[int] = _VISIBLE + _HIDDEN
"""The 256 bytes in the order in which the alphabet (and GPT-2's vocabulary) counts them."""

_CHARACTERS = {byte: chr(byte) for byte in _VISIBLE} | {byte: chr(256 + n) for n, byte in enumerate(_HIDDEN)}

PRINTABLE: list[str] = [_CHARACTERS[byte] for byte in range(256)]
"""PRINTABLE[byte] is the character that stands for the byte."""

_TO_BYTE = {ord(character): byte for byte, character in enumerate(PRINTABLE)}


def to_printable(data: bytes) -> str:
    """Bytes as the table writes them: b" the" -> "Ġthe"."""
    return "".join(map(PRINTABLE.__getitem__, data))


def to_bytes(token: str) -> bytes:
    """A token of the table as its bytes: "Ġthe" -> b" the". Raises TokenizerError for a foreign character."""
    try:
        return bytes(map(_TO_BYTE.__getitem__, map(ord, token)))
    except KeyError as outside:
        character = chr(outside.args[0])
        raise TokenizerError(
            f"the token {token[:60]!r} holds {character!r} (U+{ord(character):04X}), which stands for no byte: "
            "this is not a byte-level BPE table"
        ) from None
