"""Patching: every block's input at every position, by patchclamp and TransformerLens, each in its own process.

Two pairs of random prompts of 15 tokens, 12 x 15 cells, the same weights, ids and threads; m is the mean difference of
two logits at the last position. Plain hooks, one forward per pair and cell, are run once: both tools must agree with
them. The peer lives in an environment of its own (``benchmarks/peers/setup.sh transformer-lens``); where it is absent
it is skipped.
"""

import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import in_memory
import numpy as np
import shape
import timing

OURS, PLAIN, PEER = "patchclamp_patching.py", "plain_patching.py", "transformer_lens_patching.py"
PAIRS, POSITIONS = 2, 15


def main() -> None:
    parser = timing.parser(__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS, help="pairs of prompts")
    options = parser.parse_args()
    rounds, positions = (1, 4) if options.quick else (options.rounds, POSITIONS)
    spent: dict[str, list[timing.Spent]] = {}
    found: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as name, ExitStack() as ends:
        folder = Path(name)
        shape.gpt2().save_pretrained(folder)
        shape.words().save_pretrained(folder)
        ids = [shape.ids(options.pairs, positions, seed=seed).numpy() for seed in (1, 2)]
        np.save(folder / "ids.npy", np.stack(ids)[None])
        tools = start(folder, options.threads, ends)
        for tool in tools:
            file = folder / "values.npz"
            tool.ask("save", "patch", str(file))
            with np.load(file) as held:
                found[tool.name] = held["patched"]
        timed = [tool for tool in tools if tool.name != "plain hooks"]
        for turn in range(rounds):
            for tool in timed[turn % len(timed) :] + timed[: turn % len(timed)]:
                spent.setdefault(tool.name, []).append(timing.Spent(**tool.ask("time", "patch")))
    plain = found["plain hooks"]
    spread = float(plain.max() - plain.min())
    apart = {name: float(np.abs(values - plain).max()) for name, values in found.items()}
    ours = next(name for name in spent if name.startswith("patchclamp"))
    rows, bars = [], []
    for name, seconds in spent.items():
        middle, ratio = timing.median(seconds), timing.ratio(seconds, spent[ours])
        rows.append([name, f"{middle.wall_s:.2f}", f"{middle.cpu_s:.2f}", f"{ratio.wall_s:.2f}", f"{ratio.cpu_s:.2f}",
                     f"{apart[name]:.1e}"])  # fmt: skip
        if name != ours:
            for clock in ("wall", "cpu"):
                value = getattr(ratio, f"{clock}_s")
                bars.append(timing.Bar(f"patching: times faster than {name}, {clock}", value, ">=", 4))
    print(f"{plain.size} cells, {options.pairs} pairs; m spreads by {spread:.3g}")
    timing.show(["tool", "wall s", "cpu s", "wall / ours", "cpu / ours", "max |difference| from plain"], rows)
    bars.append(timing.Bar("patching: max |difference| from one forward per cell", apart[ours] / spread, "<=", 1e-5))
    timing.report(options, {**spent, "differences": apart, "spread": spread}, bars)


def start(folder: Path, threads: int, ends: ExitStack) -> list[in_memory.Tool]:
    tools = []
    for script in (OURS, PLAIN, PEER):
        python = in_memory.PEERS / "transformer-lens" / "bin" / "python" if script == PEER else Path(sys.executable)
        if python.exists():
            tools.append(in_memory.Tool(python, script, folder, threads))
            ends.callback(tools[-1].end)
        else:
            print(f"skipped {PEER}: no environment {python.parents[1]}; benchmarks/peers/setup.sh transformer-lens")
    return tools


if __name__ == "__main__":
    main()
