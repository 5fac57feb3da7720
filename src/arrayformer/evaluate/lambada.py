"""LAMBADA: guess the last word of a passage. Paperno et al. 2016, https://arxiv.org/abs/1606.06031"""

import json
import string

from arrayformer.core.errors import DataFileError

# English function words: they seldom end a passage of LAMBADA, and the GPT-2 paper (section 3.3) filters them
# out because a model that cannot know that the sentence ends likes them.
STOP_WORDS = frozenset(
    " ".join((
        "i me my mine myself we us our ours ourselves you your yours yourself yourselves",
        "he him his himself she her hers herself it its itself they them their theirs themselves",
        "who whom whose which what this that these those",
        "a an the all any both each every few more most other some such no nor none own same",
        "about above after against along among around at before behind below beneath beside between beyond by",
        "down during for from in inside into near of off on onto out outside over through throughout to toward",
        "towards under until up upon with within without",
        "and but or if as because while than although though unless whether",
        "am is are was were be been being have has had having do does did doing",
        "can could may might must shall should will would",
        "again further then once here there when where why how not only so too very just now",
        "s t d m ll re ve don",
    )).split()
)  # fmt: skip


def passages(text: str) -> list[str]:
    """The passages of `lambada_test.jsonl`: one JSON object with a "text" on each line. Raises DataFileError."""
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            passage = json.loads(line)["text"]
        except (ValueError, TypeError, KeyError):
            passage = None
        if not isinstance(passage, str) or len(passage.split()) < 2:
            raise DataFileError(f'line {number} is no LAMBADA passage: it has to be JSON like {{"text": "..."}}')
        found.append(passage.strip())
    return found


def split_last_word(passage: str) -> tuple[str, str]:
    """What comes before the last word, and the word."""
    before, _, word = passage.rpartition(" ")
    return before.rstrip(), bare(word)


def first_word(text: str) -> str:
    """The first word of what a model wrote, or nothing."""
    words = text.split()
    return bare(words[0]) if words else ""


def bare(word: str) -> str:
    """The word without punctuation at its ends."""
    return word.strip(string.punctuation + "“”‘’—–…") or word


def is_stop_word(token: bytes) -> bool:
    """Whether a token, spaces around it aside, is a stop word in whatever case."""
    return token.decode("utf-8", errors="replace").strip().lower() in STOP_WORDS
