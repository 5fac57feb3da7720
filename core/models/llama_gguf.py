"""llama.cpp's keys and names for Llama and what is Llama by config: architectures llama, qwen2, qwen3 and phi3."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from arrayformer.core.architecture import Source
from arrayformer.core.models.gguf_keys import GgufKeys, gguf_source, read_heads, read_rope, read_sizes, read_windows
from arrayformer.core.models.llama_config import joined

if TYPE_CHECKING:
    from arrayformer.core.models.llama import Llama

# The converter puts the two channels that are turned together side by side in each head of q and k.
_PERMUTED = ("llama", "mistral")


def read(keys: GgufKeys) -> dict[str, Any]:
    """The fields of a `Llama`."""
    shared, name = read_shared(keys), keys.architecture
    windows = read_windows(keys, shared["n_layer"])
    if windows and name not in ("llama", "phi3"):
        keys.fail("attention.sliding_window is given, but not in which layers it holds")
    return {
        **shared,
        "mlp_bias": "blk.0.ffn_gate.bias" in keys.shapes,
        "qk_norm": name == "qwen3",
        "windows": windows,
        "model_type": "mistral" if windows and name == "llama" else name,
    }


def read_shared(keys: GgufKeys) -> dict[str, Any]:
    """The fields that Gemma and OLMo 2 have as Llama has them. Which linear layers have biases only the tensors say."""
    sizes = read_sizes(keys)
    heads = read_heads(keys, sizes)
    return {
        **sizes,
        **heads,
        "rope": read_rope(keys, heads["head_dim"], sizes["n_ctx"]),
        "rms_norm_eps": keys.number("attention.layer_norm_rms_epsilon", 1e-6, 1e-12, 0.1),
        "qkv_bias": "blk.0.attn_q.bias" in keys.shapes,
        "o_bias": "blk.0.attn_output.bias" in keys.shapes,
    }


def source(model: "Llama", path: str) -> Source:
    """Where the weight at `path` lies."""
    plain, part = gguf_source(path), path.split(".")[-2] if "." in path else ""
    n_head = {"q_proj": model.n_head, "k_proj": model.n_kv_head}.get(part)
    if n_head is not None and model.model_type in _PERMUTED:
        return replace(plain, view=(n_head, model.head_dim // 2, 2), axes=(0, 2, 1))
    if model.model_type != "phi3":
        return plain
    return joined(model, plain, ("attn_q", "attn_k", "attn_v"), "attn_qkv", ("ffn_gate", "ffn_up"), "ffn_up")
