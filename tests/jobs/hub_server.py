"""A stand-in for the Hugging Face hub on 127.0.0.1: one repository, and what goes wrong with it."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "5" * 40
PAGE = b"<html><body>503 Service Unavailable</body></html>"


@dataclass
class Hub:
    """What the server serves and how it fails.

    Attributes:
        faults: file -> faults of its next GETs, one each, in order; "api" is the listing. Kinds: "page" (an
            error page with status 200), "padded" (one as long as the file), "cut" (half, then the end),
            "reset" (half, then a reset), "wrong" (a byte flipped), or a status.
        token: what a reader must send, if anything.
        seen: "METHOD path" of each request, with its Range.
    """

    address: str
    repository: str
    folder: Path
    data_set: tuple[str, Path] | None = None  # its name and folder
    faults: dict[str, list[str]] = field(default_factory=dict)
    token: str = ""
    gated: bool = False
    seen: list[str] = field(default_factory=list)
    listed: dict[str, bytes] = field(default_factory=dict)  # other content than the files that are served
    meetings: dict[str, threading.Barrier] = field(
        default_factory=dict
    )  # a file's readers wait for each other

    def fault(self, name: str) -> str:
        waiting = self.faults.get(name, [])
        return waiting.pop(0) if waiting else ""

    def listing(self) -> dict[str, Any]:
        siblings = []
        for path in sorted(self.folder.iterdir()):
            content = self.listed.get(path.name, path.read_bytes())
            entry: dict[str, Any] = {"rfilename": path.name, "size": len(content), "blobId": _git(content)}
            if path.suffix == ".safetensors":
                entry["lfs"] = {"sha256": _sum(path.name, content), "size": len(content), "pointerSize": 130}
            siblings.append(entry)
        return {"id": self.repository, "sha": COMMIT, "siblings": siblings}


def _git(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


def _sum(name: str, content: bytes) -> str:
    return hashlib.sha256(content).hexdigest() if name.endswith(".safetensors") else _git(content)


class Handler(BaseHTTPRequestHandler):
    disable_nagle_algorithm = True
    protocol_version = "HTTP/1.1"
    served: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _send(self, status: int, content: bytes, **headers: str) -> None:
        self._send_part(status, content, len(content), headers)

    def _send_part(self, status: int, content: bytes, sent: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[:sent])

    def _answer(self) -> None:
        served, path = self.served, self.path.partition("?")[0]
        served.seen.append(f"{self.command} {path} {self.headers.get('Range', '')}".strip())
        guarded = served.token and not (served.gated and path.startswith("/api/"))  # its page is for all
        if guarded and self.headers.get("Authorization") != f"Bearer {served.token}":
            code = "GatedRepo" if served.gated else "RepoNotFound"
            self._send(403 if served.gated else 401, b"", X_Error_Code=code)
        elif path == f"/api/models/{served.repository}":
            fault = served.fault("api")
            if fault:
                self._send(200 if fault == "page" else int(fault), PAGE, Content_Type="text/html")
            else:
                self._send(200, json.dumps(served.listing()).encode(), Content_Type="application/json")
        elif path.startswith(f"/{served.repository}/resolve/{COMMIT}/"):
            self._file(served.folder / path.rpartition("/")[2])
        elif served.data_set and path.removeprefix("/api").startswith(f"/datasets/{served.data_set[0]}/"):
            rest = path.removeprefix("/api").removeprefix(f"/datasets/{served.data_set[0]}/")
            self._data_set(served.data_set[1], *rest.split("/", 2))
        else:
            self._send(404, b"", X_Error_Code="RepoNotFound")

    def _data_set(self, folder: Path, kind: str, _revision: str, name: str = "") -> None:
        """What the library of data sets asks of one: its commit, a folder's entries, a file."""
        if kind == "revision":
            self._send(200, json.dumps({"id": "data", "sha": COMMIT, "siblings": []}).encode())
        elif kind == "tree":
            entries = [
                {"type": "file", "path": f"{name}/{one.name}", "oid": _git(one.read_bytes()),
                 "size": one.stat().st_size} for one in sorted((folder / name).iterdir())
            ]  # fmt: skip
            self._send(200, json.dumps(entries).encode(), Content_Type="application/json")
        elif (folder / name).is_file():
            self._file(folder / name)
        else:
            self._send(404, b"", X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)

    def _file(self, path: Path) -> None:
        content = path.read_bytes()
        headers = {"X_Repo_Commit": COMMIT, "ETag": f'"{_sum(path.name, content)}"', "Accept_Ranges": "bytes"}
        if self.command == "HEAD":
            self._send(200, content, **headers)
            return
        if path.name in self.served.meetings:
            self.served.meetings[path.name].wait(60)
        fault = self.served.fault(path.name)
        if fault.isdigit():
            self._send(int(fault), PAGE)
        elif fault in ("page", "padded"):
            self._send(200, PAGE.ljust(len(content)) if fault == "padded" else PAGE, **headers)
        else:
            if fault == "wrong":
                content = content[:-1] + bytes([content[-1] ^ 1])
            self._rest(content, fault, headers)

    def _rest(self, content: bytes, fault: str, headers: dict[str, str]) -> None:
        first = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        if first:
            headers["Content_Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        rest, broken = content[first:], fault in ("cut", "reset")
        self._send_part(206 if first else 200, rest, len(rest) // 2 if broken else len(rest), headers)
        if broken:
            self.wfile.flush()
            self.close_connection = True
        if fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        pass  # clients leave, and some connections are reset on purpose


@contextmanager
def hub(repository: str, folder: Path) -> Iterator[Hub]:
    class Bound(Handler):
        pass

    server = _Server(("127.0.0.1", 0), Bound)
    Bound.served = Hub(f"http://127.0.0.1:{server.server_port}", repository, folder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield Bound.served
    finally:
        server.shutdown()
        server.server_close()
