"""What a checkpoint's numbers mean: sizes, activation, epsilon, scales."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from arrayformer.core.checks import shown, whole
from arrayformer.core.errors import ConfigError

# Hugging Face's name -> the function in ops.py
ACTIVATIONS = {"gelu_new": "gelu", "gelu_pytorch_tanh": "gelu", "gelu": "gelu_erf", "relu": "relu", "silu": "silu"}

SWITCHES = (
    "scale_attn_weights", "scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn", "tie_word_embeddings",
)  # fmt: skip
"""The fields that are true or false."""


@dataclass(frozen=True)
class GPT2Config:
    """Sizes and switches of one GPT-2, under Hugging Face's names where OpenAI has none.

    n_vocab, n_ctx                   ids there are; ids that fit into the context
    n_embd, n_head, n_layer          width, heads, blocks
    n_inner                          width inside the feed-forward network (4 * n_embd)
    activation_function              a key of ACTIVATIONS
    layer_norm_epsilon               added to the variance
    scale_attn_weights               whether scores are divided by sqrt(head_dim)
    scale_attn_by_inverse_layer_idx  whether scores of block i are divided by i + 1 too
    reorder_and_upcast_attn          whether scores are computed in float32 whatever the dtype
    tie_word_embeddings              whether the head is wte
    eos_token_id                     the id generation stops at, or several

    Raises ConfigError for sizes that do not fit together and values that no GPT-2 has.
    """

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
    def eos_ids(self) -> tuple[int, ...]:
        """The ids that generation stops at."""
        ids = self.eos_token_id
        return () if ids is None else ids if isinstance(ids, tuple) else (ids,)

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.n_embd // self.n_head

    @property
    def inner(self) -> int:
        """Width inside the feed-forward network."""
        return 4 * self.n_embd if self.n_inner is None else self.n_inner

    def scales(self) -> list[float]:
        """Per block, what multiplies q @ k.T."""
        base = 1.0 / math.sqrt(self.head_dim) if self.scale_attn_weights else 1.0
        return [base / (i + 1 if self.scale_attn_by_inverse_layer_idx else 1) for i in range(self.n_layer)]

    def as_dict(self) -> dict[str, Any]:
        """The fields, for printing."""
        return asdict(self)


# OpenAI's four sizes. The names are the parameter counts as corrected by OpenAI.
SIZES = {
    "124M": GPT2Config(n_vocab=50257, n_ctx=1024, n_embd=768, n_head=12, n_layer=12, eos_token_id=50256),
    "355M": GPT2Config(n_vocab=50257, n_ctx=1024, n_embd=1024, n_head=16, n_layer=24, eos_token_id=50256),
    "774M": GPT2Config(n_vocab=50257, n_ctx=1024, n_embd=1280, n_head=20, n_layer=36, eos_token_id=50256),
    "1558M": GPT2Config(n_vocab=50257, n_ctx=1024, n_embd=1600, n_head=25, n_layer=48, eos_token_id=50256),
}
