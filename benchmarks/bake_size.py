"""Bake: seconds, memory and disk by the number of units, stage by stage, beside what is stated before.

Random GPT-2 shapes with blocks of one width, each baked in a process of its own with the default options; memory is the
most that the process has taken since the model was loaded. Exponents are slopes of logarithms between the sizes.
"""

import argparse
import functools
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import timing

WIDTH, HIDDEN, HEADS = 768, 2560, 12
STAGES = {
    "survey": ("passes", "survey_corpus"),
    "second pass": ("passes", "run_look"),
    "neighbours": ("passes", "find_neighbours"),
    "rows": ("base", "write_rows"),
    "hash": ("base", "write_base_head"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, nargs="+", default=[4, 8, 16], help="of the models")
    parser.add_argument("--tokens", type=int, default=10_000)
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--hidden", type=int, default=HIDDEN)
    parser.add_argument("--vocabulary", type=int, help="default: that of the tokenizer")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--neighbours", choices=("exact", "approximate", "none"))
    parser.add_argument("--once", type=int, metavar="BLOCKS", help="one bake, in this process")
    options = parser.parse_args()
    if options.once:
        print(json.dumps(bake_once(options)))
        return
    rows = []
    for blocks in options.blocks:
        command = [sys.executable, __file__, *sys.argv[1:], "--once", str(blocks)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(json.dumps(rows[-1]), flush=True)
    show(rows)


def show(rows: list[dict[str, Any]]) -> None:
    """Print a line for each size, and the exponents between them."""
    stages = [stage for stage in STAGES if any(stage in row["wall_s"] for row in rows)]
    timing.show(
        ["units", "all, s", *stages, "MB", "stated", "disk MB", "stated"],
        [[f"{r['units']:,}", f"{r['all_s']:.0f}", *(f"{r['wall_s'].get(s, 0):.1f}" for s in stages),
          f"{r['peak'] / 1e6:.0f}", f"{r['stated'] / 1e6:.0f}", f"{r['disk'] / 1e6:.0f}",
          f"{r['stated_disk'] / 1e6:.0f}"] for r in rows],
    )  # fmt: skip
    for a, b in pairwise(rows):
        grown = math.log(b["units"] / a["units"])
        slopes = {"all": math.log(b["all_s"] / a["all_s"]), "memory": math.log(b["peak"] / a["peak"])}
        slopes |= {s: math.log(b["wall_s"][s] / a["wall_s"][s]) for s in stages if s in a["wall_s"]}
        said = ", ".join(f"{name} {slope / grown:.2f}" for name, slope in slopes.items())
        print(f"exponents from {a['units']:,} to {b['units']:,} units: {said}")


def bake_once(options: argparse.Namespace) -> dict[str, Any]:
    """Bake one shape; return seconds by stage, peak of memory, disk, and what is stated of them."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    import patchclamp as pc
    from patchclamp.atlas.bake import base, passes
    from patchclamp.atlas.bake.cost import bake_cost
    from patchclamp.organisms import language

    torch.set_num_threads(options.threads)
    tokenizer = pc.load("organism:language-gpt2").tokenizer.bare
    config = GPT2Config(
        n_embd=options.width, n_layer=options.once, n_head=HEADS, n_inner=options.hidden, n_positions=128,
        vocab_size=options.vocabulary or len(tokenizer),
    )  # fmt: skip
    torch.manual_seed(0)
    model = pc.LanguageModel(GPT2LMHeadModel(config).eval(), tokenizer)
    units, sites, _ = base.units_of(model)
    with tempfile.TemporaryDirectory() as name:
        text, out = Path(name) / "text.txt", Path(name) / "size.atlas"
        text.write_text("\n".join(d.stimulus.text for d in language.text(options.tokens // 7, seed=1)) + "\n")
        model.watch(["a b"], [sites[0].path.removesuffix("/heads")], lambda *_: None)  # libraries are loaded by now
        before = memory("VmRSS")
        wall: dict[str, float] = {}
        peaks: dict[str, int] = {}
        for stage, (where, function) in STAGES.items():
            module = {"passes": passes, "base": base}[where]
            setattr(module, function, measured(getattr(module, function), stage, wall, peaks, before))
        reset_peak()
        began = time.monotonic()
        corpus = pc.Corpus(text, max_tokens=options.tokens)
        pc.atlas.bake_atlas(model, corpus, out, sites=None, neighbours=options.neighbours)
        took = time.monotonic() - began
        disk = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
        cost = bake_cost(units, sites, n_tokens=options.tokens, neighbours=options.neighbours)
    return {
        "units": sum(site.width for site in sites), "tokens": options.tokens, "threads": options.threads,
        "all_s": took, "wall_s": wall, "peaks": peaks, "peak": max(peaks.values()), "stated": cost.memory,
        "disk": disk, "stated_disk": cost.disk, "stated_aside": cost.aside, "load": os.getloadavg()[0],
    }  # fmt: skip


def measured(
    function: Callable[..., Any], stage: str, wall: dict[str, float], peaks: dict[str, int], before: int
) -> Callable[..., Any]:
    """Return the function with its seconds and its peak of memory noted."""

    @functools.wraps(function)
    def call(*args: Any, **how: Any) -> Any:
        reset_peak()
        began, cpu = time.monotonic(), time.process_time()
        try:
            return function(*args, **how)
        finally:
            wall[stage], peaks[stage] = time.monotonic() - began, memory("VmHWM") - before
            spent = f"{wall[stage]:.1f} s, {time.process_time() - cpu:.1f} cpu s"
            print(f"{stage}: {spent}, {peaks[stage] / 1e6:.0f} MB", file=sys.stderr)

    return call


def memory(name: str) -> int:
    """Return bytes of a line of Linux' account of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def reset_peak() -> None:
    """Let the peak begin at what is held now."""
    Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    main()
