"""The faults of faults.py as backends, and which case names each one."""

from arrayformer.conformance.diagnosis.faults import FAULTS
from arrayformer.conformance.wrong.registry import WRONG, Wrong, with_fault

_NAMED = {
    "tf32": ("L1-identity", "TF32"),
    "bfloat16": ("L1-identity", "bfloat16"),
    "float16": ("L1-identity", ""),
    "head_tf32": ("L1-unembed", "TF32"),
    "head_bfloat16": ("L1-unembed", "bfloat16"),
    "attention_tf32": ("L1-attention", "TF32"),
    "attention_bfloat16": ("L1-attention", "bfloat16"),
    "half_probs": ("L1-attention", "float16"),
    "half_activation": ("L1-gelu", "float16"),
    "brain_activation": ("L1-gelu", "bfloat16"),
    "erf_gelu": ("L1-gelu", "erf"),
    "tanh_gelu": ("L1-gelu_erf", "tanh"),
    "sigmoid_gelu": ("L1-gelu", "sigmoid"),
    "relu_for_gelu": ("L1-gelu", "relu"),
    "eps_1e-6": ("L1-layer_norm", "1e-6"),
    "eps_1e-12": ("L1-layer_norm", "epsilon"),
    "eps_outside": ("L1-layer_norm", "epsilon"),
    "unbiased_norm": ("L1-layer_norm", "n - 1"),
    "one_pass_norm": ("L1-layer_norm", "one pass"),
    "no_gain": ("L1-layer_norm", "gain"),
    "no_shift": ("L1-layer_norm", "bias"),
    "no_bias": ("L1-linear", "bias"),
    "mask_sees_next": ("L2-causal", "future"),
    "no_mask": ("L2-causal", "future"),
    "mask_-10": ("L2-causal", "future"),
    "mask_-1e4": ("L2-causal", "future"),
    "mask_is_-10": ("L2-causal", "future"),
    "mask_is_0": ("L2-causal", "future"),
    "mask_hides_self": ("L1-attention", "off by one"),
    "no_scale": ("L1-attention", "sqrt(head_dim)"),
    "scale_d": ("L1-attention", "head_dim"),
    "clamped_ids": ("L1-embed", "last id"),
    "positions_from_1": ("L2-logits", "positions are counted from 1"),
    "no_positions": ("L2-logits", "position embedding"),
    "heads_interleaved": ("L2-logits", "heads"),
    "k_and_v_swapped": ("L2-logits", "keys and values"),
    "norms_swapped": ("L2-logits", "ln_1 and ln_2"),
}
for _name, (_case, _says) in _NAMED.items():
    WRONG[_name] = Wrong(_name, _case, _says, with_fault(FAULTS[_name]))
