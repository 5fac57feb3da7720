"""Heads that look at the wrong keys, and which case names each."""

from arrayformer.conformance.wrong.registry import from_faults

from_faults(
    {
        "heads_tiled": ("L1-grouped", "in turns"),
        "heads_reversed": ("L1-grouped", "reverse"),
        "heads_first_for_all": ("L1-grouped", "keys of the first"),
        "heads_last_for_all": ("L1-grouped", "keys of the last"),
        "heads_group_off_by_one": ("L1-grouped", "one head early"),
        "heads_next_group": ("L1-grouped", "of the next"),
        "heads_last_group_lost": ("L1-grouped", "the one before"),
        "heads_values_tiled": ("L1-grouped", "values are taken by heads in turns"),
        "heads_keys_tiled": ("L1-grouped", "keys are taken by heads in turns, values"),
        "heads_values_of_the_first": ("L1-grouped", "values of the first"),
        "heads_mask_in_turns": ("L1-grouped", "each other's positions"),
        "heads_out_in_turns": ("L1-grouped", "come back in turns"),
        "head_is_the_embedding": ("L2-logits[llama-3]", "not tied"),
    }
)
