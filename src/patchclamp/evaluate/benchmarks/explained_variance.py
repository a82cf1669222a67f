"""Measure the share of a site's variance that a basis reconstructs."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from patchclamp.core.basis import Basis
from patchclamp.core.estimate import Estimate
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.options import option
from patchclamp.core.recording import Recording
from patchclamp.core.stats import bootstrap_interval
from patchclamp.core.subject import Progress
from patchclamp.evaluate.null import estimate_beside_null
from patchclamp.evaluate.rows import counted_rows, refuse_further, squares_missed, turn_basis


@dataclass(frozen=True)
class ExplainedVarianceOptions:
    """Options of the explained variance."""

    n_random: int = option(19, "random rotations of the basis", least=19, most=1000)


def explained_variance(
    recording: Recording, basis: Basis, options: ExplainedVarianceOptions, *, seed: int = 0, progress: Progress
) -> Estimate:
    r"""Measure the share of the variance of a site that a basis explains.

    1 − Σ ‖y − ŷ‖² / Σ ‖y − ȳ‖², ŷ = decode(encode(x)), x what the basis reads; sums over counted rows, y alike.

    The null is that of the same basis turned at random; the ceiling is 1.

    Args:
        recording: of the site that is written, and of the one that is read; rows × width.
        basis: units × width.
        options: random rotations.
        seed: of the rotations and of the interval.
        progress: called with bases done and in all.

    Returns:
        Estimate: a share of variance, below zero where the mean is nearer; the interval resamples stimuli.

    Raises:
        PatchclampError: a site that the recording does not hold, a basis of another width.

    Source: 2406.04093, section 2.4, whose normalised error is 1 minus this. The null is ours.

    Cost: each row is encoded 1 + n_random times.

    Example:
        >>> from patchclamp.organisms import superposition
        >>> rows = superposition.make().recording
        >>> basis = Basis("b", "directions", decoder=np.eye(rows["x"].shape[1], dtype=np.float32), site="x")
        >>> explained_variance(rows, basis, ExplainedVarianceOptions(), progress=lambda *_: None).value
        1.0
    """
    refuse_further(basis)
    y, owner = counted_rows(recording, basis.site or "")
    x = y if basis.reads is None else counted_rows(recording, basis.reads)[0]
    variance = np.bincount(owner, ((y - y.mean(0, dtype=np.float64)) ** 2).sum(1))
    draw = np.random.default_rng(seed)

    def missed_squares(one: Basis, number: int) -> Float[np.ndarray, " stimulus"]:
        progress(number, 1 + options.n_random)
        sums: np.ndarray = np.bincount(owner, squares_missed(one, x, y))
        return sums

    def share(rows: Float[np.ndarray, "stimulus 2"]) -> float:
        return float(1 - rows[:, 0].sum() / rows[:, 1].sum())

    own = np.stack([missed_squares(basis, 1), variance], 1)
    null = np.array(
        [
            share(np.stack([missed_squares(turn_basis(basis, draw), 2 + i), variance], 1))
            for i in range(options.n_random)
        ]
    )
    interval = bootstrap_interval(own, share, n_resamples=500, seed=seed)
    return estimate_beside_null(
        share(own), interval, len(own), "share of variance", null, f"{options.n_random} random rotations"
    )


def _cost(sizes: Sizes, options: ExplainedVarianceOptions) -> Cost:
    return Cost(bytes=8 * sizes.rows * sizes.units)


METHOD = Method(
    explained_variance,
    name="explained_variance",
    room="evaluate",
    kind="benchmark",
    title="explained variance",
    question="How much of the activity does a basis write again?",
    papers=(Paper("2406.04093", equation="section 2.4"),),
    cost=_cost,
    oracle="oracles.bases:explained_variance",
    calibrated_on=("superposition", "superposition:groups"),
    must_show="a trained coder explains more than the same one turned at random",
    sources=(
        "evaluate/null.py",
        "evaluate/rows.py",
    ),
)
