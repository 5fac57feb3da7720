"""A hub that misbehaves: what passes is overcome, what lasts is one clear error."""

import gzip
from pathlib import Path
from typing import Any

import pytest
from tests.hub.hub_server import COMMIT, WEIGHTS, Fault, Hub, blobs, flipped

from arrayformer.core.checkpoint import read_checkpoint
from arrayformer.core.errors import DownloadError
from arrayformer.hub import limits as download_limits
from arrayformer.hub.resolve import resolve_model

ONCE = {
    "H-01 cut at 0 %": Fault("get", cut=0.0, times=1),
    "H-01 cut at 1 %": Fault("get", cut=0.01, times=1),
    "H-01 cut at 50 %": Fault("get", cut=0.5, times=1),
    "H-01 cut at 99 %": Fault("get", cut=0.99, times=1),
    "H-01 cut twice": Fault("get", cut=0.5, times=2),
    "H-07 range ignored": Fault("get", cut=0.5, headers={"X-Ignore-Range": "1"}, times=2),
    "H-08 429 once": Fault("get", 429, headers={"Retry-After": "1"}, times=1),
    "H-21 stalls": Fault("get", stall=1.5, times=1),
}


@pytest.mark.parametrize("fault", ONCE.values(), ids=ONCE)
def test_a_passing_fault_is_overcome(hub: Hub, cache: Path, fault: Fault) -> None:
    hub.fault = fault

    path = resolve_model("owner/tiny")

    assert (path / "model.safetensors").read_bytes() == WEIGHTS
    assert not list(cache.rglob("*.incomplete"))


def test_a_transfer_that_broke_off_is_resumed_where_it_stopped(hub: Hub, cache: Path) -> None:
    hub.fault = Fault("get", cut=0.5, times=1)

    resolve_model("owner/tiny")

    asked = [request.split()[-1] for request in hub.requests if "bytes=" in request]
    assert asked == [f"bytes={len(WEIGHTS) // 2 // 1000 * 1000}-"]


BOMB = gzip.compress(bytes(20 << 20))
HTML = b"<html>Sign in to the network</html>"


FOREVER = {
    "H-01 cut at 50 % always": (Fault("get", cut=0.5), "broke off|ended early"),
    "H-02 short": (Fault("get", change=lambda c: c[:-100]), "ended early|of .* bytes"),
    "H-03 long": (Fault("get", change=lambda c: c + b"x" * 100), "more than the 7250 bytes it announced"),
    "H-04 flipped bit": (Fault("get", change=flipped), "model.safetensors arrived damaged.*it is deleted"),
    "H-08 api 401": (Fault("api", 401), r"no such repository, or it is private \(401\).*HF_TOKEN"),
    "H-08 api 403": (Fault("api", 403), r"access is refused \(403\)"),
    "H-08 api 404": (Fault("api", 404), r"no such repository or file \(404\)"),
    "H-08 api 429": (Fault("api", 429, headers={"Retry-After": "77"}), r"too many requests \(429\); try again in 77 s"),
    "H-08 api 503": (Fault("api", 503), r"trouble of its own \(503\)"),
    "H-08 api 418": (Fault("api", 418), "answered with the status 418"),
    "H-08 file 401": (Fault("get", 401), r"\(401\)"),
    "H-08 file 403": (Fault("get", 403), r"\(403\)"),
    "H-08 file 404": (Fault("get", 404), r"\(404\)"),
    "H-08 file 416": (Fault("get", 416), r"\(416\): the file changed"),
    "H-08 file 500": (Fault("get", 500), r"\(500\)"),
    "H-10 redirect loop": (
        Fault("get", 302, headers={"Location": f"/owner/tiny/resolve/{COMMIT}/model.safetensors"}),
        "redirects in circles",
    ),
    "H-09 redirect to a file": (Fault("get", 302, headers={"Location": "file:///etc/passwd"}), "no http address"),
    "H-11 login page": (Fault("api", change=HTML), "not the hub's.*login page"),
    "H-11 login page for a file": (Fault("get", change=lambda c: HTML.ljust(len(c))), "arrived damaged"),
    "H-21 stalls": (Fault("api", change=b"{", headers={"Content-Length": "100"}), "broke off|cannot be reached"),
    "H-21 crawls": (Fault("get", crawl=0.02), r"the hub sent \d+ bytes in \d+ seconds: stalled; try again, .* is kept"),
    "H-03 endless": (Fault("get", endless=True), "sends more than the [0-9]+ bytes it announced"),
    "H-03 a gzip bomb for a file": (
        Fault("get", change=lambda c: BOMB, headers={"Content-Encoding": "gzip"}), "more than the 7250 bytes"
    ),
    "H-03 a gzip bomb for a listing": (
        Fault("api", change=BOMB, headers={"Content-Encoding": "gzip"}), "more than the 8388608 bytes"
    ),
    "damaged gzip": (Fault("api", change=b"no gzip", headers={"Content-Encoding": "gzip"}), "damaged gzip data"),
    "packed in an unknown way": (Fault("api", change=b"{}", headers={"Content-Encoding": "br"}), "packed as br"),
    "nested deep": (Fault("api", change=b"[" * 1_000_000), "more than 500,000 values"),
    "nested less deep": (Fault("api", change=b'{"a":' * 100_000), "nested too deeply"),
    "many values": (Fault("api", change=b'{"siblings":[' + b"{}," * 1_000_000 + b"{}]}"), "more than 500,000 values"),
    "a key twice": (Fault("api", change=b'{"sha": 1, "sha": 2}'), "'sha' stands there twice"),
    "a listing that is a list": (Fault("api", change=b"[]"), "names commit None"),
    "no UTF-8": (Fault("api", change=b"\xff\xfe{"), "not the hub's"),
    "H-03 endless listing": (Fault("api", change=b"[" * (9 << 20)), "sends more than the 8388608 bytes"),
    "H-08 wait a year": (Fault("get", 429, headers={"Retry-After": "31536000"}), "try again in 31536000 seconds"),
    "H-08 wait a year, newly said": (Fault("get", 429, headers={"RateLimit": '"api";r=0;t=31536000'}), "in 31536000 s"),
}  # fmt: skip


@pytest.mark.parametrize(("fault", "message"), FOREVER.values(), ids=FOREVER)
def test_a_lasting_fault_is_one_clear_error_and_leaves_no_weights(
    hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault, message: str
) -> None:
    monkeypatch.setattr(download_limits, "WINDOW", 0.5)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.fault = fault

    with pytest.raises(DownloadError, match=message) as raised:
        resolve_model("owner/tiny")

    assert str(raised.value).startswith("owner/tiny: ")
    assert "hf_secret" not in str(raised.value)
    assert str(raised.value).isprintable()
    assert not list(cache.rglob("model.safetensors"))
    assert not [name for name in blobs(cache) if len(name) == 64]
    hub.fault = None
    assert read_checkpoint(resolve_model("owner/tiny"))[0].n_layer == 2
    assert not list(cache.rglob("*.incomplete"))


LISTINGS = {
    "H-15 commit is a path": ({"sha": "../../x"}, "names commit '../../x'"),
    "H-15 no commit": ({"sha": None}, "names commit None"),
    "H-15 digest is a path": (
        {"siblings": [{"rfilename": "config.json", "size": 1, "blobId": "../x"}, {"rfilename": "model.safetensors"}]},
        "config.json with digest '../x'",
    ),
    "no files": ({"siblings": []}, "no config.json"),
    "P-06 pickles only": (
        {"siblings": [{"rfilename": "config.json"}, {"rfilename": "pytorch_model.bin"}]},
        r"no model.safetensors but pytorch_model.bin, a pickle.*refs/pr/1.*safe_serialization=True",
    ),
    "index without shards": (
        {"siblings": [{"rfilename": "config.json"}, {"rfilename": "model.safetensors.index.json"}]},
        "no model.safetensors and no other weights",
    ),
    "files that are no objects": ({"siblings": ["config.json"]}, "not a list of objects"),
    "files that are no list": ({"siblings": {"a": 1}}, "not a list of objects"),
    "a file without a name": ({"siblings": [{}, {"rfilename": 5}]}, "no config.json"),
    "a small file that is large": (
        {"siblings": [{"rfilename": "config.json", "size": 1 << 30, "blobId": COMMIT},
                      {"rfilename": "model.safetensors"}]},
        "config.json with 1073741824 bytes; 0 to 67108864",
    ),
    "thousands of shards": (
        {"siblings": [{"rfilename": f"model-{i:05}-of-09999.safetensors"} for i in range(9999)]
         + [{"rfilename": "config.json"}, {"rfilename": "model.safetensors.index.json"}]},
        "lists 9999 shards; at most 1000",
    ),
    "size is negative": (
        {"siblings": [{"rfilename": "config.json", "size": -1, "blobId": COMMIT}, {"rfilename": "model.safetensors"}]},
        "config.json with -1 bytes",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("listed", "message"), LISTINGS.values(), ids=LISTINGS)
def test_a_listing_that_makes_no_sense_is_refused_before_a_file_is_fetched(
    hub: Hub, cache: Path, listed: Any, message: str
) -> None:
    hub.listed = listed

    with pytest.raises(DownloadError, match=message):
        resolve_model("owner/tiny")

    assert hub.requests == ["GET /api/models/owner/tiny"]


def test_a_revision_that_is_not_there_is_said(hub: Hub, cache: Path) -> None:
    with pytest.raises(DownloadError, match=r"owner/tiny at v9: there is no such revision \(404\)"):
        resolve_model("owner/tiny", revision="v9")
