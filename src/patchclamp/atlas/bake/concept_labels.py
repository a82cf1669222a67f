"""The labels of the text that an atlas is baked over, and how well each unit detects its concepts."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from patchclamp.atlas.bake.weight_panels import blocks_of
from patchclamp.atlas.store.sqlite_files import CLUSTERED
from patchclamp.core.corpus import Corpus
from patchclamp.core.disk import file_hash, refuse_write
from patchclamp.core.estimate import Estimate
from patchclamp.core.site import Site
from patchclamp.core.stats import Interval, rank
from patchclamp.core.stimulus import Stimulus
from patchclamp.evaluate.labelled import Labelled, read_labels
from patchclamp.record.features import Features
from patchclamp.record.heads import WithHeads
from patchclamp.subjects.corpora import Batches, changed_file_error
from patchclamp.subjects.labelled import is_labelled
from patchclamp.subjects.language import LanguageModel

MOST, PER_UNIT, FEWEST = 8192, 3, 20
GROUP, BLOCK = 65_536, 2048
"""Units whose values one forward pass puts on disk, and units whose values are then held at once."""
Z95, EXTREME = 1.959963984540054, 0.025


def as_documents(corpus: Corpus) -> Corpus:
    """Return a corpus in which each document of a labelled text is a stimulus, so that its tokens are the labels'.

    Raises:
        PatchclampError: a first line of JSON that is too long to be read.
    """
    labelled = corpus.kind != "images" and is_labelled(corpus.path)
    return replace(corpus, kind="documents", bos=True) if labelled else corpus


def labels_of(model: LanguageModel, batches: Batches) -> Labelled | None:
    """Read the labels of a text that was shown; None where it has none.

    Raises:
        PatchclampError: labels of another tokenizer, or a text that is no longer the one that was shown.
    """
    corpus = batches.corpus
    if corpus is None or corpus.kind != "documents":
        return None
    labelled = read_labels(model, corpus.path, MOST)
    if file_hash(corpus.path) != corpus.content:
        raise changed_file_error("text")
    return labelled


def concept_scores(
    model: LanguageModel | Features | WithHeads, labels: Labelled, sites: list[Site], aside: Path, *, batch: int = 32
) -> Iterator[tuple[str, list[list[tuple[str, str, Estimate]]]]]:
    """Yield some units of a site after the others with, per unit, the concepts that it tells best, each with its AUROC.

    Concepts are chosen on even documents and scored on odd ones; the 95 % interval takes documents as clusters.

    Yields:
        tuple[str, list[list[tuple[str, str, Estimate]]]]: path of the site, and per unit its concepts, the best first:
            ``label``, the name, and AUROC.

    Cost: a forward pass over the labelled tokens per group of sites; ranks of every unit twice.
    """
    for path, values in collect_values(model, labels.stimuli, sites, batch, aside):
        yield path, _score_units(values, labels)


def collect_values(
    model: LanguageModel | Features | WithHeads,
    stimuli: Sequence[Stimulus],
    sites: Sequence[Site],
    batch: int,
    aside: Path,
) -> Iterator[tuple[str, Float[np.ndarray, "token unit"]]]:
    """Yield the values of some units of a site after the others, at the counted tokens of stimuli.

    Args:
        model: the subject.
        stimuli: what is shown.
        sites: what is read.
        batch: stimuli per forward pass.
        aside: a folder for files that are gone at the end.

    Yields:
        tuple[str, Float[np.ndarray, "token unit"]]: the site's path, and the values of its next ``BLOCK`` units.

    Raises:
        PatchclampError: a full disk.

    Cost: a forward pass over the stimuli per group of sites; values of a group on disk, of a block in memory.
    """
    counted = [stimulus.counted for stimulus in stimuli]
    n_rows = sum(int(one.sum()) for one in counted)
    for group in group_sites(list(sites)):
        with ExitStack() as open_files:
            files = {site.path: open_files.enter_context(TemporaryFile(dir=aside)) for site in group}
            for first in range(0, len(stimuli), batch):
                own = np.concatenate(counted[first : first + batch])

                def see(path: str, x: Tensor, own=own, files=files) -> None:
                    try:
                        files[path].write(x.float().cpu().numpy()[own].data)
                    except OSError as problem:
                        raise refuse_write(aside, problem) from problem

                model.watch(stimuli[first : first + batch], list(files), see)
            for site in group:
                files[site.path].flush()
                for units in blocks_of(site.width, BLOCK):
                    yield site.path, _read_columns(files[site.path], (n_rows, site.width), units)


def _read_columns(file: IO[bytes], shape: tuple[int, int], units: slice) -> Float[np.ndarray, "token unit"]:
    """Return some columns of the float32 values that a file holds row by row."""
    if not shape[0]:
        return np.empty((0, units.stop - units.start), dtype=np.float32)
    return np.array(np.memmap(file, dtype=np.float32, mode="r", shape=shape)[:, units])


def group_sites(sites: list[Site]) -> list[list[Site]]:
    """Return sites in groups of few enough units for the values of one group to lie on disk at once."""
    groups: list[list[Site]] = [[]]
    for site in sites:
        if groups[-1] and sum(s.width for s in groups[-1]) + site.width > GROUP:
            groups.append([])
        groups[-1].append(site)
    return groups


def _score_units(values: np.ndarray, labels: Labelled) -> list[list[tuple[str, str, Estimate]]]:
    choosing = labels.document % 2 == 0
    enough = (np.minimum(labels.true[choosing].sum(0), labels.true[~choosing].sum(0)) >= FEWEST) & (
        np.minimum((~labels.true[choosing]).sum(0), (~labels.true[~choosing]).sum(0)) >= FEWEST
    )
    asked = np.flatnonzero(enough)
    truth = labels.true[choosing][:, asked]
    positives, n = truth.sum(0), int(choosing.sum())
    scored: list[list[tuple[str, str, Estimate]]] = []
    for unit in values.T:
        if not np.isfinite(unit).all() or not len(asked) or unit.max() == unit.min():
            scored.append([])
            continue
        areas = (rank(unit[choosing]) @ truth - positives * (positives + 1) / 2) / (positives * (n - positives))
        best = asked[np.argsort(-areas, kind="stable")[:PER_UNIT]]
        scores, documents = unit[~choosing], labels.document[~choosing]
        scored.append(
            [("label", labels.names[c], clustered_auroc(scores, labels.true[~choosing, c], documents)) for c in best]
        )
    return scored


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

    Returns:
        Estimate: AUROC in [0, 1]; its interval ends within [0, 1].

    Source: Obuchowski (1997), Biometrics 53, 567-578; at 0 and 1 the bound is ours, after Clopper and Pearson (1934).

    Cost: a sort.

    Example:
        >>> scores, documents = np.array([0.1, 0.9, 0.8, 0.4]), np.array([0, 0, 1, 1])
        >>> clustered_auroc(scores, np.array([False, True, True, False]), documents).value
        1.0
    """
    up, m, n = labels.astype(bool), int(labels.sum()), int((~labels).sum())
    _, level, counts = np.unique(scores, return_inverse=True, return_counts=True)
    positives = np.bincount(level[up], minlength=len(counts))
    negatives = counts - positives
    placed = np.empty(len(scores))
    placed[up] = (np.cumsum(negatives) - negatives / 2)[level[up]] / n
    placed[~up] = 1 - (np.cumsum(positives) - positives / 2)[level[~up]] / m
    area = float(placed[up].mean())
    weight = (placed - area) / np.where(up, m, n)
    _, which = np.unique(cluster, return_inverse=True)
    sums = np.bincount(which, weights=weight)
    spread = float(np.sqrt(len(sums) / max(len(sums) - 1, 1) * (sums**2).sum()))
    low, high = max(area - Z95 * spread, 0.0), min(area + Z95 * spread, 1.0)
    if area in (0.0, 1.0):
        # Where no cluster differs the estimate has no spread, however few they are: Clopper and Pearson's bound for as
        # many agreeing clusters as hold the rarer label stands in.
        reached = EXTREME ** (1 / min(len(np.unique(which[up])), len(np.unique(which[~up]))))
        low, high = (reached, 1.0) if area else (0.0, 1 - reached)
    interval = Interval(low, high, 0.95, CLUSTERED)
    return Estimate(area, interval, m, "AUROC")


def as_rows(first: int, found: Sequence[Sequence[tuple[str, str, Estimate]]]) -> list[tuple[Any, ...]]:
    """Return a site's scores, each with its kind before it, as rows of the table ``concepts``."""
    return [
        (first + unit, r, kind, name, one.value, one.low, one.high, one.n)
        for unit, rows in enumerate(found)
        for r, (kind, name, one) in enumerate(rows)
    ]
