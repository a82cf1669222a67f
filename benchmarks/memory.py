"""Memory: the highest resident memory of recording and surveying 10 thousand, 100 thousand and a million tokens.

Each run is a process of its own over the same text, repeated until it is long enough. Nothing that grows with the text
may be held. Importing torch and loading the model make up most of the peak; a recording of the middle length fills
its first whole shard of 16 MiB, after which nothing may be added.
"""

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import timing

SITE = "blocks.2.mlp.act"
TEXTS = (timing.SHARED / "data/text/tinyshakespeare.txt", timing.SHARED / "data/text/wikitext-2/test.txt")
GROWTH_MB = 32.0


def main() -> None:
    parser = timing.parser(__doc__)
    parser.add_argument("--once", nargs=4, metavar=("WHAT", "TEXT", "OUT", "TOKENS"), help="one run, in this process")
    options = parser.parse_args()
    if options.once:
        what, text, out, n_tokens = options.once
        print(json.dumps(once(what, Path(text), Path(out), int(n_tokens), options.threads)))
        return
    if not timing.needs_stories():
        return
    sizes = (2_000, 5_000, 10_000) if options.quick else (10_000, 100_000, 1_000_000)
    rows, bars, measures = [], [], {}
    with tempfile.TemporaryDirectory() as name:
        text = tile(Path(name) / "text.txt", sizes[-1])
        for what in ("load", "record", "survey"):
            peaks = []
            for n_tokens in sizes if what != "load" else (0,):
                found = apart(what, text, Path(name) / f"{what}-{n_tokens}", n_tokens, options.threads)
                peaks.append(found["peak_mb"])
                measures[f"{what} {n_tokens}"] = found
                speed = f"{n_tokens / found['seconds']:.0f}" if n_tokens else ""
                rows.append([what, n_tokens or "", f"{found['peak_mb']:.0f}", f"{peaks[-1] - peaks[0]:+.0f}", speed])
            if what != "load":
                label = f"{what}: growth of the peak from {sizes[1]} to {sizes[2]} tokens, MB"
                bars.append(timing.Bar(label, peaks[2] - peaks[1], "<=", GROWTH_MB))
    timing.show(["", "tokens", "peak MB", "growth MB", "tokens/s"], rows)
    timing.report(options, measures, bars)


def tile(path: Path, n_tokens: int) -> Path:
    """Write the texts again and again until they hold at least as many characters as tokens are wanted, threefold."""
    held = (
        "\n".join(t.read_text() for t in TEXTS if t.is_file()) or "Once upon a time there was a little girl.\n" * 5000
    )
    with path.open("w") as file:
        for _ in range(1 + 3 * n_tokens // len(held)):
            file.write(held)
    return path


def apart(what: str, text: Path, out: Path, n_tokens: int, threads: int) -> dict[str, Any]:
    """Run once in a fresh process."""
    command = [sys.executable, __file__, "--once", what, str(text), str(out), str(n_tokens), "--threads", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def once(what: str, text: Path, out: Path, n_tokens: int, threads: int) -> dict[str, Any]:
    """Load the model and record or survey; return seconds, tokens and this process' peak."""
    import torch

    from patchclamp import Corpus, load, record_corpus, survey_corpus

    torch.set_num_threads(threads)
    model = load(str(timing.STORIES))
    corpus = Corpus(text, max_tokens=n_tokens, window=256)
    stored = None

    def run() -> None:
        nonlocal stored
        if what == "record":
            stored = record_corpus(model, corpus, SITE, out, batch_size=16)
        elif what == "survey":
            stored = survey_corpus(model, corpus, SITE, out, batch_size=16)

    spent = timing.spend(run)
    done = 0 if stored is None else stored.bundle.entries[-1]["tokens"]
    assert done == n_tokens
    # Linux counts in kilobytes, macOS in bytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"tokens": done, "seconds": spent.wall_s, "cpu_s": spent.cpu_s, "peak_mb": peak / 1e6}


if __name__ == "__main__":
    main()
