r"""Step 1 of the way of the data: cut text into pieces, which are then merged each on its own.

A merge never crosses from one piece into the next, so that no token spans two words. How text is cut belongs to the
vocabulary as the merges do: another way gives other ids, and no error. Four ways are in wide use.

**gpt2.** GPT-2's pattern takes, at each place of the text, the first of these alternatives that fits:

    '(?:s|t|re|ve|m|ll|d)   the ends of English contractions: 's 't 're 've 'm 'll 'd. Lower case only: in DON'T
                            the apostrophe is punctuation and T a word, a slip of GPT-2 that its vocabulary keeps
     ?\p{L}+                a word: letters of any script, and the one space before them. " the" is thus one piece,
                            and one token, and most text needs no token for spaces
     ?\p{N}+                a number: digits, also Roman numerals and fractions, with the space before them
     ?[^\s\p{L}\p{N}]+      everything else that can be seen: punctuation, symbols, emoji, marks that combine
    \s+(?!\S)               white space up to its end or, where something follows it, all but its last character:
                            that one is left for the word, if it is a space
    \s+                     what white space remains: the last character that was left and is no space

**smollm.** Each digit is cut out first (in the pattern: it comes first, and alone), then GPT-2's way runs on what lies
between. White space before a digit is therefore at the end of its part and is one piece: "a  1" is "a", "  ", "1".

**llama-bpe.** Llama 3's, which is that of OpenAI's cl100k with limits taken out:

    (?i:'s|'t|'re|'ve|'m|'ll|'d)     contractions in any case
    [^\r\n\p{L}\p{N}]?\p{L}+         a word, with any one character before it that is no letter, digit or line end:
                                     "(word" and "\tword" are one piece
    \p{N}{1,3}                       numbers in groups of up to three digits, without the space
     ?[^\s\p{L}\p{N}]+[\r\n]*        punctuation with the space before it and the line ends behind it
    \s*[\r\n]+                       white space up to the last of some line ends
    \s+(?!\S)|\s+                    other white space, as above

**qwen2.** As llama-bpe, but each digit is a piece of its own.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import regex

from arrayformer.core.errors import TokenizerError

# Letters go first, as they are the most; the order does not matter where alternatives begin with other characters.
_CONTRACTIONS = r"'(?:s|t|re|ve|m|ll|d)"
_LLAMA = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}COUNT| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class Splitter(Protocol):
    """What a `Tokenizer` needs to know of a way to cut text."""

    @property
    def name(self) -> str:
        """What it is called in messages."""

    @property
    def boundary(self) -> str | None:
        """Where a text may be cut before it is split, so that the pieces stay the same.

        A pattern that matches one space. Each space between two visible characters has to be such a place. None where
        that is not so.
        """

    def pieces(self, text: str) -> list[str]:
        """The pieces of a text, in order."""


@dataclass(frozen=True)
class SplitRule:
    """A way to cut that is one pattern. The matches of `pattern`, joined, are the text again."""

    name: str
    pattern: str
    boundary: str = r" (?=\S)"

    def pieces(self, text: str) -> list[str]:
        """The pieces of a text. Joined they are the text again."""
        return self._find_ascii(text) if text.isascii() else self._find(text)

    @cached_property
    def _find(self) -> Callable[[str], list[str]]:
        return regex.compile(self.pattern).findall

    @cached_property
    def _find_ascii(self) -> Callable[[str], list[str]]:
        # The standard library's engine has no \p{L}, but takes a third of the time; in ASCII the classes are short.
        inside = self.pattern.replace(r"[^\r\n\p{L}\p{N}]", r"[^\r\nA-Za-z0-9]")
        inside = inside.replace(r"[^\s\p{L}\p{N}]", r"[^\sA-Za-z0-9]").replace(r"[^\s\p{N}]", r"[^\s0-9]")
        return re.compile(inside.replace(r"\p{L}", "[A-Za-z]").replace(r"\p{N}", "[0-9]"), re.ASCII).findall


GPT2 = SplitRule("gpt2", rf" ?\p{{L}}+|{_CONTRACTIONS}| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|\s+(?!\S)|\s+")
# A space before a digit is one piece with the white space before it: it begins one only behind something visible.
SMOLLM = SplitRule(
    "smollm",
    rf"\p{{N}}| ?\p{{L}}+|{_CONTRACTIONS}| ?[^\s\p{{L}}\p{{N}}]+|\s+(?![^\s\p{{N}}])|\s+",
    r"(?<=\S) (?=\S)| (?=[^\s\p{N}])",
)
LLAMA_BPE = SplitRule("llama-bpe", _LLAMA.replace("COUNT", "{1,3}"))
QWEN2 = SplitRule("qwen2", _LLAMA.replace("COUNT", ""))

RULES = {rule.name: rule for rule in (GPT2, SMOLLM, LLAMA_BPE, QWEN2)}
"""The ways that are known, by name."""


def split_rule(name: str) -> SplitRule:
    """The rule of this name. Raises TokenizerError for an unknown one."""
    if name not in RULES:
        raise TokenizerError(f"no split rule is named {name[:60]!r}; there are {', '.join(RULES)}")
    return RULES[name]
