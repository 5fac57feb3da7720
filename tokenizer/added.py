"""Added tokens: texts that are one id whatever their letters, cut out before anything else happens to a text.

A *special* token (`<|endoftext|>`, `<|im_start|>`) says something about the text and is no part of it: in text that
comes from outside it is letters like others, unless the caller asks for it. An added token that is not special (a run
of spaces, `<think>`) is a part of the text and is cut out always. Both as Hugging Face's `tokenizers` does it:

1. the tokens that are not `normalized` are looked for in the text as it came: the leftmost first, of several at one
   place the longest
2. what lies between is normalized, and searched for the tokens that are `normalized`
3. what still lies between is split and merged
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import regex

from arrayformer.core.errors import TokenizerError

MAX_ADDED = 20_000
"""More added tokens than any tokenizer in use has (Gemma 3: 6,415)."""

_WORD = regex.compile(r"[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\u200c\u200d]")  # what \w means to Hugging Face's library


@dataclass(frozen=True)
class AddedToken:
    """A text that is one id.

    special         whether it is letters like others in text from outside
    normalized      whether it is looked for after the text was normalized
    lstrip, rstrip  whether it takes the white space before, after it with it
    single_word     whether it has to stand alone, with no letter, digit or `_` beside it
    """

    content: str
    id: int
    special: bool = True
    normalized: bool = False
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False


class Part(NamedTuple):
    """A part of a text: text to be merged where `token` is None, else what the added token took."""

    text: str
    token: AddedToken | None


class AddedTokens:
    """The added tokens of one tokenizer, looked for in texts."""

    def __init__(self, tokens: Iterable[AddedToken], normalize: Callable[[str], str]) -> None:
        """`normalize` is what happens to text before it is split; it happens to the `normalized` tokens too."""
        self._normalize = normalize
        tokens = list(tokens)
        if len(tokens) > MAX_ADDED:
            raise TokenizerError(f"there are {len(tokens)} added tokens; at most {MAX_ADDED} are possible")
        self._raw = _Search({token.content: token for token in tokens if not token.normalized})
        self._normalized = _Search({normalize(token.content): token for token in tokens if token.normalized})
        self._all_special = all(token.special for token in tokens)

    def cut(self, text: str, allowed: Collection[str]) -> Iterator[Part]:
        """The parts of a text, those between the tokens normalized. Special tokens are found only in `allowed`."""
        if self._all_special and not allowed:
            yield Part(self._normalize(text), None)
            return
        for part in self._raw.cut(text, allowed):
            if part.token is None:
                yield from self._normalized.cut(self._normalize(part.text), allowed)
            else:
                yield part


class _Search:
    """One set of tokens, looked for together.

    A token that takes the white space behind it does not keep another from being found there, so that both are given:
    that is what Hugging Face's library does.
    """

    def __init__(self, tokens: dict[str, AddedToken]) -> None:
        self._tokens = tokens
        longest_first = sorted(filter(None, tokens), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def cut(self, text: str, allowed: Collection[str]) -> Iterator[Part]:
        done = 0
        for match in self._pattern.finditer(text) if self._pattern else ():
            token = self._tokens[match[0]]
            if (token.special and token.content not in allowed) or (token.single_word and not _alone(text, match)):
                continue
            start, end = match.span()
            while token.lstrip and start > done and _is_space(text[start - 1]):
                start -= 1
            if token.lstrip and start < done:
                start = done
            while token.rstrip and end < len(text) and _is_space(text[end]):
                end += 1
            if start > done:
                yield Part(text[done:start], None)
            if start < end:
                yield Part(text[start:end], token)
            done = end
        if done < len(text):
            yield Part(text[done:], None)


def _alone(text: str, match: re.Match[str]) -> bool:
    before, after = text[match.start() - 1 : match.start()], text[match.end() : match.end() + 1]
    return not (_WORD.fullmatch(before) or _WORD.fullmatch(after))


def _is_space(character: str) -> bool:
    return character.isspace() and not "\x1c" <= character <= "\x1f"  # Unicode's White_Space, without Python's four
