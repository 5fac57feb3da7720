"""What an answer from the network may not do: leave https, crawl, swell, go on for ever, or make us wait for hours.

huggingface_hub limits the time between two bytes (HF_HUB_DOWNLOAD_TIMEOUT, 10 s), but neither how few bytes come nor
how many. Its HTTP client calls hooks for each request, redirected ones among them, and for each answer: there the
limits are.
"""

import re
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import huggingface_hub
from huggingface_hub import constants

from arrayformer.core.files.untrusted import shown

# A rate and not a total time, which would have to know the size and the line. At 1 KiB/s GPT-2 124M takes six days:
# nobody waits for that, while a line of 56 kbit/s brings seven times as much.
SLOWEST = 1024
WINDOW = 60.0

# Seconds. huggingface_hub sleeps for as long as "Retry-After" says.
LONGEST_WAIT = 300


# Seconds that asking takes at most, all attempts together, besides the time that the bytes may take.
LONGEST = 1800.0

_PIECE = 1 << 16


class BeyondLimitsError(Exception):
    """What the hub did; `explained` makes a DownloadError of it."""


@contextmanager
def limits(most: int) -> Iterator[None]:
    """Inside the block each answer that this thread gets through huggingface_hub may have `most` bytes, unpacked.

    It may take as long as it likes above SLOWEST bytes per second, judged every WINDOW seconds of waiting; the whole
    block has LONGEST seconds more than `most` bytes take at that rate. What goes beyond a limit is a
    BeyondLimitsError, raised by the call that asks or reads.
    """
    thread, secure = threading.get_ident(), urlsplit(constants.ENDPOINT).scheme == "https"
    deadline = time.monotonic() + LONGEST + most / SLOWEST

    def check_request(request: Any) -> None:
        if threading.get_ident() != thread:
            return
        _check_time(deadline)
        if secure and request.url.scheme != "https":
            raise BeyondLimitsError(f"{constants.ENDPOINT} redirects to {shown(request.url, 100)}, which is not https")
        request.headers["Accept-Encoding"] = "identity"

    def check_answer(response: Any) -> None:
        if threading.get_ident() == thread:
            _check_wait(response)
            response.stream = _limited(response.stream, _unpacker(response), most, deadline)

    hooks = huggingface_hub.get_session().event_hooks
    hooks["request"].append(check_request)
    hooks["response"].append(check_answer)
    try:
        yield
    finally:
        hooks["request"].remove(check_request)
        hooks["response"].remove(check_answer)


def _check_wait(response: Any) -> None:
    """Both forms in which a hub says how long to wait: `Retry-After: 120` and `RateLimit: "api";r=0;t=120`."""
    said = f"t={response.headers.get('Retry-After', '')};{response.headers.get('RateLimit', '')}"
    wait = max((int(digits[:9]) for digits in re.findall(r"\bt=(\d+)", said)), default=0)
    if response.status_code >= 400 and wait > LONGEST_WAIT:
        raise BeyondLimitsError(f"too many requests ({response.status_code}); try again in {wait} seconds")


def _check_time(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise BeyondLimitsError("the hub takes longer than its files could at the slowest; given up")


def _unpacker(response: Any) -> Any:
    """What unpacks the body, and takes that from the client, which would unpack without a limit."""
    coding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in ("identity", "gzip", "x-gzip", "deflate"):
        raise BeyondLimitsError(f"the hub sends data packed as {shown(coding, 60)}, which was not asked for")
    if coding == "identity":
        return None
    del response.headers["Content-Encoding"]
    return zlib.decompressobj(wbits=47)  # gzip, or zlib, as the data says


def _limited(stream: Any, unpacker: Any, most: int, deadline: float) -> Any:
    base: Any = type(stream)

    class Limited(base):  # type: ignore[misc]  # the client asks what class it is, httpx's or httpx2's
        def __init__(self) -> None:
            pass

        def __iter__(self) -> Iterator[bytes]:
            return _bounded(_unpacked(_watched(stream, deadline), unpacker), most)

        def close(self) -> None:
            stream.close()

    return Limited()


def _bounded(pieces: Iterable[bytes], most: int) -> Iterator[bytes]:
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > most:
            raise BeyondLimitsError(f"the hub sends more than the {most} bytes it announced")
        yield piece


def _unpacked(pieces: Iterable[bytes], unpacker: Any) -> Iterator[bytes]:
    """`pieces` through `unpacker` (None: as they are), a little at a time: a kilobyte may hold a megabyte."""
    for piece in pieces:
        if unpacker is None:
            yield piece
            continue
        rest, out = piece, b"more"
        while rest or len(out) == _PIECE:
            try:
                out = unpacker.decompress(rest, _PIECE)
            except zlib.error as error:
                raise BeyondLimitsError(f"the hub sends damaged gzip data ({error})") from None
            rest = unpacker.unconsumed_tail
            yield out
            if unpacker.eof:
                break


def _watched(pieces: Iterable[bytes], deadline: float) -> Iterator[bytes]:
    since = 0
    waited, asked = 0.0, time.monotonic()
    for piece in pieces:
        waited += time.monotonic() - asked  # not what the reader took to write the last piece
        since += len(piece)
        _check_time(deadline)
        if waited >= WINDOW:
            if since < SLOWEST * waited:
                raise BeyondLimitsError(
                    f"the hub sent {since} bytes in {waited:.0f} seconds: stalled; try again, what has arrived is kept"
                )
            waited, since = 0.0, 0
        yield piece
        asked = time.monotonic()
