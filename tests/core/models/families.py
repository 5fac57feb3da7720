"""Small configs of each architecture as a config.json says them, and changes of one key each."""

from typing import Any

SMALL: dict[str, Any] = {
    "vocab_size": 97, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 6,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 500.0,
    "tie_word_embeddings": False, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None,
}  # fmt: skip

LINEAR = {"type": "linear", "factor": 2.0}
DYNAMIC = {"rope_type": "dynamic", "factor": 2.0}
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
LONG = {
    "rope_type": "longrope", "short_factor": [1.0, 1.1, 1.3, 1.5], "long_factor": [1.0, 2.0, 4.0, 8.0],
    "original_max_position_embeddings": 32,
}  # fmt: skip
LONG8 = {**LONG, "short_factor": [1.0 + i / 9 for i in range(8)], "long_factor": [1.5 + i for i in range(8)]}
THREE = ["sliding_attention", "full_attention", "sliding_attention"]

_ROPE: list[dict[str, Any]] = [
    {"rope_scaling": LINEAR}, {"rope_scaling": DYNAMIC}, {"rope_scaling": LLAMA3},
    {"rope_scaling": {**LLAMA3, "low_freq_factor": 0.5, "high_freq_factor": 3.0, "factor": 2.5}},
    {"rope_scaling": YARN}, {"rope_scaling": {**YARN, "beta_fast": 4.0, "beta_slow": 0.5}},
    {"rope_scaling": {**YARN, "truncate": False}}, {"rope_scaling": {**YARN, "attention_factor": 1.5}},
    {"rope_scaling": {**YARN, "mscale": 0.7, "mscale_all_dim": 1.0}}, {"rope_scaling": {**YARN, "factor": 1.0}},
    {"rope_scaling": LONG8}, {"rope_scaling": {**LONG8, "factor": 3.0}},
    {"rope_scaling": {**LONG8, "attention_factor": 1.25}},
    {"rope_scaling": {k: v for k, v in LONG8.items() if k != "original_max_position_embeddings"}},
    {"rope_scaling": YARN, "original_max_position_embeddings": 16},
]  # fmt: skip
# The same as transformers 5 writes them: one object with everything in it.
_ROPE += [
    {"rope_theta": None, "rope_parameters": {"rope_theta": 77.0, **{"rope_type": s.get("type"), **s}}}
    for s in ({"rope_type": "default"}, {"rope_type": "linear", "factor": 2.0}, DYNAMIC, LLAMA3, YARN, LONG8)
]

FAMILIES: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "llama": (
        {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "head_dim": 16},
        [
            {"head_dim": None}, {"head_dim": 12}, {"num_key_value_heads": 6}, {"num_key_value_heads": 1},
            {"num_key_value_heads": 3}, {"num_key_value_heads": None}, {"rms_norm_eps": 1e-3},
            {"rope_theta": 10_000.0}, {"attention_bias": True}, {"mlp_bias": True}, {"tie_word_embeddings": True},
            {"hidden_act": "gelu"}, {"hidden_act": "gelu_pytorch_tanh"}, {"hidden_act": "relu"},
            {"num_hidden_layers": 2}, {"intermediate_size": 96}, *_ROPE,
        ],
    ),
    "mistral": (
        {"sliding_window": 8, "head_dim": 8, "rope_theta": 10_000.0},
        [
            {"sliding_window": 7}, {"sliding_window": 9}, {"sliding_window": None}, {"sliding_window": 1},
            {"sliding_window": 48}, {"sliding_window": 47}, {"head_dim": 16}, {"head_dim": None}, {"rope_theta": 1e6},
            {"num_key_value_heads": 1}, {"num_key_value_heads": 6}, {"rope_scaling": YARN},
        ],
    ),
    "qwen2": (
        {"use_sliding_window": False, "sliding_window": 8, "max_window_layers": 1},
        [
            {"use_sliding_window": True}, {"use_sliding_window": True, "max_window_layers": 2},
            {"use_sliding_window": True, "max_window_layers": 3}, {"use_sliding_window": True, "max_window_layers": 0},
            {"use_sliding_window": True, "sliding_window": 5}, {"use_sliding_window": True, "layer_types": THREE},
            {"use_sliding_window": True, "sliding_window": None}, {"tie_word_embeddings": True}, {"rope_theta": 1e6},
            {"head_dim": 16}, {"num_key_value_heads": 1}, {"num_key_value_heads": 6}, {"rope_scaling": YARN},
        ],
    ),
    "qwen3": (
        {"use_sliding_window": False, "sliding_window": 8, "max_window_layers": 1, "head_dim": 16,
         "attention_bias": False},
        [
            {"use_sliding_window": True}, {"use_sliding_window": True, "layer_types": THREE},
            {"attention_bias": True}, {"head_dim": 8}, {"rms_norm_eps": 1e-3}, {"rope_scaling": YARN},
            {"rope_theta": 1e6}, {"tie_word_embeddings": True}, {"num_key_value_heads": 1}, {"num_key_value_heads": 6},
        ],
    ),
    "smollm3": (
        {"num_hidden_layers": 4, "no_rope_layer_interval": 2},
        [
            {"no_rope_layer_interval": 4}, {"no_rope_layer_interval": 3}, {"no_rope_layers": [1, 0, 0, 1]},
            {"use_sliding_window": True, "sliding_window": 8}, {"use_sliding_window": True, "sliding_window": 5},
            {"use_sliding_window": True, "sliding_window": 8, "layer_types": [*THREE, "full_attention"]},
            {"attention_bias": True}, {"mlp_bias": True}, {"tie_word_embeddings": True}, {"rope_theta": None},
            {"head_dim": 16}, {"num_key_value_heads": 1}, {"num_key_value_heads": 6}, {"rope_scaling": YARN},
        ],
    ),
    "gemma2": (
        {"head_dim": 16, "sliding_window": 8, "query_pre_attn_scalar": 24, "attn_logit_softcapping": 5.0,
         "final_logit_softcapping": 7.0, "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True},
        [
            {"sliding_window": 9}, {"query_pre_attn_scalar": 16}, {"attn_logit_softcapping": 50.0},
            {"attn_logit_softcapping": None}, {"final_logit_softcapping": None}, {"final_logit_softcapping": 3.0},
            {"hidden_activation": "silu"}, {"layer_types": ["full_attention"] * 3}, {"attention_bias": True},
            {"rope_theta": 10_000.0}, {"rms_norm_eps": 1e-3}, {"head_dim": 8}, {"tie_word_embeddings": False},
            {"num_key_value_heads": 1}, {"num_key_value_heads": 6}, {"rope_scaling": YARN},
        ],
    ),
    "gemma3_text": (
        {"head_dim": 16, "sliding_window": 8, "query_pre_attn_scalar": 24, "rope_theta": 5000.0,
         "rope_local_base_freq": 100.0, "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True,
         "sliding_window_pattern": 3},
        [
            {"sliding_window": 9}, {"query_pre_attn_scalar": 16}, {"final_logit_softcapping": 7.0},
            {"rope_theta": 10_000.0}, {"rope_local_base_freq": 1000.0}, {"attention_bias": True},
            {"rope_scaling": {"rope_type": "linear", "factor": 8.0}}, {"rope_scaling": LLAMA3},
            {"rope_scaling": YARN}, {"sliding_window_pattern": 2}, {"layer_types": THREE}, {"head_dim": 8},
            {"num_key_value_heads": 1}, {"num_key_value_heads": 6}, {"tie_word_embeddings": False},
            {"rope_theta": None, "rope_local_base_freq": None, "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 700.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 30.0}}},
            {"rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 4.0}}},
        ],
    ),
    "olmo2": (
        {"attention_bias": False},
        [
            {"attention_bias": True}, {"rms_norm_eps": 1e-3}, {"rope_theta": 10_000.0}, {"num_key_value_heads": 6},
            {"num_key_value_heads": 1}, {"head_dim": 16}, {"tie_word_embeddings": True}, {"rope_scaling": YARN},
            {"hidden_act": "gelu"},
        ],
    ),
    "phi3": (
        {"rope_theta": 10_000.0, "original_max_position_embeddings": 32},
        [
            {"sliding_window": 8}, {"rope_scaling": LONG}, {"rope_scaling": {**LONG, "rope_type": "su"}},
            {"rope_scaling": {**LONG, "rope_type": "yarn"}}, {"rope_scaling": {**LONG, "attention_factor": 1.25}},
            {"partial_rotary_factor": 0.5}, {"num_key_value_heads": 6}, {"num_key_value_heads": 1},
            {"num_key_value_heads": None}, {"tie_word_embeddings": True}, {"rms_norm_eps": 1e-3},
            {"partial_rotary_factor": 0.5,
             "rope_scaling": {**LONG, "short_factor": [1.0, 1.5], "long_factor": [1.0, 3.0]}},
            {"rope_theta": None, "rope_parameters": {**LONG, "rope_theta": 77.0, "partial_rotary_factor": 1.0}},
        ],
    ),
    "gpt_neox": (
        {"hidden_act": "gelu", "layer_norm_eps": 1e-5, "rotary_pct": 0.5, "rotary_emb_base": 100.0,
         "use_parallel_residual": True},
        [
            {"use_parallel_residual": False}, {"rotary_pct": 0.25}, {"rotary_pct": 1.0}, {"rotary_emb_base": 1000.0},
            {"hidden_act": "gelu_new"}, {"hidden_act": "relu"}, {"layer_norm_eps": 1e-3}, {"attention_bias": False},
            {"tie_word_embeddings": True}, {"rope_scaling": LINEAR}, {"rope_scaling": DYNAMIC},
            {"rotary_pct": None, "rotary_emb_base": None, "rope_parameters": {
                "rope_type": "default", "rope_theta": 77.0, "partial_rotary_factor": 0.5}},
        ],
    ),
    "gpt2": (
        {"activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "n_inner": 80},
        [
            {"n_inner": None}, {"activation_function": "gelu"}, {"activation_function": "relu"},
            {"activation_function": "silu"}, {"layer_norm_epsilon": 1e-2}, {"scale_attn_weights": False},
            {"scale_attn_by_inverse_layer_idx": True}, {"reorder_and_upcast_attn": True}, {"n_head": 4},
            {"tie_word_embeddings": True},
        ],
    ),
}  # fmt: skip

_GPT2 = {"vocab_size": "vocab_size", "hidden_size": "n_embd", "num_hidden_layers": "n_layer",
         "num_attention_heads": "n_head", "max_position_embeddings": "n_positions"}  # fmt: skip
_LLAMA_ONLY = ("num_key_value_heads", "rms_norm_eps", "rope_theta")


def base(kind: str) -> dict[str, Any]:
    """The first config of an architecture."""
    keys = {k: v for k, v in SMALL.items() if kind not in ("gpt2", "gpt_neox") or k not in _LLAMA_ONLY}
    if kind == "gpt2":
        kept = ("tie_word_embeddings", "bos_token_id", "eos_token_id", "pad_token_id")
        keys = {_GPT2.get(k, k): v for k, v in keys.items() if k in _GPT2 or k in kept}
    return {"model_type": kind, **keys, **FAMILIES[kind][0]}


def changed(kind: str, change: dict[str, Any]) -> dict[str, Any]:
    """The first config with some keys changed; what becomes None and is no size is taken out."""
    out = ("rope_theta", "rope_local_base_freq", "rotary_pct", "rotary_emb_base")
    return {k: v for k, v in {**base(kind), **change}.items() if not (v is None and k in out)}


ALL = [(kind, change) for kind, (_, changes) in FAMILIES.items() for change in [{}, *changes]]


def named(case: object) -> str:
    """What a case is called."""
    if not isinstance(case, dict):
        return str(case)
    text = ",".join(f"{k}={v}" for k, v in case.items()) or "as it is"
    return "".join(c for c in text if c not in "{}'\" ")[:100]
