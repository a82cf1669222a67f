"""AUROC of the best unit for each labelled concept, on text that it was not chosen on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int

from patchclamp.core.arguments import checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import Estimate
from patchclamp.core.stats import Interval, auroc, rank

RESAMPLES, FEWEST = 500, 20


@checked
@dataclass(frozen=True, eq=False)
class ConceptUnit:
    """Hold the unit of a set that detects one concept best.

    Args:
        unit: which, as ``prefix/index``.
        sign: −1 if the unit falls when the concept is true.
        auroc: on the half that it was not chosen on; its interval resamples documents, of which there are ``n``.
        chosen_at: AUROC on the half that it was chosen on.
        positives: tokens of the scored half where the concept is true.
        draws: AUROC under every resample; those of one seed are of the same documents whatever the unit.
    """

    unit: str
    sign: int
    auroc: Estimate
    chosen_at: float
    positives: int
    draws: Float[np.ndarray, " resample"] = field(repr=False)


@checked
def find_concept_units(
    blocks: Iterable[tuple[str, Float[np.ndarray, "token unit"]]],
    true: Bool[np.ndarray, "token concept"],
    names: Sequence[str],
    documents: Int[np.ndarray, " token"],
    *,
    signed: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, ConceptUnit]:
    """Find the unit that detects each concept best on one half of the documents, and score it on the other half.

    AUROC = P(value where the concept is true > value where it is not), ties counted half.

    Args:
        blocks: activations of some units at a time, each block with the prefix of its units' keys.
        true: which concepts are true of each token.
        names: the concepts.
        documents: number of each token's document; even ones choose, odd ones score.
        signed: whether a unit that falls detects a concept too, as for directions without a sign of their own.
        resamples: how often the scored documents are drawn again for the interval.
        seed: of the draws.

    Returns:
        dict: per concept that is true and untrue at least 20 times in either half.

    Raises:
        PatchclampError: lengths that differ, or NaN values.

    Source: 2406.04093, section 4.2, in AUROC instead of a logistic probe.

    Cost: a rank of every unit's values on one half; memory of one block.

    Example:
        >>> documents = np.repeat(np.arange(60), 2)
        >>> true = np.tile([[True], [False]], (60, 1))
        >>> units = find_concept_units([("site/neurons", true * [[0.0, 2.0]])], true, ["cat"], documents)
        >>> units["cat"].unit, units["cat"].auroc.value
        ('site/neurons/1', 1.0)
    """
    if not len(true) == len(documents) or true.shape[1] != len(names):
        raise PatchclampError(
            expected="a row of labels and a document for every token, a name for every concept",
            got=f"{true.shape} labels, {len(documents)} documents, {len(names)} names",
            remedy="Leave out the same tokens everywhere.",
        )
    choosing = documents % 2 == 0
    enough = [
        i
        for i in range(len(names))
        if all(FEWEST <= true[half, i].sum() <= half.sum() - FEWEST for half in (choosing, ~choosing))
    ]
    truth = true[choosing][:, enough].astype(np.float64)
    best = np.full(len(enough), -np.inf)
    kept: dict[int, tuple[str, int, np.ndarray]] = {}
    for prefix, values in blocks:
        areas = _areas(values[choosing], truth)
        worth = np.maximum(areas, 1 - areas) if signed else areas
        top = worth.argmax(axis=0) if worth.size else np.zeros(len(enough), dtype=int)
        for i in map(int, np.flatnonzero(worth[top, np.arange(len(enough))] > best)) if worth.size else ():
            unit = int(top[i])
            best[i] = worth[unit, i]
            sign = 1 if areas[unit, i] == best[i] else -1
            kept[i] = (f"{prefix}/{unit}", sign, values[~choosing, unit].astype(np.float64))
    _, number = np.unique(documents[~choosing], return_inverse=True)
    n = int(number.max()) + 1 if len(number) else 1
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    units = {}
    for i, (key, turn, scores) in sorted(kept.items()):
        scored = true[~choosing, enough[i]]
        resampled = _resample(turn * scores, scored, draws[:, number])
        units[names[enough[i]]] = ConceptUnit(
            key,
            turn,
            _estimate(auroc(turn * scores, scored), resampled, n),
            float(best[i]),
            int(scored.sum()),
            resampled,
        )
    return units


@checked
def auroc_margin(one: ConceptUnit, other: ConceptUnit) -> Estimate:
    """Return one AUROC minus another, with a 95 % interval over the same resampled documents."""
    return _estimate(one.auroc.value - other.auroc.value, one.draws - other.draws, one.auroc.n)


def _estimate(value: float, draws: Float[np.ndarray, " resample"], n: int) -> Estimate:
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return Estimate(value, Interval(float(low), float(high), 0.95, "percentile bootstrap over documents"), n, "AUROC")


def _areas(
    values: Float[np.ndarray, "token unit"], truth: Float[np.ndarray, "token concept"]
) -> Float[np.ndarray, "unit concept"]:
    """Return every unit's AUROC for every concept, by the sum of positive ranks; only what is not silent is sorted."""
    positives, n = truth.sum(0), len(truth)
    areas = np.empty((values.shape[1], truth.shape[1]))
    for i, unit in enumerate(values.T):
        if not np.isfinite(unit).all():
            raise PatchclampError(
                expected="finite values",
                got=f"NaN or infinite ones of unit {i}",
                remedy="Check the model and the basis.",
            )
        active = unit > unit.min()
        silent = n - int(active.sum())
        sums = np.broadcast_to((silent + 1) / 2 * positives, positives.shape)
        if silent < n:
            sums = sums + (silent + rank(unit[active]) - (silent + 1) / 2) @ truth[active]
        areas[i] = (sums - positives * (positives + 1) / 2) / (positives * (n - positives))
    return areas


def _resample(
    scores: Float[np.ndarray, " token"], labels: Bool[np.ndarray, " token"], weights: Int[np.ndarray, "resample token"]
) -> Float[np.ndarray, " resample"]:
    """Compute AUROC under every row of token weights."""
    order = np.argsort(scores, kind="stable")
    scores, labels, weights = scores[order], labels[order], weights[:, order].astype(np.float32)
    firsts = np.flatnonzero(np.r_[True, scores[1:] != scores[:-1]])
    up = np.add.reduceat(weights * labels, firsts, axis=1, dtype=np.float64)
    down = np.add.reduceat(weights * ~labels, firsts, axis=1, dtype=np.float64)
    below = np.cumsum(down, axis=1) - down / 2
    pairs = up.sum(axis=1) * down.sum(axis=1)
    # A draw without a positive (or a negative) has no area; it is left out of the interval.
    areas: Float[np.ndarray, " resample"] = np.where(pairs > 0, (up * below).sum(axis=1) / np.maximum(pairs, 1), np.nan)
    return areas
