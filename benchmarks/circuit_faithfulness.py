"""Faithfulness: circuits found on one side of a task's pairs, judged on the other side, beside random circuits.

Every circuit is found on pairs of the side that organisms learnt from and evaluated on held-out ones: what stands
outside it is each pair's corrupted prompt. Areas are over sizes from 1 to 50 % of the parts; 20 random circuits of as
many parts of each kind stand beside each. Recovery is agreement with exact patching of the
same parts over the same train pairs.
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
from patchclamp.attribute.pairs import attribute_pairs
from patchclamp.core.scores import Scores
from patchclamp.evaluate import evaluate_circuit
from patchclamp.evaluate.circuit_curve import Estimate
from patchclamp.evaluate.circuit_recovery import measure_recovery
from patchclamp.loaders import load, open_task

ORGANISMS = ("language-gpt2", "language-llama")
TASKS = ("ioi", "agreement")
METHODS: Mapping[str, tuple[str, ...]] = {
    "node": ("activation_patching", "attribution_patching", "relp", "integrated_gradients"),
    "neuron": ("activation_patching", "attribution_patching", "relp", "integrated_gradients"),
    "edge": ("activation_patching", "eap", "eap_ig"),
}
N_PAIRS = 64
EXACT_PAIRS = {"neuron": 16, "edge": 16}
"""Of how many train pairs exact patching is taken where it has hundreds or thousands of parts."""


def found(model: Any, pairs: Any, level: str, method: str) -> Scores:
    """Return the circuit that a method finds."""
    if level != "edge":
        return attribute_pairs(model, pairs, level=level, method=method)
    return (
        patch_edges(model, pairs) if method == "activation_patching" else attribute_edges(model, pairs, method=method)
    )


def measure(model: Any, name: str, task: str, level: str, n: int) -> list[dict[str, Any]]:
    """Return a row for each method of a level."""
    train, held = (model.read(open_task(f"task:{task}{side}", model, n=n)) for side in ("/train", ""))
    rows, exact = [], None
    for method in METHODS[level]:
        began = time.perf_counter()
        most = EXACT_PAIRS.get(level, n) if method == "activation_patching" else n
        circuit = found(model, train.subset(np.arange(len(train)) < most), level, method)
        seconds = time.perf_counter() - began
        exact = circuit if exact is None else exact
        told = evaluate_circuit(model, circuit, held, minimal=False, random_rest=False)
        alike = EXACT_PAIRS.get(level, n)  # agreement is with exact patching of the same pairs, not of fewer
        own = circuit if alike >= n else found(model, train.subset(np.arange(len(train)) < alike), level, method)
        area, agreed = told.area, measure_recovery(own, exact)
        rows.append({
            "of": name, "task": task, "level": level, "method": method, "parts": len(circuit), "find_s": seconds,
            "train": min(most, len(train)), "held_out": len(told.cases), "seen": told.seen,
            "left_out": dict(told.left_out), "sizes": [p.size for p in told.points],
            "curve": [p.kept.value for p in told.points],
            "area": pack(area.kept), "random": pack(area.random), "ahead": pack(area.ahead), "rest": pack(area.rest),
            "distance": pack(area.distance), "p_pairs": area.p_pairs,
            "p_random": area.p_random, "spearman": agreed.spearman,
            "spearman_low": agreed.interval.low if agreed.interval else None,
            "spearman_high": agreed.interval.high if agreed.interval else None, "first": agreed.precision,
        })  # fmt: skip
        print(
            f"{name}, {task}, {level}, {method}: area {area.kept.value:.2f}, random {area.random.value:.2f}, "
            f"{time.perf_counter() - began:.0f} s",
            flush=True,
        )
    return rows


def pack(estimate: Estimate) -> dict[str, float]:
    return {"value": estimate.value, "low": estimate.interval.low, "high": estimate.interval.high}


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Print one table per model and task."""
    for name, task in dict.fromkeys((row["of"], row["task"]) for row in rows):
        own = [row for row in rows if (row["of"], row["task"]) == (name, task)]
        print(f"\n{name}, {task}: judged on {own[0]['held_out']} held-out pairs")
        timing.show(
            ["level (parts)", "method (train pairs)", "area", "random circuits", "ahead", "the rest", "r_s, exact"],
            [
                [
                    f"{row['level']} ({row['parts']:,})", f"{row['method']} ({row['train']})", told(row["area"]),
                    told(row["random"]), told(row["ahead"]), told(row["rest"]), f"{row['spearman']:.2f}",
                ]
                for row in own
            ],
        )  # fmt: skip


def told(estimate: dict[str, float]) -> str:
    return f"{estimate['value']:.2f} ({estimate['low']:.2f} to {estimate['high']:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="four pairs: does it run? The numbers mean little")
    parser.add_argument("--pairs", type=int, default=N_PAIRS)
    parser.add_argument("--organisms", nargs="*", default=ORGANISMS)
    parser.add_argument("--tasks", nargs="*", default=TASKS)
    parser.add_argument("--levels", nargs="*", default=tuple(METHODS))
    parser.add_argument("--json", metavar="FILE", help="write the rows to this file too, after every level")
    options = parser.parse_args()
    n_pairs = 4 if options.quick else options.pairs
    torch.set_num_threads(1)
    rows = []
    for level, name, task in product(options.levels, options.organisms, options.tasks):
        rows += measure(load(f"organism:{name}"), name, task, level, n_pairs)
        if options.json:
            with open(options.json, "w", encoding="utf-8") as file:
                json.dump(rows, file, indent=1)
    show(rows)


if __name__ == "__main__":
    main()
