"""A unit's page in a notebook, from a server in the notebook's own process."""

import atexit
import socket
import threading
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

from patchclamp.atlas.atlas import Atlas
from patchclamp.core.arguments import checked
from patchclamp.core.checks import at_least
from patchclamp.core.errors import PatchclampError
from patchclamp.core.unit import UnitKey

HOST = "127.0.0.1"
STOP_S = 5.0
LEAST = 100


@dataclass(frozen=True)
class NotebookPage:
    """A page in a frame, which a notebook draws where an expression ends a cell.

    Args:
        address: the page's address on this machine.
        key: the unit.
        height: of the frame, in pixels.
    """

    address: str
    key: str
    height: int

    def _repr_html_(self) -> str:
        at, key = escape(self.address), escape(self.key)
        # Its own element, and a height that no style sheet of the notebook takes away.
        return (
            f'<iframe src="{at}" title="{key}" width="100%" height="{self.height}" allow="clipboard-write" '
            f'style="border: 1px solid #8884; border-radius: 6px; height: {self.height}px"></iframe>'
            f'<p style="font-size: small"><a href="{at}" target="_blank" rel="noopener">{key}</a>, served by this '
            "notebook while it runs; <code>pc.atlas.to_html</code> makes a page that stays.</p>"
        )


class _Served:
    """A server of one atlas in a thread of this process."""

    def __init__(self, path: Path, model: str | None) -> None:
        import uvicorn

        from patchclamp.atlas.serve.server import guard_atlas

        app = guard_atlas(path, model=model)
        listening = socket.create_server((HOST, 0))
        self.address = f"http://{HOST}:{listening.getsockname()[1]}"
        config = uvicorn.Config(app, log_level="error", access_log=False, lifespan="off", timeout_graceful_shutdown=1)
        self.server = uvicorn.Server(config)
        # A notebook that ends must not wait for its readers.
        self.thread = threading.Thread(
            target=self.server.run, kwargs={"sockets": [listening]}, name=f"atlas {path.name}", daemon=True
        )
        self.thread.start()

    def alive(self) -> bool:
        return self.thread.is_alive()

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(STOP_S)


_served: dict[tuple[Path, str | None], _Served] = {}
_lock = threading.Lock()


@checked
def show(
    key: str | UnitKey, *, atlas: str | Path | Atlas | None = None, model: str | None = None, height: int = 900
) -> NotebookPage:
    """Show a unit's page in a notebook.

    The first call serves the atlas on a free port of 127.0.0.1, from a thread of this process; later ones use the same
    server, which ends with the process.

    Args:
        key: the unit, ``[subject/]site/basis/index``.
        atlas: the atlas, or its folder.
        model: a model to attach, by name or folder, so that units can be tried on a text.
        height: of the frame, in pixels.

    Returns:
        Shown: what Jupyter and VS Code draw as a frame; ``address`` is the page's. A notebook on another machine cannot
        reach it: there, ``IPython.display.HTML(pc.atlas.to_html(…))`` does.

    Raises:
        PatchclampError: no atlas given or none there, no such unit, or another model's atlas.

    Cost: what opening the atlas costs, once per atlas.

    Example:
        >>> show("blocks.0.mlp.act/neurons/7")
        Traceback (most recent call last):
        ...
        patchclamp.core.errors.PatchclampError: expected an atlas to show a unit of; got none. Name its folder: ...
    """
    if atlas is None:
        raise PatchclampError(
            expected="an atlas to show a unit of",
            got="none",
            remedy="Name its folder: pc.atlas.show(key, atlas='cat.atlas'). pc.atlas.bake_atlas makes one.",
        )
    at_least("a height in pixels", height, LEAST, remedy="The default is 900.")
    source = atlas if isinstance(atlas, Atlas) else Atlas(atlas)
    unit = source.unit(str(key))
    address = _server_of(source.reading.folder, model).address
    return NotebookPage(f"{address}/units/{quote(unit.key)}", unit.key, height)


def _server_of(path: Path, model: str | None) -> _Served:
    with _lock:
        running = _served.get((path, model))
        if running is None or not running.alive():
            if not _served:
                atexit.register(stop_all)
            running = _served[path, model] = _Served(path, model)
        return running


def stop_all() -> None:
    """End every server that ``show`` began in this process."""
    with _lock:
        while _served:
            _served.popitem()[1].stop()
