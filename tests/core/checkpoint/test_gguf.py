"""A GGUF file becomes a model, or a line says what is wrong with it."""

import os
import struct
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.core.checkpoint.gguf_bytes import Entry, File, Key

from arrayformer.core.checkpoint import read_checkpoint
from arrayformer.core.errors import ConfigError, ModelFileError
from arrayformer.core.models.rope import Divided, Linear, LongRope, Yarn
from arrayformer.core.params import Weight, walk

N_VOCAB, N_EMBD, N_HEAD, N_KV_HEAD, HEAD_DIM, N_INNER = 5, 8, 2, 1, 4, 6
SHAPES = {
    "token_embd.weight": (N_VOCAB, N_EMBD),
    "blk.0.attn_norm.weight": (N_EMBD,),
    "blk.0.attn_q.weight": (N_HEAD * HEAD_DIM, N_EMBD),
    "blk.0.attn_k.weight": (N_KV_HEAD * HEAD_DIM, N_EMBD),
    "blk.0.attn_v.weight": (N_KV_HEAD * HEAD_DIM, N_EMBD),
    "blk.0.attn_output.weight": (N_EMBD, N_HEAD * HEAD_DIM),
    "blk.0.ffn_norm.weight": (N_EMBD,),
    "blk.0.ffn_gate.weight": (N_INNER, N_EMBD),
    "blk.0.ffn_up.weight": (N_INNER, N_EMBD),
    "blk.0.ffn_down.weight": (N_EMBD, N_INNER),
    "output_norm.weight": (N_EMBD,),
}
KEYS: dict[str, tuple[str, Any]] = {
    "general.architecture": ("str", "llama"),
    "llama.block_count": ("u32", 1),
    "llama.context_length": ("u32", 16),
    "llama.embedding_length": ("u32", N_EMBD),
    "llama.feed_forward_length": ("u32", N_INNER),
    "llama.attention.head_count": ("u32", N_HEAD),
    "llama.attention.head_count_kv": ("u32", N_KV_HEAD),
    "llama.attention.layer_norm_rms_epsilon": ("f32", 1e-5),
    "llama.rope.freq_base": ("f32", 10000.0),
    "tokenizer.ggml.eos_token_id": ("u32", 2),
}

# The model with rows of 32, a block of most formats, and room for another embedding.
WIDE: dict[str, Any] = {
    f"llama.{name}": ("u32", n)
    for name, n in {"embedding_length": 32, "attention.key_length": 4, "attention.value_length": 4}.items()
}
WIDE_SHAPES: dict[str, Any] = {
    **{name: tuple(32 if n == N_EMBD else n for n in shape) for name, shape in SHAPES.items()},
    "token_embd.weight": ..., "blk.0.attn_q.weight": (8, 32), "blk.0.attn_output.weight": (32, 8),
}  # fmt: skip


def values(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Different numbers for each tensor."""
    return np.random.default_rng(len(name)).standard_normal(shape).astype(np.float32)


def floats(name: str, x: np.ndarray | Sequence[float]) -> Entry:
    x = np.asarray(x, "<f4")
    return Entry(name, x.shape[::-1], 0, x.tobytes())


def file(
    keys: dict[str, Any] | None = None, shapes: dict[str, Any] | None = None, extra: Sequence[Entry] = ()
) -> bytes:
    """The tiny model's file with other keys and shapes; `...` in the place of one leaves it out."""
    all_keys = {name: pair for name, pair in {**KEYS, **(keys or {})}.items() if pair is not ...}
    all_shapes = {name: shape for name, shape in {**SHAPES, **(shapes or {})}.items() if shape is not ...}
    tensors = [floats(name, values(name, shape)) for name, shape in all_shapes.items()]
    return File([Key(name, *pair) for name, pair in all_keys.items()], [*tensors, *extra]).pack()


def write(tmp_path: Path, content: bytes) -> Path:
    (tmp_path / "model.gguf").write_bytes(content)
    return tmp_path / "model.gguf"


def test_config_and_weights_are_read(tmp_path: Path) -> None:
    model, params = read_checkpoint(write(tmp_path, file()))

    assert (model.n_vocab, model.n_ctx, model.n_embd, model.n_layer, model.n_head, model.n_kv_head, model.head_dim) == (
        N_VOCAB, 16, N_EMBD, 1, N_HEAD, N_KV_HEAD, HEAD_DIM,
    )  # fmt: skip
    assert model.eos_ids == (2,)
    assert {path: x.shape for path, x in walk(params)} == {path: w.shape for path, w in walk(model.weights())}
    np.testing.assert_array_equal(params["wte"], values("token_embd.weight", SHAPES["token_embd.weight"]))
    down = values("blk.0.ffn_down.weight", SHAPES["blk.0.ffn_down.weight"])
    np.testing.assert_array_equal(params["blocks"][0]["mlp"]["down_proj"]["w"], down.T)


def test_the_rows_of_q_and_k_are_put_back_where_halves_are_rotated(tmp_path: Path) -> None:
    _, params = read_checkpoint(write(tmp_path, file()))

    stored = values("blk.0.attn_q.weight", SHAPES["blk.0.attn_q.weight"])
    np.testing.assert_array_equal(params["blocks"][0]["attn"]["q_proj"]["w"].T, stored[[0, 2, 1, 3, 4, 6, 5, 7]])


@pytest.mark.parametrize("order", ["C", "F"])
def test_weights_lie_in_memory_as_they_are_wanted(tmp_path: Path, order: Any) -> None:
    def wanted(_: Weight) -> Any:
        return order

    _, params = read_checkpoint(write(tmp_path, file()), order=wanted)

    _, plain = read_checkpoint(tmp_path / "model.gguf")
    for (path, x), (_, y) in zip(walk(params), walk(plain), strict=True):
        assert x.flags[f"{order}_CONTIGUOUS"], path
        np.testing.assert_array_equal(x, y)


def test_a_weight_may_lie_in_memory_as_the_file_has_it(tmp_path: Path) -> None:
    _, params = read_checkpoint(write(tmp_path, file()), order=lambda _: "K")

    assert params["wte"].flags["C_CONTIGUOUS"]
    assert params["blocks"][0]["mlp"]["down_proj"]["w"].flags["F_CONTIGUOUS"]


def test_a_packed_matrix_of_many_pieces_is_read_whole(tmp_path: Path) -> None:
    library = pytest.importorskip("gguf")
    x = np.random.default_rng(1).standard_normal((70_000, 32)).astype(np.float32)
    packed = library.quantize(x, library.GGMLQuantizationType.Q8_0)
    content = file(WIDE, WIDE_SHAPES, [Entry("token_embd.weight", (32, 70_000), 8, packed.tobytes())])

    _, params = read_checkpoint(write(tmp_path, content))

    want = library.dequantize(packed, library.GGMLQuantizationType.Q8_0)
    np.testing.assert_array_equal(params["wte"], want)


@pytest.mark.parametrize(
    ("keys", "extra", "scaling"),
    [
        ({}, [floats("rope_freqs.weight", [1, 8])], Divided((1.0, 8.0))),
        ({"llama.rope.scaling.type": ("str", "linear"), "llama.rope.scaling.factor": ("f32", 4)}, [], Linear(4.0)),
        ({"llama.rope.scale_linear": ("f32", 2)}, [], Linear(2.0)),
        (
            {"llama.rope.scaling.type": ("str", "yarn"), "llama.rope.scaling.factor": ("f32", 4),
             "llama.rope.scaling.original_context_length": ("u32", 4)},
            [], Yarn(4.0, 4),
        ),
        (
            {"llama.rope.scaling.original_context_length": ("u32", 4), "llama.rope.scaling.attn_factor": ("f32", 1.5)},
            [floats("rope_factors_long.weight", [1, 8]), floats("rope_factors_short.weight", [1, 2])],
            LongRope((1.0, 2.0), (1.0, 8.0), 4, 4.0, 1.5),
        ),
    ],
    ids=["rope_freqs", "linear", "scale_linear", "yarn", "longrope"],
)  # fmt: skip
def test_the_scaling_of_positions_is_read(tmp_path: Path, keys: Any, extra: Any, scaling: Any) -> None:
    model, _ = read_checkpoint(write(tmp_path, file(keys, extra=extra)))

    assert model.rope.scaling == scaling  # type: ignore[attr-defined]


def test_every_id_that_ends_a_text_or_a_turn_counts_once(tmp_path: Path) -> None:
    keys = {f"tokenizer.ggml.{end}_token_id": ("u32", id) for end, id in {"eos": 2, "eot": 4, "eom": 2}.items()}

    model, _ = read_checkpoint(write(tmp_path, file(keys)))

    assert model.eos_ids == (2, 4)


def test_a_head_of_its_own_is_read(tmp_path: Path) -> None:
    _, params = read_checkpoint(write(tmp_path, file(shapes={"output.weight": (N_VOCAB, N_EMBD)})))

    np.testing.assert_array_equal(params["lm_head"], values("output.weight", (N_VOCAB, N_EMBD)))


def number(name: str, value: Any, kind: str = "u32") -> dict[str, Any]:
    return {f"llama.{name}": (kind, value)}


NAN = floats("output_norm.weight", [1, 2, float("nan"), 4, 5, 6, 7, 8])
BAD: dict[str, tuple[bytes, type[ModelFileError], str]] = {
    "an architecture we lack": (
        file({"general.architecture": ("str", "mamba")}), ConfigError, "general.architecture is 'mamba'; llama, qwen2"),
    "no architecture": (file({"general.architecture": ...}), ConfigError, "general.architecture is None"),
    "architecture as a number": (file({"general.architecture": ("u32", 1)}), ConfigError, "general.architecture is 1"),
    "an adapter": (file({"general.type": ("str", "adapter")}), ConfigError, "general.type is 'adapter'"),
    "one part of three": (file({"split.count": ("u16", 3)}), ConfigError, "is one of 3 parts; merge them"),
    "no sizes": (file({"llama.embedding_length": ...}), ConfigError, "missing: embedding_length"),
    "no layers": (file(number("block_count", 0)), ConfigError, "block_count is 0"),
    "2**32 - 1 layers": (file(number("block_count", (1 << 32) - 1)), ConfigError, "block_count is 4294967295"),
    "10,000 layers": (file(number("block_count", 10_000)), ConfigError, "10000, but the tensors are of 1 blocks"),
    "a size as text": (file(number("context_length", "16", "str")), ConfigError, "context_length is '16'"),
    "a size as a float": (file(number("context_length", 16.0, "f32")), ConfigError, "context_length is 16.0"),
    "sizes of each layer": (
        file(number("attention.head_count_kv", ("u32", [1]), "array")), ConfigError, r"head_count_kv is \[1\]"),
    "heads that share unevenly": (
        file(number("attention.head_count_kv", 3)), ConfigError, "n_head 2 is not a multiple"),
    "heads of two widths": (file(number("attention.value_length", 2)), ConfigError, "heads of keys are 4 wide"),
    "an odd part of a head rotated": (file(number("rope.dimension_count", 3)), ConfigError, "3 channels of a head"),
    "more of a head rotated than it has": (
        file(number("rope.dimension_count", 6)), ConfigError, "6 channels of a head"),
    "theta NaN": (file(number("rope.freq_base", float("nan"), "f32")), ConfigError, "rope.freq_base is nan"),
    "theta 0": (file(number("rope.freq_base", 0.0, "f32")), ConfigError, "rope.freq_base is 0.0"),
    "epsilon infinite": (
        file(number("attention.layer_norm_rms_epsilon", float("inf"), "f32")), ConfigError, "rms_epsilon is inf"),
    "experts": (file(number("expert_count", 8)), ConfigError, "expert_count is 8, which is not computed here"),
    "no causal mask": (file(number("attention.causal", 0, "bool")), ConfigError, "attention.causal is False"),
    "an unknown key": (file(number("logit_scale", 0.5, "f32")), ConfigError, "llama.logit_scale; --ignore-extra"),
    "an unknown scaling": (file(number("rope.scaling.type", "su", "str")), ConfigError, "rope.scaling.type is 'su'"),
    "longrope without its tensors": (
        file(number("rope.scaling.type", "longrope", "str")), ConfigError, "there are no tensors rope_factors_long"),
    "two scalings": (
        file(number("rope.scale_linear", 2.0, "f32"), extra=[floats("rope_freqs.weight", [1, 8])]),
        ConfigError, "in several ways at once"),
    "divisors too many": (
        file(extra=[floats("rope_freqs.weight", [1, 2, 3])]), ConfigError, "has 3 numbers, and 2 pairs"),
    "divisors of 0": (file(extra=[floats("rope_freqs.weight", [1, 0])]), ConfigError, "factors of rope_type"),
    "divisors NaN": (
        file(extra=[floats("rope_freqs.weight", [1, float("nan")])]), ModelFileError,
        r"the value at \[1\] is not finite"),
    "divisors as a matrix": (
        file(extra=[floats("rope_freqs.weight", np.ones((2, 2)))]), ModelFileError, "a short vector is needed"),
    "another vocabulary": (
        file(number("vocab_size", 6)), ConfigError, "vocab_size is 6, but token_embd.weight has 5 rows"),
    "eos as text": (file({"tokenizer.ggml.eos_token_id": ("str", "</s>")}), ConfigError, "eos_token_id is "),
    "eos as a list": (
        file({"tokenizer.ggml.eos_token_id": ("array", ("u32", [1]))}), ConfigError, "eos_token_id is "),
    "no embedding": (file(shapes={"token_embd.weight": ...}), ConfigError, "there is no tensor token_embd.weight"),
    "a tensor missing": (
        file(shapes={"blk.0.ffn_up.weight": ...}), ModelFileError, "lack 1 tensor: blk.0.ffn_up.weight"),
    "a tensor too many": (
        file(shapes={"blk.0.ffn_sub.weight": (6, 8)}), ModelFileError, "no part of this model: 1 tensor"),
    "another shape": (
        file(shapes={"blk.0.ffn_up.weight": (8, 6)}), ModelFileError, r"ffn_up.weight': the file has shape \[8, 6\]"),
    "a vector for a matrix": (file(shapes={"blk.0.ffn_up.weight": (48,)}), ModelFileError, r"has shape \[48\]"),
    "NaN": (
        file(shapes={"output_norm.weight": ...}, extra=[NAN]), ModelFileError,
        r"'output_norm.weight': the value at \[2\] is not finite .* --allow-nonfinite"),
    "a scale that is infinite": (
        file(WIDE, WIDE_SHAPES,
             [Entry("token_embd.weight", (32, 5), 8, (struct.pack("<e", 1) + bytes([1] * 32)) * 4
                    + struct.pack("<e", float("inf")) + bytes([1] * 32))]),
        ModelFileError, r"'token_embd.weight': the value at \[4, 0\] is not finite"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "error", "message"), BAD.values(), ids=BAD)
def test_a_bad_file_is_refused_in_one_line_naming_it(
    tmp_path: Path, content: bytes, error: type[ModelFileError], message: str
) -> None:
    path = write(tmp_path, content)
    tracemalloc.start()
    began = time.process_time()

    with pytest.raises(error, match=message) as raised:
        read_checkpoint(path)

    took, peak = time.process_time() - began, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(raised.value).startswith(f"{path}: ")
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 1000
    assert took < 5
    assert peak < 64 << 20


def test_extra_keys_and_tensors_are_left_out_where_that_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path, file(number("logit_scale", 0.5, "f32"), {"blk.0.ffn_sub.weight": (6, 8)}))

    with pytest.warns(UserWarning, match="left out") as warned:
        model, _ = read_checkpoint(path, ignore_extra=True)

    assert model.n_layer == 1
    assert [w for w in warned if "llama.logit_scale" in str(w.message)]
    assert [w for w in warned if "blk.0.ffn_sub.weight" in str(w.message)]


def test_values_that_are_not_finite_are_read_where_that_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path, file(shapes={"output_norm.weight": ...}, extra=[NAN]))

    _, params = read_checkpoint(path, allow_nonfinite=True)

    assert np.isnan(params["ln_f"]["g"][2])


def test_a_link_to_the_file_may_lead_anywhere(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    path = write(tmp_path / "store", file())
    (tmp_path / "link.gguf").symlink_to(path)

    model, _ = read_checkpoint(tmp_path / "link.gguf")

    assert model.n_embd == N_EMBD


def test_a_directory_with_gguf_files_says_to_pass_one(tmp_path: Path) -> None:
    write(tmp_path, file())

    with pytest.raises(ModelFileError, match=r"pass the file itself, for example model\.gguf"):
        read_checkpoint(tmp_path)


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")

    with pytest.raises(ModelFileError, match=r"pipe\.gguf"):
        read_checkpoint(tmp_path / "pipe.gguf")
    with pytest.raises(ModelFileError, match=r"gone\.gguf"):
        read_checkpoint(tmp_path / "gone.gguf")
