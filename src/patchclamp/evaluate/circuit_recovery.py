"""Measure whether scores put first what exact patching, or a planted graph, says belongs there."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from patchclamp.core.circuit import is_measured
from patchclamp.core.errors import PatchclampError
from patchclamp.core.keys import Part
from patchclamp.core.scores import Scores
from patchclamp.core.stats import Interval, auroc, bootstrap_interval, spearman

RESAMPLES = 500
TOP = 0.1
"""Share of exact patching's parts that count as its top."""


@dataclass(frozen=True)
class Recovery:
    """Hold how well scores agree with the truth; chance is a random order's, an oracle reaches 1 everywhere.

    Args:
        parts: how many are ordered.
        true: how many of them are true, or exact patching's top.
        precision: share of as many of the first parts that are true: precision and recall in one.
        auroc: area under the ROC curve of the scores; chance 0.5. nan where all parts are true.
        chance: what ``precision`` is for a random order.
        spearman: rank correlation with exact patching over all parts; chance 0. None against a planted graph.
        interval: of ``spearman``, by bootstrap over parts.
    """

    parts: int
    true: int
    precision: float
    auroc: float
    chance: float
    spearman: float | None = None
    interval: Interval | None = None


def measure_recovery(circuit: Scores, exact: Scores, *, share: float = TOP, signed: bool = True) -> Recovery:
    """Compare a circuit's order with that of exact patching over the same parts.

    Args:
        circuit: scores to evaluate.
        exact: scores by exact patching.
        share: of the parts that are exact patching's top.
        signed: by score from the highest down, else by magnitude.

    Returns:
        Recovery: precision, AUROC and rank correlation.

    Raises:
        PatchclampError: other parts.

    Source: 2403.00745 evaluates against exact patching; precision at the top tenth is ours.

    Cost: 500 rank correlations for the interval.

    Example:
        >>> from patchclamp.core.keys import Block, UnitIndex
        >>> index = UnitIndex([Block("blocks.0.mlp.act", "neurons", 4)])
        >>> exact = Scores(index, np.array([4.0, 3.0, 2.0, 0.0]))
        >>> guess = Scores(index, np.array([9.0, 3.0, 2.0, 1.0]))
        >>> found = measure_recovery(guess, exact, share=0.5)
        >>> found.spearman, found.precision, found.auroc
        (1.0, 1.0, 1.0)
    """
    check_exact(circuit, exact, measured=False)
    places = {part: i for i, part in enumerate(exact.parts)}
    truth = exact.values[[places[part] for part in circuit.parts]]
    first = exact.first(max(1, int(share * len(exact))), signed=signed)[[places[part] for part in circuit.parts]]
    counts = _count_true(circuit, first, signed=signed)
    both = np.stack([circuit.values, truth], axis=1)
    interval = bootstrap_interval(both, lambda rows: spearman(rows[:, 0], rows[:, 1]), n_resamples=RESAMPLES)
    return Recovery(
        counts.parts,
        counts.true,
        counts.precision,
        counts.auroc,
        counts.chance,
        spearman(both[:, 0], both[:, 1]),
        interval,
    )


def check_exact(circuit: Scores, exact: Scores, *, measured: bool = True) -> None:
    """Refuse scores that a circuit's order cannot be compared with; nothing is run.

    Args:
        circuit: what is evaluated.
        exact: what it is compared with.
        measured: whether the scores must have been measured.

    Raises:
        PatchclampError: scores that were predicted, or of other parts.

    Source: ours; the comparison is that of ``recover``.
    """
    if measured and not is_measured(exact):
        raise PatchclampError(
            expected="exact scores, found by --method activation_patching, which measures them",
            got=f"scores by {exact.method}",
            remedy="patchclamp circuit find MODEL --method activation_patching --pairs PAIRS --out DIR",
        )
    if set(circuit.parts) != set(exact.parts):
        raise PatchclampError(
            expected=f"exact patching of the same {len(circuit):,} parts",
            got=f"{len(exact):,} parts of level {exact.level}",
            remedy="Find it with `circuit find --method activation_patching` at the same level.",
        )


def measure_planted_recovery(circuit: Scores, planted: Collection[Part], *, signed: bool = False) -> Recovery:
    """Compare a circuit's order with the parts of a planted graph.

    Args:
        circuit: scores to evaluate.
        planted: the true parts.
        signed: by score from the highest down, else by magnitude: a planted part may also inhibit an answer.

    Returns:
        Recovery: precision and AUROC.

    Raises:
        PatchclampError: a planted part that the circuit does not know, or none.

    Source: AUROC against known circuits as in 2304.14997, section 4.

    Example:
        >>> from patchclamp.core.keys import UnitList
        >>> guess = Scores(UnitList(["a/neurons/0", "b/neurons/0", "c/neurons/0"]), np.array([-5.0, 1.0, 2.0]))
        >>> measure_planted_recovery(guess, ["a/neurons/0", "b/neurons/0"]).precision
        0.5
    """
    strange = [part for part in planted if part not in set(circuit.parts)]
    if strange or not planted:
        raise PatchclampError(
            expected=f"planted parts among the circuit's {len(circuit):,}",
            got=str(strange[0]) if strange else "none",
            remedy="Compare graph and circuit of one level.",
        )
    return _count_true(circuit, np.array([part in set(planted) for part in circuit.parts]), signed=signed)


def _count_true(circuit: Scores, true: Bool[np.ndarray, " part"], *, signed: bool) -> Recovery:
    """Count the true parts among as many of the first; a tie counts against a true part, so equal scores find none."""
    scores: Float[np.ndarray, " part"] = circuit.values if signed else np.abs(circuit.values)
    k = int(true.sum())
    slack = 1e-12 * float(np.abs(scores).max(initial=0.0))
    ranks = len(scores) - np.searchsorted(np.sort(scores), scores - slack)
    area = auroc(scores, true) if k < len(true) else float("nan")
    return Recovery(len(true), k, float((ranks[true] <= k).mean()), area, k / len(true))
