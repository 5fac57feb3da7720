"""Llama: rotary positions, RMS norm, heads that share keys and values, a gated feed-forward network.

https://arxiv.org/abs/2302.13971, https://arxiv.org/abs/2407.21783. By config alone this is Llama 1 to 3, SmolLM2 and
SmolLM3, Mistral, Qwen2, Qwen3 and, once its joined projections are told apart, Phi-3.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from arrayformer.core.architecture import Architecture, Attend, Source, Tables
from arrayformer.core.array_api import Array
from arrayformer.core.checks import keep_plain_numbers
from arrayformer.core.decoder import under
from arrayformer.core.errors import ConfigError
from arrayformer.core.models import llama_config, llama_gguf
from arrayformer.core.models.gguf_keys import GgufKeys
from arrayformer.core.models.keys import Keys, said
from arrayformer.core.models.rope import Llama3, LongRope, Rope, Yarn
from arrayformer.core.ops import ACTIVATIONS, Ops, Tap, merge_heads, split_heads
from arrayformer.core.params import Params, Weight, linear, norm
from arrayformer.core.plugins.hooks import RegisterModel, hookimpl

_SIZES = ("n_vocab", "n_ctx", "n_embd", "n_layer", "n_head", "n_kv_head", "head_dim", "n_inner")


@dataclass(frozen=True)
class Llama(Architecture):
    """Sizes and switches of one model.

    n_vocab, n_ctx         ids there are; ids that fit into the context
    n_embd, n_layer        width, blocks
    n_head, n_kv_head      heads of queries; heads of keys and values, each for n_head / n_kv_head of the former
    head_dim               width of one head; n_head * head_dim need not be n_embd
    n_inner                width inside the feed-forward network
    rope                   how queries and keys are rotated
    rms_norm_eps           added to the mean square
    hidden_act             what gates: a key of ops.ACTIVATIONS
    qkv_bias, o_bias, mlp_bias  which linear layers have a bias
    qk_norm                whether each head's query and key are normed before they are rotated (Qwen3)
    windows                per layer, how many keys a query sees (None for all); empty where none has a window
    unrotated              the layers without rotary positions (SmolLM3)
    tie_word_embeddings    whether the head is wte
    eos_token_id           the id generation stops at, or several
    model_type             what its config.json calls it

    Raises ConfigError for sizes that do not fit together and values that no such model has.
    """

    n_vocab: int
    n_ctx: int
    n_embd: int
    n_layer: int
    n_head: int
    n_kv_head: int
    head_dim: int
    n_inner: int
    rope: Rope
    rms_norm_eps: float = 1e-6
    hidden_act: str = "silu"
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    windows: tuple[int | None, ...] = ()
    unrotated: tuple[int, ...] = ()
    tie_word_embeddings: bool = False
    eos_token_id: int | tuple[int, ...] | None = None
    model_type: str = "llama"

    def __post_init__(self) -> None:
        keep_plain_numbers(self)
        for name in _SIZES:
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise ConfigError(f"{name} is {said(getattr(self, name))}; it must be an integer of 1 or more")
        if self.n_head % self.n_kv_head:
            raise ConfigError(f"n_head {self.n_head} is not a multiple of n_kv_head {self.n_kv_head}")
        if self.rope.n > self.head_dim:
            raise ConfigError(f"{self.rope.n} channels of a head are rotated, and it has {self.head_dim}")
        if type(self.rms_norm_eps) not in (int, float) or not 0 < self.rms_norm_eps < 1:
            raise ConfigError(f"rms_norm_eps is {said(self.rms_norm_eps)}; it must lie between 0 and 1")
        if not isinstance(self.hidden_act, str) or self.hidden_act not in ACTIVATIONS:
            raise ConfigError(f"hidden_act is {said(self.hidden_act)}; it is one of {', '.join(ACTIVATIONS)}")
        if any(w is not None and (type(w) is not int or w < 1) for w in self.windows):
            raise ConfigError(f"windows are {said(self.windows)}; each is 1 key or more, or None")
        if len(self.windows) not in (0, self.n_layer):
            raise ConfigError(f"{len(self.windows)} windows are given for {self.n_layer} layers")
        if any(not 0 <= id < self.n_vocab for id in self.eos_ids):
            raise ConfigError(f"eos_token_id is {said(self.eos_token_id)}; the ids are 0 to {self.n_vocab - 1}")

    # -- the graph

    def weights(self) -> Params:
        """wte, blocks, ln_f, and lm_head where it is not tied."""
        table = Weight((self.n_vocab, self.n_embd), "table")
        blocks = [{"ln_1": norm(self.n_embd), "attn": self.attn_weights(), "ln_2": norm(self.n_embd),
                   "mlp": self.mlp_weights()}] * self.n_layer  # fmt: skip
        tree: Params = {"wte": table, "blocks": blocks, "ln_f": norm(self.n_embd)}
        return tree if self.tie_word_embeddings else {**tree, "lm_head": table}

    def attn_weights(self) -> Params:
        """The projections of attention."""
        q, kv = self.n_head * self.head_dim, self.n_kv_head * self.head_dim
        attn: Params = {
            "q_proj": linear(self.n_embd, q, "column", self.n_head, self.qkv_bias),
            "k_proj": linear(self.n_embd, kv, "column", self.n_kv_head, self.qkv_bias),
            "v_proj": linear(self.n_embd, kv, "column", self.n_kv_head, self.qkv_bias),
            "o_proj": linear(q, self.n_embd, "row", self.n_head, self.o_bias),
        }
        norms = {name: norm(self.head_dim, "head_norm") for name in ("q_norm", "k_norm")}
        return attn | norms if self.qk_norm else attn

    def mlp_weights(self) -> Params:
        """The projections of the feed-forward network."""
        n, inner = self.n_embd, self.n_inner
        return {
            "gate_proj": linear(n, inner, "column", inner, self.mlp_bias),
            "up_proj": linear(n, inner, "column", inner, self.mlp_bias),
            "down_proj": linear(inner, n, "row", inner, self.mlp_bias),
        }

    def rotations(self, n: int, n_text: int) -> Tables:
        """One kind of rotation for all layers."""
        return [self.rope.table(n, n_text)]

    def embed(self, params: Params, ids: Array, position: Array, ops: Ops) -> Array:
        """What an id is; where it stands is told to attention alone."""
        return ops.embed(params["wte"], ids)

    def norm(self, x: Array, weights: Params, ops: Ops) -> Array:
        """[..., n] -> [..., n]"""
        return ops.rms_norm(x, **weights, eps=self.rms_norm_eps)

    def block(self, layer: int, x: Array, weights: Params, *, attend: Attend, ops: Ops, tap: Tap) -> Array:
        """Attention, then the feed-forward network, each on what a norm made of the stream and added to it."""
        normed = tap("ln_1", self.norm(x, weights["ln_1"], ops))
        x = tap("mid", x + self.mha(layer, normed, **weights["attn"], attend=attend, ops=ops, tap=under(tap, "attn")))
        normed = tap("ln_2", self.norm(x, weights["ln_2"], ops))
        return tap("end", x + self.ffn(normed, **weights["mlp"], ops=ops, tap=under(tap, "mlp")))

    def mha(
        self, layer: int, x: Array, q_proj: Params, k_proj: Params, v_proj: Params, o_proj: Params,
        q_norm: Params | None = None, k_norm: Params | None = None, *, attend: Attend, ops: Ops, tap: Tap,
    ) -> Array:  # fmt: skip
        """Grouped-query attention, https://arxiv.org/abs/2305.13245"""
        q = self.heads("q", tap("q", ops.linear(x, **q_proj)), self.n_head, q_norm, ops, tap)
        k = self.heads("k", tap("k", ops.linear(x, **k_proj)), self.n_kv_head, k_norm, ops, tap)
        v = self.heads("v", tap("v", ops.linear(x, **v_proj)), self.n_kv_head, None, ops, tap)
        x = attend(q, k, v, **self.look(layer), tap=tap)
        return tap("proj", ops.linear(tap("out", merge_heads(x)), **o_proj))

    def heads(self, name: str, x: Array, n: int, norm: Params | None, ops: Ops, tap: Tap) -> Array:
        """[batch, seq, n * head_dim] -> [batch, n, seq, head_dim], each head normed where there is a norm"""
        x = split_heads(x, n)
        return x if norm is None else tap(f"{name}_norm", self.norm(x, norm, ops))

    def look(self, layer: int) -> dict[str, Any]:
        """How a layer attends."""
        return {
            "rotation": None if layer in self.unrotated else 0,
            "window": self.windows[layer] if self.windows else None,
            "scale": self.head_dim**-0.5,
        }

    def ffn(self, x: Array, gate_proj: Params, up_proj: Params, down_proj: Params, *, ops: Ops, tap: Tap) -> Array:
        """Gated feed-forward network (https://arxiv.org/abs/2002.05202), through n_inner"""
        gate, up = tap("gate", ops.linear(x, **gate_proj)), tap("up", ops.linear(x, **up_proj))
        x = tap("act", ops.gated(gate, up, ops.activation(self.hidden_act)))
        return tap("proj", ops.linear(x, **down_proj))

    def head(self, params: Params, x: Array, ops: Ops, tap: Tap) -> Array:
        """The last norm, and how well each id fits."""
        x = tap("ln_f", self.norm(x, params["ln_f"], ops))
        return ops.unembed(x, params["wte"] if self.tie_word_embeddings else params["lm_head"])

    # -- the files

    @classmethod
    def from_hf(cls, keys: Keys) -> Self:
        """From a config.json of one of `llama_config.KINDS`."""
        return cls(**llama_config.read(keys))

    def to_hf(self) -> dict[str, Any]:
        """The keys of a config.json."""
        return llama_config.written(self)

    def hf_source(self, path: str) -> Source:
        """ "blocks.0.attn.q_proj.w" is "layers.0.self_attn.q_proj.weight", stored as [n_out, n_in]."""
        source = Source(llama_config.hf_name(path, self.hf_norms), transposed=path.endswith(".w"))
        return llama_config.joined(self, source) if self.model_type == "phi3" else source

    @property
    def hf_norms(self) -> Mapping[str, str]:
        """What the norms of a block are called."""
        return {"ln_1": "input_layernorm", "ln_2": "post_attention_layernorm"}

    @classmethod
    def from_gguf(cls, keys: GgufKeys) -> Self:
        """From a GGUF file of architecture llama (Mistral's too), qwen2, qwen3 or phi3."""
        return cls(**llama_gguf.read(keys))

    def gguf_source(self, path: str) -> Source:
        """ "blocks.0.attn.q_proj.w" is "blk.0.attn_q.weight"."""
        return llama_gguf.source(self, path)

    # -- conformance

    @classmethod
    def probes(cls) -> Mapping[str, Self]:
        """Shared heads in each number, biases, norms of heads, windows, and each kind of scaling."""

        def sizes(*first: int, rope: Rope | None = None, theta: float = 1e4, **more: Any) -> Any:
            named: dict[str, Any] = dict(zip(_SIZES, first, strict=True))
            return cls(**named, rope=rope or Rope(theta, first[6]), **more)

        llama3 = Rope(1e4, 12, Llama3(8.0, 1.0, 4.0, 64))
        yarn = Rope(1e4, 10, Yarn(4.0, 16))
        longrope = Rope(1e4, 8, LongRope((1.0, 1.1, 1.3, 1.5), (1.0, 2.0, 4.0, 8.0), 16, 2.5))
        return {
            "llama-1": sizes(31, 8, 16, 1, 2, 1, 6, 20, tie_word_embeddings=True),
            "llama-2": sizes(512, 64, 64, 2, 4, 2, 16, 96, tie_word_embeddings=True, rms_norm_eps=1e-5),
            "llama-3": sizes(257, 33, 48, 3, 6, 2, 10, 80, qkv_bias=True, o_bias=True, mlp_bias=True),
            "llama-heads": sizes(97, 16, 24, 2, 4, 4, 6, 40, hidden_act="gelu"),
            "llama-scaled": sizes(97, 128, 24, 2, 4, 2, 12, 40, rope=llama3),
            "llama-yarn": sizes(97, 40, 24, 2, 4, 2, 10, 40, rope=yarn),
            "llama-longrope": sizes(97, 40, 24, 2, 4, 2, 10, 40, rope=longrope),
            "llama-long": sizes(31, 300, 16, 2, 2, 1, 8, 24),
            "mistral": sizes(97, 40, 36, 2, 6, 3, 14, 50, windows=(7, 7), theta=500.0, model_type="mistral"),
            "qwen2": sizes(97, 40, 36, 3, 4, 2, 10, 50, qkv_bias=True, windows=(None, 7, 7), model_type="qwen2"),
            "qwen3": sizes(97, 40, 36, 2, 6, 2, 10, 50, qk_norm=True, model_type="qwen3"),
            "smollm3": sizes(97, 40, 36, 4, 6, 2, 10, 50, unrotated=(1, 3), model_type="smollm3"),
        }


@hookimpl
def register_models(register: RegisterModel) -> None:
    """All that are Llama by config."""
    for name in llama_config.KINDS:
        register(name, Llama)
