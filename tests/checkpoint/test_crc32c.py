"""CRC-32C against the check values of its standards and against the definition, bit by bit."""

from typing import Any

import numpy as np
import pytest

from arrayformer.core.checkpoint.crc32c import crc32c, masked


def by_definition(data: bytes) -> Any:
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = (state >> 1) ^ (0x82F63B78 if state & 1 else 0)
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


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 9, 63, 64, 65, 4099])
def test_any_length_and_alignment_agrees_with_the_definition(size: int) -> None:
    data = np.random.default_rng(size).integers(0, 256, size + 1, dtype=np.uint8)[1:]

    assert crc32c(data) == by_definition(data.tobytes())


@pytest.mark.parametrize("extra", [-1, 0, 1, 8])
def test_more_than_a_chunk_agrees_with_the_crc_of_its_parts(extra: Any) -> None:
    chunk = 16 * 6293 * 8
    data = np.random.default_rng(0).integers(0, 256, 2 * chunk + extra, dtype=np.uint8)
    changed = data.copy()
    changed[chunk - 3] ^= 0x10

    # A CRC is affine: what one changed bit adds depends on its distance from the end alone.
    distance = data.size - (chunk - 3)
    one, none = np.zeros(distance, np.uint8), np.zeros(distance, np.uint8)
    one[0] = 0x10
    assert crc32c(data) ^ crc32c(changed) == crc32c(one) ^ crc32c(none)
    assert crc32c(data) != crc32c(data[:-1])


def test_the_mask_is_tensorflows() -> None:
    assert masked(0xE3069283) == (((0xE3069283 >> 15) | (0xE3069283 << 17)) + 0xA282EAD8) % 2**32
