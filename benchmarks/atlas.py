"""Atlas: what a bake of an organism costs, and how quickly a server answers from an atlas of a million examples.

The bake reads documents of the microworld, every MLP neuron of `organism:language-gpt2`, each run in a process of its
own. The large atlas is made up: 13,500 units with 75 examples each, written through the same schema; it is asked
through the whole application, guard and compression included, without a socket between.
"""

import asyncio
import gzip
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import timing

MODEL, N_TOKENS = "language-gpt2", 200_000
UNITS, EXAMPLES, STRIP = 13_500, 75, 32
WORDS = ("cat", "dog", "house", "river", "mat", "park", "king", "queen")


def main() -> None:
    parser = timing.parser(__doc__)
    parser.add_argument("--once", nargs=4, metavar=("TEXT", "OUT", "SITES", "TOKENS"), help="one bake, in this process")
    options = parser.parse_args()
    if options.once:
        text, out, sites, n_tokens = options.once
        print(json.dumps(bake_once(Path(text), Path(out), sites, int(n_tokens), options.threads)))
        return
    n_tokens, units = (2_000, 400) if options.quick else (N_TOKENS, UNITS)
    measures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bars = baked(folder, n_tokens, options.threads, measures)
        bars += asked(folder / "large.atlas", units, measures, 20 if options.quick else 200)
    bars += first_load(measures)
    timing.report(options, measures, bars)


def baked(folder: Path, n_tokens: int, threads: int, measures: dict[str, Any]) -> list[timing.Bar]:
    """Bake all units, half of them, and half of the text."""
    from patchclamp.organisms import language

    text = folder / "text.txt"
    documents = language.text(n_tokens // 14, seed=1)
    text.write_text("\n".join(d.stimulus.text for d in documents) + "\n")
    runs = {"all": ("blocks.*.mlp.act", n_tokens), "half": ("blocks.[01].mlp.act", n_tokens),
            "short": ("blocks.*.mlp.act", n_tokens // 4)}  # fmt: skip
    for what, (sites, n) in runs.items():
        command = [sys.executable, __file__, "--once", str(text), str(folder / f"{what}.atlas"), sites, str(n)]
        done = subprocess.run([*command, "--threads", str(threads)], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
        measures[f"bake {what}"] = json.loads(done.stdout.splitlines()[-1])
    whole, half, short = (measures[f"bake {what}"] for what in runs)
    timing.show(
        ["bake", "units", "tokens", "wall s", "cpu s", "peak MB"],
        [[what, f["units"], f["tokens"], f"{f['wall_s']:.1f}", f"{f['cpu_s']:.1f}", f"{f['peak_mb']:.0f}"]
         for what, f in zip(runs, (whole, half, short), strict=True)],
    )  # fmt: skip
    return [
        timing.Bar(f"bake, {whole['tokens']} tokens, {whole['units']} units, s", whole["wall_s"], "<=", 60.0),
        timing.Bar("processor time per unit, all / half of the units", whole["cpu_s"] / half["cpu_s"] / 2, "<=", 1.1),
        timing.Bar(
            "growth of the peak from a quarter of the text, MB", whole["peak_mb"] - short["peak_mb"], "<=", 32.0
        ),
    ]


def bake_once(text: Path, out: Path, sites: str, n_tokens: int, threads: int) -> dict[str, Any]:
    """Bake once; return seconds, sizes and this process' peak."""
    import torch

    import patchclamp as pc

    torch.set_num_threads(threads)
    model = pc.load(f"organism:{MODEL}")
    spent = timing.spend(lambda: pc.atlas.bake_atlas(model, pc.Corpus(text, max_tokens=n_tokens), out, sites=sites))
    page = pc.atlas.open(out).page()
    # Linux counts in kilobytes, macOS in bytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        "tokens": page.corpus.tokens, "units": page.n_units, "wall_s": spent.wall_s, "cpu_s": spent.cpu_s,
        "peak_mb": peak / 1e6, "bytes": page.bytes,
    }  # fmt: skip


# -- answers ----------------------------------------------------------------------------------------------------------


def large(folder: Path, units: int) -> Path:
    """Write an atlas of that many made-up units."""
    from importlib.resources import files

    import numpy as np

    from patchclamp.atlas.store.sqlite_files import BASE, write_database, write_head
    from patchclamp.core.disk import file_hash

    draw = np.random.default_rng(0)
    about = {
        "subject": {"slug": "large", "hash": "0" * 64, "class": "None", "dtype": "float32"}, "modality": "language",
        "corpus": {"name": "none", "hash": "0" * 64, "stimuli": 1000, "tokens": 128_000, "counted": 127_000,
                   "window": 128, "labelled": 0},
        "reasons": {}, "plan": {}, "versions": {},
    }  # fmt: skip
    with write_database(folder / BASE, files("patchclamp.atlas.store").joinpath("schema.sql").read_text()) as db:
        db.executemany("INSERT INTO about VALUES (?, ?)", [(n, json.dumps(v)) for n, v in about.items()])
        db.execute("INSERT INTO sites VALUES (0, 'blocks.0.mlp.act', 'mlp.act', 0, 'neurons', 0, ?)", [units])
        db.executemany(
            "INSERT INTO tokens VALUES (?, ?, 0)", [(i, f" {WORDS[i % 8]}{i // 8 or ''}") for i in range(4000)]
        )
        ids = draw.integers(0, 4000, size=(1000, 128)).astype("<i4")
        one = np.ones(128, np.uint8).tobytes()
        db.executemany("INSERT INTO contexts VALUES (?, ?, ?)", [(i, ids[i].tobytes(), one) for i in range(1000)])
        edges, counts = np.linspace(0, 1, 21).tobytes(), np.arange(20, dtype="<i8").tobytes()
        acts = draw.random((256, STRIP)).astype("<f2")
        panel = draw.random(12).astype("<f4").tobytes()
        for unit in range(units):
            numbers = draw.random(5).tolist()
            tokens = draw.integers(0, 4000, size=12)
            db.execute(
                f"INSERT INTO units VALUES ({', '.join('?' * 15)})",
                (unit, 0, unit, *numbers, np.zeros(9).tobytes(), edges, counts, counts, int(tokens[0]), None, None),
            )
            db.executemany("INSERT INTO examples VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (
                (unit, 0 if r < 16 else 1 if r < 26 else 2 if r < 34 else 3, r, numbers[0], (unit + r) % 1000, 60, 40,
                 acts[(unit + r) % 256].tobytes()) for r in range(EXAMPLES)
            ))  # fmt: skip
            for name in ("promotes", "suppresses", "excited_by", "inhibited_by"):
                db.execute(
                    "INSERT INTO panels VALUES (?, ?, ?, ?)", (unit, name, tokens.astype("<i4").tobytes(), panel)
                )
            near = draw.integers(0, units, size=8).astype("<i4").tobytes()
            for name in ("driven_by", "similar", "together"):
                db.execute("INSERT INTO panels VALUES (?, ?, ?, ?)", (unit, name, near, panel[:32]))
            db.execute("INSERT INTO fires VALUES (?, ?, 16)", (int(tokens[0]), unit))
            words = " ".join(f"{WORDS[t % 8]}{t // 8 or ''}" for t in tokens.tolist())
            db.execute(
                "INSERT INTO words (rowid, fires_on, promotes, concept) VALUES (?, ?, ?, '')", (unit, words[:8], words)
            )
    write_head(folder, "0" * 64, file_hash(folder / BASE))
    return folder


def asked(folder: Path, units: int, measures: dict[str, Any], rounds: int) -> list[timing.Bar]:
    """Ask for units, examples, words and sorted pages; medians of other addresses each time."""
    from patchclamp.atlas.serve.server import guard_atlas

    app = guard_atlas(large(folder, units))
    unit = "/api/units/blocks.0.mlp.act/neurons/{}"
    addresses = {
        "unit": [unit.format(i * 61 % units) for i in range(rounds)],
        "examples": [unit.format(i * 67 % units) + "/examples?kind=top" for i in range(rounds)],
        "search": [f"/api/units?q={WORDS[i % 8]}{'' if i % 2 else i}" for i in range(rounds)],
        "sort": [
            f"/api/units?sort={('frequency', 'maximum', 'mean')[i % 3]}&min_frequency=0.{i % 9}" for i in range(rounds)
        ],
    }
    found = {what: asyncio.run(medians(app, list_)) for what, list_ in addresses.items()}
    measures |= {f"ask {what}": {"ms": ms, "cpu_ms": cpu, "bytes": size} for what, (ms, cpu, size) in found.items()}
    rows = [[what, f"{ms:.1f}", f"{cpu:.1f}", size] for what, (ms, cpu, size) in found.items()]
    timing.show([f"{units * EXAMPLES} examples", "ms", "cpu ms", "largest bytes"], rows)
    return [
        timing.Bar("open a unit, ms", found["unit"][0], "<=", 10.0),
        timing.Bar("a page of examples, ms", found["examples"][0], "<=", 10.0),
        timing.Bar("search words, ms", found["search"][0], "<=", 50.0),
        timing.Bar("sort and filter, ms", found["sort"][0], "<=", 50.0),
        timing.Bar("a unit's JSON, bytes", float(found["unit"][2]), "<=", 20_000.0),
    ]


async def medians(app: Any, addresses: list[str]) -> tuple[float, float, int]:
    """Return the median milliseconds, wall and processor, and the largest body; the first five do not count."""
    import httpx

    spent: list[timing.Spent] = []
    largest = 0
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://localhost") as client:
        for address in [*addresses[:5], *addresses]:
            wall, cpu = time.perf_counter(), time.process_time()
            answer = await client.get(address)
            spent.append(timing.Spent(time.perf_counter() - wall, time.process_time() - cpu))
            assert answer.status_code == 200, answer.text
            largest = max(largest, len(answer.content))
    middle = timing.median(spent[5:])
    return 1e3 * middle.wall_s, 1e3 * middle.cpu_s, largest


def first_load(measures: dict[str, Any]) -> list[timing.Bar]:
    """Weigh what the first page loads."""
    from patchclamp.atlas.serve.app import STATIC

    bars = []
    for ending, bar in ((".js", 50.0), (".css", 10.0)):
        size = sum(len(gzip.compress(f.read_bytes())) for f in STATIC.rglob(f"*{ending}")) / 1000
        measures[f"first load {ending}"] = size
        bars.append(timing.Bar(f"first load {ending}, kB gzipped", size, "<=", bar))
    return bars


if __name__ == "__main__":
    main()
