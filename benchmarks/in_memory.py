"""In memory: the same 36 sites recorded by patchclamp, by plain hooks and by two peers, each in its own process.

Every tool gets the same weights, the same ids and the same number of threads, and records the residual stream and both
writes of all 12 blocks of a model in the shape of GPT-2 small. ``sites`` may stop after the last site; ``sites+logits``
runs to the logits. Peers live in environments of their own (``benchmarks/peers/setup.sh``); one that is absent is
skipped.
"""

import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import shape
import timing

PEERS = Path(os.environ.get("PATCHCLAMP_PEERS", Path.home() / ".cache" / "patchclamp" / "peers"))
SCRIPTS = Path(__file__).resolve().parent / "peers"
TOOLS = {
    "plain_hooks.py": None,
    "patchclamp_sites.py": None,
    "nnsight_sites.py": "nnsight",
    "transformer_lens_sites.py": "transformer-lens",
}


class Tool:
    """One tool's process, its model loaded; idle between questions."""

    def __init__(self, python: Path, script: str, folder: Path, threads: int) -> None:
        command = [str(python), str(SCRIPTS / script), str(folder), str(threads)]
        self.log = (folder / f"{script}.log").open("w+")
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True
        )
        hello = self._answer()
        self.name, self.ways = hello["tool"], hello["ways"]

    def ask(self, *words: str) -> dict[str, Any]:
        """Send one line and return its answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.log.seek(0)
            raise SystemExit(f"{' '.join(map(str, self.process.args))} ended:\n{self.log.read()[-2000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def end(self) -> None:
        """Close its input, upon which it ends."""
        self.process.communicate(timeout=60)
        self.log.close()


def main() -> None:
    parser = timing.parser(__doc__, rounds=5)
    parser.add_argument("--batches", type=int, default=1, help="batches of 8 x 128 tokens")
    options = parser.parse_args()
    rounds, n_batches, rows, columns = (1, 1, 2, 32) if options.quick else (options.rounds, options.batches, 8, 128)
    with tempfile.TemporaryDirectory() as name, ExitStack() as ends:
        folder = Path(name)
        shape.gpt2().save_pretrained(folder)
        shape.words().save_pretrained(folder)
        np.save(folder / "ids.npy", np.stack([shape.ids(rows, columns, seed=i).numpy() for i in range(n_batches)]))
        tools = start(folder, options.threads, ends)
        spent = take_turns(tools, rounds)
        differences = compare(tools, folder)
    n_tokens = n_batches * rows * columns
    print(f"{n_tokens} tokens, {rounds} rounds; speeds relative to patchclamp in the same way")
    ours = {key[1]: seconds for key, seconds in spent.items() if key[0].startswith("patchclamp")}
    table = []
    for (tool, way), seconds in spent.items():
        middle = timing.median(seconds)
        relative = timing.ratio(ours.get(way, seconds), seconds)
        table.append([
            tool, way, f"{n_tokens / middle.wall_s:.0f}", f"{n_tokens / middle.cpu_s:.0f}",
            *((f"{relative.wall_s:.2f}", f"{relative.cpu_s:.2f}") if way in ours else ("", "")),
            f"{differences[tool]:.1e}" if tool in differences else "",
        ])  # fmt: skip
    timing.show(["tool", "way", "tokens/s", "tokens/cpu-s", "speed, wall", "cpu", "max |difference|"], table)
    measures = {f"{tool}, {way}": seconds for (tool, way), seconds in spent.items()}
    timing.report(options, {"tokens": n_tokens, **measures, "differences": differences}, bars(spent))


def start(folder: Path, threads: int, ends: ExitStack) -> list[Tool]:
    tools = []
    for script, peer in TOOLS.items():
        python = Path(sys.executable) if peer is None else PEERS / peer / "bin" / "python"
        if python.exists():
            tools.append(Tool(python, script, folder, threads))
            ends.callback(tools[-1].end)
        else:
            print(f"skipped {peer}: no environment {python.parents[1]}; make it with benchmarks/peers/setup.sh {peer}")
    return tools


def take_turns(tools: list[Tool], rounds: int) -> dict[tuple[str, str], list[timing.Spent]]:
    """Time every way of every tool once per round, after one round that does not count."""
    pairs = [(tool, way) for way in ("sites", "sites+logits", "forward") for tool in tools if way in tool.ways]
    spent: dict[tuple[str, str], list[timing.Spent]] = {(tool.name, way): [] for tool, way in pairs}
    for turn in range(rounds + 1):
        first = turn % len(pairs)
        for tool, way in pairs[first:] + pairs[:first]:
            answer = timing.Spent(**tool.ask("time", way))
            if turn:
                spent[tool.name, way].append(answer)
    return spent


def compare(tools: list[Tool], folder: Path) -> dict[str, float]:
    """Return each tool's largest difference from patchclamp's values over all sites."""
    values = {}
    for tool in tools:
        file = folder / "values.npz"
        tool.ask("save", "sites+logits", str(file))
        with np.load(file) as held:
            values[tool.name] = {site: held[site] for site in held.files}
    ours = next(held for name, held in values.items() if name.startswith("patchclamp"))
    assert len(ours) == len(shape.SITES)
    return {
        name: max(float(np.abs(held[site] - ours[site]).max()) for site in shape.SITES) for name, held in values.items()
    }


def bars(spent: dict[tuple[str, str], list[timing.Spent]]) -> list[timing.Bar]:
    """Hold patchclamp's best way against each peer's best: no slower, but for noise."""

    def best(tool: str) -> list[timing.Spent]:
        ways = [seconds for (name, way), seconds in spent.items() if name == tool and way != "forward"]
        return min(ways, key=lambda seconds: timing.median(seconds).cpu_s)

    names = list(dict.fromkeys(name for name, _ in spent))
    ours = next(name for name in names if name.startswith("patchclamp"))
    found = []
    for name in names:
        if name != ours:
            speed = timing.ratio(best(name), best(ours))
            found.append(timing.Bar(f"36 sites: patchclamp's speed / {name}, wall", speed.wall_s, ">=", 0.95))
            found.append(timing.Bar(f"36 sites: patchclamp's speed / {name}, cpu", speed.cpu_s, ">=", 0.95))
    return found


if __name__ == "__main__":
    main()
