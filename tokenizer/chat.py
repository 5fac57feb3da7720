"""Conversations as ids, written by the chat template that comes with a model.

A template is a small program in Jinja's language. It writes the special tokens that say who speaks:

    <|im_start|>user
    What is the capital of France?<|im_end|>
    <|im_start|>assistant

**Special tokens are those that the template wrote.** In what a message says they are letters like others, so that
nobody who only talks to a model can end a turn or speak as the system. transformers and llama.cpp take them for special
wherever they stand, unless transformers is asked to `sanitize_control_tokens`.

To tell them apart, each place in a message where a special token would begin is marked before the template runs: a
character that occurs nowhere in the conversation is put behind its first letter. So the text that is rendered holds no
special token but the template's own, and the marks are taken out again before text is split and merged. The ends of a
message are marked too, where they could become a special token together with what the template writes beside them.
"""

import json
import os
import subprocess
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

import regex

from arrayformer.core.errors import InputError, TokenizerError
from arrayformer.core.files.untrusted import shown

if TYPE_CHECKING:
    from arrayformer.core.child import Child
    from arrayformer.tokenizer.tokenizer import Tokenizer

ROLES = ("system", "developer", "user", "assistant", "tool")
"""Who may speak."""

SECONDS = 5.0
"""How long a template may take; those in use take some milliseconds, and the process that runs it a second to start."""

MAX_MESSAGES = 16 << 20
"""Characters of a conversation as JSON."""

_MARKS = range(0xF0000, 0xFFFFE)  # a plane for private use


class ChatTemplate:
    """How a model wants a conversation written. One instance may be used by many threads.

    The template runs in a process of its own, which stays for the next conversation and ends with this object.
    """

    def __init__(self, tokenizer: "Tokenizer", template: str | None = None) -> None:
        """`template` stands in the place of the tokenizer's own. Raises InputError where there is none."""
        found = tokenizer.chat_template if template is None else template
        if found is None:
            raise InputError("this tokenizer has no chat template: its model was trained for no conversations")
        self.tokenizer = tokenizer
        self.template = found
        self._lock = threading.Lock()
        self._children: list[Child] = []
        self._process = 0

    def ids(
        self, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool = True, **names: Any
    ) -> list[int]:
        """The conversation as ids, special where the template wrote special tokens.

        messages               each with a role, one of ROLES, and a content, which is text
        add_generation_prompt  whether the answer of the assistant begins at the end
        names                  what else the template is given (`tools`, `enable_thinking`)

        Raises InputError for messages that are none or that the template refuses, TokenizerError for a template that
        fails or takes too much time or memory.
        """
        checked = check_messages(messages)
        mark = _unused(json.dumps([checked, names, self.template], ensure_ascii=False, default=str))
        marked = [{**self._marked(message, mark), "role": message["role"]} for message in checked]
        text = self._render(marked, add_generation_prompt, self._marked(names, mark))
        return self.tokenizer.encode(text, allowed_special=self._special, add_special_tokens=False, mark=mark)

    def render(self, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool = True, **names: Any) -> str:
        """The conversation as text. It is for people to read: see `ids`, which it takes and raises the same as."""
        return self._render(check_messages(messages), add_generation_prompt, names)

    @cached_property
    def _special(self) -> list[str]:
        return [token for token in self.tokenizer.special_tokens if len(token) > 1]  # a letter cannot be marked inside

    @cached_property
    def _begins(self) -> "regex.Pattern[str]":
        longest_first = sorted(self._special, key=len, reverse=True)
        return regex.compile("(?=(?:" + "|".join(map(regex.escape, longest_first)) + ")).") if longest_first else _NEVER

    @cached_property
    def _ends(self) -> tuple[set[str], set[str]]:
        """What special tokens begin with, and what they end with."""
        cuts = [(token, at) for token in self._special for at in range(1, len(token))]
        return {token[:at] for token, at in cuts}, {token[at:] for token, at in cuts}

    def _marked(self, value: Any, mark: str) -> Any:
        """`value` with a mark wherever a special token would begin, in all its texts."""
        if isinstance(value, str):
            return self._marked_text(value, mark)
        if isinstance(value, Mapping):
            return {key: self._marked(child, mark) for key, child in value.items()}
        if isinstance(value, list | tuple):
            return [self._marked(child, mark) for child in value]
        return value

    def _marked_text(self, text: str, mark: str) -> str:
        beginnings, endings = self._ends
        longest = max(map(len, beginnings), default=0)
        between = bool(text) and len(text) < longest and any(text in token for token in self._special)
        before = mark if between or any(text[:n] in endings for n in range(1, longest + 1)) else ""
        after = mark if any(text[-n:] in beginnings for n in range(1, longest + 1)) else ""
        return before + self._begins.sub(lambda match: match[0] + mark, text) + after

    def _render(self, messages: list[dict[str, Any]], add_generation_prompt: bool, names: Mapping[str, Any]) -> str:
        tokenizer = self.tokenizer
        tokens = {"bos_token": tokenizer.bos_id, "eos_token": tokenizer.eos_id}
        known = {name: tokenizer.token(id) for name, id in tokens.items() if id is not None}
        given = {"tools": None, "documents": None, **known, **names}
        return self._ask(
            {
                "template": self.template,
                "names": {**given, "messages": messages, "add_generation_prompt": add_generation_prompt},
            }
        )

    def _ask(self, request: dict[str, Any]) -> str:
        from arrayformer.core.child import ChildEndedError, ChildTimeoutError

        _check_size(request)
        with self._lock:
            try:
                answer = self._answer(request)
            except ChildTimeoutError:
                raise TokenizerError(f"the chat template: it is not done after {SECONDS:g} s") from None
            except ChildEndedError as error:
                raise TokenizerError(f"the chat template: the process that runs it ended ({error})") from None
        if "refused" in answer:
            raise InputError(f"the chat template refuses these messages: {shown(answer['refused'])}")
        if "error" in answer:
            raise TokenizerError(f"the chat template: {shown(answer['error'])}")
        return str(answer["text"])

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        from arrayformer.core.child import Child, ChildEndedError

        if self._children and self._process == os.getpid():
            with suppress(ChildEndedError):  # somebody ended it since the last conversation
                return self._children[-1].ask(request, SECONDS)
        # A process from before a fork is the parent's: it is kept, because it would be ended with its object.
        self._children.append(Child("-m", f"{__package__}.template_process", stderr=subprocess.DEVNULL))
        self._process = os.getpid()
        return self._children[-1].ask(request, SECONDS)


def chat_template_of(tokenizer: "Tokenizer") -> ChatTemplate | None:
    """The chat template that came with a tokenizer, None where it has none."""
    return None if tokenizer.chat_template is None else ChatTemplate(tokenizer)


_NEVER = regex.compile("(?!)")


def check_messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Messages as a list of their own, without what is None. Raises InputError for what is none."""
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Iterable):
        raise InputError(f'messages are {shown(messages, 60)}; pass a list of {{"role": "user", "content": "..."}}')
    checked = []
    for number, message in enumerate(messages, 1):
        fields = message if isinstance(message, Mapping) else {}
        if not isinstance(fields.get("role"), str) or not isinstance(fields.get("content"), str):
            raise InputError(f"message {number} is {shown(message, 60)}; it needs a role and a content, both text")
        if fields["role"] not in ROLES:
            raise InputError(f"message {number} is of role {fields['role'][:60]!r}; there are {', '.join(ROLES)}")
        checked.append({key: value for key, value in fields.items() if value is not None})
    return checked


def _check_size(request: dict[str, Any]) -> None:
    try:
        text = json.dumps(request, ensure_ascii=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:  # a lone surrogate is a ValueError
        raise InputError(f"the messages cannot be given to the chat template: {shown(error)}") from None
    if len(text) > MAX_MESSAGES:
        raise InputError(f"the conversation has {len(text)} characters; at most {MAX_MESSAGES} are rendered")


def _unused(text: str) -> str:
    return next(chr(code) for code in _MARKS if chr(code) not in text)
