"""WikiText as published, and back to the English it was made from.

The corpus (Merity et al. 2016, https://arxiv.org/abs/1609.07843) writes a space before punctuation, marks joined
numbers and hyphens as `@,@`, `@.@` and `@-@`, and sets quotation marks and brackets apart. The GPT-2 paper undoes
this with "invertible de-tokenizers" (section 3.1) that were never published; these rules are our own.
"""

import re

_JOINED = re.compile(r" @([-,.])@ ")
_TITLE = re.compile(r"^ = [^=\n](?:[^\n]*[^=\n])? = $", re.MULTILINE)
_HEADING = re.compile(r"^ (=(?: =)*) (.*?) (=(?: =)*) $")
_PAIRED = re.compile(r'" ([^"]*?) "')
_CLOSING = re.compile(r" (?=[,.;:!?%)\]](?:[\s\"')\]]|$))")
_OPENING = re.compile(r"(?<=[(\[$£€]) ")
_BRACKET = re.compile(r" (?=[)\]])")
_POSSESSIVE = re.compile(r"(?<=\w) '(?=(?:s|t|re|ve|m|ll|d)\b)")
_PLURAL = re.compile(r"(?<=\ws) (?=' )")


def rows(raw: str) -> list[str]:
    """The file's lines as Hugging Face's data set `wikitext` has them: blank ones empty, others with their line end."""
    return [line if line.strip() else "" for line in raw.splitlines(keepends=True)]


def joined(raw: str) -> str:
    """The text that https://huggingface.co/docs/transformers/perplexity measures: the rows, two line ends between."""
    return "\n\n".join(rows(raw))


def pages(raw: str) -> list[str]:
    """The articles. A line ` = Title = ` begins one; ` = = Section = = ` does not."""
    starts = [m.start() for m in _TITLE.finditer(raw)]
    if not starts or raw[: starts[0]].strip():
        starts.insert(0, 0)
    found = [raw[a:b].removesuffix("\n") for a, b in zip(starts, [*starts[1:], len(raw)], strict=True)]
    return [page for page in found if page.strip()]


def count_words(page: str) -> int:
    """Pieces between white space, as lm-eval's `wikitext` task counts them: an empty one at either end counts too."""
    return len(re.split(r"\s+", page))


def detokenize(page: str) -> str:
    """The page as English is written: `in 1 @,@ 000 , he` becomes `in 1,000, he`."""
    return "\n".join(map(_detokenize_line, page.split("\n")))


def _detokenize_line(line: str) -> str:
    heading = _HEADING.match(line)
    if heading and heading[1] == heading[3]:
        rank = heading[1].replace(" ", "")
        return f"{rank} {_detokenize_words(heading[2])} {rank}"
    return _detokenize_words(line.strip(" "))


def _detokenize_words(words: str) -> str:
    for pattern, new in (
        (_JOINED, r"\1"), (_PAIRED, r'"\1"'), (_POSSESSIVE, "'"), (_PLURAL, ""), (_OPENING, ""), (_BRACKET, ""),
    ):  # fmt: skip
        words = pattern.sub(new, words)
    for _ in range(3):  # of `." ) ,` each closes up to the one before
        words = _CLOSING.sub("", words)
    return words


def tokenize(text: str) -> str:
    """The inverse of `detokenize`, for text whose marks stand where English puts them."""
    return "\n".join(map(_tokenize_line, text.split("\n")))


def _tokenize_line(line: str) -> str:
    heading = re.match(r"^(=+) (.*) (=+)$", line)
    if heading and heading[1] == heading[3]:
        rank = " ".join(heading[1])
        return f" {rank} {_tokenize_words(heading[2])} {rank} "
    return f" {_tokenize_words(line)} " if line else " "


def _tokenize_words(text: str) -> str:
    text = re.sub(r"(?<=\w)-(?=\w)", " @-@ ", text)
    text = re.sub(r"(?<=\d)([,.])(?=\d)", r" @\1@ ", text)
    text = re.sub(r'"([^"]*)"', r'" \1 "', text)
    text = re.sub(r"(?<=\w)'(?=(?:s|t|re|ve|m|ll|d)\b)", " '", text)
    text = re.sub(r"(?<=\ws)(?=' )", " ", text)
    text = re.sub(r"([(\[$£€])(?=\S)", r"\1 ", text)
    for _ in range(3):
        text = re.sub(r"(?<=[^\s])([,.;:!?%)\]])(?=[\s\"')\]]|$)", r" \1", text)
    return text


def share_invertible(page_list: list[str]) -> float:
    """How many of the lines that hold something come back exactly: tokenize(detokenize(line)) == line."""
    lines = [line for page in page_list for line in page.split("\n") if line.strip()]
    back = sum(tokenize(detokenize(line)) == line for line in lines)
    return back / len(lines) if lines else 1.0
