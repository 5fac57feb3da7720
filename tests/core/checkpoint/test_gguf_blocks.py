"""Each number format gives the numbers that the package `gguf` gives, bit for bit."""

import numpy as np
import pytest

from arrayformer.core.checkpoint.gguf_blocks import FORMATS, NOT_READ, Format

SCALES = ("d", "m", "dmin")
EXTREMES = np.array([0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x0400, 0x3C00, 0x7BFF, 0xFBFF], "<u2")
INFINITE = np.array([0x7C00, 0xFC00, 0x7E00, 0xFE01], "<u2")


def random_bytes(form: Format, n: int) -> np.ndarray:
    """uint8 [n, bytes of a block]"""
    return np.random.default_rng(0).integers(0, 256, (n, form.block.itemsize), dtype=np.uint8)


def with_scales(raw: np.ndarray, form: Format, scales: np.ndarray) -> np.ndarray:
    """The blocks with float16 scales of these bits, one after the other."""
    blocks = raw.copy().reshape(-1).view(form.block)
    for field in set(form.block.names or ()) & set(SCALES):
        blocks[field] = np.resize(scales, len(blocks)).view("<f2")
    return blocks.view(np.uint8).reshape(raw.shape)


def assert_equal_to_the_library(raw: np.ndarray, form: Format) -> np.ndarray:
    library = pytest.importorskip("gguf")
    with np.errstate(all="ignore"):
        found = form.dequantize(raw.reshape(-1).view(form.block))
        want = library.dequantize(raw, library.GGMLQuantizationType[form.name]).reshape(found.shape)
    assert found.dtype == np.float32
    assert found.shape == (len(raw), form.size)
    nan = np.isnan(want)
    np.testing.assert_array_equal(np.isnan(found), nan)
    np.testing.assert_array_equal(found.view(np.uint32)[~nan], want.view(np.uint32)[~nan])
    return found


SCALED = [form for form in FORMATS.values() if set(form.block.names or ()) & set(SCALES)]


@pytest.mark.parametrize("form", FORMATS.values(), ids=lambda form: form.name)
def test_random_blocks_equal_the_library_bit_for_bit(form: Format) -> None:
    assert_equal_to_the_library(random_bytes(form, 4096), form)


@pytest.mark.parametrize("form", SCALED, ids=lambda form: form.name)
def test_scales_of_every_size_equal_the_library_bit_for_bit(form: Format) -> None:
    scales = np.concatenate([EXTREMES, np.random.default_rng(1).standard_normal(500).astype("<f2").view("<u2")])

    found = assert_equal_to_the_library(with_scales(random_bytes(form, 2048), form, scales), form)

    assert np.isfinite(found).all()


@pytest.mark.parametrize("form", SCALED, ids=lambda form: form.name)
def test_a_scale_that_is_not_finite_makes_no_number_of_its_block_finite(form: Format) -> None:
    found = assert_equal_to_the_library(with_scales(random_bytes(form, 256), form, INFINITE), form)

    assert not np.isfinite(found).all(axis=1).any()


def test_numbers_names_and_sizes_are_those_of_the_library() -> None:
    library = pytest.importorskip("gguf")

    for number, form in FORMATS.items():
        kind = library.GGMLQuantizationType(number)
        assert kind.name == form.name
        assert library.GGML_QUANT_SIZES[kind] == (form.size, form.block.itemsize)
    for number, name in NOT_READ.items():
        assert library.GGMLQuantizationType(number).name == name
