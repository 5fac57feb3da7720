"""Whatever is wrong on the way to the hub, or in the cache, is one line that says so."""

import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.hub.hub_server import COMMIT, Hub

from arrayformer.core.errors import DownloadError
from arrayformer.hub.resolve import resolve_model


@pytest.fixture
def untrusted_https(tmp_path: Path) -> Any:
    """The address of a server whose certificate nobody vouches for."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
        "-keyout",
    ]
    subprocess.run([*make, str(key), "-out", str(certificate)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            try:
                context.wrap_socket(connection, server_side=True)
            except OSError:
                connection.close()

    threading.Thread(target=serve, daemon=True).start()
    yield f"https://127.0.0.1:{listening.getsockname()[1]}"
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()


def test_a_certificate_that_does_not_verify_is_no_full_disk(
    hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch, untrusted_https: str
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", untrusted_https)

    with pytest.raises(DownloadError, match=r"no secure connection to https://127.*certificate verify failed") as error:
        resolve_model("owner/tiny")

    assert "disk" not in str(error.value)


ODD = [EOFError(), KeyError("x"), RecursionError(), MemoryError(), OSError("odd"), AttributeError(), ImportError("x")]


@pytest.mark.parametrize("kind", ODD, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("place", ["list_model", "fetch_blob", "check_record"])
def test_no_other_exception_leaves_the_room(
    hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch, place: str, kind: Exception
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise kind

    if place == "check_record":
        resolve_model("owner/tiny")
    monkeypatch.setattr(f"arrayformer.hub.fetch.{place}", fail)

    with pytest.raises(DownloadError, match=r"^owner/tiny: ") as error:
        resolve_model("owner/tiny", offline=place == "check_record")
    assert str(error.value).isprintable()


VARIABLES = {
    "a SOCKS proxy": {"ALL_PROXY": "socks5://127.0.0.1:9"},
    "no proxy's address": {"ALL_PROXY": "foo://x"},
    "no address at all": {"HTTPS_PROXY": "http://["},
    "a proxy that is not there": {"ALL_PROXY": "http://127.0.0.1:9"},
    "no certificates": {"SSL_CERT_FILE": "/nowhere"},
    "an endpoint with half an address": {"HF_ENDPOINT": "http://["},
    "a cache that is a file": {"HF_HOME": "/dev/null"},
    "a token of two lines": {"HF_TOKEN": "a\nb", "HF_ENDPOINT": "http://127.0.0.1:9"},
}


@pytest.mark.parametrize("variables", VARIABLES.values(), ids=VARIABLES)
def test_variables_that_lead_nowhere_are_one_line(tmp_path: Path, variables: dict[str, str]) -> None:
    code = "import sys; from arrayformer.cli import main; sys.exit(main(['download', 'owner/tiny']))"
    plain = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy") and not k.startswith("HF_")}
    env = plain | {"HF_HOME": str(tmp_path), "HF_ENDPOINT": "https://127.0.0.1:9"} | variables

    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)

    assert done.returncode in (2, 5), done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("record", [b"[" * 100_000, b"{}", b"\xff", b'{"a": 1}', b'{"a": [1, 2, NaN]}', b"null"])
def test_a_spoilt_record_is_as_none(hub: Hub, cache: Path, record: bytes) -> None:
    path = resolve_model("owner/tiny")
    (cache / "models--owner--tiny" / "arrayformer" / f"{COMMIT}.json").write_bytes(record)

    assert resolve_model("owner/tiny", offline=True) == path
    assert resolve_model("owner/tiny") == path
