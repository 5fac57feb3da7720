"""Data sets stand under the limits of models."""

import gzip
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.hub.hub_server import COMMIT, WEIGHTS, Fault, Hub, flipped, sha256

from arrayformer.core.errors import DownloadError
from arrayformer.evaluate import source
from arrayformer.hub import limits as download_limits
from arrayformer.hub.fetch import fetch_data

NAME = "data/text.bin"


@pytest.fixture
def data(hub: Hub, cache: Path) -> Path:
    """Where the data set lies in the cache."""
    hub.files[NAME] = WEIGHTS
    return cache / "datasets--owner--tiny"


def fetch(most: int = 100_000) -> Path:
    return fetch_data("owner/tiny", COMMIT, NAME, most)


def test_a_file_is_fetched_once_into_the_librarys_own_cache(hub: Hub, data: Path) -> None:
    from huggingface_hub import try_to_load_from_cache

    paths = {fetch(), fetch()}

    assert paths == {data / "snapshots" / COMMIT / NAME}
    assert paths.pop().read_bytes() == WEIGHTS
    assert (data / "blobs" / sha256(WEIGHTS)).read_bytes() == WEIGHTS
    assert [request.split()[0] for request in hub.requests] == ["HEAD", "GET"]
    found = try_to_load_from_cache("owner/tiny", NAME, repo_type="dataset", revision=COMMIT, cache_dir=data.parent)
    assert Path(str(found)).read_bytes() == WEIGHTS


FAULTS = {
    "more than announced": (Fault("get", change=lambda c: c + b"x" * 100), "more than the 7250 bytes it announced"),
    "endless": (Fault("get", endless=True), "more than the 7250 bytes it announced"),
    "a byte now and then": (Fault("get", crawl=0.02), "stalled"),
    "another file": (Fault("get", change=flipped), "arrived damaged"),
    "a gzip bomb": (
        Fault("get", change=lambda c: gzip.compress(bytes(20 << 20)), headers={"Content-Encoding": "gzip"}),
        "more than the 7250 bytes",
    ),
    "a terabyte is announced": (Fault("head", headers={"X-Linked-Size": str(1 << 40)}), "0 to 100000 are fetched"),
    "a size that is none": (Fault("head", headers={"X-Linked-Size": "much"}), "with None bytes|with '?much"),
    "an etag that is a path": (Fault("head", headers={"X-Linked-Etag": '"../../../x"'}), r"with digest '\.\./"),
    "no etag": (Fault("head", headers={"X-Linked-Etag": "", "ETag": ""}), "with digest"),
    "refused": (Fault("head", 403), r"\(403\)"),
    "redirects in circles": (
        Fault("get", 302, headers={"Location": f"/datasets/owner/tiny/resolve/{COMMIT}/{NAME}"}), "redirects in circles"
    ),
    "another way of transfer": (
        Fault("head", headers={"X-Xet-Hash": "0" * 64, "X-Xet-Refresh-Route": "http://h/", "X-Linked-Size": "x"}),
        "with None bytes",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("fault", "message"), FAULTS.values(), ids=FAULTS)
def test_a_hub_that_misbehaves_is_given_up(hub: Hub, data: Path, monkeypatch: Any, fault: Fault, message: str) -> None:
    monkeypatch.setattr(download_limits, "WINDOW", 0.5)
    hub.fault = fault

    with pytest.raises(DownloadError, match=message):
        fetch()

    hub.fault = None
    assert fetch().read_bytes() == WEIGHTS


def test_a_transfer_that_begins_anew_for_ever_ends(hub: Hub, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download_limits, "LONGEST", 1.0)
    monkeypatch.setattr(download_limits, "SLOWEST", 1 << 20)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    # Each attempt brings something, so the library never gives up; the server does not go on where it stopped.
    hub.fault = Fault("get", cut=0.5, headers={"X-Ignore-Range": "1"})

    with pytest.raises(DownloadError, match="takes longer than its files could"):
        fetch()


def test_plain_http_is_not_followed(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "https://hub.invalid")  # its files are led to plain http

    with pytest.raises(DownloadError, match=r"redirects to http://127.*, which is not https"):
        fetch()


def test_offline_data_come_from_the_cache_or_not_at_all(hub: Hub, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub.requests.clear()
    assert fetch().read_bytes() == WEIGHTS
    shutil.rmtree(data)

    with pytest.raises(DownloadError, match="not in the cache"):
        fetch()
    assert hub.requests == []


def test_a_protocols_data_are_fetched_in_this_way(hub: Hub, data: Path) -> None:
    assert source.download(source.Hub("owner/tiny", COMMIT, NAME)).read_bytes() == WEIGHTS

    with pytest.raises(DownloadError, match=r"\(404\).*--data FILE"):
        source.download(source.Hub("owner/tiny", COMMIT, "other.bin"))
