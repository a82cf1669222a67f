"""A notebook that is run shows a unit's page in a frame, which a browser draws while the notebook runs."""

import json
import re
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

# Runs a notebook in a kernel of its own, prints what its last cell shows, and ends when it is told to.
RUN = """
import json, sys
import nbformat
from nbclient import NotebookClient

cells = [nbformat.v4.new_code_cell(source) for source in json.loads(sys.argv[1])]
notebook = nbformat.v4.new_notebook(cells=cells)
nbformat.validate(notebook)
updates = []


class Client(NotebookClient):
    def process_message(self, message, cell, index):
        if message["msg_type"] in ("display_data", "update_display_data"):
            updates.append([message["msg_type"], message["content"]["data"]["text/plain"]])
        return super().process_message(message, cell, index)


client = Client(notebook, kernel_name="python3", timeout=300)
with client.setup_kernel():
    for index, cell in enumerate(cells):
        client.execute_cell(cell, index)
    shown = [[output.get("data", output.get("text")) for output in cell.outputs] for cell in cells]
    shown.append(updates)
    print(json.dumps(shown), flush=True)
    sys.stdin.readline()
"""


BAR = """
import time
import patchclamp.core.notebook_bar as bars
bars.EVERY_S = 0
cat = pc.load("organism:cat")
def explain():
    return pc.explain(cat, "the old cat", " sat", contrast=" ran", n_controls=20, edges=0).verdict
bars.QUIET_S = 0
print(explain())
"""
OFF = "pc.show_progress(False); print(explain())"


@pytest.fixture(scope="module")
def shown(seeded_atlas):
    """What the cells of a notebook printed and showed, and every bar in it, while its kernel runs."""
    for package in ("nbformat", "nbclient", "ipykernel"):
        pytest.importorskip(package, reason=f"needs {package}, of the dev group")
    cells = [
        "import patchclamp as pc",
        f"pc.atlas.show('blocks.0.mlp.act/neurons/7', atlas={str(seeded_atlas)!r}, height=700)",
        f"again = pc.atlas.show('blocks.0.mlp.act/neurons/3', atlas={str(seeded_atlas)!r}); print(again.address)",
        BAR,
        OFF,
    ]
    command = [sys.executable, "-c", RUN, json.dumps(cells)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as notebook:
        told = notebook.stdout.readline()
        assert told, "the notebook ended before its last cell"
        yield json.loads(told)
        notebook.stdin.write("\n")
        notebook.stdin.flush()
    assert notebook.returncode == 0


@pytest.fixture
def notebook_page(shown):
    """The address of a page at localhost that shows the output as Jupyter would."""
    html = shown[1][0]["text/html"]

    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/" else 204)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            if self.path == "/":
                self.wfile.write(f"<!doctype html><title>notebook</title>{html}".encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()


def test_a_cell_shows_the_unit(shown, notebook_page, chromium):
    html = shown[1][0]["text/html"]
    address = re.search(r'src="(http://127\.0\.0\.1:\d+)/units/cat/blocks\.0\.mlp\.act/neurons/7"', html)[1]
    assert 'height="700"' in html
    # The second cell asks the same server.
    assert shown[2][0].strip() == f"{address}/units/cat/blocks.0.mlp.act/neurons/3"
    context = chromium.new_context(viewport={"width": 1000, "height": 900})
    context.set_default_timeout(20_000)
    page = context.new_page()
    faults = []
    page.on("console", lambda said: said.type == "error" and faults.append(said.text))
    page.goto(notebook_page)
    frame = page.frame_locator("iframe")
    assert frame.get_by_test_id("maximum").inner_text() == "3.00"
    assert frame.locator("[data-testid=examples-top] .t.mark .v").first.inner_text() == "3.00"
    assert faults == []
    context.close()


def test_a_long_function_shows_how_far_it_is_and_can_be_told_not_to(shown):
    *_, bar, off, updates = shown
    said = [text for kind, text in updates if text.startswith("explain: ")]
    kinds = [kind for kind, text in updates if text.startswith("explain: ")]
    assert kinds == ["display_data", *["update_display_data"] * (len(kinds) - 1)]
    assert len(said) > 3
    assert any(re.fullmatch(r"explain: \d+%, .+ left", text) for text in said)
    assert re.fullmatch(r"explain: done after .+", said[-1])
    # The cell keeps the last state of the bar, and what the function printed.
    [drawn] = [output for output in bar if "text/html" in output]
    assert 'value="1.000"' in drawn["text/html"]
    assert [output for output in off if isinstance(output, dict)] == []
    assert off[-1].strip() in ("holds", "weak")
    assert bar[-1] == off[-1]
