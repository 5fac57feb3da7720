"""Rotary positions that are wrong, and which case names each."""

from arrayformer.conformance.wrong.registry import from_faults

from_faults(
    {
        "rope_neighbours": ("L1-rotate", "interleaved"),
        "rope_twice": ("L1-rotate", "rotated twice"),
        "rope_forgotten": ("L1-rotate", "nothing is rotated"),
        "rope_backwards": ("L1-rotate", "backwards"),
        "rope_sin_for_cos": ("L1-rotate", "each other's place"),
        "rope_sign_lost": ("L1-rotate", "sum for a difference"),
        "rope_half_the_pairs": ("L1-rotate", "too few"),
        "rope_last_channels": ("L1-rotate", "last channels"),
        "rope_pairs_of_the_head": ("L1-rotate", "half a head apart"),
        "rope_rest_dropped": ("L1-rotate", "become zero"),
        "rope_bfloat16": ("L1-rotate", "bfloat16"),
        "rope_tables_float16": ("L1-rotate", "float16"),
        "rope_tables_bfloat16": ("L1-rotate", "bfloat16"),
        "rope_no_magnitude": ("L1-rotate", "magnitude"),
        "rope_first_row": ("L1-rotate", "positions of the first"),
        "rope_theta_1_percent": ("L2-logits[llama-2]", "1 % off"),
        "rope_theta_twice": ("L2-logits[llama-2]", "twice as large"),
        "rope_frequencies_bfloat16": ("L2-logits[llama-long]", "frequencies"),
        "rope_positions_bfloat16": ("L2-logits[llama-long]", "positions are rounded"),
        "rope_from_0_in_pieces": ("L3-cached[mistral]", "h.0.attn.q_rotated"),
        "rope_one_late": ("L3-cached[mistral]", "one position too far"),
        "rope_one_early": ("L3-cached[gemma3]", "one position short"),
        "rope_of_the_longest": ("L3-ragged[mistral]", "row"),
        "rope_on_values": ("L2-logits[llama-2]", "values are rotated"),
        "rope_on_queries_only": ("L2-logits[neox]", "h.0.attn.k_rotated"),
        "rope_cached_unturned": ("L3-cached[olmo2]", "keys are not"),
        "rope_first_kind": ("L2-logits[gemma3]", "first kind"),
        "rope_twice_in_steps": ("L3-cached[neox]", "rotated twice"),
        "rope_not_in_steps": ("L3-cached[mistral]", "nothing is rotated"),
    }
)
