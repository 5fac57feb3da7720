"""A hub on this machine: the few addresses of the Hugging Face Hub that a download needs, and what can go wrong there.

GET  /api/models/{owner}/{name}[/revision/{revision}]  the commit, and its files with sizes and digests
HEAD, GET  [/datasets]/{owner}/{name}/resolve/{revision}/{file}
     ETag, X-Repo-Commit, X-Linked-Etag, X-Linked-Size, Range
"""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.core.checkpoint.model_files import CONFIG, named, safetensors

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "fedcba9876543210fedcba9876543210fedcba98"

WEIGHTS = safetensors(named())
FILES = {
    "config.json": json.dumps(CONFIG).encode(),
    "vocab.json": b'{"a": 0}',
    "merges.txt": b"#version: 0.2\n",
    "model.safetensors": WEIGHTS,
    "README.md": b"not wanted",
    "pytorch_model.bin": b"never fetched",
    "modeling_evil.py": b"never fetched",
}


@dataclass
class Fault:
    """What the server does wrong, with the weights unless said otherwise.

    where   "api", "head" or "get"
    status  answer with this status instead
    cut     close the connection after this part of the body
    change  what is sent instead of the body
    headers what is sent besides, or instead
    stall   wait for so many seconds in the middle of the body
    crawl   send the body byte by byte, one in so many seconds
    endless go on sending after the body, without having said how much comes
    times   how often it goes wrong
    """

    where: str
    status: int = 200
    cut: float = 1.0
    change: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    stall: float = 0.0
    crawl: float = 0.0
    endless: bool = False
    times: int = 1_000_000


class Hub(ThreadingHTTPServer):
    """A repository "owner/tiny" at COMMIT, whose branch is main.

    files     name -> content
    fault     what goes wrong, None for nothing
    accepted  the values of Accept-Encoding that came
    spoil     what becomes of the status, the body and the headers of any answer
    requests  "METHOD path", and the range asked for, in the order of arrival
    """

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.commit = files, COMMIT
        self.fault: Fault | None = None
        self.requests: list[str] = []
        self.listed: dict[str, Any] = {}
        self.accepted: set[str | None] = set()
        self.spoil: Callable[[int, bytes, dict[str, str]], tuple[int, bytes, dict[str, str]]] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def listing(self) -> dict[str, Any]:
        siblings = []
        for name, content in self.files.items():
            sibling = {"rfilename": name, "size": len(content), "blobId": git_hash(content)}
            if is_large(name):
                sibling["lfs"] = {"sha256": sha256(content), "size": len(content), "pointerSize": 134}
            siblings.append(sibling)
        return {"id": "owner/tiny", "sha": self.commit, "siblings": siblings, **self.listed}

    def take_fault(self, where: str) -> Fault | None:
        fault = self.fault
        if fault is None or fault.where != where or fault.times <= 0:
            return None
        fault.times -= 1
        return fault


def is_large(name: str) -> bool:
    return name.endswith((".safetensors", ".bin"))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Keeps stderr quiet."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.accepted.add(self.headers.get("Accept-Encoding"))
        self.server.requests.append(f"{self.command} {path} {self.headers.get('Range', '')}".rstrip())
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            self.answer_api(parts[2:])
        elif "resolve" in parts:
            at = parts.index("resolve")
            self.answer_file("/".join(parts[:at]), parts[at + 1], "/".join(parts[at + 2 :]))
        else:
            self.answer(404, b"", {})

    def answer_api(self, parts: list[str]) -> None:
        if fault := self.server.take_fault("api"):
            self.answer(fault.status, b"" if fault.change is None else fault.change, fault.headers)
        elif parts[:2] != ["owner", "tiny"]:
            self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})
        elif len(parts) > 2 and parts[3] not in ("main", self.server.commit):
            self.answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
        else:
            self.answer(200, json.dumps(self.server.listing()).encode(), {"Content-Type": "application/json"})

    def answer_file(self, repository: str, revision: str, name: str) -> None:
        content = self.server.files.get(name)
        if (
            content is None
            or repository not in ("owner/tiny", "datasets/owner/tiny")
            or revision not in ("main", self.server.commit)
        ):
            self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        headers = {"X-Repo-Commit": self.server.commit, "ETag": f'"{git_hash(content)}"', "Accept-Ranges": "bytes"}
        if is_large(name):
            headers |= {"X-Linked-Etag": f'"{sha256(content)}"', "X-Linked-Size": str(len(content))}
        where = "head" if self.command == "HEAD" else "get"
        fault = self.server.take_fault(where) if is_large(name) or repository.startswith("datasets/") else None
        fault = fault or Fault(where)
        body = content if fault.change is None else fault.change(content)
        status, asked = fault.status, self.headers.get("Range")
        if asked and status == 200 and "X-Ignore-Range" not in fault.headers:
            start = int(asked.removeprefix("bytes=").split("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            status, body = 206, body[start:]
        self.answer(status, body, headers | fault.headers, fault)

    def answer(self, status: int, body: bytes, headers: dict[str, str], fault: Fault | None = None) -> None:
        if self.server.spoil is not None:
            status, body, headers = self.server.spoil(status, body, headers)
        self.send_response(status)
        length = {} if fault and fault.endless else {"Content-Length": str(len(body))}
        for name, value in (length | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        sent = int(len(body) * fault.cut) if fault else len(body)
        if fault and fault.stall:
            self.send(body[: len(body) // 2])
            threading.Event().wait(fault.stall)
            self.send(body[len(body) // 2 :])
        elif fault and fault.crawl:
            for byte in body:
                if self.close_connection:
                    break
                self.send(bytes([byte]))
                threading.Event().wait(fault.crawl)
        elif fault and fault.endless:
            while not self.close_connection:
                self.send(body)
        else:
            self.send(body[:sent])
        if sent < len(body):
            self.close_connection = True

    def send(self, body: bytes) -> None:
        try:
            self.wfile.write(body)
            self.wfile.flush()
        except OSError:  # the other side has gone
            self.close_connection = True


def blobs(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.glob("models--owner--tiny/blobs/*"))


def flipped(content: bytes) -> Any:
    return content[:1000] + bytes([content[1000] ^ 1]) + content[1001:]


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Hub]:
    """A hub that answers as long as the block lasts."""
    hub = Hub(files)
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()
