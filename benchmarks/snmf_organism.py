"""Semi-NMF of a trained organism: do its features detect concepts, and do its neurons come as core and exclusive?

The figures in docs/results/features.md. Concepts and sentences come from the organism's labels; every share stands
beside random directions as sparse as the features, and beside dense ones.
"""

import argparse

import numpy as np
import timing

import patchclamp as pc
from patchclamp.core.basis import Basis
from patchclamp.core.stats import mean_interval, wilson_interval
from patchclamp.decompose.concepts import describe_outputs, detect_concepts, random_directions
from patchclamp.decompose.hierarchy import core_and_exclusive, neuron_overlap
from patchclamp.decompose.snmf import SNMF
from patchclamp.organisms import language
from patchclamp.organisms.language.words import DAYS

SITES = ("blocks.1.mlp.act", "blocks.2.mlp.act", "blocks.3.mlp.act")
DAY_NAMES = DAYS["english"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny settings: does it run? The numbers mean little")
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--features", type=int, default=50)
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--sparsity", type=float, nargs="+", default=[0.01, 0.05, 0.1])
    options = parser.parse_args()
    if options.quick:
        options.documents, options.iterations, options.sparsity = 100, 20, [0.05]
    model = pc.load("organism:language-gpt2")
    concepts(model, options)
    days(model, 60 if options.quick else 400)


def concepts(model: pc.LanguageModel, options: argparse.Namespace) -> None:
    """Print the share of features with S_CD > 0 beside that of random directions."""
    texts = language.text(options.documents, seed=5, model=model)
    sentences, start = [], 0
    for one in texts:
        number = np.concatenate([[0], np.cumsum(one.where("sentence_end"))[:-1]]) + start
        start = int(number.max()) + 1
        sentences.append(np.where(one.stimulus.counted, number, -1))
    number, truth = np.concatenate(sentences), np.concatenate([one.matrix for one in texts])
    print(f"{(number >= 0).sum():,} tokens of {start:,} sentences, {options.features} features")
    batches = [[one.stimulus for one in texts[i : i + 50]] for i in range(0, len(texts), 50)]
    parts = [model.run(batch, record=SITES, logits=False).recording for batch in batches]
    rows = []
    for site in SITES:
        values = np.concatenate([part[site].numpy() for part in parts])
        for sparsity in options.sparsity:
            found = SNMF(options.features, sparsity, max_iter=options.iterations, seed=0)
            # Only sentences that name: the others have no part in the fit either.
            naming = values[(number >= 0) & (number % 2 == 0)]
            found.fit(naming)
            n, width = options.features, values.shape[1]
            candidates = {
                "features": found.components_,
                "random, as sparse": np.concatenate([random_directions(n, width, sparsity, seed=s) for s in range(4)]),
                "random, dense": random_directions(4 * n, width, 1.0, seed=9),
            }
            for name, directions in candidates.items():
                scored = detect_concepts(values, directions, truth, number)
                defined = [s for s in scored.scores if s is not None]
                positive = sum(s > 0 for s in defined)
                interval = wilson_interval(positive, len(scored.scores))
                rows.append([
                    site, sparsity, name, f"{scored.share_positive:.2f} ({interval.low:.2f}-{interval.high:.2f})",
                    scored.n_undefined, f"{np.median(defined):.2f}" if defined else "-",
                    len(set(scored.concepts)), f"{found.reconstruction_err_ / np.linalg.norm(naming):.2f}",
                ])  # fmt: skip
    timing.show(
        ["site", "p", "directions", "S_CD > 0 (95 %)", "undefined", "median S_CD", "concepts named", "error"], rows
    )


def days(model: pc.LanguageModel, iterations: int) -> None:
    """Steer with the neurons that the days' features share and with those of one day alone."""
    pairs = [p for p in language.tasks("days", 400) if p.answer.strip() in DAY_NAMES]
    due = np.array([DAY_NAMES.index(p.answer.strip()) for p in pairs])
    neutral = [p.clean for p in language.tasks("ioi", 15) + language.tasks("facts", 15)]
    ids = [model.continuation("on", f" {day}")[0] for day in DAY_NAMES]
    rows = []
    for site in SITES:
        values = last_rows(model, [p.clean for p in pairs], site)
        everyday = last_rows(model, neutral, site)
        size = float(np.linalg.norm(everyday, axis=1).mean())
        fit = SNMF(20, 0.1, max_iter=iterations, seed=0).fit(np.concatenate([values, everyday]))
        codes = fit.codes_[: len(values)] * np.linalg.norm(fit.components_, axis=1)
        contrast = np.stack([codes[due == i].mean(0) - codes[due != i].mean(0) for i in range(7)])
        chosen = contrast.argmax(1)
        family = fit.components_[chosen] / np.linalg.norm(fit.components_[chosen], axis=1, keepdims=True)
        (core, exclusive), (most, _) = core_and_exclusive(family), core_and_exclusive(family, shared_by=4)
        shared = neuron_overlap(family)[np.triu_indices(7, 1)].mean()
        print(f"\n{site}: features {chosen.tolist()} for {', '.join(DAY_NAMES)}; {len(core)} neurons in all of them,")
        print(f"{len(most)} in four or more, {[len(e) for e in exclusive]} in one alone; two days share {shared:.1f}")
        for day, (up, down) in zip(DAY_NAMES, describe_outputs(model, site, family, top=4), strict=True):
            print(f"  {day}: + {' '.join(up)}   - {' '.join(down)}")
        rng = np.random.default_rng(0)
        directions, names = [], []
        common, mostly = np.zeros((2, values.shape[1]))
        common[core], mostly[most] = family[:, core].mean(0), family[:, most].mean(0)
        for i, own in enumerate(exclusive):
            only = np.zeros_like(common)
            only[own] = family[i, own]
            directions.append(only)
            names.append(i)
        shuffled = [rng.permutation(one) for one in [common, mostly, *directions] for _ in range(3)]
        changes = effects(model, site, [common, *directions, mostly, *shuffled], size, neutral, ids)
        if len(core):
            rows.append([site, "core: in all seven", len(core), *shown(changes[0])])
        if len(most):
            rows.append([site, "in four or more", len(most), *shown(changes[8])])
        own = np.array([changes[1 + i][:, i] for i in names if len(exclusive[i])])
        others = np.array([np.delete(changes[1 + i], i, axis=1).mean(1) for i in names if len(exclusive[i])])
        if len(own):
            n = f"{np.mean([len(e) for e in exclusive]):.1f}"
            rows.append([site, "exclusive: its own day", n, *shown(own.reshape(-1, 1))])
            rows.append([site, "exclusive: other days", n, *shown(others.reshape(-1, 1))])
        rows.append([site, "same weights on random neurons", "", *shown(np.concatenate(changes[9:]))])
    print("\nlogits of days, centred on the mean logit of the vocabulary, at the last token of 30 prompts without days")
    timing.show(["site", "neurons", "number", "mean change", "95 %", "share of rises"], rows)


def last_rows(model: pc.LanguageModel, prompts: list[str], site: str) -> np.ndarray:
    recording = model.run(prompts, record=site, logits=False).recording
    return np.stack([recording.of(site, i)[-1].numpy() for i in range(len(prompts))])


def effects(
    model: pc.LanguageModel, site: str, directions: list[np.ndarray], size: float, prompts: list[str], ids: list[int]
) -> list[np.ndarray]:
    """Return by how much adding each direction, as long as activations are there, raises each day: (prompt, day)."""

    def measured(changes: list) -> np.ndarray:
        logits = np.asarray(model.run(prompts, logits=[-1], interventions=changes).logits[:, 0])
        return logits[:, ids] - logits.mean(1, keepdims=True)

    bare, found = measured([]), []
    for direction in directions:
        length = np.linalg.norm(direction)
        if not length:
            found.append(np.zeros_like(bare))
            continue
        unit = (direction / length)[None].astype(np.float32)
        model.add_basis(Basis("days", "directions", decoder=unit), site)
        found.append(measured([pc.change("add", site, 0, basis="days", value=size, at=-1)]) - bare)
    return found


def shown(changes: np.ndarray) -> tuple[str, str, str]:
    interval = mean_interval(changes.mean(1))
    return f"{changes.mean():+.2f}", f"{interval.low:+.2f} to {interval.high:+.2f}", f"{(changes > 0).mean():.0%}"


if __name__ == "__main__":
    main()
