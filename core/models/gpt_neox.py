"""GPT-NeoX and Pythia: GPT-2 with rotary positions, both parts of a block reading the same stream.

https://arxiv.org/abs/2204.06745. Files hold queries, keys and values head by head: `hf_source` puts all queries first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from arrayformer.core.architecture import Attend, Source, Tables
from arrayformer.core.array_api import Array
from arrayformer.core.decoder import under
from arrayformer.core.errors import ConfigError
from arrayformer.core.models import gguf_keys
from arrayformer.core.models.gguf_keys import GgufKeys
from arrayformer.core.models.gpt2 import GPT2, ffn, mha
from arrayformer.core.models.keys import Keys
from arrayformer.core.models.rope import Rope, read_rope
from arrayformer.core.ops import Ops, Tap
from arrayformer.core.params import Params
from arrayformer.core.plugins.hooks import RegisterModel, hookimpl

_NAMES = {
    "ln_1": "input_layernorm", "ln_2": "post_attention_layernorm", "attn.c_attn": "attention.query_key_value",
    "attn.c_proj": "attention.dense", "mlp.c_fc": "mlp.dense_h_to_4h", "mlp.c_proj": "mlp.dense_4h_to_h",
}  # fmt: skip


@dataclass(frozen=True)
class GPTNeoX(GPT2):
    """What is beside `GPT2`'s fields.

    rope            how the first channels of queries and keys are rotated
    parallel        whether the feed-forward network reads the stream from before attention
    attention_bias  whether the projections of attention have biases
    """

    hf_prefix = "gpt_neox."
    hf_heads = ("embed_out.weight", "lm_head.weight")
    hf_ignored = r"layers\.\d+\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)"

    rope: Rope = Rope(10_000.0, 2)  # noqa: RUF009  # frozen
    parallel: bool = True
    attention_bias: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "n_inner", self.inner)  # its config.json always says it
        if self.rope.n > self.head_dim:
            raise ConfigError(f"{self.rope.n} channels of a head are rotated, and it has {self.head_dim}")

    def weights(self) -> Params:
        """No table of positions."""
        tree = super().weights()
        del tree["wpe"]
        if self.attention_bias:
            return tree
        bare = {name: {"w": part["w"]} for name, part in tree["blocks"][0]["attn"].items()}
        return {**tree, "blocks": [{**block, "attn": bare} for block in tree["blocks"]]}

    def rotations(self, n: int, n_text: int) -> Tables:
        """One kind of rotation for all layers."""
        return [self.rope.table(n, n_text)]

    def embed(self, params: Params, ids: Array, position: Array, ops: Ops) -> Array:
        """What an id is; where it stands is told to attention alone."""
        return ops.embed(params["wte"], ids)

    def block(self, layer: int, x: Array, weights: Params, *, attend: Attend, ops: Ops, tap: Tap) -> Array:
        """Attention and feed-forward network beside each other."""
        look = partial(attend, rotation=0, scale=self.scale(layer))
        normed = tap("ln_1", ops.layer_norm(x, **weights["ln_1"], eps=self.layer_norm_epsilon))
        mid = tap("mid", x + mha(normed, **weights["attn"], n_head=self.n_head, attend=look, ops=ops,
                                 tap=under(tap, "attn")))  # fmt: skip
        read = x if self.parallel else mid
        normed = tap("ln_2", ops.layer_norm(read, **weights["ln_2"], eps=self.layer_norm_epsilon))
        made = ffn(normed, **weights["mlp"], activation=self.activation_function, ops=ops, tap=under(tap, "mlp"))
        return tap("end", mid + made)

    @classmethod
    def from_hf(cls, keys: Keys) -> Self:
        """From a config.json of model_type "gpt_neox"."""
        n_embd, n_head, n_ctx = (
            keys.size("hidden_size"),
            keys.size("num_attention_heads"),
            keys.size("max_position_embeddings"),
        )
        n_vocab = keys.size("vocab_size")
        return cls(
            n_vocab, n_ctx, n_embd, n_head, keys.size("num_hidden_layers", most=10_000), keys.size("intermediate_size"),
            activation_function=keys.get("hidden_act", "gelu"),
            layer_norm_epsilon=keys.get("layer_norm_eps", 1e-5),
            tie_word_embeddings=keys.flag("tie_word_embeddings", False), eos_token_id=keys.end_of_text(n_vocab, 2),
            rope=read_rope(
                keys, n_embd // n_head, n_ctx, theta_key="rotary_emb_base", part_key="rotary_pct", part=0.25
            ),
            parallel=keys.flag("use_parallel_residual", True), attention_bias=keys.flag("attention_bias", True),
        )  # fmt: skip

    def to_hf(self) -> dict[str, Any]:
        """The keys of a config.json."""
        return {
            "architectures": ["GPTNeoXForCausalLM"], "model_type": "gpt_neox", "vocab_size": self.n_vocab,
            "max_position_embeddings": self.n_ctx, "hidden_size": self.n_embd, "num_attention_heads": self.n_head,
            "num_hidden_layers": self.n_layer, "intermediate_size": self.inner,
            "hidden_act": self.activation_function, "layer_norm_eps": self.layer_norm_epsilon,
            "tie_word_embeddings": self.tie_word_embeddings, "use_parallel_residual": self.parallel,
            "attention_bias": self.attention_bias, "rotary_pct": self.rope.n / self.head_dim,
            "rotary_emb_base": self.rope.theta, "rope_scaling": self.rope.to_hf(),
            "eos_token_id": self.eos_token_id,
        }  # fmt: skip

    def hf_source(self, path: str) -> Source:
        """ "blocks.0.attn.c_attn.w" is "layers.0.attention.query_key_value.weight", [head, 3, head_dim] of rows."""
        ends = {"wte": "embed_in.weight", "lm_head": "embed_out.weight", "ln_f.g": "final_layer_norm.weight",
                "ln_f.b": "final_layer_norm.bias"}  # fmt: skip
        if path in ends:
            return Source(ends[path])
        _, layer, *inner, leaf = path.split(".")
        name = f"layers.{layer}.{_NAMES['.'.join(inner)]}.{'bias' if leaf == 'b' else 'weight'}"
        by_head = {"view": (self.n_head, 3, self.head_dim), "axes": (1, 0, 2)} if "c_attn" in inner else {}
        return Source(name, transposed=leaf == "w", **by_head)  # type: ignore[arg-type]

    @classmethod
    def from_gguf(cls, keys: GgufKeys) -> Self:
        """From a GGUF file of architecture gptneox. The converter puts all queries first, then all keys."""
        sizes = gguf_keys.read_sizes(keys)
        return cls(
            **sizes, activation_function="gelu", attention_bias="blk.0.attn_qkv.bias" in keys.shapes,
            rope=gguf_keys.read_rope(keys, sizes["n_embd"] // sizes["n_head"], sizes["n_ctx"]),
            layer_norm_epsilon=keys.number("attention.layer_norm_epsilon", 1e-5, 1e-12, 0.1),
            parallel=keys.flag("use_parallel_residual", True),
        )  # fmt: skip

    @classmethod
    def probes(cls) -> Mapping[str, Self]:
        """A part of each head rotated, beside each other and one after the other."""
        return {
            "neox": cls(97, 40, 36, 3, 3, 50, "gelu", tie_word_embeddings=False, rope=Rope(1e2, 6)),
            "neox-serial": cls(97, 40, 36, 3, 2, 50, "gelu_new", tie_word_embeddings=False, rope=Rope(1e4, 12),
                               parallel=False, layer_norm_epsilon=1e-3),
        }  # fmt: skip


@hookimpl
def register_models(register: RegisterModel) -> None:
    """GPT-NeoX, under which Pythia goes too."""
    register("gpt_neox", GPTNeoX)
