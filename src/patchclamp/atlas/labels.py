"""Labels: labelled text as an atlas is baked over it, and how well each unit tells its concepts."""

import hashlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float

from patchclamp.core.disk import file_hash
from patchclamp.core.estimate import Estimate
from patchclamp.core.site import Site
from patchclamp.core.stats import Interval, rank
from patchclamp.core.stimulus import Stimulus, as_planned, changed_meanwhile
from patchclamp.evaluate.labelled import Labelled, documents, is_labelled, read_labels
from patchclamp.record.features import Features
from patchclamp.record.plan import ImagePlan, Plan, Showing, check_counts
from patchclamp.subjects.language import LanguageModel

MOST, PER_UNIT, FEWEST = 8192, 3, 20
GROUP = 4096
Z95 = 1.959963984540054


def show_labelled(
    model: LanguageModel,
    path: str | Path,
    *,
    window: int,
    max_tokens: int | None = None,
    batch_size: int = 8,
    seed: int = 0,
    skip_first: int = 0,
    **_unasked: object,
) -> Showing:
    """Show every document of a labelled file as a stimulus of its own, so that its tokens are those of the labels.

    Args:
        model: the subject.
        path: the labelled file.
        window: tokens per stimulus at most; what is longer is cut off.
        max_tokens: stop after so many (None: all).
        batch_size: stimuli per forward pass.
        seed: of the survey's sample.
        skip_first: tokens at the beginning of each document that no statistics count; concepts are told of all.

    Raises:
        PatchclampError: a line is no document, or numbers that make no sense.

    Cost: tokenises the file once, and again for every pass.
    """

    check_counts({"--window": window, "--batch-size": batch_size, "--max-tokens": max_tokens})

    def shown() -> Iterator[Stimulus]:
        left = max_tokens
        for document in documents(path):
            most = window if left is None else min(window, left)
            if most <= 0:
                return
            # A document may be longer than the context, which tokenize would refuse.
            stimulus = model.tokenizer.stimulus(document.text, longest=most)
            left = None if left is None else left - len(stimulus)
            yield stimulus

    digest, n_stimuli, n_tokens = hashlib.sha256(), 0, 0
    for stimulus in shown():
        digest.update(stimulus.id.encode())
        n_stimuli, n_tokens = n_stimuli + 1, n_tokens + len(stimulus)
    plan = Plan(
        text=file_hash(Path(path)), window=window, bos=True, chat=False, batch_size=batch_size, max_tokens=max_tokens,
        n_stimuli=n_stimuli, n_tokens=n_tokens, stimuli=digest.hexdigest(), threads=torch.get_num_threads(), seed=seed,
        skip_first=skip_first,
    )  # fmt: skip

    def batches(start: int) -> Iterator[tuple[Stimulus, ...]]:
        rest = islice(as_planned(shown(), plan.stimuli), start, None)
        whole = iter(lambda: tuple(islice(rest, batch_size)), ())
        return (tuple(one.skipping(slice(skip_first, None)) for one in batch) for batch in whole)

    return Showing(plan, batches)


def labels_of(model: LanguageModel, text: str | Path, plan: Plan | ImagePlan) -> Labelled | None:
    """Read the labels of a text that was shown; None where it has none.

    Raises:
        PatchclampError: labels of another tokenizer, or a text that is no longer the one that was shown.
    """
    if not isinstance(plan, Plan) or not is_labelled(text):
        return None
    found = read_labels(model, text, MOST)
    if file_hash(Path(text)) != plan.text:
        raise changed_meanwhile("text")
    return found


def concept_scores(
    model: LanguageModel | Features, labels: Labelled, sites: list[Site], *, batch: int = 32
) -> Iterator[tuple[str, list[list[tuple[str, Estimate]]]]]:
    """Yield each site with, per unit, the concepts that it tells best, each with its AUROC.

    Concepts are chosen on even documents and scored on odd ones; the 95 % interval takes documents as clusters.

    Cost: a forward pass over the labelled tokens per group of sites; ranks of every unit twice.
    """
    for group in _groups(sites):
        parts: dict[str, list[np.ndarray]] = {site.path: [] for site in group}
        for start in range(0, len(labels.stimuli), batch):
            shown = labels.stimuli[start : start + batch]
            counted = np.concatenate([s.counted for s in shown])
            model.watch(
                shown, list(parts), lambda path, x, counted=counted, parts=parts: parts[path].append(  # type: ignore[misc]
                    np.asarray(x.float().cpu())[counted]
                ),
            )  # fmt: skip
        for path, found in parts.items():
            yield path, _scored(np.concatenate(found), labels)


def _groups(sites: list[Site]) -> list[list[Site]]:
    groups: list[list[Site]] = [[]]
    for site in sites:
        if groups[-1] and sum(s.width for s in groups[-1]) + site.width > GROUP:
            groups.append([])
        groups[-1].append(site)
    return groups


def _scored(values: np.ndarray, labels: Labelled) -> list[list[tuple[str, Estimate]]]:
    choosing = labels.document % 2 == 0
    enough = (np.minimum(labels.true[choosing].sum(0), labels.true[~choosing].sum(0)) >= FEWEST) & (
        np.minimum((~labels.true[choosing]).sum(0), (~labels.true[~choosing]).sum(0)) >= FEWEST
    )
    asked = np.flatnonzero(enough)
    truth = labels.true[choosing][:, asked]
    positives, n = truth.sum(0), int(choosing.sum())
    found: list[list[tuple[str, Estimate]]] = []
    for unit in values.T:
        if not np.isfinite(unit).all() or not len(asked) or unit.max() == unit.min():
            found.append([])
            continue
        areas = (rank(unit[choosing]) @ truth - positives * (positives + 1) / 2) / (positives * (n - positives))
        best = asked[np.argsort(-areas, kind="stable")[:PER_UNIT]]
        scores, documents = unit[~choosing], labels.document[~choosing]
        found.append([(labels.names[c], clustered_auroc(scores, labels.true[~choosing, c], documents)) for c in best])
    return found


def clustered_auroc(
    scores: Float[np.ndarray, " token"], labels: Bool[np.ndarray, " token"], cluster: np.ndarray
) -> Estimate:
    """Return AUROC with a 95 % interval that takes tokens of one document as dependent; n is how many are positive.

    Obuchowski's estimate (1997): var = I / (I − 1) · Σ_d (Σ_{i∈d} (V_i − A) / m + Σ_{j∈d} (W_j − A) / n)², where V_i
    is the share of negatives below positive i (ties half), and W_j the share of positives above negative j.

    Args:
        scores: one per token.
        labels: which are positive; some are and some are not.
        cluster: each token's document.

    Cost: three sorts.
    """
    up, m, n = labels.astype(bool), int(labels.sum()), int((~labels).sum())
    ranks = rank(scores)
    placed = np.empty(len(scores))
    placed[up] = (ranks[up] - rank(scores[up])) / n
    placed[~up] = 1 - (ranks[~up] - rank(scores[~up])) / m
    area = float(placed[up].mean())
    weight = (placed - area) / np.where(up, m, n)
    _, which = np.unique(cluster, return_inverse=True)
    sums = np.bincount(which, weights=weight)
    spread = float(np.sqrt(len(sums) / max(len(sums) - 1, 1) * (sums**2).sum()))
    interval = Interval(max(area - Z95 * spread, 0.0), min(area + Z95 * spread, 1.0), 0.95, "clustered by document")
    return Estimate(area, interval, m, "AUROC")


def as_rows(first: int, found: list[list[tuple[str, Estimate]]]) -> list[tuple[Any, ...]]:
    """Return a site's scores as rows of the table ``concepts``."""
    return [
        (first + unit, r, name, one.value, one.low, one.high, one.n)
        for unit, rows in enumerate(found)
        for r, (name, one) in enumerate(rows)
    ]
