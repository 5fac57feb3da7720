from dataclasses import replace

import numpy as np
import pytest

from arrayformer.backends.registry import get_backend
from arrayformer.core import packing
from arrayformer.core.backend import Backend
from arrayformer.core.engine import Engine
from arrayformer.core.errors import InputError
from arrayformer.core.models.gpt2 import GPT2
from arrayformer.core.models.llama import Llama
from arrayformer.core.packed import Packed, dequantized
from arrayformer.core.packing import from_blocks, pack_params
from arrayformer.core.params import map_params, random_params, walk

RNG = np.random.default_rng(0)
FORMATS = {"q8_0": ("Q8_0", 34), "q4_0": ("Q4_0", 18), "q4_1": ("Q4_1", 20)}


def matrix(n_row=9, n=96):
    x = RNG.standard_normal((n_row, n)).astype(np.float32) * 0.02
    x[2, :32] = 0.0
    x[3, 1:32:2] = -x[3, 0:32:2]  # the farthest from 0 is there twice
    return x


def q4_1(x):
    blocks = x.reshape(len(x), -1, 32)
    least = blocks.min(axis=-1)
    scales = (blocks.max(axis=-1) - least) / 15
    shares = (blocks - least[..., None]) / np.where(scales == 0, 1, scales)[..., None]
    codes = np.clip(np.round(shares), 0, 15).astype(np.uint8)
    return Packed(codes[..., :16] | codes[..., 16:] << 4, scales.astype(np.float16), least.astype(np.float16))


def packed_as(name, x):
    return q4_1(x) if name == "q4_1" else packing.PACKERS[name](x)


def in_bytes(name, value):
    """The blocks of a GGUF file."""
    fields = [value.scales, value.offsets, value.codes] if name == "q4_1" else [value.scales, value.codes]
    flat = [np.ascontiguousarray(f).reshape(value.scales.size, -1).view(np.uint8) for f in fields]
    return np.concatenate(flat, axis=1)


@pytest.mark.parametrize("name", FORMATS)
def test_a_packed_matrix_stands_for_the_numbers_that_gguf_says(name):
    gguf = pytest.importorskip("gguf")
    x = matrix()
    value = packed_as(name, x)
    kind = getattr(gguf.GGMLQuantizationType, FORMATS[name][0])

    exact = gguf.quants.dequantize(in_bytes(name, value).reshape(len(x), -1), kind)

    np.testing.assert_array_equal(dequantized(value), exact)


@pytest.mark.parametrize("name", packing.PACKERS)
def test_weights_are_packed_as_llama_cpp_packs_them(name):
    gguf = pytest.importorskip("gguf")
    x = matrix(200)

    theirs = gguf.quants.quantize(x, getattr(gguf.GGMLQuantizationType, FORMATS[name][0]))

    np.testing.assert_array_equal(in_bytes(name, packing.PACKERS[name](x)).reshape(len(x), -1), theirs)


@pytest.mark.parametrize(("name", "share"), [("q8_0", 1 / 254), ("q4_0", 1 / 8), ("q4_1", 1 / 30)])
def test_no_number_moves_by_more_than_its_step(name, share):
    x = matrix()
    blocks = x.reshape(len(x), -1, 32)
    reach = np.ptp(blocks, axis=-1) if name == "q4_1" else np.abs(blocks).max(axis=-1)

    moved = np.abs(dequantized(packed_as(name, x)) - x).reshape(blocks.shape).max(axis=-1)

    assert (moved <= reach * (share + 1e-3)).all()


@pytest.mark.parametrize("name", FORMATS)
def test_blocks_of_a_file_become_a_packed_matrix_without_being_widened(name):
    from arrayformer.core.checkpoint.gguf_blocks import FORMATS as IN_FILES

    value = packed_as(name, matrix())
    form = next(f for f in IN_FILES.values() if f.name == FORMATS[name][0])
    blocks = in_bytes(name, value).reshape(-1).view(form.block)

    read = from_blocks(form.name, blocks, 9)

    np.testing.assert_array_equal(dequantized(read), form.dequantize(blocks).reshape(9, -1))
    assert sum(part.nbytes for part in read if part is not None) == blocks.nbytes == FORMATS[name][1] * blocks.size


def test_other_blocks_are_refused_by_name():
    with pytest.raises(InputError, match=r"Q5_1.*Q8_0, Q4_0, Q4_1"):
        from_blocks("Q5_1", np.zeros(3, dtype=[("d", "<f2"), ("qs", "u1", 16)]), 3)


def test_weights_too_large_for_a_scale_and_unknown_formats_are_refused():
    with pytest.raises(InputError, match="float16"):
        packing.q8_0(np.full((1, 32), 1e30, dtype=np.float32))
    with pytest.raises(InputError, match=r"'q3'.*q8_0, q4_0"):
        pack_params({}, {}, "q3")


def small(page, **sizes):
    return replace(next(iter(page.probes().values())), **sizes)


MODELS = {
    "gpt2": lambda: small(GPT2, n_embd=64, n_head=2),
    "llama": lambda: Llama.probes()["llama-2"],
}


def numbers(params, weights):
    """The float32 weights that packed ones stand for."""
    return map_params(
        lambda x, w: x if not isinstance(x, Packed) else dequantized(x) if w.role == "table" else dequantized(x).T,
        params, weights,
    )  # fmt: skip


def test_tables_keep_eight_bits_and_vectors_stay_as_they_are():
    model = MODELS["gpt2"]()
    params = dict(walk(pack_params(random_params(model.weights()), model.weights(), "q4_0")))

    assert params["wte"].codes.dtype == np.int8
    assert params["blocks.0.attn.c_attn.w"].codes.dtype == np.uint8
    assert isinstance(params["wpe"], np.ndarray)
    assert isinstance(params["blocks.0.attn.c_attn.b"], np.ndarray)


class Strict(Backend):
    """The standard's functions and no others."""

    name = "strict"
    library = "array-api-strict"

    @property
    def xp(self):
        return pytest.importorskip("array_api_strict")


@pytest.mark.parametrize("backend", ["numpy", "jax", "strict", "numba"])
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("model", MODELS)
def test_every_backend_computes_with_the_numbers_packed_weights_stand_for(model, name, backend):
    """Held to the float32 weights they stand for by the honest NumPy run's error, as conformance does (limit 8)."""
    placed = Strict() if backend == "strict" else pytest.importorskip(backend) and get_backend(backend)
    model = MODELS[model]()
    weights = model.weights()
    params = pack_params(random_params(weights, gain=0.2), weights, "q8_0" if name == "q8_0" else "q4_0")
    if name == "q4_1":
        params = map_params(lambda x: q4_1(dequantized(x)) if isinstance(x, Packed) else x, params)
    assert any(isinstance(x, Packed) for _, x in walk(params))
    ids, same = [1, 2, 3, 4, 5, 6], numbers(params, weights)
    exact = Engine(model, same, get_backend("numpy", dtype="float64")).logits(ids)
    honest = np.abs(Engine(model, same, get_backend("numpy")).logits(ids) - exact).max()

    engine = Engine(model, params, placed)
    context = engine.context(1, 8)
    by_id = np.array([engine.backend.to_numpy(context.read([[i]]))[0] for i in ids])

    assert np.abs(engine.logits(ids) - exact).max() <= 8 * honest
    assert np.abs(by_id - exact).max() <= 8 * honest
