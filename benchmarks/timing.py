"""Timing: alternating rounds, in wall and processor seconds, and how they are shown."""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# Nothing here may go looking for a model by itself. Subprocesses inherit it.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
STORIES = SHARED / "models" / "stories260K"


@dataclass(frozen=True)
class Spent:
    """Seconds that something took.

    Args:
        wall_s: on the clock.
        cpu_s: of all threads of the process together; what other processes do hardly changes it.
    """

    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class Bar:
    """A number and what it is held against.

    Args:
        name: what the number is.
        value: the number.
        sign: ``>=`` or ``<=``.
        bar: the promise.
    """

    name: str
    value: float
    sign: str
    bar: float

    @property
    def met(self) -> bool:
        """Whether the promise is kept."""
        return self.value >= self.bar if self.sign == ">=" else self.value <= self.bar


def spend(task: Callable[[], object]) -> Spent:
    """Run a task once."""
    wall, cpu = time.perf_counter(), time.process_time()
    task()
    return Spent(time.perf_counter() - wall, time.process_time() - cpu)


def alternate(tasks: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[Spent]]:
    """Run every task once per round, in an order that turns by one each round; a task may measure itself."""
    names = list(tasks)
    spent: dict[str, list[Spent]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            own = []
            outer = spend(lambda task=tasks[name], own=own: own.append(task()))
            spent[name].append(own[0] if isinstance(own[0], Spent) else outer)
    return spent


def median(spent: Sequence[Spent]) -> Spent:
    """Return the median of each kind of second."""
    return Spent(statistics.median(s.wall_s for s in spent), statistics.median(s.cpu_s for s in spent))


def ratio(spent: Sequence[Spent], base: Sequence[Spent]) -> Spent:
    """Return the median over rounds of spent / base: a slow spell of the machine falls on both."""
    pairs = list(zip(spent, base, strict=True))
    return Spent(
        statistics.median(a.wall_s / b.wall_s for a, b in pairs), statistics.median(a.cpu_s / b.cpu_s for a, b in pairs)
    )


def parser(about: str, *, rounds: int = 3) -> argparse.ArgumentParser:
    """Return a parser of the flags that every benchmark takes."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--quick", action="store_true", help="tiny settings: does it run? The numbers mean little")
    made.add_argument("--rounds", type=int, default=rounds, help="alternating rounds; medians are shown")
    made.add_argument("--threads", type=int, default=2, help="threads that compute, on every side alike")
    made.add_argument("--json", type=Path, help="write the numbers to this file too")
    return made


def machine(threads: int) -> dict[str, Any]:
    """Return what a number depends on besides the code."""
    versions = {}
    for package in ("patchclamp", "torch", "transformers", "numpy"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "absent"
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": named[0] if named else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": threads,
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **versions,
    }


def show(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table that is also Markdown."""
    cells = [[str(c) for c in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    for number, row in enumerate(cells):
        print("| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (w + 2) for w in widths) + "|")


def report(options: argparse.Namespace, measures: Mapping[str, Any], bars: Sequence[Bar]) -> None:
    """Print machine and bars, and write everything where ``--json`` says.

    Args:
        options: the parsed flags.
        measures: what was measured.
        bars: what was promised of them.
    """
    about = machine(options.threads)
    print()
    for bar in bars:
        print(f"{'met ' if bar.met else 'MISS'} {bar.name}: {bar.value:.3g} (bar {bar.sign} {bar.bar:g})")
    print(" · ".join(f"{k} {v}" for k, v in about.items()) + (" · QUICK" if options.quick else ""))
    if options.json:
        held = [{**asdict(bar), "met": bar.met} for bar in bars]
        whole = {"machine": about, "quick": options.quick, "measures": measures, "bars": held}
        options.json.write_text(json.dumps(whole, indent=1, default=asdict) + "\n")


def needs_stories() -> bool:
    """Say whether the pretrained test model lies beside the repository; print what is skipped where it does not."""
    here = (STORIES / "model.safetensors").is_file()
    if not here:
        print("skipped: needs the model ../shared/models/stories260K, which is not part of the repository")
    return here


if __name__ == "__main__":
    print(" · ".join(f"{k} {v}" for k, v in machine(2).items()))
