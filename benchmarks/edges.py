"""Edges: every edge of a pair of prompts at every position, by attribution patching, beside TransformerLens.

12 blocks of 12 heads have 32,491 edges, 487,365 at 15 positions. Both tools get the same weights, the same ids and the
same number of threads, each in a process of its own, and are asked in turn; their scores are compared edge by edge.
"""

import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import in_memory
import numpy as np
import shape
import timing

OURS, PEER = "patchclamp_edges.py", "transformer_lens_edges.py"


def main() -> None:
    parser = timing.parser(__doc__, rounds=5)
    parser.add_argument("--positions", type=int, default=15, help="tokens of the prompts")
    options = parser.parse_args()
    rounds, n_positions = (1, 4) if options.quick else (options.rounds, options.positions)
    spent: dict[str, list[timing.Spent]] = {}
    with tempfile.TemporaryDirectory() as name, ExitStack() as ends:
        folder = Path(name)
        shape.gpt2().save_pretrained(folder)
        ids = shape.ids(2, n_positions, seed=1)
        ids[1, n_positions // 2 :] = ids[0, n_positions // 2 :]
        np.save(folder / "ids.npy", ids.numpy()[None])
        tools = {
            script: in_memory.Tool(python, script, folder, options.threads) for script, python in pythons().items()
        }
        for tool in tools.values():
            ends.callback(tool.end)
        for turn in range(rounds + 1):
            for tool in list(tools.values())[:: 1 if turn % 2 else -1]:
                answer = timing.Spent(**tool.ask("time", "edges"))
                if turn:
                    spent.setdefault(tool.name, []).append(answer)
        tables = {}
        for tool in tools.values():
            tool.ask("save", "edges", str(folder / "edges.npz"))
            with np.load(folder / "edges.npz") as held:
                tables[tool.name] = held["edges"]
    ours = next(iter(tables))
    largest = float(np.abs(tables[ours]).max())
    rows, bars = [], []
    for name, seconds in spent.items():
        middle, difference = timing.median(seconds), float(np.abs(tables[name] - tables[ours]).max())
        per_second = tables[name].size / middle.wall_s
        rows.append([name, f"{middle.wall_s:.2f}", f"{middle.cpu_s:.2f}", f"{per_second:,.0f}", f"{difference:.1e}"])
        if name != ours:
            share = timing.ratio(spent[ours], seconds)
            bars += [
                timing.Bar(f"edges: time / {name}, wall", share.wall_s, "<=", 0.2),
                timing.Bar(f"edges: time / {name}, cpu", share.cpu_s, "<=", 0.2),
                timing.Bar(f"edges: largest difference from {name} / largest score", difference / largest, "<=", 1e-4),
            ]
    timing.show([f"{tables[ours].size:,} edges", "wall s", "cpu s", "edges/s", "max |difference|"], rows)
    timing.report(options, {"edges": tables[ours].size, "largest score": largest, **spent}, bars)


def pythons() -> dict[str, Path]:
    """Return each tool's script and interpreter, patchclamp's first; a peer that is not installed is left out."""
    found = {OURS: Path(sys.executable)}
    theirs = in_memory.PEERS / "transformer-lens" / "bin" / "python"
    if theirs.exists():
        found[PEER] = theirs
    else:
        print(f"skipped: no environment {os.fspath(theirs.parents[1])}; benchmarks/peers/setup.sh transformer-lens")
    return found


if __name__ == "__main__":
    main()
