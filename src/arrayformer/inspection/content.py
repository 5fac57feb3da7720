"""An inspection as data: whole for `--json`, small for the page."""

import base64
import math
from dataclasses import asdict
from typing import Any

import numpy as np

from arrayformer.core.architecture import Architecture
from arrayformer.inspection.compare import Comparison
from arrayformer.inspection.gather import Inspection
from arrayformer.tokenizer import Tokenizer

ATTENTION_BYTES = 12_000_000
"""Above this the page shows the mean over heads instead of each head."""


def token_text(tokenizer: Tokenizer | None, id: int) -> str:
    """What an id stands for; bytes that are part of a character as `<0xE2>`, an id without a token as `<id 7>`."""
    if tokenizer is None or id >= tokenizer.n_vocab:
        return f"<id {id}>"
    data = tokenizer.token_bytes(id)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return "".join(chr(byte) if 32 <= byte < 127 else f"<0x{byte:02X}>" for byte in data)


def parts_of_characters(tokenizer: Tokenizer | None, ids: list[int]) -> dict[int, str]:
    """Place -> what to show there, for tokens that hold only part of a character.

    The last of them shows what they make together, those before it a dotted circle.
    """
    shown: dict[int, str] = {}
    waiting: list[int] = []
    for place, id in enumerate(ids):
        if tokenizer is None or id >= tokenizer.n_vocab:
            waiting = []
            continue
        data = b"".join(tokenizer.token_bytes(ids[p]) for p in waiting) + tokenizer.token_bytes(id)
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            ends_early = error.end == len(data) and len(data) - error.start < 4
            waiting = [*waiting, place] if ends_early else []
            continue
        if waiting:
            shown |= dict.fromkeys(waiting, "\u25cc") | {place: text}
        waiting = []
    return shown


def as_json(
    found: Inspection, tokenizer: Tokenizer | None, model: str, comparison: Comparison | None = None
) -> dict[str, Any]:
    """Everything, with arrays as nested lists; what is not defined is null."""
    arrays = {
        name: numbers(getattr(found, name))
        for name in (
            "loss", "rank", "entropy", "next_ids", "next_probs", "lens_ids", "lens_probs", "lens_true", "attention",
            "residual", "attn_out", "mlp_out",
        )
    }  # fmt: skip
    return {
        "schema": "arrayformer-inspection/1",
        "model": model, "backend": found.backend, "device": found.device, "dtype": found.dtype,
        "tokens": [{"id": id, "text": token_text(tokenizer, id)} for id in found.ids],
        "perplexity": finite(found.perplexity), **arrays, "comparison": comparison and finite(asdict(comparison)),
    }  # fmt: skip


def numbers(x: np.ndarray | None, digits: int = 7) -> Any:
    """Nested lists of ints, or of floats with so many significant digits; what is not finite becomes None."""
    if x is None or np.issubdtype(x.dtype, np.integer):
        return None if x is None else x.tolist()
    return significant(x.tolist(), digits)


def significant(x: Any, digits: int) -> Any:
    """Floats in nested lists, rounded to significant digits."""
    if isinstance(x, list):
        return [significant(item, digits) for item in x]
    return float(f"{x:.{digits}g}") if math.isfinite(x) else None


def finite(x: Any) -> Any:
    """`x` with None in the place of each float in it for which JSON has no word."""
    if isinstance(x, dict):
        return {name: finite(value) for name, value in x.items()}
    if isinstance(x, list):
        return [finite(item) for item in x]
    return None if isinstance(x, float) and not math.isfinite(x) else x


def for_page(
    found: Inspection, tokenizer: Tokenizer | None, model: str, config: Architecture,
    comparison: Comparison | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What the page shows, in few bytes: texts once per id, attention as bytes."""
    used = {*found.ids, *found.next_ids.ravel().tolist(), *found.lens_ids.ravel().tolist()}
    heads, packed = pack_attention(found.attention)
    return {
        "model": model, "backend": found.backend, "device": found.device, "dtype": found.dtype,
        "ids": found.ids, "text": {str(id): token_text(tokenizer, id) for id in sorted(used)},
        "parts": parts_of_characters(tokenizer, found.ids),
        "loss": numbers(found.loss, 4), "rank": found.rank.tolist(), "entropy": numbers(found.entropy, 4),
        "nextIds": found.next_ids.tolist(), "nextProbs": numbers(found.next_probs, 3),
        "lensIds": found.lens_ids.tolist(), "lensProbs": numbers(found.lens_probs, 3),
        "lensTrue": numbers(found.lens_true, 3),
        "nLayer": len(found.attn_out), "nHead": config.n_head, "nKvHead": config.n_kv_head,
        "heads": heads, "attention": packed,
        "residual": numbers(found.residual, 4), "attnOut": numbers(found.attn_out, 4),
        "mlpOut": numbers(found.mlp_out, 4), "perplexity": finite(found.perplexity),
        "comparison": comparison and finite(asdict(comparison)),
    }  # fmt: skip


def pack_attention(attention: np.ndarray | None, limit: int = ATTENTION_BYTES) -> tuple[int, str]:
    """[n_layer, n_head, seq, seq] -> (heads kept, base64 of the lower triangles, row by row, a byte each).

    A byte is round(255 sqrt(p)): the square root keeps small weights apart. One head is kept, the mean, where all
    of them would be more than `limit` bytes.
    """
    if attention is None:
        return 0, ""
    n_layer, n_head, seq, _ = attention.shape
    if n_layer * n_head * seq * (seq + 1) // 2 > limit:
        attention = attention.mean(axis=1, keepdims=True)
    rows, columns = np.tril_indices(seq)
    levels = np.round(255 * np.sqrt(np.clip(attention[:, :, rows, columns], 0, 1))).astype(np.uint8)
    return attention.shape[1], base64.b64encode(levels.tobytes()).decode()
