"""Circuit: how soon a browser shows a graph of 1,500 nodes and 6,000 edges, and what a server answers of a larger one.

The graphs are made up: 12 blocks over 20 tokens, scores with long tails. First paint runs from the moment when the
browser has the page's first answer to the frame after the edges were drawn, code and data loaded between; headless
Chromium draws in software. The larger graph has 20,000 nodes and 100,000 edges, of which a page holds as many.
"""

import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import atlas as atlases
import timing

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
ENDS = 20 + 1
SIZES = {"page": (1500 - ENDS, 6000), "large": (20_000, 100_000)}
QUICK = {"page": (100, 400), "large": (2000, 8000)}
TIMES = """() => {
  const [mark] = performance.getEntriesByName("circuit-painted");
  const [page] = performance.getEntriesByType("navigation");
  const asked = performance.getEntriesByType("resource").find((one) => one.name.includes("/api/graphs/"));
  return mark && { paint: mark.startTime - page.responseEnd, data: mark.startTime - asked.responseEnd };
}"""


def main() -> None:
    parser = timing.parser(__doc__, rounds=7)
    options = parser.parse_args()
    measures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = atlases.large(Path(name) / "large.atlas", 400)
        from patchclamp.atlas import write_graph

        sizes = QUICK if options.quick else SIZES
        ids = {what: write_graph(folder, made(*size)) for what, size in sizes.items()}
        command = [sys.executable, "-m", "patchclamp", "atlas", "serve", str(folder), "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            found = next((re.search(r"http://\S+", line) for line in server.stdout if "http://" in line), None)
            assert found, "the server ended without printing an address"
            base = found[0].rstrip("/")
            try:
                bars = answered(base, ids, measures, options.rounds)
                bars += painted(base, ids, measures, 1 if options.quick else options.rounds)
            finally:
                server.terminate()
    timing.report(options, measures, bars)


def made(n_nodes: int, n_edges: int) -> Any:
    """Draw a graph whose edges run from below to above, more often between what is large."""
    import numpy as np

    from patchclamp.core.graph import Edge, Graph, Node

    draw = np.random.default_rng(0)
    score = -np.sort(-np.abs(draw.standard_t(2, n_nodes))) * draw.choice([-1, 1], n_nodes)
    block, place = draw.integers(0, 12, n_nodes), draw.integers(0, 20, n_nodes)
    keys = [f"large/blocks.{b}.mlp.act/neurons/{i}@{p}" for i, (b, p) in enumerate(zip(block, place, strict=True))]
    nodes = [Node(key, "neuron", float(s)) for key, s in zip(keys, score, strict=True)]
    nodes += [Node(f"input@{i}", "input", 0.1 * i) for i in range(20)] + [Node("output", "output", 4.0)]
    ends = (draw.beta(0.7, 2, (n_edges, 2)) * n_nodes).astype(int)
    below = np.where((block[ends[:, 0]] < block[ends[:, 1]])[:, None], ends, ends[:, ::-1])
    weight = draw.standard_t(3, n_edges)
    edges = [Edge(keys[a], keys[b], float(w)) for (a, b), w in zip(below, weight, strict=True)]
    about = {"prompt": "made up", "target": " up", "tokens": [f" token {i}" for i in range(20)], "layers": 12}
    subject = {"slug": "large", "hash": "0" * 64}
    return Graph(subject, {}, tuple(nodes), tuple(edges), {"baseline": 4.0}, about)


def answered(base: str, ids: dict[str, str], measures: dict[str, Any], rounds: int) -> list[timing.Bar]:
    """Ask for both graphs whole, compressed as a browser would."""
    import httpx

    rows, bars = [], []
    for what, id in ids.items():
        spent = []
        for _ in range(rounds):
            began = time.perf_counter()
            with httpx.stream("GET", f"{base}/api/graphs/{id}?keep=1", headers={"accept-encoding": "gzip"}) as answer:
                size = sum(map(len, answer.iter_raw()))
            spent.append(1e3 * (time.perf_counter() - began))
        page = httpx.get(f"{base}/api/graphs/{id}?keep=1").raise_for_status().json()
        ms = statistics.median(spent)
        shown = (len(page["nodes"]), len(page["edges"]))
        measures[f"answer {what}"] = {"ms": ms, "bytes": size, "nodes": shown[0], "edges": shown[1]}
        rows.append([what, page["total"], page["total_edges"], *shown, f"{ms:.0f}", size])
        bars.append(timing.Bar(f"answer, {page['total_edges']} edges, kB gzipped", size / 1e3, "<=", 300.0))
    timing.show(["graph", "nodes", "edges", "shown", "shown", "ms", "bytes"], rows)
    return bars


def painted(base: str, ids: dict[str, str], measures: dict[str, Any], rounds: int) -> list[timing.Bar]:
    """Open both graphs in windows of their own."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        print("skipped: needs the package playwright, of the dev group")
        return []
    if not CHROMIUM.is_file():
        print(f"skipped: needs the browser {CHROMIUM}")
        return []
    found: dict[str, list[dict[str, float]]] = {what: [] for what in ids}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        for _ in range(rounds):
            for what, id in ids.items():
                context = browser.new_context(viewport={"width": 1280, "height": 900})
                page = context.new_page()
                page.goto(f"{base}/graphs/{id}?keep=1")
                found[what].append(page.wait_for_function(TIMES).json_value())
                context.close()
        browser.close()
    rows, bars = [], []
    for what, times in found.items():
        paint, data = (statistics.median(one[name] for one in times) for name in ("paint", "data"))
        measures[f"paint {what}"] = times
        rows.append([what, f"{paint:.0f}", f"{data:.0f}", f"{min(t['paint'] for t in times):.0f}"])
        bars.append(timing.Bar(f"first paint, {what}, s", paint / 1e3, "<=", 1.0))
    timing.show(["graph", "first paint ms", "of it after the data", "best"], rows)
    return bars


if __name__ == "__main__":
    main()
