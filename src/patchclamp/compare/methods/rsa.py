"""Representational similarity analysis: do two recordings separate the same conditions in the same way?"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from patchclamp.core.checks import subject_of
from patchclamp.core.conditions import Pool, condition_matrix, only_site
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import Estimate
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.options import option
from patchclamp.core.recording import Recording
from patchclamp.core.similarity import Similarity
from patchclamp.core.stats import Interval, rank, spearman
from patchclamp.core.subject import Progress

LEAST_CONDITIONS = 4
"""With three conditions there are six orders, of which one in six agrees by chance."""


@dataclass(frozen=True)
class RSAOptions:
    """Options of representational similarity analysis."""

    first_site: str = option("", "the site of the first recording; its only one where empty")
    second_site: str = option("", "the site of the second recording; its only one where empty")
    distance: Literal["correlation", "euclidean", "cosine"] = option("correlation", "distance of two conditions")
    pool: Pool = option("mean", "how the rows of a stimulus become one")
    n_null: int = option(999, "permutations of the conditions", least=19, most=100_000)
    n_bootstrap: int = option(1000, "resamples of the conditions", least=100, most=100_000)


def rsa(first: Recording, second: Recording, options: RSAOptions, *, seed: int = 0, progress: Progress) -> Similarity:
    r"""Compare two recordings of the same stimuli by their dissimilarities of conditions.

    RDM_ij = 1 − r(x_i, x_j) (or ‖x_i − x_j‖, or 1 − cos), similarity = Spearman's ρ of the entries below the diagonals.

    The interval resamples conditions, pairs of a condition with its own copy left out. The null permutes the conditions
    of the second recording. The ceiling is known where both recordings show every stimulus more than once: the square
    root of the product of both RDMs' split-half reliabilities (Spearman–Brown).

    Args:
        first: a recording.
        second: another, of the same stimuli in the same order.
        options: sites, distance, pooling, counts.
        seed: of permutations, resamples and halves.
        progress: called with resamples done and in all.

    Returns:
        Similarity: over conditions.

    Raises:
        PatchclampError: other stimuli, or fewer than four.

    Source: Kriegeskorte, Mur & Bandettini (2008), Front. Syst. Neurosci. 2, 4. Bootstrap over conditions as in Nili et
    al. (2014), PLoS Comput. Biol. 10, e1003553.

    Cost: O(conditions² · units) once, O(conditions² log conditions) per permutation and resample.
    """
    sites = only_site(first, options.first_site), only_site(second, options.second_site)
    ids = [stimulus.id for stimulus in first.stimuli]
    if ids != [stimulus.id for stimulus in second.stimuli]:
        raise PatchclampError(
            expected="two recordings of the same stimuli, in the same order",
            got=f"{len(ids)} and {len(second.stimuli)} stimuli that differ",
            remedy="Show both subjects the same stimuli.",
        )
    matrices = [condition_matrix(one, site, options.pool) for one, site in zip((first, second), sites, strict=True)]
    names = list(dict.fromkeys(ids))
    which = np.array([names.index(one) for one in ids])
    if len(names) < LEAST_CONDITIONS:
        raise PatchclampError(
            expected=f"at least {LEAST_CONDITIONS} different stimuli", got=str(len(names)), remedy="Show more."
        )
    means = [_average(matrix, which, len(names)) for matrix in matrices]
    rdms = [dissimilarities(matrix, options.distance) for matrix in means]
    lower = np.tril_indices(len(names), -1)
    value = spearman(rdms[0][lower], rdms[1][lower])
    draw = np.random.default_rng(seed)
    total = options.n_null + options.n_bootstrap
    ranks = [rank(rdm[lower]) for rdm in rdms]
    null = np.empty(options.n_null)
    for i in range(options.n_null):
        order = draw.permutation(len(names))
        null[i] = _correlate(ranks[0], rank(rdms[1][np.ix_(order, order)][lower]))
        progress(i + 1, total)
    resampled = np.empty(options.n_bootstrap)
    for i in range(options.n_bootstrap):
        some = draw.integers(0, len(names), len(names))
        apart = some[lower[0]] != some[lower[1]]
        parts = [rdm[np.ix_(some, some)][lower][apart] for rdm in rdms]
        resampled[i] = spearman(*parts) if apart.sum() > 1 else np.nan
        progress(options.n_null + i + 1, total)
    low, high = np.nanquantile(resampled, [0.025, 0.975])
    null_low, null_high = np.quantile(null, [0.025, 0.975])
    estimate = Estimate(
        value,
        Interval(float(low), float(high), 0.95, "percentile bootstrap over conditions"),
        len(names),
        "Spearman r of RDMs",
        Interval(float(null_low), float(null_high), 0.95, f"{options.n_null} permutations of conditions"),
        float((1 + (null >= value).sum()) / (1 + options.n_null)),
        _ceiling(matrices, which, len(names), options.distance, draw),
    )
    labels = tuple(str(getattr(first.stimuli[ids.index(name)], "text", None) or name[:8]) for name in names)
    subjects = tuple(
        "/".join(part for part in (subject_of(one)[0], site) if part)
        for one, site in zip((first, second), sites, strict=True)
    )
    return Similarity((subjects[0], subjects[1]), estimate, "conditions", rdms[0], rdms[1], labels)


def dissimilarities(
    matrix: Float[np.ndarray, "condition unit"], distance: str
) -> Float[np.ndarray, "condition condition"]:
    """Return how far conditions are from each other; a condition without variance is as far as can be from all others.

    Args:
        matrix: what each condition evoked.
        distance: ``correlation``, ``euclidean`` or ``cosine``.
    """
    if distance == "euclidean":
        squares = (matrix**2).sum(1)
        apart: np.ndarray = np.sqrt(np.maximum(squares[:, None] + squares[None] - 2 * matrix @ matrix.T, 0.0))
    else:
        centred = matrix - matrix.mean(1, keepdims=True) if distance == "correlation" else matrix
        norms = np.linalg.norm(centred, axis=1, keepdims=True)
        unit = np.divide(centred, norms, out=np.zeros_like(centred), where=norms > 0)
        apart = 1 - unit @ unit.T
    np.fill_diagonal(apart, 0.0)
    return apart


def _average(matrix: np.ndarray, which: np.ndarray, n: int) -> Float[np.ndarray, "condition unit"]:
    """Return the mean over repeats of every condition."""
    sums = np.zeros((n, matrix.shape[1]))
    np.add.at(sums, which, matrix)
    means: np.ndarray = sums / np.bincount(which, minlength=n)[:, None]
    return means


def _correlate(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale > 0 else np.nan


def _ceiling(
    matrices: list[np.ndarray], which: np.ndarray, n: int, distance: str, draw: np.random.Generator
) -> float | None:
    """Return the largest similarity that noise allows, from halves of the repeats; None without repeats."""
    if np.bincount(which, minlength=n).min() < 2:
        return None
    lower, product = np.tril_indices(n, -1), 1.0
    for matrix in matrices:
        halves = []
        for _ in range(20):
            first = np.zeros(len(which), dtype=bool)
            for condition in range(n):
                rows = draw.permutation(np.flatnonzero(which == condition))
                first[rows[: len(rows) // 2]] = True
            parts = [
                dissimilarities(_average(matrix[half], which[half], n), distance)[lower] for half in (first, ~first)
            ]
            halves.append(spearman(*parts))
        r = float(np.mean(halves))
        product *= max(2 * r / (1 + r), 0.0) if r > -1 else 0.0
    return float(np.sqrt(product))


def _cost(sizes: Sizes, _options: RSAOptions) -> Cost:
    return Cost(bytes=4 * 8 * sizes.rows**2)


METHOD = Method(
    rsa,
    name="rsa",
    room="compare",
    title="representational similarity analysis (RSA)",
    question="Do two recordings hold the same conditions apart?",
    papers=(Paper("doi:10.3389/neuro.06.004.2008", equation="figure 1"),),
    keys=(),
    cost=_cost,
    oracle="oracles.rsa:rsa",
    calibrated_on=("brain-linear:rotated",),
    must_show="a rotated copy with noise is more alike than noise, and less than the recording itself",
    must_miss={"brain-linear:mute": "voxels that read nothing are unlike the features"},
    default_for=("compare",),
)
