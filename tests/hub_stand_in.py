"""A stand-in of the Hugging Face hub on the loopback: it serves folders, and refuses as the hub does."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

_FILE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
_REFS = re.compile(r"/api/models/([^/]+/[^/]+)/refs")
_INFO = re.compile(r"/api/models/([^/]+/[^/]+)(?:/(?:revision|tree)/([^/]+))?")


def commit_of(folder: Path) -> str:
    """Return the name of a commit that holds a folder."""
    return hashlib.sha1(str(folder).encode()).hexdigest()


@dataclass
class StandIn:
    """What is served, and what was asked for.

    Args:
        repositories: by name, branches and tags with the folder that each holds.
        gated: those whose licence nobody has accepted.
        cuts: by file, how many times yet the connection is dropped at its middle.
    """

    address: str = ""
    repositories: dict[str, dict[str, Path]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    cuts: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    def folder_of(self, name: str, revision: str) -> Path | None:
        """Return the folder of a branch, tag or commit."""
        known = self.repositories[name]
        by_commit = {commit_of(folder): folder for folder in known.values()}
        return known.get(revision) or by_commit.get(revision)


class _Handler(BaseHTTPRequestHandler):
    served: StandIn

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.served.asked.append((self.command, path, self.headers.get("Range") or ""))
        if path == "/api/models":
            wanted = parse_qs(urlsplit(self.path).query).get("search", [""])[0].casefold()
            found = [name for name in self.served.repositories if wanted[:5] in name.casefold()]
            self._json([{"id": name, "modelId": name} for name in found])
        elif (file := _FILE.fullmatch(path)) or (file := _REFS.fullmatch(path)) or (file := _INFO.fullmatch(path)):
            self._of_repository(*file.groups())
        else:
            self._refuse(404, "EntryNotFound")

    def _of_repository(self, name: str, revision: str = "main", file: str = "") -> None:
        revision = revision or "main"
        if name not in self.served.repositories:
            self._refuse(401, "RepoNotFound")
        elif name in self.served.gated:
            self._refuse(403, "GatedRepo")
        elif self.path.endswith("/refs"):
            refs = [
                {"name": one, "ref": f"refs/heads/{one}", "targetCommit": commit_of(folder)}
                for one, folder in self.served.repositories[name].items()
            ]
            self._json({"branches": refs, "tags": [], "converts": []})
        elif (folder := self.served.folder_of(name, revision)) is None:
            self._refuse(404, "RevisionNotFound")
        elif not file:
            names = [{"rfilename": one.name, "type": "file", "path": one.name} for one in sorted(folder.iterdir())]
            tree = [{**one, "size": 1, "oid": "0"} for one in names]
            data = {"id": name, "modelId": name, "sha": commit_of(folder), "siblings": names, "tags": []}
            self._json(tree if "/tree/" in self.path else data)
        elif not (folder / file).is_file():
            self._refuse(404, "EntryNotFound", commit_of(folder))
        else:
            self._send(folder / file, commit_of(folder))

    def _send(self, file: Path, commit: str) -> None:
        content = file.read_bytes()
        begin = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if begin else 200)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content) - begin))
        self.send_header("Accept-Ranges", "bytes")
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        rest = content[begin:]
        if self.served.cuts.get(file.name, 0) > 0:
            self.served.cuts[file.name] -= 1
            self.wfile.write(rest[: len(rest) // 2])
            self.wfile.flush()
            self.close_connection = True
            return
        self.wfile.write(rest)

    def _json(self, data: Any) -> None:
        content = json.dumps(data).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _refuse(self, status: int, code: str, commit: str = "") -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        if commit:
            self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def serve() -> Iterator[StandIn]:
    """Serve repositories on the loopback, at a port of its own, for as long as the context lasts."""
    served = StandIn()
    handler = type("Handler", (_Handler,), {"served": served})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    served.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
