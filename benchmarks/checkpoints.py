"""One set of random weights in every form the peers read: Hugging Face's, GGUF, CTranslate2's."""

import json
from pathlib import Path

import numpy as np

from arrayformer.core.checkpoint import save_checkpoint
from arrayformer.core.models.gpt2 import GPT2, SIZES
from arrayformer.core.params import Params, random_params
from arrayformer.tokenizer import gpt2_tokenizer


def write_all(folder: Path, size: str, forms: set[str]) -> None:
    """Write `hf/` and, where they are among `forms`, `f32.gguf`, `f16.gguf`, `q8_0.gguf`, `q4_0.gguf` and `ct2/`."""
    config = SIZES[size]
    params = random_params(config.weights())
    save_checkpoint(folder / "hf", config, params, tokenizer_files=tokenizer_files())
    for kind in FILE_TYPES:
        if kind in forms:
            write_gguf(folder / f"{kind}.gguf", config, params, kind)
    del params
    if "ct2" in forms:
        from ctranslate2.converters import TransformersConverter

        TransformersConverter(str(folder / "hf"), low_cpu_mem_usage=True).convert(str(folder / "ct2"))


def tokenizer_files() -> dict[str, bytes]:
    """GPT-2's table as `vocab.json` and `merges.txt`."""
    tokenizer = gpt2_tokenizer()
    merges = "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in tokenizer.merges)
    kind = {"model_type": "gpt2", "tokenizer_class": "GPT2Tokenizer", "eos_token": "<|endoftext|>"}
    return {
        "vocab.json": json.dumps(tokenizer.vocab).encode(),
        "merges.txt": merges.encode(),
        "tokenizer_config.json": json.dumps(kind).encode(),
    }


FILE_TYPES = {"f32": 0, "f16": 1, "q8_0": 7, "q4_0": 2}
"""llama.cpp's numbers for what most tensors of a file are."""


def write_gguf(path: Path, config: GPT2, params: Params, kind: str) -> None:
    """The weights as llama.cpp reads them: matrices transposed and in `kind`, vectors and positions in float32.

    A q4_0 file keeps the table in 8 bits, as `--pack` does: both read the same bytes.
    """
    import gguf

    writer = gguf.GGUFWriter(path, "gpt2")
    writer.add_block_count(config.n_layer)
    writer.add_context_length(config.n_ctx)
    writer.add_embedding_length(config.n_embd)
    writer.add_feed_forward_length(config.inner)
    writer.add_head_count(config.n_head)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)
    writer.add_file_type(FILE_TYPES[kind])
    tokenizer = gpt2_tokenizer()
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(sorted(tokenizer.vocab, key=tokenizer.vocab.__getitem__))
    writer.add_token_types([gguf.TokenType.NORMAL] * config.n_vocab)
    writer.add_token_merges([f"{a} {b}" for a, b in tokenizer.merges])
    writer.add_bos_token_id(config.eos_token_id or 0)
    writer.add_eos_token_id(config.eos_token_id or 0)
    for name, x in gguf_tensors(params):
        narrow = x.ndim == 2 and not name.startswith("position")
        x = np.ascontiguousarray(x, dtype=np.float16 if narrow and kind == "f16" else np.float32)
        if narrow and kind.startswith("q"):
            packed = gguf.GGMLQuantizationType["Q8_0" if name.startswith("token") else kind.upper()]
            writer.add_tensor(name, gguf.quants.quantize(x, packed), raw_dtype=packed)
        else:
            writer.add_tensor(name, x)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def gguf_tensors(params: Params) -> list[tuple[str, np.ndarray]]:
    """llama.cpp's names, and its [n_out, n_in] where GPT-2 has [n_in, n_out]."""
    tensors = [("token_embd.weight", params["wte"]), ("position_embd.weight", params["wpe"])]
    tensors += [("output_norm.weight", params["ln_f"]["g"]), ("output_norm.bias", params["ln_f"]["b"])]
    for i, block in enumerate(params["blocks"]):
        for theirs, norm in (("attn_norm", block["ln_1"]), ("ffn_norm", block["ln_2"])):
            tensors += [(f"blk.{i}.{theirs}.weight", norm["g"]), (f"blk.{i}.{theirs}.bias", norm["b"])]
        for theirs, product in (
            ("attn_qkv", block["attn"]["c_attn"]), ("attn_output", block["attn"]["c_proj"]),
            ("ffn_up", block["mlp"]["c_fc"]), ("ffn_down", block["mlp"]["c_proj"]),
        ):  # fmt: skip
            tensors += [(f"blk.{i}.{theirs}.weight", product["w"].T), (f"blk.{i}.{theirs}.bias", product["b"])]
    return tensors
