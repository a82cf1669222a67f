"""An atlas served on a port of this machine, until the process is ended."""

import errno
import ipaddress
import secrets
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from patchclamp.atlas.lab import Lab
from patchclamp.atlas.lab.pictures import PictureLab
from patchclamp.atlas.read.reader import Reading, open_reading, stamp
from patchclamp.atlas.serve.app import STATIC, make_app
from patchclamp.atlas.serve.request_guard import LOOPBACK, Guard
from patchclamp.atlas.serve.writer import Writer
from patchclamp.core.arguments import checked
from patchclamp.core.errors import PatchclampError


class AtlasHolder:
    """Give the atlas as it is now: layers that are added while the server runs appear.

    Args:
        path: the atlas's folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).resolve()
        self.lock = threading.Lock()
        self.stamp = stamp(self.path)
        self.atlas = open_reading(self.path)

    def __call__(self) -> Reading:
        """Return the atlas, opened anew where its files changed."""
        now = stamp(self.path)
        if now != self.stamp:
            with self.lock:
                if now != self.stamp:
                    # Only another base needs its hash compared again.
                    self.atlas = open_reading(self.path, check=now[:2] != self.stamp[:2])
                    self.stamp = now
        return self.atlas


def guard_atlas(
    path: str | Path,
    *,
    hosts: frozenset[str] | None = LOOPBACK,
    token: str | None = None,
    write: str | None = None,
    model: str | None = None,
    basis: str | None = None,
    prepend_bos: bool = False,
) -> Any:
    """Return the whole application for an atlas, guard included, for any ASGI server.

    Args:
        path: the atlas's folder.
        hosts: names in Host headers that are answered; None for all.
        token: what an asker must bring, or None.
        write: what must be brought to write notes into the atlas; None where nothing may be written.
        model: a model to attach, by name or folder.
        basis: the folder of a dictionary to attach to the model; those that the atlas keeps are attached anyway.
        prepend_bos: begin every text that is shown to the model with the tokenizer's BOS token.

    Returns:
        Any: an ASGI application.

    Raises:
        PatchclampError: no atlas there, a damaged or a newer one, another model, or a dictionary of another model.
    """
    holder = AtlasHolder(path)
    lab = None
    if basis is not None and model is None:
        raise PatchclampError(
            expected="--basis together with --model", got="a dictionary without a model", remedy="Name the model too."
        )
    if model is not None:
        from patchclamp.loaders import load

        holder().require_model()
        subject = load(model, prepend_bos=prepend_bos)
        make = PictureLab if subject.stimulus_kind == "images" else Lab
        lab = make(subject, holder(), model)
        if basis is not None:
            from patchclamp.core.dictionary import Dictionary

            lab.attach_dictionary(holder(), Dictionary.load(basis))
    writer = None if write is None else Writer(holder.path)
    app = make_app(holder, lab, writer)
    tag = (lambda: holder().hash) if lab is None else (lambda: lab.asked.tag(holder().hash))
    return Guard(app, hosts=hosts, token=token, write=write, etag=tag)


@checked
def serve(
    path: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    model: str | None = None,
    basis: str | None = None,
    prepend_bos: bool = False,
    write: bool = False,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve an atlas until the process is ended; it is only read, unless ``write`` is true.

    Args:
        path: the atlas's folder.
        host: where to listen; any address but loopback asks for a token, which the printed address holds.
        port: the port; 0 for a free one.
        model: a model to attach, by name or folder; units can then be tried on a text.
        basis: the folder of a dictionary to attach to it.
        prepend_bos: begin every text that is shown to it with the tokenizer's BOS token.
        write: let the page write notes, stars and descriptions, and keep explained answers; the address that is given
            to ``ready`` then holds the token for it.
        ready: called with the address once connections are taken.

    Raises:
        PatchclampError: no atlas there, a damaged or a newer one, or a port that somebody else holds.
    """
    import uvicorn

    from patchclamp.atlas.serve.connections import BACKLOG, LARGEST_HEAD, BoundedProtocol

    if not (STATIC / "index.html").is_file():
        raise PatchclampError(
            expected="the built pages in this installation",
            got=f"{STATIC} without index.html",
            remedy="In a checkout: npm --prefix web ci && npm --prefix web run build. Else install patchclamp again.",
        )
    local = _is_loopback(host)
    token = None if local else secrets.token_urlsafe(24)
    write_token = secrets.token_urlsafe(24) if write else None
    hosts = LOOPBACK if local else None
    app = guard_atlas(
        path, hosts=hosts, token=token, write=write_token, model=model, basis=basis, prepend_bos=prepend_bos
    )
    with _bind(host, port) as listening:
        where = listening.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{where}/" + (f"?token={token}" if token else "")
        # Behind the #, which browsers send to nobody.
        address += f"#write={write_token}" if write_token else ""
        config = uvicorn.Config(
            app,
            log_level="error",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=2,
            http=BoundedProtocol,
            backlog=BACKLOG,
            h11_max_incomplete_event_size=LARGEST_HEAD,
        )
        if ready is not None:
            ready(address)
        uvicorn.Server(config).run(sockets=[listening])


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bind(host: str, port: int) -> socket.socket:
    """Bind a socket, or say why not.

    Raises:
        PatchclampError: the port is taken, may not be used, or the address is not this machine's.
    """
    if not 0 <= port < 65536:
        raise PatchclampError(expected="--port from 0 to 65535", got=str(port), remedy="Use 0 for a free one.")
    listening: socket.socket | None = None
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, number)
        # A port that a server left a moment ago can be had again; one that is held cannot.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
        return listening
    except OSError as problem:
        if listening is not None:
            listening.close()
        taken = problem.errno == errno.EADDRINUSE
        raise PatchclampError(
            expected=f"a free port at {host}",
            got=f"port {port}, which another server holds" if taken else f"port {port}: {problem.strerror or problem}",
            remedy="Leave --port out for a free one, or end the other server."
            if taken
            else "Choose another address or port.",
        ) from problem
