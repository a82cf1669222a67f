"""Which token, preceding token or class of token each unit detects, where a text carries no labels."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from patchclamp.atlas.bake.concept_labels import clustered_auroc, collect_values
from patchclamp.core.estimate import Estimate
from patchclamp.core.site import Site
from patchclamp.core.stimulus import Stimulus
from patchclamp.record.features import Features
from patchclamp.record.heads import WithHeads
from patchclamp.subjects.language import LanguageModel

MOST = 6144
"""Counted tokens that are looked at, about."""
FEWEST = 10
"""Tokens at which a pattern must be true, and at which it must be false, in each half."""
SEEN = 3
"""Times that a token must occur for its mean activation to be compared with others'."""
LONGEST, GAIN = 6, 0.002
"""Most tokens that one pattern names, and what each must add to the AUROC of those before it."""
HIGHEST, SHARE = 20, 0.25
"""Of the tokens at which a unit is highest, how many are looked at, and the share at which what it detects must hold:
a rare token can have a high AUROC while the unit is highest elsewhere."""
COLUMNS = 256
"""Units whose ranks are held at once."""

Detected = tuple[str, str, Estimate]
"""Kind of a pattern (``token``, ``after`` or ``class``), its words, and its AUROC."""


@dataclass(frozen=True, eq=False)
class PatternSample:
    """Counted tokens of whole stimuli, spread evenly over a text.

    Args:
        stimuli: the stimuli.
        ids: id of each counted token.
        before: id of the token before it; -1 at a beginning and after a special token.
        document: number of each token's stimulus, its cluster.
    """

    stimuli: tuple[Stimulus, ...]
    ids: Int[np.ndarray, " token"]
    before: Int[np.ndarray, " token"]
    document: Int[np.ndarray, " token"]

    @property
    def choosing(self) -> Bool[np.ndarray, " token"]:
        """Tokens that patterns are chosen on: the first half of the stimuli. They are measured on the second."""
        return self.document < (len(self.stimuli) + 1) // 2


@dataclass(frozen=True, eq=False)
class Patterns:
    """Patterns that a sample has often enough.

    Args:
        kinds: of each pattern.
        names: words of each; of tokens their text, without the space before.
        true: where each holds.
    """

    kinds: tuple[str, ...]
    names: tuple[str, ...]
    true: Bool[np.ndarray, "token pattern"]

    @cached_property
    def groups(self) -> list[tuple[str, Int[np.ndarray, " pattern"]]]:
        """Each kind with the places of its patterns."""
        each = itertools.groupby(range(len(self.kinds)), key=lambda i: self.kinds[i])
        return [(kind, np.array(list(group))) for kind, group in each]


@dataclass(frozen=True, eq=False)
class SiteScores:
    """What some units of a site detect.

    Args:
        detected: per unit the best pattern, in a list; an empty one where none stands above chance.
        strongest: per unit the token with the highest mean activation, that mean and the times it occurs; None where no
            token occurs often enough.
    """

    detected: list[list[Detected]]
    strongest: list[tuple[int, float, int] | None]


def sample_tokens(stimuli: Sequence[Stimulus]) -> PatternSample:
    """Return the counted tokens of stimuli that were taken from a text, evenly spaced."""
    ids, before, document = [], [], []
    for number, stimulus in enumerate(stimuli):
        counted = stimulus.counted
        preceding = np.concatenate([[-1], np.where(counted[:-1], stimulus.ids[:-1], -1)])
        ids.append(stimulus.ids[counted])
        before.append(preceding[counted])
        document.append(np.full(int(counted.sum()), number))
    return PatternSample(tuple(stimuli), *(np.concatenate(a).astype(np.int64) for a in (ids, before, document)))


def find_patterns(sample: PatternSample, spelling: Callable[[int], tuple[str, bool]]) -> Patterns:
    """Return the tokens, preceding tokens and classes of token that hold often enough in both halves.

    Args:
        sample: counted tokens.
        spelling: text of a token by its id, and whether that text is bytes in hex.
    """
    texts = {int(i): spelling(int(i)) for i in np.unique(np.concatenate([sample.ids, sample.before])) if i >= 0}
    masks = dict(_classes(sample, {i: text for i, (text, _) in texts.items()}))
    for kind, ids in (("token", sample.ids), ("after", sample.before)):
        words: dict[str, list[int]] = {}
        for i in np.unique(ids[ids >= 0]).tolist():
            text = texts[i][0]
            words.setdefault(text.strip() or text, []).append(i)
        # A line break is a class; other white space has no name to be read by.
        masks |= {(kind, word): np.isin(ids, group) for word, group in words.items() if word.strip()}
    halves = sample.choosing, ~sample.choosing
    enough = {
        name: mask
        for name, mask in masks.items()
        if all(FEWEST <= mask[half].sum() <= half.sum() - FEWEST for half in halves)
    }
    true = np.stack(list(enough.values()), 1) if enough else np.zeros((len(sample.ids), 0), dtype=bool)
    return Patterns(tuple(kind for kind, _ in enough), tuple(name for _, name in enough), true)


def _classes(
    sample: PatternSample, texts: Mapping[int, str]
) -> Iterator[tuple[tuple[str, str], Bool[np.ndarray, " token"]]]:
    """Yield classes of token, and what stands after some of them."""
    known = sorted(texts)
    place = np.searchsorted(known, sample.ids)
    held = sample.before >= 0
    place_before = np.searchsorted(known, np.where(held, sample.before, known[0]))
    words = [texts[i] for i in known]

    def where(test: Callable[[str], bool]) -> tuple[Bool[np.ndarray, " token"], Bool[np.ndarray, " token"]]:
        true = np.array([test(word) for word in words])
        return true[place], true[place_before] & held

    breaks, after_break = where(lambda word: "\n" in word)
    marks, after_mark = where(lambda word: bool(word.strip()) and not any(c.isalnum() for c in word))
    numbers, _ = where(lambda word: word.strip().isdigit())
    letters, _ = where(lambda word: word.strip()[:1].isalpha())
    spaced, _ = where(lambda word: word[:1].isspace())
    upper, _ = where(lambda word: word.strip()[:1].isupper())
    loud, _ = where(lambda word: len(word.strip()) > 1 and word.strip().isupper())
    _, joins = where(lambda word: word[-1:].isalnum())
    begins = letters & (spaced | ~joins)
    named = {
        "line break": breaks,
        "punctuation": marks,
        "number": numbers,
        "capitalised word": begins & upper,
        "capital letters": loud,
        "beginning of a word": begins,
        "inside of a word": letters & ~begins,
        "after a line break": after_break,
        "after punctuation": after_mark,
    }
    for name, mask in named.items():
        yield ("class", name), mask


def pattern_scores(
    model: LanguageModel | Features | WithHeads,
    sample: PatternSample,
    patterns: Patterns,
    sites: Sequence[Site],
    aside: Path,
    *,
    batch: int = 32,
) -> Iterator[tuple[str, SiteScores]]:
    """Yield some units of a site after the others with what they detect, and the tokens at which they are strongest.

    Patterns are chosen on the first half of the stimuli and measured on the second; the 95 % interval takes stimuli as
    clusters.

    Yields:
        tuple[str, SiteScores]: path of the site, and what these units detect.

    Cost: a forward pass over the sample per group of sites; ranks of every unit once, and of the best patterns again.
    """
    for path, values in collect_values(model, sample.stimuli, sites, batch, aside):
        yield path, SiteScores(score_patterns(values, sample, patterns), strongest_tokens(values, sample))


def score_patterns(
    values: Float[np.ndarray, "token unit"], sample: PatternSample, patterns: Patterns
) -> list[list[Detected]]:
    """Choose each unit's pattern on one half of the text and measure it on the other; none where all are below chance.

    Returns:
        list[list[Detected]]: per unit its pattern, or nothing.
    """
    choosing = sample.choosing
    documents, measured = sample.document[~choosing], patterns.true[~choosing]
    truth = patterns.true[choosing].astype(np.float32)
    counts = truth.sum(0).astype(np.float64)
    usable = np.isfinite(values).all(0)
    usable &= (values.max(0, initial=-np.inf) > values.min(0, initial=np.inf)) & bool(patterns.names)
    found: list[list[Detected]] = [[] for _ in range(values.shape[1])]
    for start in range(0, values.shape[1], COLUMNS):
        columns = start + np.flatnonzero(usable[start : start + COLUMNS])
        if not len(columns):
            continue
        some = values[:, columns]
        rest = np.ascontiguousarray(some[~choosing].T)
        ranks, highest = _rank_rows(some[choosing].T)
        sums = ranks.astype(np.float32) @ truth  # (unit, pattern)
        for unit, held_out, row, places in zip(columns.tolist(), rest, sums.astype(np.float64), highest, strict=True):
            chosen = _choose(row, counts, len(truth), patterns, truth[places])
            if chosen:
                estimate = clustered_auroc(held_out, measured[:, chosen].any(1), documents)
                kind = patterns.kinds[chosen[0]]
                words = " ".join(["after"] * (kind == "after") + [patterns.names[i] for i in chosen])
                found[unit].append((kind, words, estimate))
    return found


def _choose(
    sums: Float[np.ndarray, " pattern"],
    n: Float[np.ndarray, " pattern"],
    total: int,
    patterns: Patterns,
    top: Float[np.ndarray, "place pattern"],
) -> list[int]:
    """Return the best pattern, or the best few tokens or preceding tokens.

    None where all are below chance, or hold at too few of the tokens at which the unit is highest (``top``).
    AUROC = (R − n (n + 1) / 2) / (n (N − n)), R the sum of the ranks of the n positives.
    """
    areas = (sums - n * (n + 1) / 2) / (n * (total - n))
    best: tuple[float, list[int]] = (0.5, [])
    held = top.mean(0)
    for kind, group in patterns.groups:
        least = SHARE if kind == "class" else 0.0  # of several tokens each must be there, and all together enough
        members = group[held[group] > least]
        if not len(members):
            continue
        if kind == "class":
            first = int(members[np.argmax(areas[members])])
            best = max(best, (float(areas[first]), [first]), key=lambda one: one[0])
            continue
        # By mean rank, so that every further token is the one that stands highest among the rest.
        order = members[np.argsort(-(sums / n)[members], kind="stable")][:LONGEST]
        positives, ranks = np.cumsum(n[order]), np.cumsum(sums[order])
        along = (ranks - positives * (positives + 1) / 2) / (positives * np.maximum(total - positives, 1))
        size = 1
        while size < len(order) and total > positives[size] and along[size] >= along[size - 1] + GAIN:
            size += 1
        if top[:, order[:size]].any(1).mean() > SHARE:
            best = max(best, (float(along[size - 1]), order[:size].tolist()), key=lambda one: one[0])
    return best[1]


def _rank_rows(
    values: Float[np.ndarray, "unit token"],
) -> tuple[Float[np.ndarray, "unit token"], Int[np.ndarray, "unit place"]]:
    """Return ranks from 1 within each row, ties at their mean, and the ``HIGHEST`` places, of equals the first first.

    Value and place are packed into one integer, so that one sort gives both.
    """
    n = values.shape[1]
    bits = np.ascontiguousarray(values + np.float32(0), dtype=np.float32).view(np.int32)  # adding makes −0 equal to 0
    keys = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).astype(np.int64)
    keys <<= 32
    keys |= np.arange(n - 1, -1, -1)
    keys.sort(axis=1)
    order = n - 1 - (keys & 0xFFFFFFFF)
    new = np.ones(values.shape, dtype=bool)
    new[:, 1:] = (keys[:, 1:] ^ keys[:, :-1]) >> 32 != 0
    places = np.arange(n)
    first = np.maximum.accumulate(np.where(new, places, 0), axis=1)
    ends = np.ones(values.shape, dtype=bool)
    ends[:, :-1] = new[:, 1:]
    last = np.minimum.accumulate(np.where(ends, places, n - 1)[:, ::-1], axis=1)[:, ::-1]
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, (first + last) / 2 + 1, 1)
    return ranks, order[:, : -HIGHEST - 1 : -1]


def strongest_tokens(
    values: Float[np.ndarray, "token unit"], sample: PatternSample
) -> list[tuple[int, float, int] | None]:
    """Find the token at which each unit is strongest on average, among those that occur ``SEEN`` times.

    Returns:
        list[tuple[int, float, int] | None]: per unit the token's id, the mean, and how often it occurs; None where
            there is none, or where values are not finite.
    """
    ids, which, n = np.unique(sample.ids, return_inverse=True, return_counts=True)
    by_token = np.argsort(which, kind="stable")
    starts = np.concatenate([[0], np.cumsum(n)[:-1]])
    strongest: list[tuple[int, float, int] | None] = []
    for first in range(0, values.shape[1], COLUMNS):
        some = values[by_token, first : first + COLUMNS]
        with np.errstate(invalid="ignore"):
            means = np.add.reduceat(some, starts, axis=0, dtype=np.float64) / n[:, None]  # (id, unit)
        means[n < SEEN] = -np.inf
        best = means.argmax(0)
        top = means[best, np.arange(some.shape[1])]
        strongest += [
            (int(ids[i]), float(mean), int(n[i])) if np.isfinite(mean) else None
            for i, mean in zip(best.tolist(), top.tolist(), strict=True)
        ]
    return strongest
