"""CRC-32C against the check values of its standards and against the definition, bit by bit."""

from typing import Any

import numpy as np
import pytest

from arrayformer.core.checkpoint.crc32c import crc32c, masked


def divided(state: int) -> int:
    """A state after eight zero bits: the division by the polynomial, bit by bit."""
    for _ in range(8):
        state = (state >> 1) ^ (0x82F63B78 if state & 1 else 0)
    return state


BYTES = [divided(byte) for byte in range(256)]


def by_definition(data: bytes) -> int:
    """The CRC, a byte at a time."""
    state = 0xFFFFFFFF
    for byte in data:
        state = BYTES[(state ^ byte) & 0xFF] ^ (state >> 8)
    return state ^ 0xFFFFFFFF


# RFC 3720, appendix B.4; the first is the usual check value of a CRC.
@pytest.mark.parametrize(
    ("data", "crc"),
    [
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"", 0),
    ],
)
def test_published_values_come_out(data: bytes, crc: Any) -> None:
    assert crc32c(np.frombuffer(data, np.uint8)) == crc


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 9, 63, 64, 65, 4099, 54_216, 54_217, 805_504, 1_611_011])
def test_any_length_and_alignment_agrees_with_the_definition(size: int) -> None:
    data = np.random.default_rng(size).integers(0, 256, size + 1, dtype=np.uint8)[1:]

    assert crc32c(data) == by_definition(data.tobytes())


def test_the_mask_is_tensorflows() -> None:
    assert masked(0xE3069283) == (((0xE3069283 >> 15) | (0xE3069283 << 17)) + 0xA282EAD8) % 2**32
