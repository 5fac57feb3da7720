"""How to draw and when to end, as a caller says it: checked here, once, on the host."""

import hashlib
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import partial
from typing import Annotated, Any, Literal, TypedDict, get_args

from arrayformer.core.checks import check_number, check_whole, has_lone_surrogate, shown
from arrayformer.core.errors import InputError

GREEDY_BELOW = 1e-5
"""A temperature below this takes the likeliest id: dividing by less would only lose digits."""

MAX_NEW_TOKENS = 10**9
MAX_STOPS, MAX_STOP_LENGTH = 64, 1024

OnFull = Literal["error", "stop", "slide"]


class Options(TypedDict, total=False):
    """What a caller may say, by name. `Sampling` and `Ending` hold it checked, and say what is not said.

    Numbers may be of any library (NumPy's, Fraction, Decimal); a bool or text is none.
    """

    max_new_tokens: Annotated[int | None, "Tokens to write at most."]
    temperature: Annotated[float, "0 always takes the likeliest token."]
    top_k: Annotated[int | None, "Draw from the K likeliest tokens only."]
    top_p: Annotated[float | None, "Draw from the likeliest tokens that reach this probability together."]
    min_p: Annotated[float | None, "Draw from tokens at least this likely, as a part of the likeliest one's."]
    repetition_penalty: Annotated[float, "Above 1 avoids what was said."]
    seed: Annotated[int, "The same seed writes the same on every backend."]
    stop: Annotated[str | Sequence[str], "End before this string. May be given several times."]
    ignore_eos: Annotated[bool, "Go on after the end of a text."]
    on_full: Annotated[OnFull, "Where the context ends: refuse at once, stop there, or forget the older half."]
    logprobs: Annotated[int | None, "Log-probabilities, of so many alternatives too."]


@dataclass(frozen=True)
class Sampling:
    """How an id is drawn.

    temperature         what the logits are divided by; below 1e-5 the likeliest id is taken. 0 to 1e6
    top_k               only the k likeliest ids, and equals of the last, can be drawn; None for all
    top_p               only the likeliest ids that together reach this probability; above 0, at most 1
    min_p               only ids at least this likely, as a part of the likeliest one's probability; 0 to 1
    repetition_penalty  ids that stand in the text already are made less likely (above 1). 0.01 to 100
    seed                0 to 2**64 - 1; the same seed and text give the same id on every backend
    logprobs            how many alternatives to report with each id; 0 for the id's own log-probability only

    The fields are Python's own numbers afterwards. Raises InputError for anything else.
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0
    seed: int = 0
    logprobs: int | None = None

    def __post_init__(self) -> None:
        keep = partial(object.__setattr__, self)
        keep("temperature", check_number("temperature", self.temperature, 0.0, 1e6))
        if self.top_k is not None:
            keep("top_k", check_whole("top_k", self.top_k, 1, 2**63 - 1, "leave it out to keep all ids"))
        if self.top_p is not None:
            keep("top_p", check_number("top_p", self.top_p, 0.0, 1.0))
        if self.top_p == 0.0:
            raise InputError("top_p is 0; it has to be above 0 and at most 1 (temperature=0 takes the likeliest id)")
        if self.min_p is not None:
            keep("min_p", check_number("min_p", self.min_p, 0.0, 1.0))
        keep("repetition_penalty", check_number("repetition_penalty", self.repetition_penalty, 0.01, 100.0))
        keep("seed", check_whole("seed", self.seed, 0, 2**64 - 1))
        if self.logprobs is not None:
            keep("logprobs", check_whole("logprobs", self.logprobs, 0, 1000))

    @property
    def greedy(self) -> bool:
        """Whether the likeliest id is taken."""
        return self.temperature < GREEDY_BELOW

    def word(self, position: int) -> int:
        """The random word for the id at `position` of the text, as a signed 32-bit number.

        It depends on the seed and the position alone, so neither a batch nor speculation changes a draw.
        """
        digest = hashlib.blake2b(struct.pack("<QQ", self.seed, position), digest_size=4).digest()
        return int.from_bytes(digest, "little", signed=True)

    def log_min_p(self) -> float:
        """Natural logarithm of min-p; -inf where it cuts nothing."""
        return math.log(self.min_p) if self.min_p else -math.inf


@dataclass(frozen=True)
class Ending:
    """When a text ends.

    max_new_tokens  ids to draw at most; None goes on until the context is full
    stop            strings that end the text; it is cut where the first of them begins
    ignore_eos      whether to go on after the end-of-text id
    on_full         what happens where the text does not fit into the context: "error" refuses it before
                    anything is computed, "stop" ends there, "slide" forgets the older half and goes on

    Raises InputError for anything else.
    """

    max_new_tokens: int | None = None
    stop: str | Sequence[str] = ()
    ignore_eos: bool = False
    on_full: OnFull = "error"

    def __post_init__(self) -> None:
        keep = partial(object.__setattr__, self)
        if self.max_new_tokens is not None:
            keep("max_new_tokens", check_whole("max_new_tokens", self.max_new_tokens, 0, MAX_NEW_TOKENS))
        keep("stop", check_stop(self.stop))
        if self.on_full not in get_args(OnFull):
            raise InputError(f"on_full is {shown(self.on_full)}; it is one of {', '.join(get_args(OnFull))}")
        if self.on_full == "slide" and self.max_new_tokens is None:
            raise InputError("on_full='slide' never comes to an end by itself: say max_new_tokens")

    def limit(self, n_prompt: int, n_ctx: int) -> int:
        """How many ids may follow a prompt of `n_prompt`. Raises InputError where they do not fit and may not slide."""
        if self.on_full == "slide":
            return self.max_new_tokens or 0  # `__post_init__` sees to it that there is one
        if n_prompt > n_ctx:
            raise InputError(
                f"the prompt has {n_prompt} ids and this model's context is {n_ctx}: "
                f"shorten it by {n_prompt - n_ctx}, or pass on_full='slide'"
            )
        room = n_ctx - n_prompt
        if self.max_new_tokens is None or (self.on_full == "stop" and self.max_new_tokens > room):
            return room
        if self.max_new_tokens > room:
            raise InputError(
                f"a prompt of {n_prompt} ids and {self.max_new_tokens} new ones make {n_prompt + self.max_new_tokens}, "
                f"and this model's context is {n_ctx}: ask for {room} at most, or pass on_full='stop' or 'slide'"
            )
        return self.max_new_tokens


def check_stop(stop: object) -> tuple[str, ...]:
    """Stop strings as a tuple; a single string stands for itself. Raises InputError for what is none, or too much."""
    strings = (stop,) if isinstance(stop, str) else stop
    if not isinstance(strings, Sequence) or not all(isinstance(s, str) for s in strings):
        raise InputError(f"stop is {shown(stop)}; pass strings")
    if len(strings) > MAX_STOPS:
        raise InputError(f"{len(strings)} stop strings were given; at most {MAX_STOPS} are looked for")
    for s in strings:
        if not 0 < len(s) <= MAX_STOP_LENGTH:
            raise InputError(f"a stop string has {len(s)} characters; 1 to {MAX_STOP_LENGTH} are possible")
        if has_lone_surrogate(s):
            raise InputError(f"the stop string {shown(s)} has a lone surrogate, which no text holds; give it in UTF-8")
    return tuple(strings)


def checked_options(caller: str, options: Options) -> tuple[Sampling, Ending]:
    """What was said to the method `caller`, checked.

    Raises TypeError, naming the method, for a name that is none of Options, InputError for a value that makes no sense.
    """
    for name in options.keys() - Options.__annotations__.keys():
        meant = "".join(f". Did you mean {near!r}?" for near in get_close_matches(name, Options.__annotations__, 1))
        raise TypeError(f"{caller}() got an unexpected keyword argument {name!r}{meant}")
    said: dict[str, Any] = dict(options)
    sampling = {field.name: said.pop(field.name) for field in fields(Sampling) if field.name in said}
    return Sampling(**sampling), Ending(**said)
