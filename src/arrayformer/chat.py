"""Conversations: messages in, an answer out, and the KV cache kept from one turn to the next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, TypedDict, Unpack, cast

from arrayformer.core.engine import Context
from arrayformer.core.errors import InputError
from arrayformer.core.generate.loop import go_on
from arrayformer.core.generate.options import Options, checked_options
from arrayformer.core.generate.text import Text
from arrayformer.generation import Generation, Stream
from arrayformer.tokenizer.chat import check_messages

if TYPE_CHECKING:
    from arrayformer.api import Model

FIRST_CAPACITY = 2048
"""Ids a conversation's context is made for at first; one that grows longer is read again into a larger context."""


class Message(TypedDict):
    """One turn: who speaks ("system", "user", "assistant"), and what."""

    role: str
    content: str


class ChatTemplate(Protocol):
    """How a model wants a conversation written."""

    def ids(self, messages: Sequence[Message]) -> list[int]:
        """The conversation as ids, ready for the model to answer. Raises InputError for messages it cannot write."""


class Conversation:
    """A conversation with a model. What was read stays in a context of its own, so that a turn reads only what is new.

    model        who answers; it needs a tokenizer and a chat template
    drop_oldest  where the context is too short, leave out the oldest turns instead of raising InputError
    n_read       how many ids were read so far
    """

    def __init__(self, model: Model, messages: Sequence[Message] = (), *, drop_oldest: bool = False) -> None:
        """Raises InputError for a model without a chat template, and for messages that are none."""
        self.model = model
        self.drop_oldest = drop_oldest
        self.n_read = 0
        if model.chat_template is None or model.tokenizer is None:
            raise InputError("this model has no chat template, so it knows no conversation; let it write on: generate")
        self._template: ChatTemplate = model.chat_template
        self._messages = _checked(messages)
        self._context: Context | None = None
        self._text: Text | None = None  # what the context read and wrote last
        self._asked: list[Message] | None = None  # the turn that is being answered: not part of the messages yet

    @property
    def messages(self) -> list[Message]:
        """What was said so far. A turn is in it once its answer has begun; an interrupted answer as far as it came."""
        self._settle()
        return list(self._messages)

    def ask(self, content: str, **options: Unpack[Options]) -> Generation:
        """The answer to what a user says. The options are those of `Model.generate`."""
        stream = self.stream(content, **options)
        for _ in stream:
            pass
        self._settle()
        return stream.generation

    def stream(self, content: str, **options: Unpack[Options]) -> Stream[str]:
        """The same answer in pieces, as they come."""
        self._settle()
        return self._answer(_checked([{"role": "user", "content": content}]), "stream", options)

    def answer(self, **options: Unpack[Options]) -> Stream[str]:
        """The answer to the messages as they are."""
        self._settle()
        return self._answer([], "answer", options)

    def reset(self, messages: Sequence[Message] = ()) -> None:
        """Begin anew with these messages."""
        self._asked = None
        self._messages = _checked(messages)

    def _settle(self) -> None:
        """Take what was asked last into the messages, with what was answered; nothing where no answer has begun."""
        asked, self._asked = self._asked, None
        if asked is not None and self._text is not None and (self._text.pieces or self._text.finish_reason):
            self._messages += [*asked, {"role": "assistant", "content": "".join(self._text.pieces)}]

    def _answer(self, asked: list[Message], method: str, options: Options) -> Stream[str]:
        sampling, ending = checked_options(f"Conversation.{method}", {"on_full": "stop", **options})
        if ending.on_full == "slide":
            raise InputError("on_full='slide' would tear a conversation apart: let it drop its oldest turns instead")
        ids = self._fitting([*self._messages, *asked], ending.max_new_tokens)
        text = self.model.begin(ids, sampling, ending)
        context = self._ready(text)
        self._text, self._asked = text, asked
        return Stream(text, self._written(context, text), text.pieces)

    def _fitting(self, messages: list[Message], wanted: int | None) -> list[int]:
        """The ids of the messages, without the oldest turns where an answer would not fit and they may be left out."""
        n_ctx = self.model.config.n_ctx
        room = min(n_ctx // 4, 256 if wanted is None else wanted)
        kept = list(messages)
        while True:
            ids = self._template.ids(kept)
            oldest = next((i for i, message in enumerate(kept) if message["role"] != "system"), len(kept))
            if not self.drop_oldest or len(ids) + room <= n_ctx or oldest >= len(kept) - 1:
                break
            del kept[oldest : oldest + 1 + (kept[oldest + 1]["role"] == "assistant")]
        if len(ids) >= n_ctx:
            raise InputError(
                f"the conversation has {len(ids)} ids and this model's context is {n_ctx}: begin a new one, "
                "or let the oldest turns be left out (drop_oldest)"
            )
        return ids

    def _ready(self, text: Text) -> Context:
        """A context that has read as much of `text` as is still there, and has room for the rest."""
        context, before = self._context, self._text
        if context is None or before is None or context.capacity < text.capacity:
            grown = FIRST_CAPACITY if context is None else 2 * context.capacity
            context = self.model.engine.context(1, min(self.model.config.n_ctx, max(text.capacity, grown)))
        else:
            there = before.ids[: context.lengths[0]]
            same = next((i for i, (a, b) in enumerate(zip(there, text.ids, strict=False)) if a != b), len(there))
            context.truncate(0, min(same, len(text.ids) - 1))  # the last id has to be read: an id is drawn after it
        self._context = context
        return context

    def _written(self, context: Context, text: Text) -> Iterator[Text]:
        """Let `text` be written, and count what is read."""
        try:
            before = context.lengths[0]
            for _ in go_on(context, text):
                self.n_read += context.lengths[0] - before
                before = context.lengths[0]
                yield text
        except GeneratorExit:
            raise
        except BaseException:  # Ctrl-C in a step too: the device may have given the cache away and not back
            self._context = None
            raise


def _checked(messages: Sequence[Message]) -> list[Message]:
    """Messages as a list of their own. Raises InputError for what is none."""
    return cast("list[Message]", check_messages(messages))
