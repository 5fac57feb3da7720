"""llama.cpp's keys and names in GGUF files, as far as architectures share them.

Which key means what stands in llama.cpp's `conversion/*.py`, which writes the files, and in `src/models/*.cpp`, which
reads them (https://github.com/ggml-org/llama.cpp). What is fixed there by architecture and no key of the file stands
on the pages.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from arrayformer.core.architecture import Source
from arrayformer.core.models.keys import Keys, end_of_text, said
from arrayformer.core.models.rope import Divided, Linear, LongRope, Rope, Scaling, Yarn

# Without an effect on logits.
HARMLESS = frozenset({"rope.scaling.finetuned", "tensor_data_layout", "pooling_type"})

_NAMES = {
    "ln_1": "attn_norm", "ln_2": "ffn_norm", "post_1": "post_attention_norm", "post_2": "post_ffw_norm",
    "attn.q_proj": "attn_q", "attn.k_proj": "attn_k", "attn.v_proj": "attn_v", "attn.o_proj": "attn_output",
    "attn.q_norm": "attn_q_norm", "attn.k_norm": "attn_k_norm", "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
}  # fmt: skip
_OUTSIDE = {"wte": "token_embd", "wpe": "position_embd", "lm_head": "output", "ln_f.g": "output_norm",
            "ln_f.b": "output_norm"}  # fmt: skip


class GgufKeys(Keys):
    """The keys of one GGUF file that begin with its architecture, without that, and what its tensors say.

    architecture  `general.architecture`
    keys          by their names without the architecture's prefix
    shapes        of the tensors by name, [n_out, n_in] for a matrix
    numbers       the values of a small tensor, by its name
    ends          the ids of tokens that end a text, a turn, or a message to a tool
    """

    def __init__(
        self, architecture: str, keys: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]],
        numbers: Callable[[str], tuple[float, ...]], ends: Sequence[Any], where: str,
    ) -> None:  # fmt: skip
        super().__init__(keys, where)
        self.architecture = architecture
        self.shapes = shapes
        self.no_weights: set[str] = set()
        self._numbers = numbers
        self._ends = ends

    def numbers(self, name: str) -> tuple[float, ...] | None:
        """The values of a tensor that is no weight; None where the file has none of that name."""
        if name not in self.shapes:
            return None
        self.no_weights.add(name)
        return self._numbers(name)

    def rows(self, name: str) -> int:
        """How many rows a tensor has."""
        return self.shapes[name][0] if name in self.shapes else self.fail(f"there is no tensor {name}")

    def end_ids(self, n_vocab: int) -> int | tuple[int, ...] | None:
        """The ids that end a text."""
        found = end_of_text(list(self._ends), n_vocab, self.where)
        return tuple(dict.fromkeys(found)) if isinstance(found, tuple) else found

    def optional(self, name: str, default: float | None, low: float, high: float) -> float | None:
        """A number, or `default` where there is no such key."""
        return self.number(name, 0.0, low, high) if name in self else default

    def unknown(self) -> list[str]:
        """The keys that nobody asked for and that may change numbers."""
        return [f"{self.architecture}.{name}" for name in sorted(self._keys.keys() - self._asked - HARMLESS)]


def gguf_source(path: str, names: Mapping[str, str] | None = None) -> Source:
    """ "blocks.0.attn.q_proj.w" is "blk.0.attn_q.weight". All matrices are stored as [n_out, n_in].

    names  those that differ, as "ln_1" -> "post_attention_norm"
    """
    kind = "bias" if path.endswith(".b") else "weight"
    if path in _OUTSIDE:
        return Source(f"{_OUTSIDE[path]}.{kind}")
    _, layer, *inner, leaf = path.split(".")
    name = {**_NAMES, **(names or {})}[".".join(inner)]
    return Source(f"blk.{layer}.{name}.{kind}", transposed=leaf == "w")


def read_sizes(keys: GgufKeys) -> dict[str, Any]:
    """The fields that all models have, and the width inside the feed-forward network as `n_inner`."""
    n_vocab = keys.rows("token_embd.weight")
    if (given := keys.size("vocab_size", default=n_vocab)) != n_vocab:
        keys.fail(f"vocab_size is {given}, but token_embd.weight has {n_vocab} rows")
    n_layer = keys.size("block_count", most=10_000)
    if (blocks := len({name.split(".")[1] for name in keys.shapes if name.startswith("blk.")})) != n_layer:
        keys.fail(f"block_count is {n_layer}, but the tensors are of {blocks} blocks")
    keys.refuse("expert_count", None, 0)
    keys.refuse("attention.causal", None, True)
    return {
        "n_vocab": n_vocab,
        "n_ctx": keys.size("context_length"),
        "n_embd": keys.size("embedding_length", most=1_000_000),
        "n_head": keys.size("attention.head_count"),
        "n_layer": n_layer,
        "n_inner": keys.size("feed_forward_length"),
        "eos_token_id": keys.end_ids(n_vocab),
        "tie_word_embeddings": "output.weight" not in keys.shapes,
    }


def read_heads(keys: GgufKeys, sizes: Mapping[str, Any]) -> dict[str, int]:
    """n_kv_head and head_dim, where an architecture has heads that share and heads of their own width."""
    n_head, n_embd = sizes["n_head"], sizes["n_embd"]
    head_dim = keys.size("attention.key_length", default=max(1, n_embd // n_head))
    if (width := keys.size("attention.value_length", default=head_dim)) != head_dim:
        keys.fail(f"heads of keys are {head_dim} wide and heads of values {width}, which is not computed here")
    return {"n_kv_head": keys.size("attention.head_count_kv", default=n_head), "head_dim": head_dim}


def read_rope(keys: GgufKeys, head_dim: int, n_ctx: int) -> Rope:
    """The rotation that the keys ask for, and the tensors that stand for Llama 3's scaling and for longrope."""
    theta = keys.number("rope.freq_base", 10_000.0, 1.0, 1e15)
    return Rope(theta, keys.size("rope.dimension_count", default=head_dim), _scaling(keys, n_ctx))


def _scaling(keys: GgufKeys, n_ctx: int) -> Scaling:
    kind = keys.choice("rope.scaling.type", ("none", "linear", "yarn", "longrope"), "none")
    factor = keys.number("rope.scaling.factor", 1.0, 0.0, 1e6) or 1.0  # 0 is llama.cpp's word for none
    old = keys.optional("rope.scale_linear", None, 1e-6, 1e6)
    original = keys.size("rope.scaling.original_context_length", default=n_ctx)
    divisors = keys.numbers("rope_freqs.weight")
    long, short = keys.numbers("rope_factors_long.weight"), keys.numbers("rope_factors_short.weight")
    ways = (kind in ("linear", "yarn") and factor != 1, old not in (None, 1.0), divisors is not None, long is not None)
    if sum(ways) > 1:
        keys.fail("positions are scaled in several ways at once, which is not computed here")
    if divisors is not None:
        return Divided(divisors)
    if long is not None and short is not None:
        magnitude = keys.optional("rope.scaling.attn_factor", None, 1e-6, 1e6)
        return LongRope(short, long, original, max(1.0, n_ctx / original), magnitude)
    if kind == "longrope":
        keys.fail("rope.scaling.type is 'longrope', but there are no tensors rope_factors_long and rope_factors_short")
    if kind == "yarn":
        return Yarn(factor, original)
    factor = factor if kind == "linear" else old or 1.0
    return Linear(factor) if factor != 1.0 else Scaling()


def read_windows(keys: GgufKeys, n_layer: int) -> tuple[int | None, ...]:
    """attention.sliding_window where it holds for each layer; 0 says that there is none."""
    window = keys.get("attention.sliding_window")
    if window in (None, 0) and type(window) in (int, type(None)):
        return ()
    return (keys.size("attention.sliding_window"),) * n_layer


def read_pattern(keys: GgufKeys, n_layer: int, every: int, window: int) -> tuple[int | None, ...]:
    """Windows in all layers but each `every`th, unless attention.sliding_window_pattern says otherwise."""
    pattern = keys.get("attention.sliding_window_pattern", every)
    window = keys.size("attention.sliding_window", default=window)
    if isinstance(pattern, list) and len(pattern) == n_layer and all(type(x) is bool for x in pattern):
        return tuple(window if local else None for local in pattern)
    if type(pattern) is not int or pattern < 1:
        keys.fail(f"attention.sliding_window_pattern is {said(pattern)}; it is a number, or one truth value a layer")
    return tuple(window if (layer + 1) % pattern else None for layer in range(n_layer))
