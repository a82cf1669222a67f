"""Maps: how well attribution over pairs foretells activation patching, (block x position) map by map.

Truth is activation patching (clean into corrupted) of the residual stream before every block, of what attention writes
and of what MLPs write, at each position by itself, as a share of m(x) − m(x'). Every method predicts the same map from
gradients. Pearson's and Spearman's r and the mean absolute error are taken over a pair's whole map, cells before the
first token that differs included, and averaged over pairs; intervals are 95 % bootstraps over pairs.

Integrated gradients follow one site of all positions from x' to x in the run on x', 10 Gauss-Legendre points.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import timing
import torch

from patchclamp.ablate import Baseline
from patchclamp.attribute.gradients import (
    corrupted_baseline,
    delta_times_gradient,
    differentiate_ends,
    integrate_path,
    record,
)
from patchclamp.attribute.patching import patch_sites
from patchclamp.core.stats import mean_interval, pearson, spearman
from patchclamp.core.task import Case, Task
from patchclamp.loaders import load, open_task
from patchclamp.subjects.cases import ReadTask

ORGANISMS = ("language-gpt2", "language-llama")
TASKS = ("ioi", "agreement", "two_hop")
MAPS = {"residual": "blocks.*.resid_in", "attention": "blocks.*.attn.write", "mlp": "blocks.*.mlp.write"}
RULES: dict[str, tuple[str, ...]] = {
    "attribution patching": (),
    "ln": ("ln",),
    "identity": ("identity",),
    "ln, identity": ("ln", "identity"),
    "ln, identity, half (RelP)": ("ln", "identity", "half"),
    "ln, identity, half, ah": ("ln", "identity", "half", "ah"),
}
IG = "integrated gradients"
STEPS = 10
N_PAIRS, LEAST_STORY = 64, 1.0

# -- stories: prompts of our own for a model of children's stories ----------------------------------------------------

GIRLS = ("Lily", "Sue", "Mia", "Amy", "Anna", "Jane", "Lucy", "Emma")
BOYS = ("Tim", "Tom", "Ben", "Max", "Sam", "Bob", "Jack", "Joe")
OPENINGS = (
    "Once upon a time there was a child named {}. One morning",
    "{} had a red ball and a big box. One day",
    "In a small house lived {} with a dog. After lunch",
    "There once was a happy child called {}. In the park",
    "{} saw a bird in a tall tree. Then",
    "It was a sunny day and {} was in the garden. Soon",
    "{} wanted a new toy very much. At last",
    "The teacher smiled at {} and gave out some paper. After that",
    "{} was sad because the rain did not stop. In the end",
    "Grandma baked a cake for {}. That evening",
    "{} had a little cat. Every night",
    "On the beach {} found a shiny stone. Suddenly",
    "{} liked to run and jump. On Monday",
    "A big frog looked at {}. At first",
    "{} heard a loud noise behind the door. Quickly",
    "The king gave {} a gold ring. The next day",
)


def stories() -> list[Case]:
    """Return pairs in which a girl's name stands in the place of a boy's, or the other way round."""
    pairs = []
    for i, (opening, girl, boy) in enumerate(product(OPENINGS, GIRLS, BOYS)):
        she, he = (opening.format(name) for name in (girl, boy))
        pairs.append(
            Case(she, he, (" she",), (" he",), group="she") if i % 2 else Case(he, she, (" he",), (" she",), group="he")
        )
    return [pairs[i] for i in np.random.default_rng(0).permutation(len(pairs))]


# -- maps -------------------------------------------------------------------------------------------------------------


def truth_of(model: Any, pairs: ReadTask) -> dict[str, np.ndarray]:
    """Return ``(pair, block, place)`` effects of patching, places counted from the end, nan where a pair has none."""
    found = patch_sites(model, pairs, list(MAPS.values()), direction="denoise")
    return {
        name: np.stack([found.cases[:, found.index.grid(path, "whole")[:, 0]] for path in paths_of(model, name)], 1)
        for name in MAPS
    }


def paths_of(model: Any, name: str) -> list[str]:
    return [site.path for site in model.select(MAPS[name])]


def predicted(model: Any, pairs: ReadTask, method: str, n_places: int) -> dict[str, np.ndarray]:
    """Return the same maps as a method predicts them."""
    found = {name: np.full((len(pairs), len(paths_of(model, name)), n_places), np.nan) for name in MAPS}
    for some in pairs.batches_by_length(16):
        for path, each in scored(model, pairs, some, method):
            name = next(name for name in MAPS if path in paths_of(model, name))
            scores = each.unflatten(0, (len(some), -1))[..., 0].cpu().numpy()
            share = scores / (pairs.m_clean - pairs.m_counterpart)[some][:, None]
            found[name][some, paths_of(model, name).index(path), n_places - share.shape[1] :] = share
    return found


def scored(model: Any, pairs: ReadTask, some: np.ndarray, method: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield each site's ``(row, 1)`` scores over some pairs of one length."""
    paths = [path for name in MAPS for path in paths_of(model, name)]
    clean, other = [pairs.clean[i] for i in some], [pairs.counterpart[i] for i in some]
    if method == IG:
        ends = [record(model, prompts, paths) for prompts in (clean, other)]
        for path in paths:
            # In the run on x' the path goes from n(x) to n(x'): what is gained on the way back is its negative.
            yield (
                path,
                -integrate_path(
                    model, other, pairs.metric(some), path, "whole", ends[1][path], corrupted_baseline(ends[0]), STEPS
                ),
            )
        return
    # Truth is denoising: x' is patched into, and what is gained on the way to x is the negative of what x' owes.
    ends_of = differentiate_ends(model, other, clean, pairs.metric(some), paths, RULES[method], plain=Baseline("zero"))
    for path in paths:
        yield (
            path,
            -delta_times_gradient(
                model, path, "whole", ends_of.values[path], ends_of.baseline, ends_of.gradients[path]
            ),
        )


def compared(truth: np.ndarray, guess: np.ndarray) -> dict[str, Any]:
    """Return mean Pearson's and Spearman's r and mean absolute error over pairs, each with its interval."""
    rows = []
    for own, other in zip(truth.reshape(len(truth), -1), guess.reshape(len(guess), -1), strict=True):
        there = ~np.isnan(own)
        rows.append(
            (pearson(other[there], own[there]), spearman(other[there], own[there]), np.abs(other - own)[there].mean())
        )
    told: dict[str, Any] = {}
    for name, values in zip(("pearson", "spearman", "mae"), np.array(rows).T, strict=True):
        known = values[np.isfinite(values)]
        interval = mean_interval(known, seed=0)
        told[name] = {"mean": float(known.mean()), "low": interval.low, "high": interval.high, "n": len(known)}
    return told


def measure(model: Any, pairs: ReadTask, label: str) -> list[dict[str, Any]]:
    """Return a row for each method and map, and a random one: each pair's true map shuffled."""
    began = time.perf_counter()
    truth = truth_of(model, pairs)
    print(f"{label}: patching {len(pairs)} pairs, {time.perf_counter() - began:.0f} s", flush=True)
    n_places = next(iter(truth.values())).shape[2]
    rows = []
    for method in (*RULES, IG):
        began = time.perf_counter()
        guess = predicted(model, pairs, method, n_places)
        seconds = time.perf_counter() - began
        rows += [
            {
                "of": label, "pairs": len(pairs), "method": method, "map": name, "s": seconds,
                **compared(truth[name], guess[name]),
            }
            for name in MAPS
        ]  # fmt: skip
    draw = np.random.default_rng(0)
    for name in MAPS:
        rows.append({"of": label, "pairs": len(pairs), "method": "shuffled truth", "map": name, "s": 0.0,
                     **compared(truth[name], shuffled(truth[name], draw))})  # fmt: skip
    return rows


def shuffled(truth: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Return each pair's map with its cells in another order."""
    flat = truth.reshape(len(truth), -1).copy()
    for row in flat:
        there = ~np.isnan(row)
        row[there] = draw.permutation(row[there])
    return flat.reshape(truth.shape)


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Print one table per model and task: methods down, maps across."""
    for label in dict.fromkeys(row["of"] for row in rows):
        own = [row for row in rows if row["of"] == label]
        print(f"\n{label}, {own[0]['pairs']} pairs: Pearson's r (95 %), Spearman's r, mean absolute error")
        lines = []
        for method in dict.fromkeys(row["method"] for row in own):
            cells = [
                f"{r['pearson']['mean']:.3f} ({r['pearson']['low']:.3f} to {r['pearson']['high']:.3f}), "
                f"{r['spearman']['mean']:.2f}, {r['mae']['mean']:.4f} ({r['mae']['low']:.4f} to {r['mae']['high']:.4f})"
                for r in own
                if r["method"] == method
            ]
            lines.append([method, *cells])
        timing.show(["", *MAPS], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="four pairs: does it run? The numbers mean little")
    parser.add_argument("--pairs", type=int, default=N_PAIRS)
    parser.add_argument("--organisms", nargs="*", default=ORGANISMS)
    parser.add_argument("--tasks", nargs="*", default=TASKS)
    parser.add_argument("--no-stories", action="store_true")
    parser.add_argument("--json", metavar="FILE", help="write the rows to this file too")
    options = parser.parse_args()
    n_pairs = 4 if options.quick else options.pairs
    torch.set_num_threads(1)
    rows = []
    for name, task in product(options.organisms, options.tasks):
        model = load(f"organism:{name}")
        pairs = model.read(open_task(f"task:{task}", model, n=n_pairs))
        print(
            f"{name}, {task}: {len(pairs)} pairs, set aside {pairs.count_skipped() or 'none'}, {pairs.metrics[0].kind}",
            flush=True,
        )
        rows += measure(model, pairs, f"{name}, {task}")
    if not options.no_stories and timing.STORIES.is_dir():
        model = load(timing.STORIES)
        asked = stories()
        pairs = model.read(Task(tuple(asked)), least=LEAST_STORY)
        kept = pairs.subset(np.arange(len(pairs)) < n_pairs)
        print(
            f"stories260K: {len(asked)} prompts of our own, dropped {pairs.count_skipped()}; "
            f"{len(pairs)} left, the first {len(kept)} used; "
            f"mean m {kept.m_clean.mean():.2f} clean, {kept.m_counterpart.mean():.2f} corrupted",
            flush=True,
        )
        rows += measure(model, kept, "stories260K, she or he")
    show(rows)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
