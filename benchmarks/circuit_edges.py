"""Edge predictions: how near attribution of edges comes to exact edge patching, task by task.

Every edge is patched into the run on x, and predicted from gradients there. r is Pearson's over the edges of one pair,
error the mean absolute one; means over pairs with 95 % bootstrap intervals. Then the same into the run on x', pooled
over pairs.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import timing
import torch

from patchclamp.attribute.edge_patching import patch_edges
from patchclamp.attribute.edges import attribute_edges
from patchclamp.core.stats import mean_interval, pearson
from patchclamp.loaders import load, open_task

ORGANISMS = ("language-gpt2", "language-llama")
TASKS = ("ioi", "agreement", "facts")
METHODS: Mapping[str, Mapping[str, Any]] = {
    "eap": {},
    "eap, RelP's rules": {"method": "relp"},
    "eap, rule ln alone": {"method": "relp", "rules": ("ln",)},
    "eap_ig": {"method": "eap_ig"},
}
N_PAIRS = 64


def measure(name: str, task: str, n: int) -> list[dict[str, Any]]:
    """Return a row for each method and direction."""
    model = load(f"organism:{name}")
    pairs = model.read(open_task(f"task:{task}", model, n=n))
    rows = []
    for direction in ("noise", "denoise"):
        began = time.process_time()
        exact = patch_edges(model, pairs, direction=direction).per_case
        exact_s = time.process_time() - began
        for method, asked in METHODS.items():
            began = time.process_time()
            guess = attribute_edges(model, pairs, direction=direction, **asked).per_case
            seconds = time.process_time() - began
            r = np.array([pearson(a, b) for a, b in zip(guess, exact, strict=True)])
            rows.append({
                "of": name, "task": task, "pairs": len(pairs), "direction": direction, "method": method,
                "size": float(np.abs(exact).mean()), "r": pack(r), "error": pack(np.abs(guess - exact).mean(1)),
                "pooled_r": pearson(guess.ravel(), exact.ravel()), "cpu_s": seconds, "exact_cpu_s": exact_s,
            })  # fmt: skip
    return rows


def pack(values: np.ndarray) -> dict[str, float]:
    interval = mean_interval(values, seed=0)
    return {"mean": float(values.mean()), "low": interval.low, "high": interval.high}


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Print a line per model, task and method."""
    lines = [
        [
            f"{row['of']}, {row['task']}", row["direction"], row["method"], f"{row['size']:.3f}",
            *(f"{x['mean']:.3f} ({x['low']:.3f} to {x['high']:.3f})" for x in (row["r"], row["error"])),
            f"{row['pooled_r']:.2f}", f"{row['cpu_s']:.1f}",
        ]
        for row in rows
    ]  # fmt: skip
    timing.show(["", "direction", "method", "mean size", "r", "error", "r, pooled", "cpu s"], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="four pairs: does it run? The numbers mean little")
    parser.add_argument("--pairs", type=int, default=N_PAIRS)
    parser.add_argument("--organisms", nargs="*", default=ORGANISMS)
    parser.add_argument("--tasks", nargs="*", default=TASKS)
    parser.add_argument("--json", metavar="FILE", help="write the rows to this file too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for name, task in product(options.organisms, options.tasks):
        rows += measure(name, task, 4 if options.quick else options.pairs)
    show(rows)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
