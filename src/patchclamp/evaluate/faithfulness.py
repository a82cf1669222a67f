"""Faithfulness: how much of an answer a circuit carries by itself, and how much is left without it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from jaxtyping import Bool, Float, Int

from patchclamp.core.circuit import Circuit, Part
from patchclamp.core.errors import PatchclampError
from patchclamp.core.stats import Interval, bootstrap_interval, sign_flip_p
from patchclamp.core.subject import Progress
from patchclamp.core.unit import UnitKey
from patchclamp.evaluate.interchange import Interchange
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.pairs import LEAST_DIFFERENCE, PairSet

SHARES = (0.01, 0.02, 0.05, 0.10, 0.20, 0.35, 0.50)
"""Sizes of circuits, as shares of all parts; the area is taken over those from the first to the last."""
RANDOM = 20
"""Random circuits beside every circuit."""
CHECKED = 40
"""Parts that minimality is asked of, at most; as many random ones stand beside them."""
ENOUGH = 0.8
"""Faithfulness from which on a circuit is asked whether it is minimal."""
RESAMPLES = 1000
Reference = Literal["corrupted", "mean"]


class Measures(Protocol):
    """What measures pairs with only some parts kept: ``Interchange`` for units, its like for edges."""

    def measure(
        self, kept: Bool[np.ndarray, "subset part"], *, progress: Progress | None = None
    ) -> Float[np.ndarray, "subset pair"]:
        """Return m of every pair with only some parts kept."""

    def count_rows(self, n_subsets: int) -> int:
        """Return how many prompts go through the network."""

    @property
    def memory_bytes(self) -> int:
        """Estimate of what one batch holds."""


@dataclass(frozen=True)
class Minimality:
    """What single parts of a circuit do for it.

    Args:
        size: of the circuit C.
        parts: those that were asked.
        changes: ``(part,)`` [m(C) − m(C without the part)] / [m(M) − m(∅)]; each with its interval over pairs.
        random: [m(C with the part) − m(C)] / [m(M) − m(∅)] of random other parts.
        needed: share of ``parts`` whose change is larger, in magnitude, than that of every random one.
    """

    size: int
    parts: tuple[Part, ...]
    changes: tuple[Estimate, ...]
    random: tuple[float, ...]
    needed: float


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """Hold how a circuit did on pairs.

    Args:
        circuit: level, method, subject and number of parts.
        pairs: ids of the pairs it was measured on.
        left_out: how many were not used, by reason.
        seen: pairs among ``pairs`` that the circuit was found on: 0 unless that was asked for.
        reference: what stands outside the circuit, in words.
        signed: whether parts were taken from the highest score down, else by magnitude.
        m_model: ``(pair,)`` m with all parts kept.
        m_empty: ``(pair,)`` m with none.
        m_kept: ``(size, pair)`` m of the circuit.
        m_rest: ``(size, pair)`` m of everything else.
        m_random: ``(circuit, size, pair)`` m of random circuits.
        points: by size.
        area: over sizes.
        minimality: of one size; None where it was not asked.
        about: seeds, counts of rows, how random circuits were drawn.
    """

    circuit: Mapping[str, Any]
    pairs: tuple[str, ...]
    left_out: Mapping[str, int]
    seen: int
    reference: str
    signed: bool
    m_model: Float[np.ndarray, " pair"]
    m_empty: Float[np.ndarray, " pair"]
    m_kept: Float[np.ndarray, "size pair"]
    m_rest: Float[np.ndarray, "size pair"]
    m_random: Float[np.ndarray, "circuit size pair"]
    points: tuple[Point, ...]
    area: Area
    minimality: Minimality | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


def evaluate_circuit(
    model: LanguageModel,
    circuit: Circuit,
    pairs: PairSet,
    *,
    means: PairSet | None = None,
    shares: Sequence[float] = SHARES,
    sizes: Sequence[int] = (),
    n_random: int = RANDOM,
    signed: bool = True,
    seen: bool = False,
    minimal: bool = True,
    seed: int = 0,
    progress: Progress | None = None,
) -> Faithfulness:
    """Measure on held-out pairs how much of m a circuit carries: faithfulness, completeness, minimality, by size.

    With C the circuit's first n parts, M all of them, and m(S) the mean over pairs of m with every part outside S as in
    the reference run,

    F(C) = [m(C) − m(∅)] / [m(M) − m(∅)], completeness F(M ∖ C),

    and for minimality [m(C) − m(C ∖ part)] / [m(M) − m(∅)]. Intervals are percentile bootstraps over pairs, of ratios
    of means; random circuits have as many parts of each kind as C and grow with n as C does.

    Args:
        model: the subject.
        circuit: parts in an order, found on other pairs.
        pairs: those to be asked; pairs the circuit was found on are left out and counted.
        means: pairs over which the reference is the mean by position, over clean and corrupted prompts; only those that
            the circuit was found on are used, and pairs of a length that none of them has are left out and counted. The
            corrupted prompt of each pair is the reference where left out.
        shares: sizes as shares of all parts; ``area`` is taken over sizes from 1 to 50 %.
        sizes: more sizes, as numbers of parts.
        n_random: random circuits, at least 20.
        signed: take parts from the highest score down, else by magnitude.
        seen: measure on the pairs that the circuit was found on as well; the result says so.
        minimal: ask single parts too, at the smallest size with F ≥ 0.8 (else the largest); of more than 40 parts a
            random 40.
        seed: of random circuits, samples and resampling.
        progress: called with prompts through the network and prompts in all.

    Returns:
        Faithfulness: by size and over all sizes, m of every pair kept.

    Raises:
        PatchclampError: a circuit of another model, no pairs left, parts that change nothing.

    Source: 2403.19647 and 2211.00593 for the measures. Departs from them in judging every size and in matching random
    circuits by kind.

    Cost: pairs × (2 + 2 (1 + n_random) sizes + 80) forward passes, up to 128 rows at a time.

    Example:
        >>> from patchclamp.core.pairs import Pair
        >>> from patchclamp.opening import load
        >>> from patchclamp.subjects.pairs import read_by
        >>> cat = load("organism:cat")
        >>> pairs = read_by(cat, [Pair("the old cat", "the old dog", (" sat",), (" ran",))])
        >>> parts = tuple(f"blocks.0.mlp.act/neurons/{i}" for i in range(16))
        >>> own = Circuit("neuron", "by hand", parts, np.eye(16)[7], {"slug": "cat", "hash": cat.hash})
        >>> found = evaluate_circuit(cat, own, pairs)
        >>> round(found.points[0].kept.value, 2), found.points[0].random.value < 0.5
        (1.0, True)
    """
    chosen, left_out, n_seen = _unseen(circuit, pairs, seen)
    check_subject(model, circuit)
    _check_random(n_random)
    grown = sizes_of(len(circuit), shares, sizes)
    train = None if means is None else _of_circuit(circuit, means)
    if train is not None:
        chosen, short = _of_lengths(chosen, train)
        left_out |= {f"a length that no {len(train)} pairs of the mean have": short} if short else {}
    measures = interchange(model, circuit, chosen, means=train)
    orders = np.concatenate(
        [circuit.order(signed=signed)[None], random_orders(circuit, n_random, signed=signed, seed=seed)]
    )
    circuits = nested(orders, grown)
    n_circuits, n_sizes, n_parts = circuits.shape
    ends = np.stack([np.ones(n_parts, dtype=bool), np.zeros(n_parts, dtype=bool)])
    subsets = np.concatenate([ends, *(np.concatenate([own, ~own]) for own in circuits)])
    extra = 2 * CHECKED if minimal else 0
    total = measures.count_rows(len(subsets) + extra)
    m = measures.measure(subsets, progress=_of(progress, 0, total))
    model_m, empty_m = m[0], m[1]
    if not abs(float((model_m - empty_m).mean())) >= LEAST_DIFFERENCE:
        raise PatchclampError(
            expected=f"parts that change m when all are replaced: |m(M) − m(∅)| of at least {LEAST_DIFFERENCE:g}",
            got=f"{float((model_m - empty_m).mean()):.3g} over {len(chosen)} pairs",
            remedy="Take pairs on which the model does the task, or parts of another level.",
        )
    kept, rest = np.moveaxis(m[2:].reshape(n_circuits, 2, n_sizes, -1), 1, 0)
    scale = Scale(model_m, empty_m, seed)
    points = tuple(point_of(n, n / n_parts, kept[:, i], rest[:, i], scale) for i, n in enumerate(grown))
    asked = None
    if minimal:
        place = next((i for i, point in enumerate(points) if point.kept.value >= ENOUGH), len(points) - 1)
        after = _of(progress, measures.count_rows(len(subsets)), total)
        asked = _minimality(measures, circuit, circuits[0, place], kept[0, place], scale, after)
    return Faithfulness(
        circuit={"level": circuit.level, "method": circuit.method, "parts": n_parts, "subject": dict(circuit.subject)},
        pairs=tuple(pair.id for pair in chosen.pairs),
        left_out=left_out,
        seen=n_seen,
        reference="each pair's corrupted prompt"
        if train is None
        else f"mean by position over both prompts of {len(train)} pairs that it was found on",
        signed=signed,
        m_model=model_m,
        m_empty=empty_m,
        m_kept=kept[0],
        m_rest=rest[0],
        m_random=kept[1:],
        points=points,
        area=area_of(np.array(grown) / n_parts, kept, rest, scale),
        minimality=asked,
        about={"seed": seed, "prompts": total, "memory_bytes": measures.memory_bytes, "random": n_random},
    )


def interchange(
    model: LanguageModel, circuit: Circuit, pairs: PairSet, *, means: PairSet | None = None
) -> Measures:
    """Return what measures pairs with only some of a circuit's parts kept.

    Raises:
        PatchclampError: parts that the model has not.
    """
    return Interchange(model, pairs, circuit.parts, means=means)


def check_subject(model: LanguageModel, circuit: Circuit) -> None:
    """Refuse a circuit of another model.

    Raises:
        PatchclampError: the circuit names other weights.
    """
    own = circuit.subject.get("hash")
    if own and own != model.hash:
        raise PatchclampError(
            expected=f"a circuit of this model, {model.name} {model.hash[:12]}",
            got=f"one of {circuit.subject.get('slug')} {own[:12]}",
            remedy="Name the model that it was found in, or find one in this model.",
        )


def _check_random(n: int) -> None:
    if n < RANDOM:
        raise PatchclampError(
            expected=f"at least {RANDOM} random circuits", got=str(n), remedy="Fewer say nothing of their spread."
        )


def _unseen(circuit: Circuit, pairs: PairSet, seen: bool) -> tuple[PairSet, dict[str, int], int]:
    """Return the pairs to be measured, how many are not and why, and how many of them the circuit was found on."""
    found_on = set(circuit.about.get("pairs", ()))
    known = np.array([pair.id in found_on for pair in pairs.pairs])
    left_out = pairs.counted_aside()
    if seen or not known.any():
        return pairs, left_out, int(known.sum())
    if known.all():
        raise PatchclampError(
            expected="pairs that the circuit was not found on",
            got=f"{len(pairs)} pairs, all of which it was found on",
            remedy="Give held-out pairs (task:NAME has a side of its own), or say --seen to measure on these.",
        )
    return some_of(pairs, ~known), {**left_out, "pairs that the circuit was found on": int(known.sum())}, 0


def _of_circuit(circuit: Circuit, means: PairSet) -> PairSet:
    """Return those pairs that a circuit was found on."""
    found_on = set(circuit.about.get("pairs", ()))
    own = np.array([pair.id in found_on for pair in means.pairs])
    if not own.any():
        raise PatchclampError(
            expected="means over pairs that the circuit was found on",
            got=f"{len(means)} pairs, none of them such",
            remedy="Give the pairs that `circuit find` was given.",
        )
    return some_of(means, own)


def _of_lengths(pairs: PairSet, train: PairSet) -> tuple[PairSet, int]:
    lengths = {len(x) for x in train.clean}
    fit = np.array([len(x) in lengths for x in pairs.clean])
    if not fit.any():
        raise PatchclampError(
            expected="pairs as long as some that the circuit was found on, for a mean by position",
            got=f"{len(pairs)} pairs of other lengths",
            remedy="Take the corrupted prompts as the reference.",
        )
    return some_of(pairs, fit), int((~fit).sum())


def some_of(pairs: PairSet, chosen: Bool[np.ndarray, " pair"]) -> PairSet:
    """Return a PairSet of some pairs; what was set aside stays on record."""
    at = np.flatnonzero(chosen)
    return PairSet(
        tuple(pairs.pairs[i] for i in at), tuple(pairs.clean[i] for i in at), tuple(pairs.corrupted[i] for i in at),
        tuple(pairs.metrics[i] for i in at), pairs.m_clean[at], pairs.m_corrupted[at], pairs.aside,
    )  # fmt: skip


def _of(progress: Progress | None, before: int, total: int) -> Progress | None:
    return None if progress is None else lambda done, _: progress(before + done, total)


def _minimality(
    measures: Measures,
    circuit: Circuit,
    own: Bool[np.ndarray, " part"],
    kept: Float[np.ndarray, " pair"],
    s: Scale,
    progress: Progress | None,
) -> Minimality:
    """Take single parts out of a circuit, and put random others in."""
    draw = np.random.default_rng(s.seed)
    inside, outside = (draw.permutation(np.flatnonzero(where))[:CHECKED] for where in (own, ~own))
    inside = np.sort(inside)
    changed = np.tile(own, (len(inside) + len(outside), 1))
    changed[np.arange(len(changed)), np.concatenate([inside, outside])] ^= True
    m = measures.measure(changed, progress=progress)
    random = s.share(m[len(inside) :] - kept)
    changes = tuple(s.estimate(kept - row) for row in m[: len(inside)])
    largest = np.abs(random).max(initial=0.0)
    return Minimality(
        int(own.sum()),
        tuple(circuit.parts[i] for i in inside),
        changes,
        tuple(random.tolist()),
        float(np.mean([abs(change.value) > largest for change in changes])),
    )
