"""Random models of transformers, and files of them written by the rules of llama.cpp's converter.

The rules are those of `conversion/*.py` there, with the names of tensors from the package `gguf`.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SIZES = {
    "vocab_size": 97, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None,
}  # fmt: skip
GPT2 = {"vocab_size": 50257, "n_positions": 1024, "n_ctx": 1024, "n_embd": 64, "n_layer": 3, "n_head": 4,
        "n_inner": 256, "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 8192, "rope_theta": 5e4}  # fmt: skip
LINEAR = {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "rope_theta": 1e4}
FAR = {"rope_type": "default", "rope_theta": 1e6}
LONGROPE = {"rope_type": "longrope", "short_factor": [1.0, 1.1, 1.2, 1.5, 2.0, 2.5, 3.0, 3.5],
            "long_factor": [1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 7.0, 8.0], "rope_theta": 1e4}  # fmt: skip
# Where the loader of transformers takes a default whatever the file says, the models have that: the width of heads in
# Qwen 3 and Gemma, context and vocabulary of GPT-2.
GEMMA = {"head_dim": 256, "query_pre_attn_scalar": 256, "sliding_window": 7}

MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("llama", "Llama", SIZES | {"tie_word_embeddings": True}),
    "llama untied, wide heads": ("llama", "Llama", SIZES | {"head_dim": 32}),
    "llama with biases": ("llama", "Llama", SIZES | {"attention_bias": True, "mlp_bias": True}),
    "llama 3's scaling": ("llama", "Llama", SIZES | {"rope_parameters": LLAMA3}),
    "llama, linear scaling": ("llama", "Llama", SIZES | {"rope_parameters": LINEAR}),
    "mistral": ("llama", "Mistral", SIZES | {"sliding_window": None, "head_dim": 16}),
    "qwen2": ("qwen2", "Qwen2", SIZES | {"tie_word_embeddings": True, "rope_parameters": FAR}),
    "qwen3": ("qwen3", "Qwen3", SIZES | {"head_dim": 128}),
    "qwen3, yarn": ("qwen3", "Qwen3", SIZES | {"head_dim": 32, "rope_parameters": YARN}),
    "phi3": ("phi3", "Phi3", SIZES | {"sliding_window": 9, "original_max_position_embeddings": 64}),
    "phi3, longrope": ("phi3", "Phi3", SIZES | {"sliding_window": None, "rope_parameters": LONGROPE,
                                                "original_max_position_embeddings": 64}),
    "gemma2": ("gemma2", "Gemma2", SIZES | GEMMA),
    "gemma3": ("gemma3", "Gemma3Text", SIZES | GEMMA | {"num_hidden_layers": 7}),
    "olmo2": ("olmo2", "Olmo2", SIZES),
    "gpt2": ("gpt2", "GPT2", GPT2),
    "gptneox": ("gptneox", "GPTNeoX", SIZES | {"rotary_pct": 0.5}),
    "gptneox, one after the other": ("gptneox", "GPTNeoX", SIZES | {"use_parallel_residual": False}),
}  # fmt: skip
"""name -> (general.architecture, the class of transformers, its config)"""


def random_model(name: str) -> Any:
    """A model whose numbers are large enough that each part of it shows in the logits. Norms are not 1."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    _, kind, config = MODELS[name]
    lm = {"GPT2": "GPT2LMHeadModel", "Gemma3Text": "Gemma3ForCausalLM"}.get(kind, f"{kind}ForCausalLM")
    torch.manual_seed(3)
    model = getattr(transformers, lm)(getattr(transformers, f"{kind}Config")(**config)).float().eval()
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.copy_(torch.randn_like(tensor) * 0.2 + (1.0 if tensor.ndim == 1 else 0.0))
    return model


def write_gguf(path: Path, name: str, model: Any, number_format: str | None = None) -> None:
    """The file of `model`, its matrices in a number format of blocks (float32)."""
    library = pytest.importorskip("gguf")
    arch, config = MODELS[name][0], model.config
    writer = library.GGUFWriter(path, arch)
    _write_keys(writer, arch, config)
    kind = next(k for k, v in library.MODEL_ARCH_NAMES.items() if v == arch)
    names = library.get_tensor_name_map(kind, config.num_hidden_layers)
    for full, tensor in model.state_dict().items():
        if config.tie_word_embeddings and full.startswith(("lm_head", "embed_out")):
            continue
        stem, _, leaf = full.rpartition(".")
        x = np.ascontiguousarray(_converted(arch, config, stem, tensor.numpy()))
        if number_format is not None and x.ndim == 2:
            form = library.GGMLQuantizationType[number_format]
            writer.add_tensor(f"{names.get_name(stem)}.{leaf}", library.quantize(x, form), raw_dtype=form)
        else:
            writer.add_tensor(f"{names.get_name(stem)}.{leaf}", x)
    _write_factors(writer, arch, config)
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        step()


def _write_keys(w: Any, arch: str, config: Any) -> None:
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    w.add_block_count(config.num_hidden_layers)
    w.add_context_length(config.max_position_embeddings)
    w.add_embedding_length(config.hidden_size)
    w.add_feed_forward_length(config.n_inner if arch == "gpt2" else config.intermediate_size)
    w.add_head_count(config.num_attention_heads)
    w.add_eos_token_id(2)
    if arch in ("gpt2", "gptneox"):
        w.add_layer_norm_eps(config.layer_norm_epsilon if arch == "gpt2" else config.layer_norm_eps)
        if arch == "gptneox":
            w.add_rope_dimension_count(int(config.rope_parameters["partial_rotary_factor"] * head_dim))
            w.add_parallel_residual(config.use_parallel_residual)
        return
    rope = config.rope_parameters
    rope = rope.get("full_attention", rope)
    w.add_head_count_kv(config.num_key_value_heads)
    w.add_layer_norm_rms_eps(config.rms_norm_eps)
    w.add_vocab_size(config.vocab_size)
    w.add_rope_freq_base(rope["rope_theta"])
    if head_dim * config.num_attention_heads != config.hidden_size or arch.startswith(("gemma", "qwen3")):
        w.add_key_length(head_dim)
        w.add_value_length(head_dim)
    if arch in ("llama", "phi3"):
        w.add_rope_dimension_count(head_dim)
    if arch.startswith("gemma"):
        w.add_sliding_window(config.sliding_window)
    if arch == "gemma2":
        w.add_attn_logit_softcapping(config.attn_logit_softcapping)
        w.add_final_logit_softcapping(config.final_logit_softcapping)
    if arch == "phi3":
        w.add_sliding_window(config.sliding_window or 0)
        w.add_rope_scaling_orig_ctx_len(config.original_max_position_embeddings)
    if rope["rope_type"] in ("linear", "yarn"):
        import gguf

        w.add_rope_scaling_type(gguf.RopeScalingType(rope["rope_type"]))
        w.add_rope_scaling_factor(rope["factor"])
        if "original_max_position_embeddings" in rope:
            w.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])


def _write_factors(w: Any, arch: str, config: Any) -> None:
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") == "longrope":
        scale = config.max_position_embeddings / config.original_max_position_embeddings
        w.add_rope_scaling_attn_factors(
            math.sqrt(1 + math.log(scale) / math.log(config.original_max_position_embeddings)) if scale > 1 else 1.0
        )
        for which in ("long", "short"):
            w.add_tensor(f"rope_factors_{which}.weight", np.asarray(rope[f"{which}_factor"], np.float32))
    if rope.get("rope_type") == "llama3":
        dim = config.hidden_size // config.num_attention_heads
        waves = 2 * math.pi * rope["rope_theta"] ** (np.arange(0, dim, 2) / dim)
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        kept = np.clip((rope["original_max_position_embeddings"] / waves - low) / (high - low), 0, 1)
        w.add_tensor("rope_freqs.weight", (1 / ((1 - kept) / rope["factor"] + kept)).astype(np.float32))


def _converted(arch: str, config: Any, stem: str, x: np.ndarray) -> np.ndarray:
    """What the converter does to a tensor."""
    if arch == "llama" and stem.endswith(("q_proj", "k_proj")):
        n_head = config.num_attention_heads if stem.endswith("q_proj") else config.num_key_value_heads
        return x.reshape(n_head, 2, len(x) // n_head // 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)
    if arch.startswith("gemma") and stem.endswith("norm"):
        return x + np.float32(1)
    if arch == "gpt2" and stem.endswith(("c_attn", "c_proj", "c_fc")):
        return x.T
    if arch == "gptneox" and stem.endswith("query_key_value"):
        by_head = x.reshape(config.num_attention_heads, 3, -1, *x.shape[1:])
        return np.concatenate([by_head[:, i].reshape(-1, *x.shape[1:]) for i in range(3)])
    return x
