"""RMS norms that are wrong, and which case names each."""

from arrayformer.conformance.wrong.registry import from_faults

from_faults(
    {
        "rms_mean_subtracted": ("L1-rms_norm", "subtracts the mean"),
        "rms_1_plus_w": ("L1-rms_norm", "1 + w"),
        "rms_eps_outside": ("L1-rms_norm", "below it"),
        "rms_eps_none": ("L1-rms_norm", "epsilon"),
        "rms_eps_tenfold": ("L1-rms_norm", "ten times"),
        "rms_eps_tenth": ("L1-rms_norm", "tenth"),
        "rms_no_gain": ("L1-rms_norm", "gain is not applied"),
        "rms_n_minus_1": ("L1-rms_norm", "n - 1"),
        "rms_sum_for_mean": ("L1-rms_norm", "sum of squares"),
        "rms_mean_of_sizes": ("L1-rms_norm", "mean size"),
        "rms_float16": ("L1-rms_norm", ""),
        "rms_bfloat16": ("L1-rms_norm", "bfloat16"),
        "rms_gain_bfloat16": ("L1-rms_norm", "bfloat16"),
        "heads_not_normed": ("L1-rms_norm", "not normed"),
        "heads_normed_together": ("L1-rms_norm", "head by head"),
        "heads_normed_after_rotation": ("L2-logits[qwen3]", "not normed"),
        "q_and_k_norms_swapped": ("L2-logits[qwen3]", "norms of queries and keys"),
    }
)
