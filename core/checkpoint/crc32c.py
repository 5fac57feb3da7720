"""CRC-32C (Castagnoli, RFC 3720 appendix B.4), fast enough in NumPy for gigabytes.

A message is a polynomial over GF(2), its CRC the remainder after division by P. Three steps, each keeps that remainder:

1. P divides Q = x^6777 + x^484 + x^100 + 1 (found by search), and so P^64, hence P too, divides Q(x^64).
   So 64-bit words can be taken away at the front and added (XOR) to three places further on: no look-ups.
2. What is left is folded in halves: the first half moved past the second and added to it. Moving
   past n zero bits is a 32 x 32 bit matrix, applied by look-up, a byte at a time.
3. The last word is moved past its own 32 bits.
"""

from functools import cache

import numpy as np

_POLYNOMIAL = 0x82F63B78  # of the reflected form: the lowest bit comes first
_DEGREE, _TERMS = 6777, (484, 100, 0)  # of Q
_BLOCK = _DEGREE - _TERMS[0]  # words that can be taken away at once
_CHUNK = 16 * _BLOCK


def crc32c(data: np.ndarray) -> int:
    """The CRC-32C of contiguous bytes, uint8 [n]."""
    # The state before a message is all ones; that adds what the ones become past the whole message.
    ones = np.full(1, 0xFFFFFFFF, np.uint32)
    for power in range(data.size.bit_length()):
        if data.size >> power & 1:
            ones = _moved(ones, power + 3)
    words = _padded(data) if data.size <= 8 * _DEGREE else _shrink(data).view("<u4")
    return _fold(words) ^ int(ones[0]) ^ 0xFFFFFFFF


def masked(crc: int) -> int:
    """A CRC as TensorFlow stores it, turned so that a CRC over data with CRCs inside stays useful."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _padded(data: np.ndarray) -> np.ndarray:
    """The bytes behind zeros, which change nothing at the front of a message, as 32-bit words."""
    padded = np.zeros(data.size + -data.size % 4, np.uint8)
    padded[padded.size - data.size :] = data
    return padded.view("<u4")


def _shrink(data: np.ndarray) -> np.ndarray:
    """uint64 words with the remainder of `data`, _DEGREE of them however many bytes there are."""
    words = np.zeros(_DEGREE + _CHUNK, np.uint64)
    incoming = words[_DEGREE:].view(np.uint8)
    # The first chunk is the one that may be short.
    first = data.size % incoming.size
    incoming[incoming.size - first :] = data[:first]
    _reduce(words)
    for start in range(first, data.size, incoming.size):
        incoming[:] = data[start : start + incoming.size]
        _reduce(words)
    return words[:_DEGREE]


def _reduce(words: np.ndarray) -> None:
    """Takes the first _CHUNK words away, then moves the rest to the front."""
    for start in range(0, _CHUNK, _BLOCK):
        taken = words[start : start + _BLOCK]
        for term in _TERMS:
            words[start + _DEGREE - term :][:_BLOCK] ^= taken
    words[:_DEGREE] = words[_CHUNK:]


def _fold(words: np.ndarray) -> int:
    """The state after 32-bit words, where it is 0 before them."""
    states = np.zeros(1 << max(words.size - 1, 0).bit_length(), np.uint32)
    states[states.size - words.size :] = words
    while states.size > 1:
        half = states.size // 2
        states = _moved(states[:half], half.bit_length() + 4) ^ states[half:]
    return int(_moved(states, 5)[0])


def _moved(states: np.ndarray, power: int) -> np.ndarray:
    """Each state moved past 2**power bits of zeros."""
    tables, octets = _tables(power), states.astype("<u4", copy=False).view(np.uint8).reshape(-1, 4)
    moved: np.ndarray = tables[0, octets[:, 0]]
    for byte in (1, 2, 3):
        moved ^= tables[byte, octets[:, byte]]
    return moved


@cache
def _tables(power: int) -> np.ndarray:
    """What each byte of a state becomes past 2**power bits of zeros, uint32 [4, 256]."""
    matrix = [_POLYNOMIAL, *(1 << i for i in range(31))]
    for _ in range(power):
        matrix = [_times(matrix, image) for image in matrix]
    tables = np.zeros((4, 256), np.uint32)
    for bit, image in enumerate(matrix):
        table, one = tables[bit // 8], 1 << bit % 8
        np.bitwise_xor(table[:one], np.uint32(image), out=table[one : 2 * one])
    return tables


def _times(matrix: list[int], state: int) -> int:
    product = 0
    for image in matrix:
        product ^= image if state & 1 else 0
        state >>= 1
    return product
