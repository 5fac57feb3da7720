"""Gates, activations and biases that are wrong, and which case names each."""

from arrayformer.conformance.wrong.registry import from_faults

from_faults(
    {
        "gate_and_up_swapped": ("L1-gated", "values are activated"),
        "gate_not_activated": ("L1-gated", "not activated"),
        "gate_of_the_product": ("L1-gated", "product is activated"),
        "gate_added": ("L1-gated", "added"),
        "gate_alone": ("L1-gated", "not multiplied"),
        "gate_sigmoid": ("L1-gated", "logistic"),
        "gate_always_gelu": ("L1-gated", "is GELU, whatever"),
        "gate_always_silu": ("L1-gated", "is silu, whatever"),
        "silu_1.702": ("L1-silu", "1.702"),
        "silu_float16": ("L1-silu", "float16"),
        "silu_hard": ("L1-silu", "straight lines"),
        "silu_overflows": ("L1-silu", "NaN or infinity"),
        "bias_of_the_last": ("L2-logits[qwen2]", "another layer"),
        "k_bias_dropped": ("L2-logits[qwen2]", "h.0.attn.k["),
        "v_bias_dropped": ("L2-logits[llama-3]", "h.0.attn.v["),
        "o_bias_dropped": ("L2-logits[llama-3]", "behind attention"),
    }
)
