"""Measure whether a basis has the directions that activity is known to be made of."""

from dataclasses import dataclass

import numpy as np

from patchclamp.core.basis import Basis
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import Estimate
from patchclamp.core.matching import match
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.options import option
from patchclamp.core.stats import mean_interval
from patchclamp.core.subject import Progress
from patchclamp.evaluate.null import estimate_beside_null
from patchclamp.evaluate.rows import turn_basis


@dataclass(frozen=True)
class FeatureRecoveryOptions:
    """Options of the recovery of features."""

    n_random: int = option(19, "random rotations of the basis", least=19, most=1000)


def feature_recovery(
    basis: Basis, planted: Basis, options: FeatureRecoveryOptions, *, seed: int = 0, progress: Progress
) -> Estimate:
    r"""Measure how near a basis comes to the directions of another that is known to be right.

    mean over planted directions d of |cos(d, g(d))|, g the matching, one to one, for which that is largest; a direction
    without a partner counts 0.

    The null is that of the same basis turned at random; the ceiling is 1.

    Args:
        basis: what was found, units × width.
        planted: what is known, features × width; of the same width.
        options: random rotations.
        seed: of the rotations and of the interval.
        progress: called with bases done and in all.

    Returns:
        Estimate: a mean |cosine|; the interval resamples planted directions.

    Raises:
        PatchclampError: neurons or heads, other widths, or too many directions.

    Source: 2309.08600, section 4, mean max cosine similarity. Departs from it in a matching one to one for the maximum,
    which one direction cannot win twice; the null is ours.

    Cost: 1 + n_random assignments of planted times units.

    Example:
        >>> eye = Basis("b", "directions", decoder=np.eye(4, dtype=np.float32))
        >>> feature_recovery(eye, eye, FeatureRecoveryOptions(), progress=lambda *_: None).value
        1.0
    """
    if planted.decoder is None:
        raise PatchclampError(expected="planted directions", got=planted.kind, remedy="Give them as a Basis.")
    known, draw = planted.decoder.astype(np.float64), np.random.default_rng(seed)

    def cosines(one: Basis, number: int) -> np.ndarray:
        assert one.decoder is not None
        cosines_of = np.zeros(len(known))
        places, _, values = match(known, one.decoder.astype(np.float64))
        cosines_of[places] = values
        progress(number, 1 + options.n_random)
        return cosines_of

    turned = [turn_basis(basis, draw) for _ in range(options.n_random)]
    own = cosines(basis, 1)
    null = np.array([cosines(one, 2 + i).mean() for i, one in enumerate(turned)])
    interval = mean_interval(own, seed=seed) if len(own) > 1 else None
    return estimate_beside_null(
        float(own.mean()), interval, len(own), "mean |cosine|", null, f"{options.n_random} random rotations"
    )


def _cost(sizes: Sizes, options: FeatureRecoveryOptions) -> Cost:
    return Cost(bytes=8 * sizes.units**2)


METHOD = Method(
    feature_recovery,
    name="feature_recovery",
    room="evaluate",
    kind="benchmark",
    title="recovery of planted features",
    question="Are the directions found that activity is known to be made of?",
    papers=(Paper("2309.08600", equation="section 4"),),
    keys=("unit",),
    cost=_cost,
    oracle="oracles.bases:feature_recovery",
    calibrated_on=("superposition",),
    must_show="a trained coder comes nearer to planted features than the same one turned at random",
    must_miss={"superposition:noise": "activity without features has none to be found"},
    sources=("evaluate/null.py", "evaluate/rows.py", "core/matching.py"),
)
