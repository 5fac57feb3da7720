"""The smallest architecture of its own: learned positions, one head of keys and values, a squared ReLU.

Two choices no built-in page makes together, each from a paper: all heads of queries share one head of keys and values
(https://arxiv.org/abs/1911.02150), and the feed-forward network squares its ReLU (https://arxiv.org/abs/2109.08668).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from arrayformer import hookimpl
from arrayformer.core.architecture import Architecture, Attend, Source
from arrayformer.core.array_api import Array
from arrayformer.core.decoder import under
from arrayformer.core.errors import ConfigError
from arrayformer.core.models.keys import Keys
from arrayformer.core.ops import Ops, Tap, merge_heads, split_heads
from arrayformer.core.params import Params, Weight, linear, norm
from arrayformer.core.plugins.hooks import RegisterModel


@dataclass(frozen=True)
class MyModel(Architecture):
    """The sizes of one model; a frozen dataclass, so that equal configs are equal models.

    n_vocab, n_ctx   ids there are; ids that fit into the context
    n_embd, n_layer  width, blocks
    n_head           heads of queries
    eos_token_id     the id generation stops at, or several
    """

    n_vocab: int
    n_ctx: int
    n_embd: int
    n_layer: int
    n_head: int
    eos_token_id: int | tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.n_embd % self.n_head:
            raise ConfigError(f"n_embd {self.n_embd} is not a multiple of n_head {self.n_head}")

    @property
    def n_kv_head(self) -> int:
        """All heads of queries look at the same keys."""
        return 1

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.n_embd // self.n_head

    # -- the graph

    def weights(self) -> Params:
        """Each weight's shape, and its role: backends and meshes know weights by it, and none by name."""
        n, inner = self.n_embd, 4 * self.n_embd
        block = {
            "norm_1": norm(n), "q": linear(n, n, "column", self.n_head, bias=False),
            "kv": linear(n, 2 * self.head_dim, "column", bias=False), "o": linear(n, n, "row", self.n_head, bias=False),
            "norm_2": norm(n), "up": linear(n, inner, "column", inner), "down": linear(inner, n, "row", inner),
        }  # fmt: skip
        tables = {"wte": Weight((self.n_vocab, n), "table"), "wpe": Weight((self.n_ctx, n), "position")}
        return {**tables, "blocks": [block] * self.n_layer, "norm_f": norm(n)}

    def embed(self, params: Params, ids: Array, position: Array, ops: Ops) -> Array:
        """What an id is, and where it stands."""
        return ops.embed(params["wte"], ids) + ops.embed(params["wpe"], position)

    def block(self, layer: int, x: Array, weights: Params, *, attend: Attend, ops: Ops, tap: Tap) -> Array:
        """Attention, then the feed-forward network. What is tapped, conformance compares and `inspect` shows."""
        normed = tap("norm_1", ops.rms_norm(x, **weights["norm_1"]))
        q = split_heads(tap("q", ops.linear(normed, **weights["q"])), self.n_head)
        kv = split_heads(tap("kv", ops.linear(normed, **weights["kv"])), 2)
        found = merge_heads(attend(q, kv[..., :1, :, :], kv[..., 1:, :, :], tap=under(tap, "attn")))
        x = tap("mid", x + ops.linear(found, **weights["o"]))
        up = ops.relu(ops.linear(tap("norm_2", ops.rms_norm(x, **weights["norm_2"])), **weights["up"]))
        return tap("end", x + ops.linear(tap("act", up * up), **weights["down"]))

    def head(self, params: Params, x: Array, ops: Ops, tap: Tap) -> Array:
        """How well each id fits."""
        return ops.unembed(tap("norm_f", ops.rms_norm(x, **params["norm_f"])), params["wte"])

    # -- the files: a config.json, and names in model.safetensors

    @classmethod
    def from_hf(cls, keys: Keys) -> Self:
        """Each key is asked for, with its bounds; what nobody asked for is reported."""
        n_vocab = keys.size("vocab_size")
        return cls(
            n_vocab, keys.size("max_position_embeddings"), keys.size("hidden_size"),
            keys.size("num_hidden_layers", most=1000), keys.size("num_attention_heads"), keys.end_of_text(n_vocab),
        )  # fmt: skip

    def to_hf(self) -> dict[str, Any]:
        """What `from_hf` reads."""
        return {
            "architectures": ["MyModelForCausalLM"], "model_type": "my_model", "vocab_size": self.n_vocab,
            "max_position_embeddings": self.n_ctx, "hidden_size": self.n_embd, "num_hidden_layers": self.n_layer,
            "num_attention_heads": self.n_head, "eos_token_id": self.eos_token_id,
        }  # fmt: skip

    def hf_source(self, path: str) -> Source:
        """ "blocks.0.up.w" is "layers.0.up.weight", stored as [n_out, n_in]."""
        name, _, leaf = path.replace("blocks.", "layers.").rpartition(".")
        ends = {"g": "weight", "w": "weight", "b": "bias"}
        return Source(f"{name}.{ends[leaf]}" if leaf in ends else f"{leaf}.weight", transposed=leaf == "w")

    # -- conformance

    @classmethod
    def probes(cls) -> Mapping[str, Self]:
        """Small models whose numbers have no common divisors; one is longer than it is wide."""
        return {"my_model": cls(97, 33, 30, 3, 5), "my_model-long": cls(31, 140, 16, 2, 2)}


@hookimpl
def register_models(register: RegisterModel) -> None:
    """The name is the model_type, and the entry point's."""
    register("my_model", MyModel)
