"""A browser on the pages of a real server; skipped with a reason where there is none."""

import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from forks import Fork
from untested import BROWSER, NO_BROWSER, NO_DRIVER

CHROMIUM = Path(BROWSER)
# No sandbox: tests may run as root. The rest keeps the browser from asking anybody anything.
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
CHECKS = Path(__file__).with_name("checks.js").read_text(encoding="utf-8")
SETTLED = ".origin, [data-testid=failure], [data-testid=ask], [data-testid=detached]"
CAT = 7


class Reader:
    """One window of the browser, and everything that went wrong in it."""

    def __init__(self, browser: Any, base: str, **options: Any) -> None:
        self.base = base
        self.faults: list[str] = []
        self.received = 0
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        self.context.set_default_timeout(10_000)
        self.page = self.context.new_page()
        self.page.on("console", lambda said: said.type in ("error", "warning") and self.faults.append(said.text))
        self.page.on("pageerror", lambda fault: self.faults.append(str(fault)))
        self.page.on("request", self._asked)
        measure = self.context.new_cdp_session(self.page)
        measure.send("Network.enable")
        measure.on("Network.loadingFinished", self._finished)

    def _asked(self, request: Any) -> None:
        to = urlsplit(request.url)
        if to.scheme in ("http", "https", "ws", "wss") and f"{to.scheme}://{to.netloc}" != self.base:
            self.faults.append(f"a request left the atlas: {request.url}")

    def _finished(self, event: dict[str, Any]) -> None:
        self.received += event["encodedDataLength"]

    def visit(self, address: str) -> None:
        """Open an address and wait until everything is drawn."""
        self.page.goto(self.base + address)
        self.settle()

    def settle(self) -> None:
        """Wait until everything that was asked for is there: nothing is dimmed, nothing missing."""
        self.page.wait_for_selector(SETTLED)
        self.page.wait_for_selector("[aria-busy=true], .waiting", state="detached")

    def check(self, name: str) -> list[str]:
        """Return what one of the functions in checks.js finds wrong."""
        return self.page.evaluate(f"() => {{ {CHECKS}; return {name}() }}")

    @property
    def address(self) -> str:
        """Return path and query of the present address."""
        return self.page.url.removeprefix(self.base)

    def all(self, selector: str, attribute: str) -> list[str]:
        """Return an attribute of everything that a selector finds."""
        return self.page.locator(selector).evaluate_all("(all, name) => all.map(e => e.getAttribute(name))", attribute)


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    """A running Chromium."""
    sync_api = pytest.importorskip("playwright.sync_api", reason=NO_DRIVER)
    if not CHROMIUM.is_file():
        pytest.skip(NO_BROWSER)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def served(*arguments: str) -> Iterator[str]:
    """Run a real server for a while; gives its address, without the last slash."""
    command = ["-m", "patchclamp", "atlas", "serve", *arguments, "--port", "0"]
    with Fork(command, stdout=subprocess.PIPE) as server:
        # The address is printed once questions are answered.
        found = next((re.search(r"http://\S+", line) for line in server.stdout if "http://" in line), None)
        assert found, "the server ended without printing an address"
        yield found[0].rstrip("/")
        server.send_signal(signal.SIGTERM)


@pytest.fixture(scope="package")
def atlas_server(seeded_atlas: Path) -> Iterator[str]:
    """The address of a real server of the seeded atlas by itself."""
    with served(str(seeded_atlas)) as address:
        yield address


@pytest.fixture(scope="package")
def lab_server(seeded_atlas: Path) -> Iterator[str]:
    """The address of a real server of the seeded atlas with its model attached."""
    with served(str(seeded_atlas), "--model", "organism:cat") as address:
        yield address


@contextmanager
def windows(chromium: Any, base: str) -> Iterator[Callable[..., Reader]]:
    """Open windows on a server; whatever the console complained about fails the test."""
    readers: list[Reader] = []

    def open_one(**options: Any) -> Reader:
        readers.append(Reader(chromium, base, **options))
        return readers[-1]

    yield open_one
    faults = [fault for reader in readers for fault in reader.faults]
    for reader in readers:
        # A request that a test holds may still be under way.
        reader.page.unroute_all(behavior="ignoreErrors")
        reader.context.close()
    assert faults == []


@pytest.fixture
def opened(chromium: Any, atlas_server: str) -> Iterator[Callable[..., Reader]]:
    """Open windows on the seeded atlas by itself."""
    with windows(chromium, atlas_server) as open_one:
        yield open_one


@pytest.fixture
def lab_opened(chromium: Any, lab_server: str) -> Iterator[Callable[..., Reader]]:
    """Open windows on the seeded atlas with its model attached."""
    with windows(chromium, lab_server) as open_one:
        yield open_one


@pytest.fixture(scope="package")
def write_server(seeded_atlas: Path, tmp_path_factory: Any) -> Iterator[tuple[str, str]]:
    """The address of a server of a copy that may be written, its model attached, and the token."""
    place = tmp_path_factory.mktemp("written") / "seeded.atlas"
    shutil.copytree(seeded_atlas, place)
    with served(str(place), "--write", "--model", "organism:cat") as address:
        base, _, token = address.partition("/#write=")
        yield base, token


@pytest.fixture
def tabs(chromium: Any, write_server: tuple[str, str]) -> Iterator[Callable[..., Reader]]:
    """Open tabs on addresses of the copy that may be written, with or without the token."""
    base, secret = write_server
    with windows(chromium, base) as open_one:

        def open_tab(address: str, *, token: bool = True, **options: Any) -> Reader:
            reader = open_one(**options)
            reader.visit(f"{address}#write={secret}" if token else address)
            return reader

        yield open_tab


@pytest.fixture(scope="package")
def features_server(seeded_atlas: Path, tmp_path_factory: Any) -> Iterator[str]:
    """The address of a server of the seeded atlas with three planted neurons as features, its model attached."""
    import numpy as np

    import patchclamp as pc
    from patchclamp.core.basis import Basis
    from patchclamp.core.dictionary import Dictionary

    place, site = tmp_path_factory.mktemp("features") / "seeded.atlas", "blocks.0.mlp.act"
    shutil.copytree(seeded_atlas, place)
    model = pc.load("organism:cat")
    decoder = np.eye(model.site(site).width, dtype=np.float32)[[CAT, 5, 3]]
    basis = Basis("planted", "directions", decoder=decoder, encoder=decoder, activation="relu")
    curves = {site: {"loss": [[0, 2.0], [10, 1.0], [20, 0.5]]}}
    made = Dictionary({site: basis}, {"slug": model.name, "hash": model.hash}, "random", curves=curves)
    pc.atlas.add_basis(place, model, made, max_tokens=2000)
    with served(str(place), "--model", "organism:cat") as address:
        yield address


@pytest.fixture
def features_opened(chromium: Any, features_server: str) -> Iterator[Callable[..., Reader]]:
    """Open windows on the atlas with features."""
    with windows(chromium, features_server) as open_one:
        yield open_one


@pytest.fixture(scope="package")
def described_server(seeded_atlas: Path, tmp_path_factory: Any) -> Iterator[tuple[str, str]]:
    """The address of a server of the seeded atlas with all its units described and scored, and the layer's id."""
    import patchclamp as pc
    from patchclamp.core.scoring import Scoring
    from patchclamp.core.unit import UnitKey

    place = tmp_path_factory.mktemp("described") / "seeded.atlas"
    shutil.copytree(seeded_atlas, place)
    layer = pc.atlas.describe(place, pc.load("organism:cat"))
    # A method that is calibrated where the answer is planted.
    word = pc.Description(UnitKey("blocks.0.mlp.act", CAT), " sat", "rule/vocabulary 1")
    pc.atlas.write_descriptions(place, [word], scoring=Scoring("vocabulary"))
    with served(str(place)) as address:
        yield address, layer


@pytest.fixture
def described(chromium: Any, described_server: tuple[str, str]) -> Iterator[Reader]:
    """A window on the atlas whose units are described."""
    with windows(chromium, described_server[0]) as open_one:
        yield open_one()


@pytest.fixture(scope="package")
def pairs_server(tmp_path_factory: Any) -> Iterator[str]:
    """The address of a server of a planted model's atlas, with its circuit of edges and one by position."""
    from patchclamp.cli import main

    folder, model = tmp_path_factory.mktemp("pairs"), "organism:induction-gpt2"
    text, atlas = folder / "t.txt", str(folder / "a")
    text.write_text("Ada Lane met Tom Reed. Later Ada\n" * 20)
    found = [
        "circuit",
        "find",
        model,
        "--pairs",
        "planted",
        "--method",
        "activation_patching",
        "--atlas",
        atlas,
        "--out",
    ]
    assert main(["atlas", "bake", model, "--inputs", str(text), "--out", atlas]) == 0
    assert main([*found, str(folder / "edges"), "--level", "edge"]) == 0
    assert main([*found, str(folder / "places"), "--level", "neuron", "--by-position"]) == 0
    with served(atlas, "--model", model) as address:
        yield address


@pytest.fixture
def pairs_reader(chromium: Any, pairs_server: str) -> Iterator[Reader]:
    """A window on the atlas with circuits that were found over pairs."""
    with windows(chromium, pairs_server) as open_one:
        yield open_one()


@pytest.fixture(scope="package")
def picture_server(tmp_path_factory: Any) -> Iterator[str]:
    """The address of a server of an atlas of 60 digits, its model attached, with an explained answer."""
    pytest.importorskip("sklearn", reason="needs scikit-learn, whose digits are shown")
    import patchclamp as pc

    place, name = tmp_path_factory.mktemp("pictures") / "digits.atlas", "organism:digits-cnn"
    model, shown = pc.load(name), pc.Corpus("digits:0:60", "images")
    pc.atlas.bake_atlas(model, shown, place, sites=["blocks.1.conv1.act", "final"], name=name)
    pc.atlas.write_graph(place, pc.explain(model, "digits:17", "7", contrast="4", top=3, n_controls=20).graph())
    with served(str(place), "--model", name) as address:
        yield address


@pytest.fixture
def opened_pictures(chromium: Any, picture_server: str) -> Iterator[Callable[..., Reader]]:
    """Open windows on the atlas of digits."""
    with windows(chromium, picture_server) as open_one:
        yield open_one


@pytest.fixture(scope="package")
def recording_server(tmp_path_factory: Any) -> Iterator[str]:
    """The address of a server of the atlas of a recorded brain whose truth is planted."""
    import patchclamp as pc
    from recorded_trials import planted_trials

    place = tmp_path_factory.mktemp("recordings") / "planted.atlas"
    pc.atlas.bake_recording(planted_trials(), place)
    with served(str(place)) as address:
        yield address


@pytest.fixture
def opened_recording(chromium: Any, recording_server: str) -> Iterator[Callable[..., Reader]]:
    """Open windows on the atlas of a recorded brain."""
    with windows(chromium, recording_server) as open_one:
        yield open_one


@pytest.fixture
def reader(opened: Callable[..., Reader]) -> Reader:
    """One window, 1280 pixels wide."""
    return opened()


@pytest.fixture(scope="package")
def api(atlas_server: str) -> Callable[..., Any]:
    """Ask the same server without a browser."""

    def ask(path: str, **query: Any) -> Any:
        return httpx.get(f"{atlas_server}/api{path}", params=query).raise_for_status().json()

    return ask


@pytest.fixture(scope="package")
def cat(api: Callable[..., Any]) -> str:
    """The key of the planted neuron that fires exactly 3.0 on "cat"."""
    rows = api("/units", limit=200)["rows"]
    return next(r["key"] for r in rows if r["index"] == CAT and r["site"] == "blocks.0.mlp.act")
