"""Gemma 2 and 3: Llama with norms behind its parts too, a scaled embedding, a GELU gate, and capped scores.

https://arxiv.org/abs/2408.00118, https://arxiv.org/abs/2503.19786. Hugging Face's files hold w where the norm
multiplies by 1 + w: `hf_source` says so, and in the graph a norm has one meaning.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from arrayformer.core.architecture import Attend, Source, Tables
from arrayformer.core.array_api import Array
from arrayformer.core.decoder import under
from arrayformer.core.errors import ConfigError
from arrayformer.core.models import llama_gguf
from arrayformer.core.models.gguf_keys import GgufKeys, gguf_source, read_pattern
from arrayformer.core.models.keys import LAYER_TYPES, Keys, said
from arrayformer.core.models.llama import Llama
from arrayformer.core.models.llama_config import read_layer_types, read_sizes, written_sizes
from arrayformer.core.models.rope import Linear, Rope, read_rope
from arrayformer.core.ops import Ops, Tap, soft_cap
from arrayformer.core.params import Params, norm
from arrayformer.core.plugins.hooks import RegisterModel, hookimpl


@dataclass(frozen=True)
class Gemma(Llama):
    """What is beside `Llama`'s fields.

    query_pre_attn_scalar  scores are divided by its square root
    score_cap, logit_cap   what scores and logits are bent into (None: they are not)
    local_rope             how queries and keys are rotated in layers with a window (Gemma 3); None: as everywhere
    """

    query_pre_attn_scalar: float = 256.0
    score_cap: float | None = None
    logit_cap: float | None = None
    local_rope: Rope | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("query_pre_attn_scalar", "score_cap", "logit_cap"):
            value = getattr(self, name)
            if value is not None and (type(value) not in (int, float) or not 0 < value < 1e9):
                raise ConfigError(f"{name} is {said(value)}; it must be a number above 0")

    def weights(self) -> Params:
        """Four norms a block."""
        tree = super().weights()
        behind = {"post_1": norm(self.n_embd), "post_2": norm(self.n_embd)}
        return {**tree, "blocks": [{**block, **behind} for block in tree["blocks"]]}

    def rotations(self, n: int, n_text: int) -> Tables:
        """That of layers which see everything, then that of layers with a window."""
        ropes = [self.rope] if self.local_rope is None else [self.rope, self.local_rope]
        return [rope.table(n, n_text) for rope in ropes]

    @property
    def embed_scale(self) -> float:
        """The square root of the width."""
        return math.sqrt(self.n_embd)

    def embed(self, params: Params, ids: Array, position: Array, ops: Ops) -> Array:
        """The embedding, as large as the stream will be."""
        return ops.embed(params["wte"], ids) * self.embed_scale

    def look(self, layer: int) -> dict[str, Any]:
        """How a layer attends."""
        how = super().look(layer)
        local = self.local_rope is not None and how["window"] is not None
        return {**how, "rotation": int(local), "scale": self.query_pre_attn_scalar**-0.5, "cap": self.score_cap}

    def block(self, layer: int, x: Array, weights: Params, *, attend: Attend, ops: Ops, tap: Tap) -> Array:
        """A norm before and a norm behind each part."""
        normed = tap("ln_1", self.norm(x, weights["ln_1"], ops))
        made = self.mha(layer, normed, **weights["attn"], attend=attend, ops=ops, tap=under(tap, "attn"))
        x = tap("mid", x + tap("post_1", self.norm(made, weights["post_1"], ops)))
        normed = tap("ln_2", self.norm(x, weights["ln_2"], ops))
        made = self.ffn(normed, **weights["mlp"], ops=ops, tap=under(tap, "mlp"))
        return tap("end", x + tap("post_2", self.norm(made, weights["post_2"], ops)))

    def head(self, params: Params, x: Array, ops: Ops, tap: Tap) -> Array:
        """Logits, capped in Gemma 2."""
        return soft_cap(super().head(params, x, ops, tap), self.logit_cap)

    @classmethod
    def from_hf(cls, keys: Keys) -> Self:
        """From a config.json of model_type "gemma2" or "gemma3_text"."""
        name = keys.choice("model_type", ("gemma2", "gemma3_text"), "gemma2")
        sizes, three = read_sizes(keys, 256, 4, 1), name == "gemma3_text"
        if keys.get("use_bidirectional_attention"):
            keys.fail("use_bidirectional_attention is true: that is no decoder")
        keys.same("hidden_act", "hidden_activation", keys.get("hidden_activation", "gelu_pytorch_tanh"))
        bias = keys.flag("attention_bias", False)
        keys.get("attn_logit_softcapping")  # transformers computes no cap of scores in Gemma 3, whatever is said
        n_ctx, head_dim = sizes["n_ctx"], sizes["head_dim"]
        base = read_rope(keys, head_dim, n_ctx, theta=1e6 if three else 1e4, layers="full_attention" if three else None)
        return cls(
            **sizes, rope=base, rms_norm_eps=keys.number("rms_norm_eps", 1e-6, 1e-12, 0.1),
            hidden_act=keys.get("hidden_activation", "gelu_pytorch_tanh"), qkv_bias=bias, o_bias=bias, qk_norm=three,
            windows=_windows(keys, sizes["n_layer"], three), model_type=name,
            tie_word_embeddings=keys.flag("tie_word_embeddings", True),
            query_pre_attn_scalar=keys.number("query_pre_attn_scalar", 256, 1e-6, 1e6),
            score_cap=None if three else _cap(keys, "attn_logit_softcapping", 50.0),
            logit_cap=_cap(keys, "final_logit_softcapping", None if three else 30.0),
            local_rope=_local_rope(keys, head_dim, n_ctx) if three else None,
        )  # fmt: skip

    def to_hf(self) -> dict[str, Any]:
        """The keys of a config.json."""
        three = self.local_rope is not None
        window = next((w for w in self.windows if w), None)
        keys = {
            "architectures": ["Gemma3ForCausalLM" if three else "Gemma2ForCausalLM"], "model_type": self.model_type,
            **written_sizes(self), "hidden_activation": self.hidden_act, "attention_bias": self.o_bias,
            "tie_word_embeddings": self.tie_word_embeddings,
            "query_pre_attn_scalar": _whole(self.query_pre_attn_scalar),
            "attn_logit_softcapping": self.score_cap, "final_logit_softcapping": self.logit_cap,
            "sliding_window": window or 4096, "rope_theta": self.rope.theta, "rope_scaling": self.rope.to_hf(),
            "layer_types": [LAYER_TYPES[bool(w)] for w in self.windows] or [LAYER_TYPES[0]] * self.n_layer,
            "eos_token_id": self.eos_token_id,
        }  # fmt: skip
        if self.local_rope is not None:
            keys["rope_local_base_freq"] = self.local_rope.theta
        return keys

    def hf_source(self, path: str) -> Source:
        """Norms are stored as what is beyond 1."""
        return replace(super().hf_source(path), add=1.0 if path.endswith(".g") else 0.0)

    @classmethod
    def from_gguf(cls, keys: GgufKeys) -> Self:
        """From a GGUF file of architecture gemma2 or gemma3. What divides the scores stands in no key."""
        three = keys.architecture == "gemma3"
        fields = llama_gguf.read_shared(keys)
        n_layer, head_dim = fields["n_layer"], fields["head_dim"]
        # The largest of both families divides by another number, and llama.cpp too knows it by its layers.
        largest = n_layer == (62 if three else 46)
        cap = keys.optional("final_logit_softcapping", None if three else 30.0, 1e-6, 1e9)
        return cls(
            **fields, hidden_act="gelu_pytorch_tanh", qk_norm=three, model_type="gemma3_text" if three else "gemma2",
            windows=read_pattern(keys, n_layer, 6 if three else 2, 4096), logit_cap=cap,
            query_pre_attn_scalar=float(fields["n_embd"] // fields["n_head"] if largest else head_dim),
            score_cap=None if three else keys.number("attn_logit_softcapping", 50.0, 1e-6, 1e9),
            local_rope=Rope(keys.number("rope.freq_base_swa", 10_000.0, 1.0, 1e15), head_dim) if three else None,
        )  # fmt: skip

    def gguf_source(self, path: str) -> Source:
        """As Llama's. The converter has added the 1 to the weights of norms."""
        return gguf_source(path)

    @property
    def hf_norms(self) -> Mapping[str, str]:
        """What the norms of a block are called."""
        return {
            "ln_1": "input_layernorm", "post_1": "post_attention_layernorm", "ln_2": "pre_feedforward_layernorm",
            "post_2": "post_feedforward_layernorm",
        }  # fmt: skip

    @classmethod
    def probes(cls) -> Mapping[str, Self]:
        """Gemma 2 with its caps, Gemma 3 with its two rotations, windows shorter than the text in both."""
        both: dict[str, Any] = {
            "hidden_act": "gelu_pytorch_tanh", "query_pre_attn_scalar": 24.0, "tie_word_embeddings": True,
        }  # fmt: skip
        sizes = (97, 40, 44, 4, 4, 2, 10, 50)
        return {
            "gemma2": cls(*sizes, rope=Rope(1e4, 10), windows=(7, None, 7, None), score_cap=5.0, logit_cap=7.0,
                          model_type="gemma2", **both),
            "gemma3": cls(*sizes, rope=Rope(1e6, 10, Linear(8.0)), windows=(7, 7, None, 7), qk_norm=True,
                          local_rope=Rope(1e2, 10), model_type="gemma3_text", **both),
        }  # fmt: skip


def _whole(x: float) -> float:
    """As an integer where it is one: transformers takes nothing else."""
    return int(x) if x == int(x) else x


def _cap(keys: Keys, name: str, default: float | None) -> float | None:
    return None if keys.get(name, default) is None else keys.number(name, default or 1.0, 1e-6, 1e9)


def _windows(keys: Keys, n_layer: int, three: bool) -> tuple[int | None, ...]:
    """Per layer, how many keys a query sees: all in each 6th of Gemma 3, each 2nd of Gemma 2, unless the file says it.

    transformers never asks Gemma 2 for the pattern: a file that has another one means what nobody computes.
    """
    every = keys.size("sliding_window_pattern", default=6 if three else 2)
    if not three and every != 2:
        keys.fail(f"sliding_window_pattern is {every}; each second layer of Gemma 2 has a window, or layer_types says")
    default = [LAYER_TYPES[bool((layer + 1) % every)] for layer in range(n_layer)]
    types = read_layer_types(keys, n_layer) or default
    if "sliding_window" in keys and keys.get("sliding_window") is None and "sliding_attention" in types:
        keys.fail("sliding_window is null, and there are layers with a window; layer_types says which")
    window = keys.size("sliding_window", default=4096)
    windows = tuple(window if kind == "sliding_attention" else None for kind in types)
    return windows if any(windows) else ()


def _local_rope(keys: Keys, head_dim: int, n_ctx: int) -> Rope:
    """The rotation of layers with a window: `rope_scaling` is not theirs."""
    inner = (keys.get("rope_parameters") or {}).get("sliding_attention")
    name = "rope_local_base_freq"
    return read_rope(
        Keys({"rope_parameters": inner, name: keys.get(name)}, keys.where), head_dim, n_ctx, theta_key=name
    )


@hookimpl
def register_models(register: RegisterModel) -> None:
    """Gemma 2, and the text model of Gemma 3."""
    register("gemma2", Gemma)
    register("gemma3_text", Gemma)
