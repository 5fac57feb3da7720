"""Answers drawn from a grammar of what a hub says, and should not: each ends in a model or a DownloadError."""

import gzip
import json
import random
import warnings
from pathlib import Path
from typing import Any

import pytest
from tests.hub.hub_server import COMMIT, Hub

from arrayformer.core.checkpoint import read_checkpoint
from arrayformer.core.errors import DownloadError
from arrayformer.hub import limits as download_limits
from arrayformer.hub.fetch import fetch_data
from arrayformer.hub.resolve import resolve_model

SCALARS: list[Any] = [
    None, True, 0, -1, 7250, 2**31, 2**63, 1 << 200, 1.5, 1e308, "", "x", "../x", "\0", "\ud800", COMMIT, "0" * 64,
    "config.json", "model.safetensors", "model.safetensors.index.json", "a" * 5000, "é\u202e\x1b[31m",
]  # fmt: skip
KEYS = ["sha", "siblings", "rfilename", "size", "blobId", "lfs", "sha256", "id", "private", "pointerSize"]
HEADERS = [
    "ETag", "X-Linked-Etag", "X-Linked-Size", "X-Repo-Commit", "Content-Length", "Content-Encoding", "Content-Range",
    "Content-Type", "Location", "Retry-After", "RateLimit", "Transfer-Encoding", "X-Error-Code", "X-Error-Message",
    "X-Xet-Hash", "X-Xet-Refresh-Route", "Set-Cookie", "Content-Disposition", "Link", "Date",
]  # fmt: skip
VALUES = [
    "", "0", "-1", "1", "7250", "99999999999999999999", "gzip", "br", "identity, gzip", "deflate", "chunked", "é",
    f'"{COMMIT}"', '"' + "0" * 64 + '"', '"../../x"', "W/\"x\"", "bytes 0-1/2", "bytes */*", "bytes x", "t=9999999999",
    "http://127.0.0.1:1/", "https://", "file:///etc/passwd", "//", "/", "http://[", "RepoNotFound", "GatedRepo",
    "x" * 9000,    'attachment; filename="../x"', "application/json; charset=utf-7", "text/html; charset=nonsense",
]  # fmt: skip
STATUSES = [
    200,
    200,
    200,
    204,
    206,
    301,
    302,
    304,
    307,
    308,
    400,
    401,
    403,
    404,
    408,
    416,
    418,
    429,
    451,
    500,
    502,
    599,
]


def value(draw: random.Random, depth: int = 4) -> Any:
    kind = draw.randrange(4) if depth else 0
    if kind == 1:
        return [value(draw, depth - 1) for _ in range(draw.randrange(4))]
    if kind == 2:
        return {draw.choice(KEYS): value(draw, depth - 1) for _ in range(draw.randrange(5))}
    return draw.choice(SCALARS)


def mutated(draw: random.Random, thing: Any) -> Any:
    """`thing` with one part of it, chosen anywhere, taken out or replaced."""
    if isinstance(thing, dict) and thing and draw.random() < 0.9:
        key = draw.choice(list(thing))
        if draw.random() < 0.15:
            return {k: v for k, v in thing.items() if k != key}
        return {**thing, key: mutated(draw, thing[key])}
    if isinstance(thing, list) and thing and draw.random() < 0.9:
        place = draw.randrange(len(thing))
        return [*thing[:place], mutated(draw, thing[place]), *thing[place + 1 :]]
    return value(draw)


def mangled(draw: random.Random, body: bytes) -> bytes:
    """A body cut, flipped, repeated, nested, packed or replaced."""
    place = draw.randrange(len(body) + 1)
    ways = [
        body[:place], body[:place] + bytes([draw.randrange(256)]) + body[place + 1 :], body * 2, b"[" * 200_000,
        b'{"siblings":' * 2000, gzip.compress(body), gzip.compress(bytes(9 << 20)), b"<html>login</html>", b"",
        b"\xff\xfe",        b'{"sha": NaN, "siblings": [1e999]}', b"null", b'"x"', body + b"\0",
    ]  # fmt: skip
    return draw.choice(ways)


class Answers:
    """The faults of a hub, drawn anew for each answer."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)

    def spoil(self, status: int, body: bytes, headers: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
        draw = self.draw
        if draw.random() < 0.3:
            headers = headers | {draw.choice(HEADERS): draw.choice(VALUES) for _ in range(draw.randrange(1, 3))}
        if body[:1] == b"{" and draw.random() < 0.4:
            thing = json.loads(body)
            for _ in range(draw.randrange(1, 3)):
                thing = mutated(draw, thing)
            body = json.dumps(thing).encode()
        if draw.random() < 0.2:
            body = mangled(draw, body)
        if draw.random() < 0.15:
            status = draw.choice(STATUSES)
        return status, body, headers


@pytest.mark.parametrize("start", range(0, 240, 40))
def test_every_answer_ends_in_a_model_or_one_clear_error(
    hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch, start: int
) -> None:
    monkeypatch.setattr(download_limits, "LONGEST", 5.0)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 0.3)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_ETAG_TIMEOUT", 0.3)
    hub.files["data/a.bin"] = b"some data"
    unfit: list[int] = []
    ends = {"model": 0, "error": 0}
    for seed in range(start, start + 40):
        hub.spoil = Answers(seed).spoil
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                path = resolve_model("owner/tiny")
                fetch_data("owner/tiny", COMMIT, "data/a.bin", 1000)
        except DownloadError as error:
            unfit += [seed] * (not str(error).isprintable() or len(str(error)) > 1000)
            ends["error"] += 1
        else:
            assert read_checkpoint(path)[0].n_layer == 2, seed
            ends["model"] += 1
        assert not [p for p in cache.rglob("*") if p.name == "x" or not p.resolve().is_relative_to(cache.resolve())], (
            seed
        )

    assert not unfit
    assert ends["error"] > 3
