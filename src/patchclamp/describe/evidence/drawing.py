"""Draw each unit's windows from its highest activation in every window: firing ones, and silent ones of three kinds."""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from patchclamp.core.exemplars import KINDS
from patchclamp.core.options import option
from patchclamp.describe.evidence.windows import Resemblance, Windows

BINS, SHARE_TOP = 10, 0.2
PER_NEIGHBOUR, LIKE = 10, 10
"""Windows of one neighbour at most, and how many of the highest windows those that resemble them are near to."""
SIDES = ("train", "test")
FEW, MANY, FLAT = "too few firing", "too few silent", "constant"
REASONS = {
    "": "",
    FEW: "it fires in fewer windows than the least on one side",
    MANY: "it is silent in fewer windows than the least on one side",
    FLAT: "its activation is the same everywhere",
}
"""Why a unit has no evidence."""
COUNTED_REASONS = {
    FEW: "{n:,} fire in fewer than {least:,} windows on one side",
    MANY: "{n:,} are silent in fewer than {least:,} windows on one side",
    FLAT: "{n:,} never vary",
}
"""How it is said of several units."""


@dataclass(frozen=True)
class EvidenceOptions:
    """Say which windows are drawn for each unit."""

    window: int = option(32, "tokens of a window; a corpus that names its own window keeps it", least=2)
    n_train: int = option(40, "windows for training in which the unit fires", least=1)
    n_test: int = option(50, "windows for testing in which the unit fires", least=1)
    n_negative: int = option(50, "silent windows of each kind, on each side", least=0)
    sampling: Literal["mix", "quantile", "top", "random"] = option(
        "mix", "how firing windows are drawn: the highest, at random, as many from each tenth, or a fifth and tenths"
    )
    negatives: tuple[Literal["silent", "neighbour", "near"], ...] = option(
        ("silent", "neighbour", "near"), "kinds of silent windows: random, of units that fire often with it, alike"
    )
    fires: float = option(
        0.3, "share of the way from a unit's mean to its highest activation from where it fires", least=0.0, most=1.0
    )
    side: Literal["larger", "positive", "negative"] = option(
        "larger", "direction in which a unit fires; larger: where its extreme is farther from its mean"
    )
    least: int = option(10, "windows in which a unit must fire, and be silent, on each side", least=1)
    test: float = option(0.5, "share of the windows that are for testing", least=0.05, most=0.95)


@dataclass(frozen=True, eq=False)
class Levels:
    """Hold where units fire, in columns; everything is known from training windows alone.

    A unit fires at a token where ``sign · activation`` reaches ``fires``, and it is silent in a window all of whose
    tokens stay below ``silent``. What lies between is never drawn. ``fires`` lies at a share of the way from the mean
    over all training tokens to the highest activation, ``silent`` half as far. Of a unit that is 0 nearly everywhere,
    such as a sparse feature, the mean is nearly 0, and both are shares of its maximum. A unit that is active nearly
    everywhere, such as most heads, would have no silent windows: so ``fires`` is at least the median of the windows'
    maxima, and ``silent`` at least their twentieth part's.

    Args:
        sign: ``(unit,)`` 1, or −1 of a unit that fires below its mean.
        mean: ``(unit,)`` over training tokens, with that sign.
        peak: ``(unit,)`` the highest in training windows, with that sign.
        fires: ``(unit,)`` from where it fires.
        silent: ``(unit,)`` below which it is silent.
    """

    sign: Int[np.ndarray, " unit"]
    mean: Float[np.ndarray, " unit"]
    peak: Float[np.ndarray, " unit"]
    fires: Float[np.ndarray, " unit"]
    silent: Float[np.ndarray, " unit"]


def find_levels(
    high: Float[np.ndarray, "unit window"],
    low: Float[np.ndarray, "unit window"] | None,
    mean: Float[np.ndarray, " unit"],
    training: Int[np.ndarray, " train"],
    options: EvidenceOptions,
) -> tuple[Levels, Float[np.ndarray, "unit window"]]:
    """Return where units fire, and the highest signed activation in every window.

    Args:
        high: the highest activation of each window,
        low: and the lowest; None where the direction is ``positive``.
        mean: over the tokens of training windows.
        training: numbers of these windows.
        options: direction and share.

    Returns:
        tuple: the levels, and ``(unit, window)`` the highest of what has their sign.
    """
    none = np.zeros(len(high), dtype=np.float64)
    up = high[:, training].max(1).astype(np.float64) - mean if len(training) else none
    down = none if low is None or not len(training) else mean - low[:, training].min(1)
    falls = down > up if options.side == "larger" else np.full(len(high), options.side == "negative")
    sign = np.where(falls, -1, 1).astype(np.int8)
    signed = high if low is None else np.where(falls[:, None], -low, high)
    rise = np.where(falls, down, up)
    centre = sign * mean
    fires, silent = centre + options.fires * rise, centre + options.fires / 2 * rise
    if len(training):
        few, half = len(training) // 20, len(training) // 2
        ranked = np.partition(signed[:, training], (few, half), axis=1)
        fires, silent = np.maximum(fires, ranked[:, half]), np.maximum(silent, ranked[:, few])
    return Levels(sign, centre, centre + rise, fires, silent), signed


@dataclass(frozen=True, eq=False)
class Drawn:
    """Hold which windows were drawn, row by row: by unit, then side, kind and falling activation.

    Args:
        unit: ``(row,)`` place of the unit in its group.
        side: ``(row,)`` place in ``SIDES``.
        kind: ``(row,)`` place in ``KINDS``.
        window: ``(row,)`` number of the window.
        neighbour: ``(row,)`` in windows of a neighbour its place among the units of the source, −1 in others.
        reason: ``(unit,)`` place in ``REASONS`` of why there is no evidence; 0 where there is.
        n_firing: ``(unit, side)`` windows in which the unit fires,
        n_silent: and is silent.
    """

    unit: Int[np.ndarray, " row"]
    side: Int[np.ndarray, " row"]
    kind: Int[np.ndarray, " row"]
    window: Int[np.ndarray, " row"]
    neighbour: Int[np.ndarray, " row"]
    reason: Int[np.ndarray, " unit"]
    n_firing: Int[np.ndarray, "unit side"]
    n_silent: Int[np.ndarray, "unit side"]


@dataclass(frozen=True, eq=False)
class Together:
    """Hold in which of some windows the units of a site fire, as bits.

    Args:
        some: numbers of the windows, in order.
        fires: ``(unit, byte)`` a bit per window.
        in_training: which of the windows are for training.
    """

    some: Int[np.ndarray, " some"]
    fires: np.ndarray = field(repr=False)
    in_training: Bool[np.ndarray, " some"] = field(repr=False)

    def of(self, units: slice) -> Bool[np.ndarray, "unit some"]:
        """Return whether a few units fire in each of the windows."""
        return np.unpackbits(self.fires[units], axis=-1, count=len(self.some)).astype(bool)

    def neighbours(self, units: slice, most: int) -> Int[np.ndarray, "unit most"]:
        """Return for each unit those that fire most often with it in training windows, by Jaccard; -1 past the last.

        Source: Jaccard (1912), *The distribution of the flora in the alpine zone*: both / either.

        Cost: one product of the units' bits with those of all units of the site.
        """
        mine = self.of(units)[:, self.in_training].astype(np.float32)
        both = np.zeros((len(mine), len(self.fires)), dtype=np.float32)
        counts = np.zeros(len(self.fires), dtype=np.float32)
        step = max(1, 2**25 // max(4 * len(self.some), 1))
        for first in range(0, len(self.fires), step):
            block = slice(first, first + step)
            others = self.of(block)[:, self.in_training].astype(np.float32)
            both[:, block], counts[block] = mine @ others.T, others.sum(1)
        either = mine.sum(1)[:, None] + counts - both
        jaccard = both / np.maximum(either, 1)
        own = np.arange(len(mine))
        jaccard[own, own + (units.start or 0)] = 0
        order = np.argsort(-jaccard, axis=1, kind="stable")[:, :most]
        return np.where(np.take_along_axis(jaccard, order, 1) > 0, order, -1)


def draw_windows(
    signed: Float[np.ndarray, "unit window"],
    levels: Levels,
    windows: Windows,
    options: EvidenceOptions,
    *,
    names: Sequence[str],
    seed: int,
    together: Together,
    units: slice,
    alike: Resemblance | None,
) -> Drawn:
    """Draw windows for the units of one group.

    Args:
        signed: the highest signed activation in every window.
        levels: where the units fire.
        windows: sides and contents.
        options: how many of which kinds.
        names: a name per unit, from which its own draws follow.
        seed: of all draws.
        together: where all units of the site fire.
        units: which of them these are.
        alike: what windows resemble; None where ``near`` is not asked for.

    Returns:
        Drawn: the windows of every unit that has evidence, and why others have none.

    Cost: of a unit some sorts of its windows, and one pass over the words of those that are compared.

    Source: Paulo et al. (2024), *Automatically Interpreting Millions of Features in Large Language Models*
    (arXiv:2410.13928), section 3.
    """
    n, reasons = len(signed), list(REASONS)
    reason = np.where(levels.peak > levels.mean, 0, reasons.index(FLAT)).astype(np.int8)
    firing, silent = np.zeros((n, 2), dtype=np.int64), np.zeros((n, 2), dtype=np.int64)
    sides = (windows.training, windows.testing)
    negatives = bool(options.negatives) and options.n_negative > 0
    most = 4 * -(-options.n_negative // PER_NEIGHBOUR) if "neighbour" in options.negatives else 0
    neighbours = together.neighbours(units, most) if most else np.full((n, 0), -1)
    rows: list[tuple[int, int, int, Int[np.ndarray, " window"], Int[np.ndarray, " window"]]] = []
    for unit in range(n):
        if reason[unit]:
            continue
        own = signed[unit]
        fires = [side[own[side] >= levels.fires[unit]] for side in sides]
        quiet = [side[own[side] < levels.silent[unit]] for side in sides]
        firing[unit], silent[unit] = [len(x) for x in fires], [len(x) for x in quiet]
        if firing[unit].min() < options.least:
            reason[unit] = reasons.index(FEW)
        elif negatives and silent[unit].min() < options.least:
            reason[unit] = reasons.index(MANY)
        if reason[unit]:
            continue
        cosine = None if alike is None else _resemblance(own, fires[0], together.some, alike)
        for side, wanted in enumerate((options.n_train, options.n_test)):
            rng = np.random.default_rng([seed, zlib.crc32(names[unit].encode()), side])
            by_value = fires[side][np.argsort(-own[fires[side]], kind="stable")]
            drawn = dict(sample_firing(by_value, wanted, options.sampling, rng))
            quiet_ones, whose = _draw_silent(quiet[side], neighbours[unit], together, cosine, options, rng)
            drawn.update(quiet_ones)
            for kind, chosen in sorted(drawn.items()):
                falling = np.lexsort((chosen, -own[chosen]))
                related = whose if kind == KINDS.index("neighbour") else np.full(len(chosen), -1)
                rows.append((unit, side, kind, chosen[falling], related[falling]))
    counts = [len(chosen) for *_, chosen in rows]
    columns = [np.repeat(np.array([row[i] for row in rows], dtype=np.int64), counts) for i in range(3)]
    numbers, whose = (np.concatenate([np.zeros(0, dtype=np.int64), *(row[i] for row in rows)]) for i in (3, 4))
    return Drawn(
        columns[0].astype(np.int32), columns[1].astype(np.int8), columns[2].astype(np.int8), numbers,
        whose.astype(np.int32), reason, firing, silent,
    )  # fmt: skip


def sample_firing(
    by_value: Int[np.ndarray, " window"], wanted: int, sampling: str, rng: np.random.Generator
) -> Iterator[tuple[int, Int[np.ndarray, " window"]]]:
    """Yield kinds and the windows of each, none twice; all of them where there are no more than wanted.

    ``top`` takes the first; ``random`` draws from all; ``quantile`` cuts the list into ten parts of equal count, the
    larger ones first, and draws as many from each; ``mix`` takes a fifth as ``top`` and the others as ``quantile``.

    Args:
        by_value: windows by falling activation.
        wanted: how many.
        sampling: one of the four.
        rng: what draws.

    Yields:
        tuple: place in ``KINDS``, and the windows.

    Source: Paulo et al. (2024), *Automatically Interpreting Millions of Features in Large Language Models*
    (arXiv:2410.13928), section 3.1.

    Example:
        >>> [(_, found)] = sample_firing(np.array([5, 3, 4]), 2, "top", np.random.default_rng(0))
        >>> found.tolist()
        [5, 3]
    """
    n_top = {"top": wanted, "mix": round(SHARE_TOP * wanted)}.get(sampling, 0)
    if n_top:
        yield KINDS.index("top"), by_value[:n_top]
    rest, left = by_value[n_top:], wanted - n_top
    if sampling == "random" and left:
        yield KINDS.index("random"), rng.choice(rest, min(left, len(rest)), replace=False)
    elif sampling != "top" and left and len(rest):
        quotas = [left // BINS + (i < left % BINS) for i in range(BINS)]
        parts = np.array_split(rest, BINS)
        pairs = zip(parts, quotas, strict=True)
        drawn = [rng.choice(part, min(quota, len(part)), replace=False) for part, quota in pairs]
        yield KINDS.index("quantile"), np.concatenate(drawn)


def _resemblance(
    own: Float[np.ndarray, " window"],
    firing: Int[np.ndarray, " window"],
    some: Int[np.ndarray, " some"],
    alike: Resemblance,
) -> Float[np.ndarray, " some"]:
    """Return how much windows resemble those of them that have the highest activations in training."""
    compared = firing[np.isin(firing, some, assume_unique=True)]
    highest = compared[np.argsort(-own[compared], kind="stable")][:LIKE]
    return alike.to(np.searchsorted(some, highest))


def _draw_silent(
    quiet: Int[np.ndarray, " window"],
    neighbours: Int[np.ndarray, " neighbour"],
    together: Together,
    cosine: Float[np.ndarray, " some"] | None,
    options: EvidenceOptions,
    rng: np.random.Generator,
) -> tuple[Mapping[int, Int[np.ndarray, " window"]], Int[np.ndarray, " window"]]:
    """Return silent windows by kind, none twice, and of those of neighbours which unit each is of.

    Where a harder kind finds too few, more are drawn at random.

    Where the text has too few silent windows for all kinds, each has an equal share.
    """
    n = min(options.n_negative, len(quiet) // max(len(options.negatives), 1))
    some = together.some
    left = np.zeros(max(some.max(initial=-1), quiet.max(initial=-1)) + 1, dtype=bool)  # (window,): may still be drawn
    left[quiet] = True
    drawn: dict[int, np.ndarray] = {}
    whose = np.zeros(0, dtype=np.int64)
    if cosine is not None:
        places = np.flatnonzero(left[some] & (cosine > 0))
        drawn[KINDS.index("near")] = some[places[np.argsort(-cosine[places], kind="stable")[:n]]]
        left[drawn[KINDS.index("near")]] = False
    if "neighbour" in options.negatives:
        found = np.zeros(0, dtype=np.int64)
        for unit in neighbours[neighbours >= 0].tolist():
            candidates = some[left[some] & together.of(slice(unit, unit + 1))[0]]
            most = min(PER_NEIGHBOUR, n - len(found), len(candidates))
            chosen = rng.choice(candidates, most, replace=False)
            left[chosen] = False
            found, whose = np.concatenate([found, chosen]), np.concatenate([whose, np.full(most, unit)])
        drawn[KINDS.index("neighbour")] = found
    wanted = n * len(options.negatives) - sum(map(len, drawn.values()))
    rest = np.flatnonzero(left)
    drawn[KINDS.index("silent")] = rng.choice(rest, min(wanted, len(rest)), replace=False)
    return drawn, whose
