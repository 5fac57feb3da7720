"""OLMo 2: Llama whose norms stand behind attention and feed-forward network, and over all of q and k at once.

https://arxiv.org/abs/2501.00656
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from arrayformer.core.architecture import Attend, Source
from arrayformer.core.array_api import Array
from arrayformer.core.decoder import under
from arrayformer.core.models import llama_gguf
from arrayformer.core.models.gguf_keys import GgufKeys, gguf_source
from arrayformer.core.models.keys import Keys
from arrayformer.core.models.llama import Llama
from arrayformer.core.models.llama_config import read_sizes, written_sizes
from arrayformer.core.models.rope import Rope, read_rope
from arrayformer.core.ops import Ops, Tap, split_heads
from arrayformer.core.params import Params, norm
from arrayformer.core.plugins.hooks import RegisterModel, hookimpl


@dataclass(frozen=True)
class Olmo2(Llama):
    """`Llama`'s fields."""

    model_type: str = "olmo2"

    def attn_weights(self) -> Params:
        """Norms of q and k as wide as all heads together."""
        widths = {"q_norm": self.n_head * self.head_dim, "k_norm": self.n_kv_head * self.head_dim}
        return {**super().attn_weights(), **{name: norm(n, "head_norm") for name, n in widths.items()}}

    def heads(self, name: str, x: Array, n: int, norm: Params | None, ops: Ops, tap: Tap) -> Array:
        """[batch, seq, n * head_dim] -> [batch, n, seq, head_dim], normed before it is split"""
        return split_heads(x if norm is None else tap(f"{name}_norm", self.norm(x, norm, ops)), n)

    def block(self, layer: int, x: Array, weights: Params, *, attend: Attend, ops: Ops, tap: Tap) -> Array:
        """Each part reads the stream as it is; what it made is normed and added."""
        made = self.mha(layer, x, **weights["attn"], attend=attend, ops=ops, tap=under(tap, "attn"))
        x = tap("mid", x + tap("ln_1", self.norm(made, weights["ln_1"], ops)))
        made = self.ffn(x, **weights["mlp"], ops=ops, tap=under(tap, "mlp"))
        return tap("end", x + tap("ln_2", self.norm(made, weights["ln_2"], ops)))

    @classmethod
    def from_hf(cls, keys: Keys) -> Self:
        """From a config.json of model_type "olmo2"."""
        sizes, bias = read_sizes(keys, eos=50_279), keys.flag("attention_bias", False)
        return cls(
            **sizes, rope=read_rope(keys, sizes["head_dim"], sizes["n_ctx"]), qkv_bias=bias, o_bias=bias,
            rms_norm_eps=keys.number("rms_norm_eps", 1e-5, 1e-12, 0.1), hidden_act=keys.get("hidden_act", "silu"),
            tie_word_embeddings=keys.flag("tie_word_embeddings", False),
        )  # fmt: skip

    def to_hf(self) -> dict[str, Any]:
        """The keys of a config.json."""
        return {
            "architectures": ["Olmo2ForCausalLM"], "model_type": "olmo2", **written_sizes(self),
            "hidden_act": self.hidden_act, "attention_bias": self.o_bias,
            "tie_word_embeddings": self.tie_word_embeddings, "rope_theta": self.rope.theta,
            "rope_scaling": self.rope.to_hf(), "eos_token_id": self.eos_token_id,
        }  # fmt: skip

    @property
    def hf_norms(self) -> Mapping[str, str]:
        """What the norms of a block are called."""
        return {"ln_1": "post_attention_layernorm", "ln_2": "post_feedforward_layernorm"}

    @classmethod
    def from_gguf(cls, keys: GgufKeys) -> Self:
        """From a GGUF file of architecture olmo2. OLMo 3 goes under the same name there, and has windows."""
        keys.refuse("attention.sliding_window", None)
        fields = llama_gguf.read(keys)
        return cls(**{**fields, "qk_norm": False})

    def gguf_source(self, path: str) -> Source:
        """As Llama's, with the norms behind."""
        return gguf_source(path, {"ln_1": "post_attention_norm", "ln_2": "post_ffw_norm"})

    @classmethod
    def probes(cls) -> Mapping[str, Self]:
        """Shared heads, three blocks."""
        return {"olmo2": cls(97, 40, 36, 3, 6, 2, 10, 50, rope=Rope(1e4, 10))}


@hookimpl
def register_models(register: RegisterModel) -> None:
    """OLMo 2."""
    register("olmo2", Olmo2)
