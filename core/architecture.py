"""What an architecture is: the sizes of a model, its functions, its weights and their names in files.

A page in `models/` subclasses `Architecture` as a frozen dataclass, whose fields are the config. A plugin does the
same and registers it through `register_models`; nothing else has to know a model by name.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from arrayformer.core.array_api import Array
from arrayformer.core.errors import ConfigError
from arrayformer.core.ops import Ops, Tap
from arrayformer.core.params import Params

if TYPE_CHECKING:
    import numpy as np

Tables = Sequence[tuple["np.ndarray", "np.ndarray"]]
"""Per kind of rotation cosines and sines [n, n_rotated / 2], float64 on the host."""

Attend = Callable[..., Array]
"""attend(q, k, v, *, rotation=None, window=None, scale=None, upcast=False, cap=None, tap) -> what was found.

q [batch, head, seq, head_dim]; k, v [batch, kv_head, seq, head_dim] of the ids that are read now. `rotation` is the
number of the table in `rotations` that turns q and k; the rest is as `ops.causal_attention` takes it.
"""


@dataclass(frozen=True)
class Source:
    """Where a weight lies in a file, and how it differs from what the graph wants.

    name        of the tensor
    transposed  whether a matrix is stored as [n_out, n_in]
    part        from which to which row of the tensor, where it holds several weights
    view, axes  its rows in another order: they are reshaped to `view`, permuted by `axes`, and laid flat again
    add         what is added to each number: 1 where a norm multiplies by 1 + w
    """

    name: str
    transposed: bool = False
    part: tuple[int, int] | None = None
    view: tuple[int, ...] = ()
    axes: tuple[int, ...] = ()
    add: float = 0.0


class Architecture(ABC):
    """One model: sizes and switches in its fields, and what the graph, the files and conformance ask of it.

    n_vocab, n_ctx       ids there are; ids that fit into the context
    n_embd, n_layer      width of the stream, number of blocks
    n_head, n_kv_head    heads of queries; heads of keys and values, each shared by n_head / n_kv_head of the former
    head_dim             width of a head
    eos_token_id         the id generation stops at, several, or None
    """

    n_vocab: int
    n_ctx: int
    n_embd: int
    n_layer: int
    n_head: int
    eos_token_id: int | tuple[int, ...] | None

    hf_prefix: ClassVar[str] = "model."
    """What all names but the head's begin with in Hugging Face's files, or nothing where the head was left out."""

    hf_heads: ClassVar[tuple[str, ...]] = ("lm_head.weight",)
    """What an untied head is called there; the first is what is written."""

    hf_ignored: ClassVar[str] = r".*\.rotary_emb\.inv_freq"
    """A pattern of tensors in files that are no weights: what is computed anew here."""

    if TYPE_CHECKING:  # fields of some pages, computed by others

        @property
        def n_kv_head(self) -> int: ...
        @property
        def head_dim(self) -> int: ...

    # -- the graph

    @abstractmethod
    def weights(self) -> Params:
        """A `Weight` for each weight: {"wte": ..., "blocks": [...], ...}, and "lm_head" where the head is not tied."""

    def rotations(self, n: int, n_text: int) -> Tables:
        """Tables of rotary positions 0 to n - 1, for texts of up to `n_text` ids; none where nothing is rotated."""
        return ()

    @property
    def embed_scale(self) -> float:
        """What `embed` multiplies the rows of the table by. Conformance draws a table that gives a stream around 1."""
        return 1.0

    @abstractmethod
    def embed(self, params: Params, ids: Array, position: Array, ops: Ops) -> Array:
        """ids [batch, seq], position [seq] or [batch, seq] -> [batch, seq, n_embd]"""

    @abstractmethod
    def block(self, layer: int, x: Array, weights: Params, *, attend: Attend, ops: Ops, tap: Tap) -> Array:
        """[batch, seq, n_embd] -> [batch, seq, n_embd]"""

    @abstractmethod
    def head(self, params: Params, x: Array, ops: Ops, tap: Tap) -> Array:
        """[batch, seq, n_embd] -> logits [batch, seq, n_vocab]"""

    # -- the files

    @classmethod
    def from_hf(cls, keys: Any) -> Self:
        """The model that a config.json describes; `keys` are a `models.keys.Keys`. Raises ConfigError.

        Each key that changes numbers is asked for, so that what nobody asked for can be reported.
        """
        raise ConfigError(f"{cls.__name__} cannot be read from a config.json: its page has no from_hf()")

    def to_hf(self) -> dict[str, Any]:
        """The keys of a config.json that says the same, "model_type" and "architectures" among them."""
        raise ConfigError(f"{type(self).__name__} cannot be saved: its page has no to_hf()")

    def hf_source(self, path: str) -> Source:
        """Where the weight at `path` lies in Hugging Face's files, its name without `hf_prefix`."""
        raise ConfigError(f"{type(self).__name__} cannot be read from files: its page has no hf_source()")

    @classmethod
    def from_gguf(cls, keys: Any) -> Self:
        """The model that a GGUF file describes; `keys` are a `models.gguf_keys.GgufKeys`. Raises ConfigError.

        Keys that nobody asked for are refused.
        """
        raise ConfigError(f"{cls.__name__} cannot be read from a GGUF file: its page has no from_gguf()")

    def gguf_source(self, path: str) -> Source:
        """Where the weight at `path` lies in a GGUF file."""
        raise ConfigError(f"{type(self).__name__} cannot be read from a GGUF file: its page has no gguf_source()")

    # -- conformance

    @classmethod
    def probes(cls) -> Mapping[str, Self]:
        """Small models on which conformance proves this architecture, by name.

        They should have: several layers, a head_dim of its own, fewer heads of keys than of queries where there can
        be, and each switch of the page on in one of them.
        """
        return {}

    # -- for everybody

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """The ids that generation stops at."""
        ids = self.eos_token_id
        return () if ids is None else ids if isinstance(ids, tuple) else (ids,)

    def as_dict(self) -> dict[str, Any]:
        """The fields, for printing."""
        return asdict(self)  # type: ignore[call-overload,no-any-return]  # a page is a dataclass
