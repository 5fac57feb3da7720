"""The Python API: load a model, let it write, look at its numbers."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np

from arrayformer.backends.registry import default_backend_name, get_backend
from arrayformer.core.backend import Backend
from arrayformer.core.checks import check_context, check_ids
from arrayformer.core.engine import Engine
from arrayformer.core.errors import InputError, ModelFileError
from arrayformer.core.files.untrusted import ModelDirectory
from arrayformer.core.generate.batch import Drawn
from arrayformer.core.generate.loop import generate
from arrayformer.core.generate.options import Ending, OnFull, Sampling
from arrayformer.core.generate.text import Row, Token
from arrayformer.core.models.gpt2 import GPT2Config
from arrayformer.tokenizer import Tokenizer, UnsupportedTokenizerError, has_tokenizer, load_tokenizer

Prompt = str | Sequence[int]
"""Text, or ids."""

DEFAULT_MODEL = "fable"

SCORE_CHUNK = 64
"""How many ids are read at a time for `score`: [64, n_vocab] logits lie on the host, not [n_ctx, n_vocab]."""


@dataclass(frozen=True)
class Generation:
    """What followed a prompt.

    text           the new text, cut where a stop string begins
    ids            the new ids, without the end-of-text id. After a stop string they may reach behind the text
    finish_reason  "length" (max_new_tokens), "context" (it is full), "eos" (end of text), "stop" (a stop string)
    prompt_ids     the ids of the prompt
    logprobs       per id, natural logarithm of its probability under the model alone (None unless asked for)
    top_logprobs   per id, the likeliest ids with theirs
    acceptance     part of the ids guessed ahead that were right (None where none were guessed)
    """

    text: str
    ids: list[int]
    finish_reason: str
    prompt_ids: list[int]
    logprobs: list[float] | None = None
    top_logprobs: list[tuple[tuple[int, float], ...]] | None = None
    acceptance: float | None = None


class Model:
    """One GPT-2, its tokenizer and its weights on a backend. May be used from several threads.

    config     sizes and switches
    tokenizer  text <-> ids; None where the directory has none, then prompts are ids
    engine     the weights on the backend
    """

    def __init__(self, config: GPT2Config, engine: Engine, tokenizer: Tokenizer | None = None) -> None:
        if tokenizer is not None and tokenizer.n_vocab > config.n_vocab:
            raise ModelFileError(
                f"the tokenizer has {tokenizer.n_vocab} ids, but the config's n_vocab is {config.n_vocab} and wte has "
                f"{config.n_vocab} rows: they do not belong together"
            )
        if tokenizer is not None and tokenizer.n_vocab < config.n_vocab:
            warnings.warn(
                f"the tokenizer has {tokenizer.n_vocab} ids and the model {config.n_vocab}: those from "
                f"{tokenizer.n_vocab} on have no text and are written as U+FFFD",
                stacklevel=3,
            )
        self.config = config
        self.engine = engine
        self.tokenizer = tokenizer

    @property
    def backend(self) -> Backend:
        """The backend the weights lie on."""
        return self.engine.backend

    @overload
    def generate(self, prompt: Prompt, **options: Any) -> Generation: ...
    @overload
    def generate(self, prompt: Sequence[Prompt], **options: Any) -> list[Generation]: ...
    def generate(
        self, prompt: Prompt | Sequence[Prompt], *, batch_size: int = 16, speculate: bool = False, **options: Any
    ) -> Generation | list[Generation]:
        """Let the model go on where `prompt` ends. A list of prompts is written in batches and gives a list.

        max_new_tokens        ids to draw at most (None: until the context is full)
        temperature           0 takes the likeliest id each time
        top_k, top_p, min_p   cut the unlikely ids; see `core.options.Sampling`
        repetition_penalty    above 1 makes ids that stand in the text already less likely
        seed                  0 to 2**64 - 1: the same text on every backend, alone or in a batch
        stop                  strings that end the text
        ignore_eos            go on after the end-of-text id
        logprobs              alternatives to report with each id
        on_full               "error", "stop" or "slide", where the context is too short
        batch_size            rows that are read together
        speculate             guess ids ahead from the text itself: faster where it repeats, the same text

        Raises InputError for what the model cannot take, NumericError for logits that are not finite.
        """
        single = is_single(prompt)
        prompts: Any = [prompt] if single else prompt
        written = dict(self.as_completed(prompts, batch_size=batch_size, speculate=speculate, **options))
        return written[0] if single else [written[i] for i in range(len(prompts))]

    def as_completed(
        self, prompts: Sequence[Prompt], *, batch_size: int = 16, speculate: bool = False, **options: Any
    ) -> Iterator[tuple[int, Generation]]:
        """The number of each prompt in the list, and what followed it, as soon as that text has ended.

        The options are those of `generate`; they are checked at once.
        """
        rows = self.rows(prompts, **options)
        return completed(rows, generate(self.engine, rows, batch_size=batch_size, speculate=speculate))

    def stream(self, prompt: Prompt, *, speculate: bool = False, **options: Any) -> Iterator[str]:
        """The same text as `generate` gives, in pieces as they come: whole characters, and never part of a stop string.

        The options are those of `generate`; they are checked at once, before the first piece is asked for.
        """
        if self.tokenizer is None:
            raise InputError("this model has no tokenizer, so there is no text to stream; use generate(...).ids")
        return self._pieces(self.rows([prompt], **options), speculate)

    def _pieces(self, rows: list[Row], speculate: bool) -> Iterator[str]:
        for _row, token in generate(self.engine, rows, speculate=speculate):
            if token is not None and token.text:
                yield token.text
        if rows[0].tail:
            yield rows[0].tail

    def rows(
        self, prompts: Sequence[Prompt], *, max_new_tokens: int | None = None, temperature: float = 0.0,
        top_k: int | None = None, top_p: float | None = None, min_p: float | None = None,
        repetition_penalty: float = 1.0, seed: int = 0, stop: str | Sequence[str] = (), ignore_eos: bool = False,
        logprobs: int | None = None, on_full: OnFull = "error",
    ) -> list[Row]:  # fmt: skip
        """Each prompt as a row for `core.generate.generate`, checked. Raises InputError."""
        sampling = Sampling(temperature, top_k, top_p, min_p, repetition_penalty, seed, logprobs)
        ending = Ending(max_new_tokens, stop, ignore_eos, on_full)
        if ending.stop and self.tokenizer is None:
            raise InputError("this model has no tokenizer, so no stop string can be looked for")
        rows = []
        for number, prompt in enumerate(prompts, 1):
            stream = None if self.tokenizer is None else self.tokenizer.stream(self.config.n_vocab)
            try:
                rows.append(
                    Row(self.ids(prompt), sampling, ending, self.config.n_ctx, eos=self.eos_ids(), stream=stream)
                )
            except InputError as error:
                which = f"prompt {number} of {len(prompts)}: " if len(prompts) > 1 else ""
                raise InputError(f"{which}{error}") from None
        return rows

    def ids(self, prompt: Prompt) -> list[int]:
        """The ids of a text, or these ids, checked. Raises InputError for neither, and for an empty prompt."""
        if not isinstance(prompt, str):
            if isinstance(prompt, bytes | bytearray) or not hasattr(prompt, "__iter__"):
                raise InputError(f"the prompt is of type {type(prompt).__name__}; pass text or a list of ids")
            return check_ids(prompt, self.config.n_vocab)
        if self.tokenizer is None:
            raise InputError("this model has no tokenizer: pass ids in the place of text")
        ids = self.tokenizer.encode(prompt)
        if not ids:
            hint = "".join(
                f"; to start from nothing pass the end-of-text id, [{id}]" for id in sorted(self.eos_ids())[:1]
            )
            raise InputError(f"the prompt is empty: GPT-2 needs one id to start from{hint}")
        return ids

    def eos_ids(self) -> frozenset[int]:
        """The ids that end a text: what the config says, and the tokenizer's."""
        of_tokenizer = None if self.tokenizer is None else self.tokenizer.eos_id
        known = (*self.config.eos_ids, of_tokenizer)
        return frozenset(id for id in known if id is not None and id < self.config.n_vocab)

    def logits(self, prompt: Prompt) -> np.ndarray:
        """Logits [seq, n_vocab] float32 after each id of a text. Raises InputError where it does not fit."""
        ids = self.ids(prompt)
        check_context(len(ids), self.config.n_ctx)
        return self.engine.logits(ids)

    def score(self, prompt: Prompt) -> np.ndarray:
        """Natural logarithm of the probability of each id after the first, [seq - 1] float64."""
        ids = self.ids(prompt)
        check_context(len(ids), self.config.n_ctx)
        context = self.engine.context(1, len(ids))
        scores = [np.zeros(0)]
        for start in range(0, len(ids) - 1, SCORE_CHUNK):
            chunk = ids[start : min(start + SCORE_CHUNK, len(ids) - 1)]
            logits = self.backend.to_numpy(context.read([chunk], every=True))[0, : len(chunk)]
            scores.append(log_probability(logits.astype(np.float64), ids[start + 1 : start + 1 + len(chunk)]))
        return np.concatenate(scores)


def is_single(prompt: object) -> bool:
    """Whether this is one prompt (text, or ids) and no list of prompts."""
    if isinstance(prompt, str) or not isinstance(prompt, Sequence) or not prompt:
        return True
    return not isinstance(prompt[0], str | list | tuple | np.ndarray)


def completed(rows: Sequence[Row], drawn: Iterator[Drawn]) -> Iterator[tuple[int, Generation]]:
    """The number of each row, and what it holds, as soon as it has ended."""
    tokens: dict[Row, list[Token]] = {row: [] for row in rows}
    number = {row: i for i, row in enumerate(rows)}
    for row in [row for row in rows if row.finish_reason]:  # nothing was asked of them
        yield number.pop(row), finished(row, [])
    for row, token in drawn:
        if token is not None:
            tokens[row].append(token)
        # Rows of one batch may have ended before their last ids come out here.
        if row in number and row.finish_reason and len(tokens[row]) == len(row.new_ids):
            yield number.pop(row), finished(row, tokens.pop(row))


def finished(row: Row, tokens: list[Token]) -> Generation:
    """What a row that has ended holds."""
    asked = row.sampling.logprobs is not None
    return Generation(
        text="".join(token.text for token in tokens) + row.tail,
        ids=row.new_ids,
        finish_reason=row.finish_reason or "",
        prompt_ids=row.ids[: row.n_prompt],
        logprobs=[token.logprob for token in tokens if token.logprob is not None] if asked else None,
        top_logprobs=[token.top for token in tokens] if asked else None,
        acceptance=row.accepted / row.drafted if row.drafted else None,
    )


def log_probability(logits: np.ndarray, ids: Sequence[int]) -> np.ndarray:
    """logits [seq, n_vocab] float64, ids [seq] -> how likely each id was, [seq]"""
    highest = logits.max(axis=-1)
    total = highest + np.log(np.exp(logits - highest[:, None]).sum(axis=-1))
    chosen: np.ndarray = logits[np.arange(len(ids)), ids] - total
    return chosen


def load(
    model: str | Path = DEFAULT_MODEL, *, backend: str | None = None, device: str | None = None,
    dtype: str | None = None, mesh: str | None = None, revision: str | None = None, offline: bool = False,
    models_dir: str | Path | None = None, allow_nonfinite: bool = False, ignore_extra: bool = False,
) -> Model:  # fmt: skip
    """Load a model.

    model       "fable" (comes with the package), a directory in Hugging Face's or OpenAI's form, a hub id, or a
                size with `models_dir`, as picoGPT has it
    backend     "numpy", "jax", "cupy" or a plugin's name ($ARRAYFORMER_BACKEND, else "numpy")
    device, dtype, mesh  what the backend offers; None for its own choice
    revision    of a hub id: a commit, tag or branch
    offline     whether to do without the network
    allow_nonfinite  whether weights may hold NaN or infinity; logits that are not finite are still refused
    ignore_extra     whether tensors that are no part of a GPT-2 may lie beside the weights

    Raises ModelFileError, ConfigError, TokenizerError, BackendError, DownloadError or InputError.
    """
    from arrayformer.core.checkpoint import read_checkpoint
    from arrayformer.hub.resolve import resolve_model

    chosen = get_backend(backend or default_backend_name(), device=device, dtype=dtype, mesh=mesh)
    where = resolve_model(str(model), revision=revision, offline=offline, models_dir=models_dir)
    with ModelDirectory(where) as directory:
        config, params = read_checkpoint(
            directory, allow_nonfinite=allow_nonfinite, ignore_extra=ignore_extra, order=chosen.order
        )
        tokenizer = tokenizer_of(directory)
    return Model(config, Engine(config, params, chosen, owned=True), tokenizer)


def tokenizer_of(directory: ModelDirectory) -> Tokenizer | None:
    """The tokenizer of a model's directory. None where it has none, or one of another kind: then prompts are ids."""
    if not has_tokenizer(directory):
        return None
    try:
        return load_tokenizer(directory)
    except UnsupportedTokenizerError as error:
        warnings.warn(f"{error}; the model is loaded without a tokenizer and takes ids", stacklevel=3)
        return None
