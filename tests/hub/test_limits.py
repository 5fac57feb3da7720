"""What no answer may do, and where the limits end."""

import gzip
import random
import threading
import zlib
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from tests.hub.hub_server import COMMIT, Hub

from arrayformer.core.errors import DownloadError
from arrayformer.hub import limits as download_limits
from arrayformer.hub.fetch import fetch_data
from arrayformer.hub.limits import BeyondLimitsError
from arrayformer.hub.resolve import resolve_model


@pytest.mark.parametrize("address", ["foo", "file:///tmp", "https://", "ftp://huggingface.co"])
def test_an_endpoint_that_is_no_address_is_said(
    hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch, address: Any
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)

    with pytest.raises(DownloadError, match=r"HF_ENDPOINT is .*, which is no address"):
        resolve_model("owner/tiny")


def test_plain_http_to_another_machine_is_warned_of(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://mirror.invalid")

    with (
        pytest.warns(UserWarning, match=r"HF_ENDPOINT is http://mirror\.invalid: without https"),
        pytest.raises(DownloadError),
    ):
        resolve_model("owner/tiny")


def test_a_hub_with_https_may_not_lead_away_from_it(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "huggingface_hub.constants.ENDPOINT", "https://hub.invalid"
    )  # as if `hub` were led to from there

    with (
        pytest.raises(BeyondLimitsError, match=r"https://hub\.invalid redirects to http://127.*, which is not https"),
        download_limits.limits(100),
    ):
        huggingface_hub.get_session().get(hub.endpoint)

    assert hub.requests == []


@pytest.mark.usefixtures("cache")
def test_limits_end_with_their_block_and_bind_no_other_thread(hub: Hub) -> None:
    answers: list[int] = []
    url = f"{hub.endpoint}/api/models/owner/tiny"
    ask = lambda: answers.append(len(huggingface_hub.get_session().get(url).content))  # noqa: E731
    with download_limits.limits(1):
        with pytest.raises(BeyondLimitsError):
            ask()
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    ask()

    assert len(answers) == 2


def test_nothing_is_asked_for_in_a_packed_form(hub: Hub, cache: Path) -> None:
    hub.files["data/a.bin"] = b"some data"

    resolve_model("owner/tiny")
    fetch_data("owner/tiny", COMMIT, "data/a.bin", 1000)

    assert hub.accepted == {"identity"}


def test_what_is_packed_comes_out_a_little_at_a_time() -> None:
    content = random.Random(0).randbytes(200_000) + bytes(20 << 20)
    packed = gzip.compress(content)
    for size in (1, 1000, len(packed)):
        pieces = [packed[at : at + size] for at in range(0, len(packed), size)]

        out = list(download_limits._unpacked(pieces, zlib.decompressobj(wbits=47)))

        assert b"".join(out) == content
        assert max(map(len, out)) <= 1 << 16
