"""The number formats of GGUF as float32: the bytes of each block as a NumPy record, and one function each.

The K formats pack 256 numbers with scales of their own for each 16 or 32 of them; the older ones pack 32 numbers with
one scale. Layouts and the order of the arithmetic are those of ggml-quants.c (https://github.com/ggml-org/ggml), so
that results equal those of the package `gguf` bit for bit.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

_Blocks = np.ndarray[Any, np.dtype[Any]]
_HALVES = (0, 4)
_QUARTERS = (0, 2, 4, 6)
_BITS = (0, 1, 2, 3, 4, 5, 6, 7)


@dataclass(frozen=True)
class Format:
    """A number format.

    name        as GGUF calls it
    size        how many numbers a block holds
    block       the fields of a block's bytes
    dequantize  blocks [n] -> float32 [n, size]
    """

    name: str
    size: int
    block: np.dtype[Any]
    dequantize: Callable[[_Blocks], np.ndarray]


def _split_bits(x: np.ndarray, run: int, shifts: tuple[int, ...], mask: int) -> np.ndarray:
    """Packed bytes [n, k * run] -> uint8 [n, k * len(shifts) * run]

    Of each `run` bytes first all numbers at the lowest shift, then all at the next.
    """
    parts = x.reshape(len(x), -1, 1, run) >> np.array(shifts, dtype=np.uint8)[:, None]
    parts &= np.uint8(mask)
    return parts.reshape(len(x), -1)


def _scale(q: np.ndarray, scale: np.ndarray, shift: np.ndarray | None = None) -> np.ndarray:
    """scale * q + shift

    q             [n, size] whole numbers
    scale, shift  [n, k] float32, each for size / k neighbours
    """
    out = q.astype(np.float32).reshape(len(q), scale.shape[1], -1)
    out *= scale[..., None]
    if shift is not None:
        out += shift[..., None]
    return out.reshape(len(q), -1)


def _wide(x: np.ndarray) -> np.ndarray:
    """float16 [n] -> float32 [n, 1]"""
    return x.astype(np.float32)[:, None]


def _centred(q: np.ndarray, middle: int) -> np.ndarray:
    """uint8 -> int8, with `middle` as the new zero"""
    return q.view(np.int8) - np.int8(middle)


def _q4_0(b: _Blocks) -> np.ndarray:
    return _scale(_centred(_split_bits(b["qs"], 16, _HALVES, 15), 8), _wide(b["d"]))


def _q4_1(b: _Blocks) -> np.ndarray:
    return _scale(_split_bits(b["qs"], 16, _HALVES, 15), _wide(b["d"]), _wide(b["m"]))


def _five_bits(b: _Blocks) -> np.ndarray:
    """Four bits of each number stand in `qs`, the fifth bits of all 32 together in `qh`."""
    q: np.ndarray = _split_bits(b["qs"], 16, _HALVES, 15) | (_split_bits(b["qh"], 1, _BITS, 1) << np.uint8(4))
    return q


def _q5_0(b: _Blocks) -> np.ndarray:
    return _scale(_centred(_five_bits(b), 16), _wide(b["d"]))


def _q5_1(b: _Blocks) -> np.ndarray:
    return _scale(_five_bits(b), _wide(b["d"]), _wide(b["m"]))


def _q8_0(b: _Blocks) -> np.ndarray:
    return _scale(b["qs"], _wide(b["d"]))


def _q2_k(b: _Blocks) -> np.ndarray:
    """Each 16 numbers have a scale and a least value of 4 bits."""
    scale = _wide(b["d"]) * (b["scales"] & 15).astype(np.float32)
    least = _wide(b["dmin"]) * (b["scales"] >> 4).astype(np.float32)
    return _scale(_split_bits(b["qs"], 32, _QUARTERS, 3), scale, -least)


def _q3_k(b: _Blocks) -> np.ndarray:
    """Each 16 numbers have a scale of 6 bits, four low ones in the first 8 bytes and two high ones in the last 4."""
    low = _split_bits(b["scales"][:, :8], 8, _HALVES, 15)
    scales = low | (_split_bits(b["scales"][:, 8:], 4, _QUARTERS, 3) << np.uint8(4))
    q = _split_bits(b["qs"], 32, _QUARTERS, 3) | (_split_bits(b["hmask"], 32, _BITS, 1) << np.uint8(2))
    return _scale(_centred(q, 4), _wide(b["d"]) * _centred(scales, 32).astype(np.float32))


def _six_bit_scales(b: _Blocks) -> tuple[np.ndarray, np.ndarray]:
    """Scale and least value of each 32 numbers in Q4_K and Q5_K, float32 [n, 8]

    The first four of each have 6 bits of a byte; the last four keep four bits in `rest` and two atop the first four.
    """
    first_scales, first_least, rest = np.split(b["scales"], 3, axis=1)
    scales = np.concatenate([first_scales & 63, (rest & 15) | (first_scales >> 2 & 48)], axis=1)
    least = np.concatenate([first_least & 63, (rest >> 4) | (first_least >> 2 & 48)], axis=1)
    return _wide(b["d"]) * scales.astype(np.float32), _wide(b["dmin"]) * least.astype(np.float32)


def _q4_k(b: _Blocks) -> np.ndarray:
    scale, least = _six_bit_scales(b)
    return _scale(_split_bits(b["qs"], 32, _HALVES, 15), scale, -least)


def _q5_k(b: _Blocks) -> np.ndarray:
    scale, least = _six_bit_scales(b)
    q = _split_bits(b["qs"], 32, _HALVES, 15) | (_split_bits(b["qh"], 32, _BITS, 1) << np.uint8(4))
    return _scale(q, scale, -least)


def _q6_k(b: _Blocks) -> np.ndarray:
    """Each 16 numbers have a scale of 8 bits."""
    q = _split_bits(b["ql"], 64, _HALVES, 15) | (_split_bits(b["qh"], 32, _QUARTERS, 3) << np.uint8(4))
    return _scale(_centred(q, 32), _wide(b["d"]) * b["scales"].astype(np.float32))


def _float(b: _Blocks) -> np.ndarray:
    return b.astype(np.float32)[:, None]


def _bf16(b: _Blocks) -> np.ndarray:
    """The upper half of a float32."""
    return (b.astype(np.uint32) << np.uint32(16)).view(np.float32)[:, None]


def _format(
    name: str, size: int, dequantize: Callable[[_Blocks], np.ndarray], *fields: tuple[str, str] | tuple[str, str, int]
) -> Format:
    return Format(name, size, np.dtype(list(fields)), dequantize)


_D, _M, _DMIN = ("d", "<f2"), ("m", "<f2"), ("dmin", "<f2")

FORMATS = {
    0: Format("F32", 1, np.dtype("<f4"), _float),
    1: Format("F16", 1, np.dtype("<f2"), _float),
    2: _format("Q4_0", 32, _q4_0, _D, ("qs", "u1", 16)),
    3: _format("Q4_1", 32, _q4_1, _D, _M, ("qs", "u1", 16)),
    6: _format("Q5_0", 32, _q5_0, _D, ("qh", "u1", 4), ("qs", "u1", 16)),
    7: _format("Q5_1", 32, _q5_1, _D, _M, ("qh", "u1", 4), ("qs", "u1", 16)),
    8: _format("Q8_0", 32, _q8_0, _D, ("qs", "i1", 32)),
    10: _format("Q2_K", 256, _q2_k, ("scales", "u1", 16), ("qs", "u1", 64), _D, _DMIN),
    11: _format("Q3_K", 256, _q3_k, ("hmask", "u1", 32), ("qs", "u1", 64), ("scales", "u1", 12), _D),
    12: _format("Q4_K", 256, _q4_k, _D, _DMIN, ("scales", "u1", 12), ("qs", "u1", 128)),
    13: _format("Q5_K", 256, _q5_k, _D, _DMIN, ("scales", "u1", 12), ("qh", "u1", 32), ("qs", "u1", 128)),
    14: _format("Q6_K", 256, _q6_k, ("ql", "u1", 128), ("qh", "u1", 64), ("scales", "i1", 16), _D),
    30: Format("BF16", 1, np.dtype("<u2"), _bf16),
}
"""By GGUF's number."""

NOT_READ = {
    9: "Q8_1", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S",
    22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M", 34: "TQ1_0",
    35: "TQ2_0", 39: "MXFP4", 40: "NVFP4",
}  # fmt: skip
"""The others, so that they can be refused by name."""
