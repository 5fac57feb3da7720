"""Hugging Face's keys and names for Llama and what is Llama by config: llama, mistral, qwen2, qwen3, smollm3, phi3.

Where these differ is what is fixed by architecture and no key of the file: `KINDS` says it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from arrayformer.core.architecture import Source
from arrayformer.core.models.keys import LAYER_TYPES, Keys
from arrayformer.core.models.rope import LongRope, Rope, read_rope

if TYPE_CHECKING:
    from arrayformer.core.models.llama import Llama


@dataclass(frozen=True)
class Kind:
    """What a model_type fixes.

    causal_lm  the class of transformers
    head_dim   the default, where it is not hidden_size / num_attention_heads
    n_kv_head  the default, where it is not num_attention_heads
    theta, tied, eps, eos  other defaults
    bias       whether there is a key for a bias: of attention, of the feed-forward network
    """

    causal_lm: str
    head_dim: int | None = None
    n_kv_head: int | None = None
    theta: float = 10_000.0
    tied: bool = False
    eps: float = 1e-6
    eos: int | None = None
    bias: tuple[bool, bool] = (False, False)


KINDS = {
    "llama": Kind("LlamaForCausalLM", eos=2, bias=(True, True)),
    "mistral": Kind("MistralForCausalLM", eos=2, n_kv_head=8),
    "qwen2": Kind("Qwen2ForCausalLM", n_kv_head=32),
    "qwen3": Kind("Qwen3ForCausalLM", head_dim=128, n_kv_head=32, bias=(True, False)),
    "smollm3": Kind("SmolLM3ForCausalLM", n_kv_head=4, theta=2_000_000.0, tied=True, eos=128_001, bias=(True, True)),
    "phi3": Kind("Phi3ForCausalLM", eps=1e-5, eos=32_000),
}


def read(keys: Keys) -> dict[str, Any]:
    """The fields of a `Llama`."""
    name = keys.choice("model_type", tuple(KINDS), "llama")
    kind = KINDS[name]
    sizes = read_sizes(keys, kind.head_dim, kind.n_kv_head, kind.eos)
    attention_bias = kind.bias[0] and keys.flag("attention_bias", False)
    return {
        **sizes,
        "rope": _read_rope(keys, name, sizes),
        "rms_norm_eps": keys.number("rms_norm_eps", kind.eps, 1e-12, 0.1),
        "hidden_act": keys.get("hidden_act", "silu"),
        "qkv_bias": attention_bias or name == "qwen2",
        "o_bias": attention_bias,
        "mlp_bias": kind.bias[1] and keys.flag("mlp_bias", False),
        "qk_norm": name == "qwen3",
        "windows": read_windows(keys, name, sizes["n_layer"]),
        "unrotated": read_unrotated(keys, sizes["n_layer"]) if name == "smollm3" else (),
        "tie_word_embeddings": keys.flag("tie_word_embeddings", kind.tied),
        "model_type": name,
    }


def _read_rope(keys: Keys, name: str, sizes: Mapping[str, int]) -> Rope:
    """The rotation. Phi-3 has one kind of scaling, under three names, and its first context beside it."""
    if name != "phi3":
        return read_rope(keys, sizes["head_dim"], sizes["n_ctx"], theta=KINDS[name].theta)
    return read_rope(
        keys, sizes["head_dim"], sizes["n_ctx"], part_key="partial_rotary_factor",
        kinds={"default": "default", "longrope": "longrope", "su": "longrope", "yarn": "longrope"},
        original=keys.size("original_max_position_embeddings", default=4096),
    )  # fmt: skip


def read_sizes(
    keys: Keys, head_dim: int | None = None, n_kv_head: int | None = None, eos: int | None = None
) -> dict[str, Any]:
    """The fields all such models have; what is given are the defaults."""
    n_head, n_embd = keys.size("num_attention_heads"), keys.size("hidden_size", most=1_000_000)
    if head_dim is None and keys.get("head_dim") is None and n_embd % n_head:
        keys.fail(f"hidden_size {n_embd} is not a multiple of num_attention_heads {n_head}, and there is no head_dim")
    # null says "as many as heads of queries"; a key that is not there says the default.
    shared = n_head if "num_key_value_heads" in keys else n_kv_head or n_head
    n_vocab = keys.size("vocab_size")
    return {
        "n_vocab": n_vocab,
        "n_ctx": keys.size("max_position_embeddings"),
        "n_embd": n_embd,
        "n_layer": keys.size("num_hidden_layers", most=10_000),
        "n_head": n_head,
        "n_kv_head": keys.size("num_key_value_heads", default=shared),
        "head_dim": keys.size("head_dim", default=head_dim or max(1, n_embd // n_head)),
        "n_inner": keys.size("intermediate_size"),
        "eos_token_id": keys.end_of_text(n_vocab, eos),
    }


def read_windows(keys: Keys, name: str, n_layer: int) -> tuple[int | None, ...]:
    """Per layer, how many keys a query sees. Each kind has its own way of saying it, and its own default."""
    if name == "llama":
        return ()
    default = {"mistral": 4096, "qwen2": 4096, "qwen3": 4096}.get(name)
    absent = "sliding_window" in keys and keys.get("sliding_window") is None
    window = None if absent or (default is None and "sliding_window" not in keys) else keys.size(
        "sliding_window", default=default
    )  # fmt: skip
    if name in ("mistral", "phi3"):  # transformers gives every layer the window
        return (window,) * n_layer if window else ()
    types, first = read_layer_types(keys, n_layer), keys.number("max_window_layers", 28, 0, 1e9)
    used = keys.flag("use_sliding_window", False) and window is not None
    if not used:
        if types and "sliding_attention" in types:
            keys.fail("layer_types has layers with a window, but use_sliding_window is not true")
        return ()
    if types is None and name == "smollm3":
        types = [LAYER_TYPES[layer in read_unrotated(keys, n_layer)] for layer in range(n_layer)]
    elif types is None:
        types = [LAYER_TYPES[layer >= first] for layer in range(n_layer)]
    windows = tuple(window if kind == "sliding_attention" else None for kind in types)
    return windows if any(windows) else ()


def read_layer_types(keys: Keys, n_layer: int) -> list[str] | None:
    """layer_types, where it is given."""
    types = keys.get("layer_types")
    if types is None:
        return None
    if not isinstance(types, list) or len(types) != n_layer:
        keys.fail(f"layer_types has {len(types) if isinstance(types, list) else 'no'} names for {n_layer} layers")
    if unknown := [kind for kind in types if kind not in LAYER_TYPES]:
        keys.fail(f"layer_types has {unknown[0]!r:.60}; each is one of {', '.join(LAYER_TYPES)}")
    return list(types)


def read_unrotated(keys: Keys, n_layer: int) -> tuple[int, ...]:
    """The layers of SmolLM3 without rotary positions."""
    every = keys.size("no_rope_layer_interval", default=4)
    rotated = keys.get("no_rope_layers")
    if rotated is None:
        rotated = [int((layer + 1) % every != 0) for layer in range(n_layer)]
    flags = isinstance(rotated, list) and len(rotated) >= n_layer and all(type(x) is int for x in rotated)
    if not flags or not {0, 1}.issuperset(rotated):
        keys.fail(f"no_rope_layers is {rotated!r:.60}; it is a list of {n_layer} numbers, 1 where a layer is rotated")
    return tuple(layer for layer in range(n_layer) if not rotated[layer])


def written(model: "Llama") -> dict[str, Any]:
    """The keys of a config.json."""
    kind = KINDS[model.model_type]
    keys = {
        "architectures": [kind.causal_lm], "model_type": model.model_type, **written_sizes(model),
        "hidden_act": model.hidden_act, "tie_word_embeddings": model.tie_word_embeddings,
        "rope_theta": model.rope.theta, "rope_scaling": model.rope.to_hf(),
        "eos_token_id": model.eos_token_id, **_written_windows(model),
    }  # fmt: skip
    if kind.bias[0]:
        keys["attention_bias"] = model.o_bias
    if kind.bias[1]:
        keys["mlp_bias"] = model.mlp_bias
    if model.model_type == "smollm3":
        keys["no_rope_layers"] = [int(layer not in model.unrotated) for layer in range(model.n_layer)]
    if model.model_type == "phi3":
        keys["partial_rotary_factor"] = model.rope.n / model.head_dim
        if isinstance(model.rope.scaling, LongRope):
            keys["original_max_position_embeddings"] = model.rope.scaling.original_max_position_embeddings
    return keys


def written_sizes(model: "Llama") -> dict[str, Any]:
    """The keys all such models have."""
    return {
        "vocab_size": model.n_vocab, "max_position_embeddings": model.n_ctx, "hidden_size": model.n_embd,
        "num_hidden_layers": model.n_layer, "num_attention_heads": model.n_head,
        "num_key_value_heads": model.n_kv_head, "head_dim": model.head_dim, "intermediate_size": model.n_inner,
        "rms_norm_eps": model.rms_norm_eps,
        "pad_token_id": None,  # transformers' own default may lie beyond the vocabulary
    }  # fmt: skip


def _written_windows(model: "Llama") -> dict[str, Any]:
    window = next((w for w in model.windows if w), None)
    if model.model_type == "llama":
        return {}
    if model.model_type in ("mistral", "phi3"):
        return {"sliding_window": window}
    types = [LAYER_TYPES[bool(w)] for w in model.windows] or [LAYER_TYPES[0]] * model.n_layer
    return {"sliding_window": window, "use_sliding_window": window is not None, "layer_types": types}


def hf_name(path: str, norms: Mapping[str, str]) -> str:
    """A weight's name in the files, without prefix."""
    if path in ("wte", "lm_head", "ln_f.g"):
        return {"wte": "embed_tokens.weight", "lm_head": "lm_head.weight", "ln_f.g": "norm.weight"}[path]
    _, layer, *inner, leaf = path.split(".")
    part = ".".join({"attn": "self_attn", **norms}.get(name, name) for name in inner)
    return f"layers.{layer}.{part}.{'bias' if leaf == 'b' else 'weight'}"


def joined(
    model: "Llama", source: Source, qkv: tuple[str, str, str] = ("q_proj", "k_proj", "v_proj"),
    all_three: str = "qkv_proj", gated: tuple[str, str] = ("gate_proj", "up_proj"), both: str = "gate_up_proj",
) -> Source:  # fmt: skip
    """Phi-3 keeps q, k and v in one tensor, and gate and up in another: under these names."""
    q, kv, inner = model.n_head * model.head_dim, model.n_kv_head * model.head_dim, model.n_inner
    ends = ((0, q), (q, q + kv), (q + kv, q + 2 * kv))
    parts = {name: (all_three, part) for name, part in zip(qkv, ends, strict=True)}
    parts |= {gated[0]: (both, (0, inner)), gated[1]: (both, (inner, 2 * inner))}
    name = source.name.split(".")[-2]
    if name not in parts:
        return source
    whole, part = parts[name]
    return replace(source, name=source.name.replace(name, whole), part=part)
