"""GPT-2: learned positions, layer norm, one product for queries, keys and values, GELU.

https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf. The functions
are picoGPT's, under their names; the class below them says what a checkpoint's numbers mean.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from arrayformer.core.architecture import Architecture, Attend, Source
from arrayformer.core.array_api import Array, array_namespace, device
from arrayformer.core.checks import check_ids, check_inputs, keep_plain_numbers, shown, whole
from arrayformer.core.decoder import forward, under
from arrayformer.core.errors import ConfigError
from arrayformer.core.models.gguf_keys import GgufKeys, gguf_source, read_sizes
from arrayformer.core.models.keys import Keys
from arrayformer.core.ops import ACTIVATIONS, PLAIN, Ops, Tap, merge_heads, split_heads, untouched
from arrayformer.core.params import Params, Weight, linear, norm
from arrayformer.core.plugins.hooks import RegisterModel, hookimpl


def ffn(
    x: Array, c_fc: Params, c_proj: Params, *,
    activation: str = "gelu_new", ops: Ops = PLAIN, tap: Tap = untouched,
) -> Array:  # fmt: skip
    """[batch, seq, n_embd] -> [batch, seq, n_embd], through n_inner"""
    x = tap("fc", ops.linear(x, **c_fc))
    x = tap("act", ops.activation(activation)(x))
    return tap("proj", ops.linear(x, **c_proj))


def look_back(q: Array, k: Array, v: Array, *, ops: Ops = PLAIN, **how: Any) -> Array:
    """Causal attention of the queries [batch, head, seq, head_dim] to the keys and values beside them."""
    position = array_namespace(q).arange(q.shape[-2], device=device(q))
    return ops.causal_attention(q, k, v, position, **how)


def mha(
    x: Array, c_attn: Params, c_proj: Params, n_head: int, *,
    attend: Attend = look_back, ops: Ops = PLAIN, tap: Tap = untouched,
) -> Array:  # fmt: skip
    """Multi-head causal self-attention, [batch, seq, n_embd] -> [batch, seq, n_embd]"""
    qkv = split_heads(tap("qkv", ops.linear(x, **c_attn)), 3 * n_head)  # [batch, 3 * head, seq, head_dim]
    q, k, v = (qkv[..., i * n_head : (i + 1) * n_head, :, :] for i in range(3))
    x = tap("out", merge_heads(attend(q, k, v, tap=tap)))
    return tap("proj", ops.linear(x, **c_proj))


def transformer_block(
    x: Array, mlp: Params, attn: Params, ln_1: Params, ln_2: Params, n_head: int, *,
    eps: float = 1e-5, activation: str = "gelu_new", attend: Attend = look_back, ops: Ops = PLAIN,
    tap: Tap = untouched,
) -> Array:  # fmt: skip
    """[batch, seq, n_embd] -> [batch, seq, n_embd]"""
    normed = tap("ln_1", ops.layer_norm(x, **ln_1, eps=eps))
    x = tap("mid", x + mha(normed, **attn, n_head=n_head, attend=attend, ops=ops, tap=under(tap, "attn")))
    normed = tap("ln_2", ops.layer_norm(x, **ln_2, eps=eps))
    return tap("end", x + ffn(normed, **mlp, activation=activation, ops=ops, tap=under(tap, "mlp")))


def gpt2(
    inputs: Sequence[int] | Array, wte: Array, wpe: Array, blocks: list[Params], ln_f: Params, n_head: int, *,
    lm_head: Array | None = None, ops: Ops = PLAIN, tap: Tap = untouched,
) -> Array:  # fmt: skip
    """Logits, not softmaxed.

    inputs   ids: list[int], or an integer array [seq] or [batch, seq]
    wte      [n_vocab, n_embd], wpe [n_ctx, n_embd]
    lm_head  [n_vocab, n_embd] where the head is not tied to wte
    returns  [seq, n_vocab] or [batch, seq, n_vocab]

    Raises InputError for a list that is empty, too long, or holds what is no id, and for an array of a wrong
    shape or dtype. The values of an array are its owner's to check: under a compiler nobody can look.
    """
    xp, (n_vocab, n_embd) = array_namespace(wte), wte.shape
    ids: Array = inputs
    if isinstance(inputs, Sequence):
        ids = xp.asarray(check_ids(inputs, n_vocab), device=device(wte))
    check_inputs(ids.shape, xp.isdtype(ids.dtype, "integral"), wpe.shape[0])
    model = GPT2(n_vocab, wpe.shape[0], n_embd, n_head, len(blocks), tie_word_embeddings=lm_head is None)
    params = {"wte": wte, "wpe": wpe, "blocks": blocks, "ln_f": ln_f, "lm_head": lm_head}
    return forward(model, params, ids, ops=ops, tap=tap)[0]


SWITCHES = (
    "scale_attn_weights", "scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn", "tie_word_embeddings",
)  # fmt: skip
"""The fields that are true or false."""


@dataclass(frozen=True)
class GPT2(Architecture):
    """Sizes and switches of one GPT-2, under Hugging Face's names where OpenAI has none.

    n_vocab, n_ctx                   ids there are; ids that fit into the context
    n_embd, n_head, n_layer          width, heads, blocks
    n_inner                          width inside the feed-forward network (4 * n_embd)
    activation_function              a key of ops.ACTIVATIONS
    layer_norm_epsilon               added to the variance
    scale_attn_weights               whether scores are divided by sqrt(head_dim)
    scale_attn_by_inverse_layer_idx  whether scores of block i are divided by i + 1 too
    reorder_and_upcast_attn          whether scores are computed in float32 whatever the dtype
    tie_word_embeddings              whether the head is wte
    eos_token_id                     the id generation stops at, or several

    Raises ConfigError for sizes that do not fit together and values that no GPT-2 has.
    """

    hf_prefix = "transformer."
    # The causal mask and the number that stood for minus infinity: older files carry them, nothing needs them.
    hf_ignored = r"h\.\d+\.attn\.(bias|masked_bias)"

    n_vocab: int
    n_ctx: int
    n_embd: int
    n_head: int
    n_layer: int
    n_inner: int | None = None
    activation_function: str = "gelu_new"
    layer_norm_epsilon: float = 1e-5
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    reorder_and_upcast_attn: bool = False
    tie_word_embeddings: bool = True
    eos_token_id: int | tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        keep_plain_numbers(self)
        for name in ("n_vocab", "n_ctx", "n_embd", "n_head", "n_layer", "n_inner"):
            size = getattr(self, name)
            if not (name == "n_inner" and size is None) and (type(size) is not int or size < 1):
                raise ConfigError(f"{name} is {shown(size)}; it must be an integer of 1 or more")
        if self.n_embd % self.n_head:
            raise ConfigError(f"n_embd {self.n_embd} is not a multiple of n_head {self.n_head}")
        if not isinstance(self.activation_function, str) or self.activation_function not in ACTIVATIONS:
            raise ConfigError(
                f"activation_function {shown(self.activation_function)} is not one of {', '.join(ACTIVATIONS)}"
            )
        if type(self.layer_norm_epsilon) not in (int, float) or not 0 < self.layer_norm_epsilon < 1:
            raise ConfigError(f"layer_norm_epsilon is {shown(self.layer_norm_epsilon)}; it must lie between 0 and 1")
        for name in SWITCHES:
            if type(getattr(self, name)) is not bool:
                raise ConfigError(f"{name} is {shown(getattr(self, name))}; it must be true or false")
        for id in self.eos_ids:
            if whole(id) is None or not 0 <= id < self.n_vocab:
                raise ConfigError(f"eos_token_id is {shown(id)}; the ids are 0 to {self.n_vocab - 1}")

    @property
    def n_kv_head(self) -> int:
        """Each head has keys and values of its own."""
        return self.n_head

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.n_embd // self.n_head

    @property
    def inner(self) -> int:
        """Width inside the feed-forward network."""
        return 4 * self.n_embd if self.n_inner is None else self.n_inner

    def scale(self, layer: int) -> float:
        """What multiplies q @ k.T in a block."""
        base = 1.0 / math.sqrt(self.head_dim) if self.scale_attn_weights else 1.0
        return base / (layer + 1 if self.scale_attn_by_inverse_layer_idx else 1)

    def weights(self) -> Params:
        """wte, wpe, blocks, ln_f, and lm_head where it is not tied."""
        n = self.n_embd
        block = {
            "ln_1": norm(n, shift=True),
            "attn": {"c_attn": linear(n, 3 * n, "column", self.n_head), "c_proj": linear(n, n, "row", self.n_head)},
            "ln_2": norm(n, shift=True),
            "mlp": {"c_fc": linear(n, self.inner, "column", self.inner),
                    "c_proj": linear(self.inner, n, "row", self.inner)},
        }  # fmt: skip
        table = Weight((self.n_vocab, n), "table")
        tree: Params = {"wte": table, "wpe": Weight((self.n_ctx, n), "position"), "blocks": [block] * self.n_layer}
        tree["ln_f"] = norm(n, shift=True)
        return tree if self.tie_word_embeddings else {**tree, "lm_head": table}

    def embed(self, params: Params, ids: Array, position: Array, ops: Ops) -> Array:
        """What an id is, and where it stands."""
        return ops.embed(params["wte"], ids) + ops.embed(params["wpe"], position)

    def block(self, layer: int, x: Array, weights: Params, *, attend: Attend, ops: Ops, tap: Tap) -> Array:
        """`transformer_block`, with this config's switches."""
        look = partial(attend, scale=self.scale(layer), upcast=self.reorder_and_upcast_attn)
        return transformer_block(
            x, **weights, n_head=self.n_head, eps=self.layer_norm_epsilon, activation=self.activation_function,
            attend=look, ops=ops, tap=tap,
        )  # fmt: skip

    def head(self, params: Params, x: Array, ops: Ops, tap: Tap) -> Array:
        """The last norm, and how well each id fits."""
        x = tap("ln_f", ops.layer_norm(x, **params["ln_f"], eps=self.layer_norm_epsilon))
        return ops.unembed(x, params["wte"] if self.tie_word_embeddings else params["lm_head"])

    @classmethod
    def from_hf(cls, keys: Keys) -> Self:
        """From a config.json of model_type "gpt2"."""
        fields: dict[str, Any] = _sizes(keys)
        fields |= {name: keys.flag(name, name in ("scale_attn_weights", "tie_word_embeddings")) for name in SWITCHES}
        fields["n_inner"] = keys.size("n_inner", most=4_000_000) if keys.get("n_inner") is not None else None
        fields["activation_function"] = keys.get("activation_function", "gelu_new")
        fields["layer_norm_epsilon"] = keys.get("layer_norm_epsilon", 1e-5)
        # Other architectures' names for what GPT-2 calls otherwise: Hugging Face ignores them, a reader would not.
        keys.same("hidden_act", "activation_function", fields["activation_function"])
        keys.same("layer_norm_eps", "layer_norm_epsilon", fields["layer_norm_epsilon"])
        keys.refuse("rope_scaling", None)
        fields["eos_token_id"] = keys.end_of_text(fields["n_vocab"], 50256)
        return cls(**fields)

    @classmethod
    def from_openai(cls, keys: Keys) -> Self:
        """From OpenAI's hparams.json."""
        sizes: dict[str, Any] = _sizes(keys)
        return cls(**sizes, eos_token_id=sizes["n_vocab"] - 1)  # their tables end with <|endoftext|>

    def to_hf(self) -> dict[str, Any]:
        """The keys of a config.json."""
        fields = self.as_dict()
        n_ctx = fields.pop("n_ctx")
        names = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": fields.pop("n_vocab")}
        bos = self.eos_ids[0] if self.eos_ids else None
        return {**names, "n_positions": n_ctx, "n_ctx": n_ctx, **fields, "bos_token_id": bos}

    def hf_source(self, path: str) -> Source:
        """ "blocks.0.ln_1.g" is "h.0.ln_1.weight". Matrices are stored as they are used, [n_in, n_out]."""
        parts = path.replace("blocks.", "h.").split(".")
        leaf = {"g": "weight", "w": "weight", "b": "bias"}.get(parts[-1])
        return Source(f"{path}.weight" if leaf is None else ".".join([*parts[:-1], leaf]))

    @classmethod
    def from_gguf(cls, keys: GgufKeys) -> Self:
        """From a GGUF file of architecture gpt2."""
        return cls(**read_sizes(keys), layer_norm_epsilon=keys.number("attention.layer_norm_epsilon", 1e-5, 1e-12, 0.1))

    def gguf_source(self, path: str) -> Source:
        """ "blocks.0.attn.c_attn.w" is "blk.0.attn_qkv.weight", here with all matrices as [n_out, n_in]."""
        return gguf_source(path)

    @classmethod
    def probes(cls) -> Mapping[str, Self]:
        """From one block of width 16 to twelve, tied and not, each activation, odd sizes."""
        return {
            "p1": cls(n_vocab=31, n_ctx=8, n_embd=16, n_head=2, n_layer=1),
            "p2": cls(n_vocab=512, n_ctx=64, n_embd=64, n_head=4, n_layer=2),
            # Nothing here is a power of two, and the context is odd.
            "p3": cls(n_vocab=257, n_ctx=33, n_embd=48, n_head=3, n_layer=3),
            "deep": cls(n_vocab=1024, n_ctx=64, n_embd=128, n_head=8, n_layer=12),
            "long": cls(n_vocab=31, n_ctx=300, n_embd=16, n_head=2, n_layer=1),
            "untied": cls(97, 16, 24, 2, 3, n_inner=40, activation_function="gelu", tie_word_embeddings=False,
                          scale_attn_by_inverse_layer_idx=True),
            "relu": cls(97, 16, 24, 4, 2, activation_function="relu", layer_norm_epsilon=1e-3,
                        scale_attn_weights=False),
            "silu": cls(97, 16, 24, 1, 2, activation_function="silu", reorder_and_upcast_attn=True),
        }  # fmt: skip


# Each size under all its names, with the largest value that is not taken for a mistake.
_SIZES = {
    "n_vocab": (("vocab_size", "n_vocab"), 10_000_000),
    "n_ctx": (("n_positions", "n_ctx", "max_position_embeddings"), 10_000_000),
    "n_embd": (("n_embd", "hidden_size"), 1_000_000),
    "n_head": (("n_head", "num_attention_heads"), 1_000_000),
    "n_layer": (("n_layer", "num_hidden_layers"), 10_000),
}


def _sizes(keys: Keys) -> dict[str, int]:
    """The five sizes, each from 1 to what is not taken for a mistake."""
    keys.require(*(names for names, _ in _SIZES.values()))
    return {field: keys.size(*names, most=most) for field, (names, most) in _SIZES.items()}


# OpenAI's four sizes. The names are the parameter counts as corrected by OpenAI.
SIZES = {
    "124M": GPT2(n_vocab=50257, n_ctx=1024, n_embd=768, n_head=12, n_layer=12, eos_token_id=50256),
    "355M": GPT2(n_vocab=50257, n_ctx=1024, n_embd=1024, n_head=16, n_layer=24, eos_token_id=50256),
    "774M": GPT2(n_vocab=50257, n_ctx=1024, n_embd=1280, n_head=20, n_layer=36, eos_token_id=50256),
    "1558M": GPT2(n_vocab=50257, n_ctx=1024, n_embd=1600, n_head=25, n_layer=48, eos_token_id=50256),
}


@hookimpl
def register_models(register: RegisterModel) -> None:
    """GPT-2 registers as a plugin's model does."""
    register("gpt2", GPT2)
