"""The noise that draws are made with, bit for bit and then to the last digits of float32."""

import numpy as np
import pytest

from arrayformer.core.sampling import gumbel_noise, mix


def lowbias32(x):
    """https://github.com/skeeto/hash-prospector, on Python's integers."""
    x ^= x >> 16
    x = x * 0x7FEB352D & 0xFFFFFFFF
    x ^= x >> 15
    x = x * 0x846CA68B & 0xFFFFFFFF
    return x ^ x >> 16


@pytest.fixture(scope="module")
def many():
    """int32 values with every bit in use, the edges among them."""
    edges = [0, 1, -1, 2**31 - 1, -(2**31), 2**30, 0x7FEB352D]
    return np.array([*edges, *np.random.default_rng(0).integers(-(2**31), 2**31, 500)], dtype=np.int32)


def test_the_hash_is_lowbias32(many):
    with np.errstate(over="ignore"):
        hashed = mix(many).view(np.uint32)

    assert hashed.tolist() == [lowbias32(int(x) & 0xFFFFFFFF) for x in many]


@pytest.mark.parametrize("word", [0, 1, -123456789, 2**31 - 1])
def test_the_noise_is_gumbels_of_the_hash_of_word_and_id(word):
    ids = np.arange(1 << 18, dtype=np.int32)

    with np.errstate(over="ignore"):
        noise = gumbel_noise(np.array([word], dtype=np.int32), ids)[0]

    assert noise.dtype == np.float32
    for id in (0, 1, 2, 50256, int(noise.argmin()), int(noise.argmax())):
        inner = lowbias32((id * 0x9E3779B1 ^ word) & 0xFFFFFFFF)
        bits = lowbias32((inner + word) & 0xFFFFFFFF) & 0x7FFFFFFF
        u = float(min((np.float32(bits) + np.float32(0.5)) * np.float32(2**-31), np.float32(1 - 2**-24)))
        assert noise[id] == pytest.approx(-np.log(-np.log1p(-u)), rel=1e-5, abs=1e-6)
    assert noise.mean() == pytest.approx(np.euler_gamma, abs=0.02)


def unmixed(x):
    """The inverse of `lowbias32`."""
    x ^= x >> 16
    x = x * pow(0x846CA68B, -1, 1 << 32) & 0xFFFFFFFF
    x ^= x >> 15 ^ x >> 30
    x = x * pow(0x7FEB352D, -1, 1 << 32) & 0xFFFFFFFF
    return x ^ x >> 16


@pytest.mark.parametrize(
    ("bits", "noise"), [(0xFFFFFFFF, -np.log(24 * np.log(2))), (0, 32 * np.log(2)), (1, -np.log(1.5 * 2.0**-31))]
)
def test_the_rarest_words_make_the_noise_at_the_ends_and_it_is_finite(bits, noise):
    id = unmixed(unmixed(bits)) * pow(0x9E3779B1, -1, 1 << 32) & 0xFFFFFFFF
    ids = np.array([id], dtype=np.uint32).view(np.int32)

    with np.errstate(over="ignore"):
        found = gumbel_noise(np.zeros(1, dtype=np.int32), ids)

    assert found.item() == pytest.approx(noise, rel=1e-6)
