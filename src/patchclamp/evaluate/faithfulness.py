"""Faithfulness, completeness and minimality of a circuit on held-out pairs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from patchclamp.ablate.strata import measure_moves
from patchclamp.core.arguments import checked
from patchclamp.core.checks import at_least, same_subject
from patchclamp.core.circuit import describe_origin
from patchclamp.core.controls import name_rule
from patchclamp.core.errors import PatchclampError
from patchclamp.core.receipt import ENOUGH_SETS
from patchclamp.core.scores import Scores
from patchclamp.core.subject import Progress
from patchclamp.core.task import Task
from patchclamp.evaluate.circuit_ablation import Interchange, interchange
from patchclamp.evaluate.circuit_curve import (
    SHARES,
    Scale,
    area_of,
    nest_circuits,
    point_of,
    random_orders,
    sizes_of,
    unique_circuits,
)
from patchclamp.evaluate.circuit_recovery import Recovery, check_exact, measure_recovery
from patchclamp.evaluate.circuit_report import ENOUGH, EvaluationCost, Faithfulness, Minimality
from patchclamp.subjects.cases import LEAST_DIFFERENCE, ReadTask
from patchclamp.subjects.network import Network

RANDOM = 20
"""Random circuits beside every circuit, at least."""
CHECKED = 40
"""Most parts whose minimality is measured; as many random ones stand beside them."""
CORRUPTED = "each pair's corrupted prompt"
SEEN = "found on"
"""Why pairs are left out that the circuit was found on."""
CHEAP, FEW_ROWS = 1e13, 25_000
"""Multiplications (one a parameter and position) and rows of forward passes up to which 99 random circuits are measured
by default: less than a minute or two on two cores."""


@checked
def evaluate_circuit(
    model: Network,
    circuit: Scores,
    cases: Task | ReadTask,
    *,
    means: Task | ReadTask | None = None,
    exact: Scores | None = None,
    shares: Sequence[float] = SHARES,
    sizes: Sequence[int | float] = (),
    n_random: int | None = None,
    signed: bool = True,
    seen: bool = False,
    minimal: bool = True,
    random_rest: bool = True,
    seed: int = 0,
    state: Callable[[EvaluationCost], None] | None = None,
    progress: Progress | None = None,
) -> Faithfulness:
    """Measure on held-out pairs how much of m a circuit carries: faithfulness, completeness, minimality, by size.

    With C the circuit's first n parts, M all of them, and m(S) the mean over pairs of m with every part outside S as in
    the baseline run,

    F(C) = [m(C) − m(∅)] / [m(M) − m(∅)], completeness F(M ∖ C),

    and for minimality [m(C) − m(C ∖ part)] / [m(M) − m(∅)]. Intervals are percentile bootstraps over pairs, of ratios
    of means; random circuits are like C part by part (site, position, size: see ``draw_orders``) and grow as C does.

    Args:
        model: the subject.
        circuit: parts in an order, found on other pairs.
        cases: pairs to evaluate on; those the circuit was found on are left out and counted.
        means: pairs over which the baseline is the mean by position, over clean and corrupted prompts; only those that
            the circuit was found on are used, and pairs of a length that none of them has are left out and counted. The
            default baseline is each pair's corrupted prompt.
        exact: a circuit of the same parts whose scores were measured, with whose order this one's is compared.
        shares: sizes as shares of all parts; ``area`` is taken over sizes from 1 to 50 %.
        sizes: more sizes, as numbers of parts, or as shares where they are no whole numbers.
        n_random: random circuits, at least 20; no two are the same, so there are fewer where parts are few. By default
            99, with which p can fall to 0.01, where that is quick, else 20.
        signed: take parts from the highest score down, else by magnitude.
        seen: measure on the pairs that the circuit was found on as well; the result says so.
        minimal: measure single parts too, at the smallest size with F ≥ 0.8 (else the largest); of more than 40 parts a
            random 40.
        random_rest: measure everything but each random circuit, too.
        seed: of random circuits, samples and resampling.
        state: called with what it takes, before it begins.
        progress: called with subsets measured and subsets in all.

    Returns:
        Faithfulness: by size and over all sizes, with m of every pair.

    Raises:
        PatchclampError: a circuit of another model, no pairs left, parts that change nothing.

    Source: 2403.19647 and 2211.00593 for the measures. Departs from them in judging every size and in matching random
    circuits part by part.

    Cost: 2 + 2 (1 + n_random) sizes + 80 subsets, each a forward pass per pair (of edges several).

    Example:
        >>> from patchclamp.core.task import Task
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> task = Task.of("the old cat", " sat", contrast=" ran", counterpart="the old dog")
        >>> cases = cat.read(task)
        >>> from patchclamp.core.keys import Block, UnitIndex
        >>> own = Scores(UnitIndex([Block("blocks.0.mlp.act", "neurons", 16)], "cat"), np.eye(16)[7])
        >>> found = evaluate_circuit(cat, own, cases)
        >>> round(found.points[0].kept.value, 2), found.points[0].random.value < 0.5
        (1.0, True)
    """
    check_subject(model, circuit)
    if n_random is not None:
        at_least("the number of random circuits", n_random, RANDOM, remedy="Fewer say nothing of their spread.")
    more = [size for size in sizes if isinstance(size, float)]
    grown = sizes_of(len(circuit), (*shares, *more), [int(size) for size in sizes if not isinstance(size, float)])
    recovery = None if exact is None else _recover(model, circuit, exact, signed=signed)
    read = cases if isinstance(cases, ReadTask) else model.read(cases)
    over = means if means is None or isinstance(means, ReadTask) else model.read(means)
    evaluated = choose_pairs(circuit, read, means=over, seen=seen)
    chosen, train = evaluated.cases, evaluated.means
    measures = interchange(model, circuit, chosen, means=train)
    if n_random is None:
        most = count_subsets(len(grown), ENOUGH_SETS, minimal=minimal, random_rest=random_rest)
        cheap = most * len(chosen) <= FEW_ROWS and most * _passes(model, chosen) <= CHEAP
        n_random = ENOUGH_SETS if cheap else RANDOM
    if state is not None:
        most = count_subsets(len(grown), n_random, minimal=minimal, random_rest=random_rest)
        state(EvaluationCost(len(chosen), most, measures.memory_bytes))
    moves, _ = measure_moves(measures.model, circuit.parts, measures.cases, measures.baseline)
    random = random_orders(circuit, moves, n_random, grown, signed=signed, seed=seed)
    n_different = len(random.orders)
    circuits = nest_circuits(np.concatenate([circuit.order(signed=signed)[None], random.orders]), grown)
    ends = np.repeat([[True], [False]], len(circuit), axis=1)  # all parts, then none
    # The circuit and its rest come first, then random ones, then the rests of these.
    order = [circuits[0], ~circuits[0], *circuits[1:], *(~circuits[1:] if random_rest else ())]
    subsets = np.concatenate(order)
    total = count_subsets(len(grown), n_different, minimal=minimal, random_rest=random_rest)
    m = measures.measure(ends, progress=_part_of(progress, 0, len(ends), total))
    scale = Scale(m[0], m[1], seed)
    _check_whole(scale)
    done = len(ends) + len(subsets)
    each = measures.measure(subsets, progress=_part_of(progress, len(ends), len(subsets), total))
    each = each.reshape(len(order), len(grown), -1)
    kept = np.concatenate([each[:1], each[2 : 2 + n_different]])  # (1 + random, size, pair)
    rest = np.concatenate([each[1:2], each[2 + n_different :]])  # (1 + random or 1, size, pair)
    points = []
    for i, n in enumerate(grown):
        # Of a small size few circuits differ: each counts once.
        own = [0, *(1 + place for place in unique_circuits(circuits[1:, i]))]
        points.append(point_of(n, n / len(circuit), kept[own, i], rest[own if random_rest else [0], i], scale))
    ours = [grown.index(n) for n in sizes_of(len(circuit), shares)]
    single = None
    if minimal:
        place = next((i for i, point in enumerate(points) if point.kept.value >= ENOUGH), len(points) - 1)
        after = _part_of(progress, done, total - done, total)
        single = _minimality(measures, circuit, circuits[0, place], kept[0, place], scale, after)
    return Faithfulness(
        circuit={
            "level": circuit.level,
            "method": circuit.method,
            "parts": len(circuit),
            "subject": {"slug": circuit.provenance.subject, "hash": circuit.provenance.subject_hash},
        },
        cases=tuple(chosen.ids),
        left_out=evaluated.left_out,
        seen=evaluated.seen,
        baseline=CORRUPTED if train is None else f"the mean by position over both prompts of {len(train)} train pairs",
        signed=signed,
        m_model=m[0],
        m_empty=m[1],
        m_kept=kept[0],
        m_rest=rest[0],
        m_random=kept[1:],
        points=tuple(points),
        area=area_of(np.array(grown)[ours] / len(circuit), kept[:, ours], rest[:, ours], scale),
        minimality=single,
        about={
            "seed": seed,
            "subsets": total,
            "memory_bytes": measures.memory_bytes,
            "random": n_different,
            "match": name_rule(random.step, random.outside),
            "outside": random.outside,
        },
        found_on=len(circuit.provenance.extra.get("cases", ())),
        recovery=recovery,
    )


def _passes(model: Network, cases: ReadTask) -> float:
    """Return about how many multiplications one forward pass over every pair takes."""
    n_parameters = sum(parameter.numel() for parameter in model.parameters().values())
    return float(n_parameters) * sum(map(len, cases.clean))


def _recover(model: Network, circuit: Scores, exact: Scores, *, signed: bool) -> Recovery:
    """Return how a circuit's order agrees with measured scores of the same parts in the same model."""
    check_exact(circuit, exact)
    check_subject(model, exact)
    return measure_recovery(circuit, exact, signed=signed)


def _check_whole(scale: Scale) -> None:
    """Refuse, before circuits are measured, parts that change nothing when all are replaced."""
    undecided = scale.interval_with_zero()
    if abs(float(scale.whole.mean())) < LEAST_DIFFERENCE or undecided is not None:
        between = "" if undecided is None else f", 95 % interval {undecided.low:.3g} to {undecided.high:.3g},"
        raise PatchclampError(
            expected=f"parts that change m when all are replaced: |m(M) − m(∅)| of at least {LEAST_DIFFERENCE:g}, and "
            "its interval on one side of 0",
            got=f"{float(scale.whole.mean()):.3g}{between} over {len(scale.model)} pairs",
            remedy="Take pairs on which the model does the task, or parts of another level.",
        )


def count_subsets(n_sizes: int, n_random: int, *, minimal: bool = True, random_rest: bool = True) -> int:
    """Count the subsets of parts that ``evaluate_circuit`` measures on every pair, at most.

    Args:
        n_sizes: sizes.
        n_random: random circuits.
        minimal: whether single parts are measured.
        random_rest: whether everything but each random circuit is.

    Returns:
        int: subsets.

    Example:
        >>> count_subsets(5, 20), count_subsets(5, 20, minimal=False, random_rest=False)
        (292, 112)
    """
    return 2 + n_sizes * (2 + n_random * (1 + random_rest)) + (2 * CHECKED if minimal else 0)


def check_subject(model: Network, circuit: Scores) -> None:
    """Refuse a circuit of another model, or of other features than those that were added.

    Raises:
        PatchclampError: the circuit names other weights, or other contents of a basis.
    """
    remedy = "Name the model that it was found in, or find one in this model."
    same_subject(model, circuit, what="a circuit", remedy=remedy, by_name=False)
    for place, known in describe_origin(circuit)["bases"].items():
        path, _, name = place.rpartition("/")
        if model.basis_at(path, name).hash != known:
            raise PatchclampError(
                expected=f"the features that the circuit was found in, {name} {known[:12]} at {path}",
                got=f"{name} {model.basis_at(path, name).hash[:12]}",
                remedy="Give the --basis that `circuit find` was given.",
            )


@dataclass(frozen=True, eq=False)
class EvaluatedPairs:
    """Hold the pairs that a circuit is evaluated on.

    Args:
        cases: those to be measured.
        means: pairs over which the baseline is the mean; None if it is each pair's corrupted prompt.
        left_out: how many pairs are not measured, by reason.
        seen: how many of ``cases`` the circuit was found on.
    """

    cases: ReadTask
    means: ReadTask | None
    left_out: Mapping[str, int]
    seen: int


def choose_pairs(
    circuit: Scores, cases: ReadTask, *, means: ReadTask | None = None, seen: bool = False
) -> EvaluatedPairs:
    """Choose the pairs that ``evaluate_circuit`` measures, from the same arguments; nothing is run.

    Args:
        circuit: names the pairs it was found on.
        cases: pairs to choose from.
        means: pairs over which the baseline is the mean.
        seen: keep pairs that the circuit was found on.

    Returns:
        EvaluatedPairs: the pairs, and how many are left out, by reason.

    Raises:
        PatchclampError: no pair is left, or the circuit was found on none of ``means``.

    Example:
        >>> from patchclamp.core.keys import UnitList
        >>> from patchclamp.core.task import Task
        >>> from patchclamp.loaders import load
        >>> task = Task.of("the old cat", " sat", contrast=" ran", counterpart="the old dog")
        >>> cases = load("organism:cat").read(task)
        >>> len(choose_pairs(Scores(UnitList(["embed/whole/0"]), np.ones(1)), cases).cases)
        1
    """
    train = None if means is None else _of_circuit(circuit, means)
    left_out = cases.count_skipped()
    known = _found_on(circuit, cases)
    if known.any() and not seen:
        if known.all():
            raise PatchclampError(
                expected="pairs that the circuit was not found on",
                got=f"{len(cases)} pairs, all of which it was found on",
                remedy="Give other pairs (find on task:NAME/train and evaluate on task:NAME), or say --seen to measure "
                "on these.",
            )
        left_out[SEEN] = int(known.sum())
        cases = cases.subset(~known)
    if train is not None:
        lengths = {len(x) for x in train.clean}
        fit = np.array([len(x) in lengths for x in cases.clean])
        if not fit.any():
            raise PatchclampError(
                expected="pairs as long as some that the circuit was found on, for a mean by position",
                got=f"{len(cases)} pairs of other lengths",
                remedy="Take the corrupted prompts as the baseline.",
            )
        if not fit.all():
            left_out["a length that no train pair has"] = int((~fit).sum())
        cases = cases.subset(fit)
    return EvaluatedPairs(cases, train, left_out, int(_found_on(circuit, cases).sum()))


def _found_on(circuit: Scores, cases: ReadTask) -> Bool[np.ndarray, " pair"]:
    """Return which pairs a circuit was found on.

    Raises:
        PatchclampError: scores of one prompt, or shares of a patching, which name no pairs.
    """
    known = set(circuit.provenance.extra.get("cases", ()))
    method = circuit.provenance.method
    if not known and (circuit.unit != "m" or "/" in method):  # of a room; those that users make name none
        raise PatchclampError(
            expected="a circuit that names the pairs it was found on: held-out ones cannot be told from them otherwise",
            got=f"scores of {method or 'patching'} without any, as those of one prompt are",
            remedy="`patchclamp circuit find` writes one.",
        )
    return np.array([pair.id in known for pair in cases.task.cases])


def _of_circuit(circuit: Scores, means: ReadTask) -> ReadTask:
    """Return those pairs that a circuit was found on."""
    own = _found_on(circuit, means)
    if not own.any():
        raise PatchclampError(
            expected="means over pairs that the circuit was found on",
            got=f"{len(means)} pairs, none of them such",
            remedy="Give the pairs that `circuit find` was given.",
        )
    return means.subset(own)


def _part_of(progress: Progress | None, before: int, own: int, total: int) -> Progress | None:
    """Return what tells the progress of one piece of work as that of the whole, in subsets measured."""
    if progress is None:
        return None
    return lambda done, of: progress(before + own * done // of, total)


def _minimality(
    measures: Interchange,
    circuit: Scores,
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
