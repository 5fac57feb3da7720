"""Windows and caps of attention that are wrong, and which case names each."""

from arrayformer.conformance.wrong.registry import from_faults

from_faults(
    {
        "window_one_more": ("L1-window", "too long"),
        "window_one_less": ("L1-window", "too short"),
        "window_forgotten": ("L1-window", "no window"),
        "window_not_in_steps": ("L1-window", ""),
        "window_short_in_steps": ("L1-window", ""),
        "window_only_in_steps": ("L1-window", "no window"),
        "window_half": ("L1-window", "half of the window"),
        "window_from_the_end": ("L1-window", "from the last key"),
        "window_of_the_first_row": ("L1-window", "window of the first"),
        "window_in_blocks": ("L1-window", "anew"),
        "window_both_sides": ("L1-window", "ahead"),
        "window_in_every_layer": ("L2-logits[gemma3]", "layers without a window"),
        "window_one_layer_late": ("L2-logits[gemma2]", "no window"),
        "cap_dropped": ("L1-cap", "not capped"),
        "cap_after_mask": ("L1-cap", "shine through"),
        "cap_cut_off": ("L1-cap", "cut off"),
        "cap_twice": ("L1-cap", "twice"),
        "cap_not_multiplied": ("L1-cap", "not multiplied"),
        "cap_not_divided": ("L1-cap", "not divided"),
        "scale_ignored": ("L1-cap", "whatever scale"),
    }
)
