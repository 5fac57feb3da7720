"""The keys of a config.json: each is asked for once, checked, and remembered as understood.

A key that changes numbers is honoured or refused. What stays unasked is neither, and is reported.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from arrayformer.core.checks import shown
from arrayformer.core.errors import ConfigError

# What matters to training, to other programs or to code that is never run here; with no effect on logits.
HARMLESS = frozenset({
    "architectures", "model_type", "torch_dtype", "dtype", "transformers_version", "_name_or_path", "name_or_path",
    "use_cache", "initializer_range", "bos_token_id", "pad_token_id", "sep_token_id", "cls_token_id",
    "decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id", "unk_token_id",
    "attention_dropout", "attn_pdrop", "embd_pdrop", "resid_pdrop", "hidden_dropout", "classifier_dropout",
    "gradient_checkpointing", "output_attentions", "output_hidden_states", "return_dict", "problem_type",
    "id2label", "label2id", "num_labels", "finetuning_task", "task_specific_params", "chunk_size_feed_forward",
    "prefix", "tokenizer_class", "summary_type", "summary_use_proj", "summary_activation", "summary_first_dropout",
    "summary_proj_to_labels", "torchscript", "tf_legacy_loss", "use_bfloat16", "attn_implementation",
    "_attn_implementation", "_attn_implementation_autoset", "cache_implementation", "is_decoder",
    "tensor_parallel_style", "_commit_hash",
    "_sliding_window_pattern",  # transformers writes it beside layer_types and never reads it
    # of generation, which transformers once kept in this file
    "temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size", "max_length", "min_length", "do_sample", "early_stopping", "num_beams",
    "num_beam_groups", "diversity_penalty", "num_return_sequences", "output_scores", "return_dict_in_generate",
    "bad_words_ids", "begin_suppress_tokens", "suppress_tokens", "exponential_decay_length_penalty",
    "remove_invalid_values",
})  # fmt: skip

# These name code to run, or places to fetch it from. Nothing is run and nothing is fetched.
CODE = ("auto_map", "trust_remote_code", "custom_pipelines")

# What no page computes; with the listed values they do nothing.
REFUSED: Mapping[str, tuple[object, ...]] = {
    "add_cross_attention": (False, None),
    "is_encoder_decoder": (False, None),
    "quantization_config": (None,),
    "pruned_heads": (None, {}, []),
    "position_embedding_type": (None, "absolute", "rope"),
    "pretraining_tp": (None, 1),
    "rope_interleaved": (False, None),
    "tie_encoder_decoder": (False, None),
    "cross_attention_hidden_size": (None,),
}

LAYER_TYPES = ("full_attention", "sliding_attention")
"""What `layer_types` says of a layer: whether it looks at everything, or through a window."""

MAX_SIZE = 10_000_000
MAX_ENDS = 1000


class Keys:
    """The keys of one config.json, or of an object inside it.

    where  what the messages of ConfigError begin with
    """

    def __init__(self, keys: Mapping[str, Any], where: str) -> None:
        self._keys = keys
        self.where = where
        self._asked: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._keys

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a key as it stands there."""
        self._asked.add(name)
        return self._keys.get(name, default)

    def fail(self, what: str) -> NoReturn:
        """Raises ConfigError."""
        raise ConfigError(f"{self.where}: {what}")

    def size(self, *names: str, default: int | None = None, most: int = MAX_SIZE) -> int:
        """An integer from 1 to `most`, under one of several names. Those of one thing may not contradict each other.

        A key that is null counts as absent where there is a default.
        """
        given = {name: self.get(name) for name in names if name in self._keys}
        if default is not None:
            given = {name: value for name, value in given.items() if value is not None}
        for name, value in given.items():
            if type(value) is not int or not 1 <= value <= most:
                self.fail(f"{name} is {said(value)}; it must be an integer from 1 to {most}")
        if len(set(given.values())) > 1:
            both = " and ".join(f"{name} {value}" for name, value in given.items())
            self.fail(f"{both} contradict each other: they are names of one thing")
        found = next(iter(given.values()), default)
        return found if found is not None else self.fail(f"missing: {' or '.join(names)}")

    def require(self, *groups: tuple[str, ...]) -> None:
        """Raises ConfigError that lists each group of names of which none is there, all at once."""
        if missing := [" or ".join(names) for names in groups if not any(name in self._keys for name in names)]:
            self.fail(f"missing: {'; '.join(missing)}")

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """A number from `low` to `high`, as a float."""
        value = self.get(name, default)
        if type(value) not in (int, float) or not low <= value <= high:
            self.fail(f"{name} is {said(value)}; it must be a number from {low:g} to {high:g}")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """true or false; null counts as false, where false is the default."""
        value = self.get(name, default)
        if value is None and not default:
            return False
        if type(value) is not bool:
            self.fail(f"{name} is {said(value)}; it must be true or false")
        return value

    def choice(self, name: str, of: Sequence[str], default: str) -> str:
        """One of several words."""
        value = self.get(name, default)
        if not isinstance(value, str) or value not in of:
            self.fail(f"{name} is {said(value)}; it is one of {', '.join(of)}")
        return value

    def same(self, other: str, name: str, value: object) -> None:
        """Another architecture's name for what is called `name` here: refused unless it says the same."""
        if (given := self.get(other, value)) != value:
            self.fail(
                f"{other} is {said(given)}, but the key of this architecture is {name}, here {value!r}; "
                f"write the one that is meant as {name} and remove {other}"
            )

    def refuse(self, name: str, *harmless: object) -> None:
        """Raises ConfigError where the key is there with another value than those that change nothing."""
        value = self.get(name, harmless[0])
        if not any(value == fine and type(value) is type(fine) for fine in harmless):
            self.fail(f"{name} is {said(value)}, which is not computed here")

    def end_of_text(self, n_vocab: int, default: int | None = None) -> int | tuple[int, ...] | None:
        """eos_token_id: one id, several, or None where generation does not end by itself."""
        return end_of_text(self.get("eos_token_id", default), n_vocab, self.where)

    def check_rest(self) -> None:
        """Refuses what no architecture here computes, and warns of keys that nobody asked for."""
        for name, harmless in REFUSED.items():
            if name not in self._asked and name in self._keys:
                self.refuse(name, *harmless)
        if code := [name for name in CODE if self._keys.get(name)]:
            warnings.warn(f"{self.where}: {', '.join(code)} ignored: a model's directory runs no code", stacklevel=2)
        unknown = sorted(self._keys.keys() - self._asked - HARMLESS - set(CODE))
        if unknown:
            listed = ", ".join(shown(name) for name in unknown[:10])
            warnings.warn(f"{self.where}: not known here, and ignored: {listed}", stacklevel=2)


def end_of_text(value: Any, n_vocab: int, where: str) -> int | tuple[int, ...] | None:
    """One id, several, or None where generation does not end by itself. Raises ConfigError for anything else."""
    ids = list(value) if isinstance(value, list | tuple) else [] if value is None else [value]
    if not all(type(id) is int and id >= 0 for id in ids) or len(ids) > MAX_ENDS:
        raise ConfigError(f"{where}: eos_token_id is {said(value)}; it must be an id, a list of ids, or null")
    # Hugging Face writes its defaults into configs of smaller vocabularies: such an id never comes.
    found = tuple(id for id in ids if id < n_vocab)
    return found if len(found) > 1 else found[0] if found else None


def said(value: object) -> str:
    """A value as a message quotes it: at most 60 characters."""
    return f"{value!r:.60}"
