"""Startup: what a user waits for before anything is computed, and what an installation brings along.

Each time is that of a whole process, the first run left out (it fills the file cache).
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import timing
from packaging.requirements import Requirement

PATCHCLAMP = str(Path(sys.executable).parent / "patchclamp")
EXPLAIN = ["Once upon a time, there was a little girl named", "--target", " Lily", "--contrast", " Tim"]


def main() -> None:
    parser = timing.parser(__doc__, rounds=5)
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import patchclamp": [sys.executable, "-c", "import patchclamp"],
        "patchclamp --help": [PATCHCLAMP, "--help"],
    }
    if timing.needs_stories():
        commands["patchclamp explain"] = [PATCHCLAMP, "explain", str(timing.STORIES), *EXPLAIN]
    spent = {name: [whole(command) for _ in range(rounds + 1)][1:] for name, command in commands.items()}
    middle = {name: timing.median(each) for name, each in spent.items()}
    timing.show(["", "wall s", "cpu s"], [[name, f"{m.wall_s:.3f}", f"{m.cpu_s:.3f}"] for name, m in middle.items()])
    needed = closure("patchclamp")
    print(f"{len(needed)} packages: {', '.join(sorted(needed))}")
    own = middle["import patchclamp"].wall_s - middle["python -c pass"].wall_s
    bars = [
        timing.Bar("import patchclamp, beyond Python's own start, s", own, "<=", 0.2),
        timing.Bar("patchclamp --help, s", middle["patchclamp --help"].wall_s, "<=", 0.5),
        timing.Bar("packages that an installation needs, itself included", len(needed), "<=", 60),
    ]
    if "patchclamp explain" in middle:
        bars.append(timing.Bar("patchclamp explain on stories260K, s", middle["patchclamp explain"].wall_s, "<=", 10))
    timing.report(options, {**spent, "packages": sorted(needed)}, bars)


def whole(command: Sequence[str]) -> timing.Spent:
    """Run a command to its end in a process of its own."""
    before, began = os.times(), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    wall, after = time.perf_counter() - began, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return timing.Spent(wall, cpu)


def closure(package: str) -> set[str]:
    """Return the installed packages that one needs here, extras left out unless they are asked for."""
    found: set[tuple[str, frozenset[str]]] = set()
    todo = [(canonical(package), frozenset[str]())]
    while todo:
        name, extras = todo.pop()
        if (name, extras) in found:
            continue
        found.add((name, extras))
        try:
            lines = requires(name) or []
        except PackageNotFoundError:
            found.discard((name, extras))
            continue
        for needed in map(Requirement, lines):
            wanted = [needed.marker.evaluate({"extra": e}) for e in ("", *extras)] if needed.marker else [True]
            if any(wanted):
                todo.append((canonical(needed.name), frozenset(needed.extras)))
    return {name for name, _ in found}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main()
