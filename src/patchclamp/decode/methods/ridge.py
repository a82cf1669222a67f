"""Ridge regression as an encoding or decoding model: one recording's activity predicted from another's."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from patchclamp.core.checks import subject_of
from patchclamp.core.conditions import Pool, condition_matrix, only_site
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import Estimate
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.options import option
from patchclamp.core.readout import Readout
from patchclamp.core.recording import Recording
from patchclamp.core.split import Split
from patchclamp.core.stats import mean_interval
from patchclamp.core.subject import Progress
from patchclamp.decode.held_out import middle_of, move, refuse_leaks


@dataclass(frozen=True)
class RidgeOptions:
    """Options of ridge regression."""

    feature_site: str = option("", "the site of the features; their only one where empty")
    target_site: str = option("", "the site of the targets; their only one where empty")
    pool: Pool = option("mean", "how the rows of a stimulus become one")
    alphas: tuple[float, ...] = option(
        tuple(10.0**k for k in range(-2, 7)), "penalties, one chosen for each target by inner folds", least=1e-6
    )
    inner_folds: int = option(4, "blocks of the fitted rows that choose the penalty", least=2, most=50)
    n_null: int = option(
        19, "refits of the whole pipeline on targets that do not fit the features", least=19, most=9999
    )


def ridge(
    features: Recording, targets: Recording, split: Split, options: RidgeOptions, *, seed: int = 0, progress: Progress
) -> Readout:
    r"""Predict every target from features by ridge regression, and score it on rows that were not fitted on.

    W = argmin ‖Y − (X − μ) W − b‖² + α_t ‖W_t‖² for each target t, α_t chosen by inner blocks of the fitted rows. μ and
    the features' standard deviation are those of the fitted rows. The score is Pearson's r in each fold, its mean over
    folds; the interval resamples folds. The null moves the targets against the features (in a circle, by at least a
    tenth of the rows; where the split says that rows are apart, at random) and refits everything. The ceiling is known
    where stimuli repeat: the square root of the split-half reliability (Spearman–Brown).

    Args:
        features: activity that is read, a row per stimulus after pooling.
        targets: activity that is predicted, of the same stimuli in the same order.
        split: folds over the stimuli.
        options: sites, pooling, penalties, counts.
        seed: of the null and of the halves.
        progress: called with fits done and in all.

    Returns:
        Readout: fitted on all rows; ``scores`` and ``predicted`` are of held-out ones.

    Raises:
        PatchclampError: recordings or a split of different numbers of rows; himalaya is not installed.

    Source: Hoerl & Kennard (1970), Technometrics 12, 55; per-target penalties as in himalaya (Dupré la Tour et al.,
    2022, NeuroImage 264, 119728), which solves it.

    Cost: (1 + n_null) · folds singular value decompositions of ``(row, feature)``.
    """
    sites = only_site(features, options.feature_site), only_site(targets, options.target_site)
    x, y = (condition_matrix(one, site, options.pool) for one, site in zip((features, targets), sites, strict=True))
    if not len(x) == len(y) == len(split.fold) or not len(x):
        raise PatchclampError(
            expected="features, targets and a split of as many stimuli",
            got=f"{len(x)}, {len(y)} and {len(split.fold)}",
            remedy="Show both subjects the same stimuli, in the same order, and split those.",
        )
    ids = [[stimulus.id for stimulus in one.stimuli] for one in (features, targets)]
    if ids[0] != ids[1]:
        raise PatchclampError(
            expected="features and targets of the same stimuli in the same order",
            got=f"others from stimulus {next(i for i, (a, b) in enumerate(zip(*ids, strict=True)) if a != b)} on",
            remedy="Record both over the same stimuli.",
        )
    refuse_leaks(ids[0], split)
    fit, draw = _solver(options), np.random.default_rng(seed)
    total = (1 + options.n_null) * len(split) + 1
    predicted, by_fold = _held_out(fit, x, y, split)
    progress(len(split), total)
    null = np.empty((options.n_null, y.shape[1]))
    for i in range(options.n_null):
        null[i] = _mean(_held_out(fit, x, move(y, split, draw), split)[1])
        progress((i + 2) * len(split), total)
    weights, centre, intercept = fit(x, y)
    progress(total, total)
    value = _mean(by_fold)
    ceiling = _reliability(y, ids[1], draw)
    scores = tuple(
        _estimate(value[t], by_fold[:, t], null[:, t], None if ceiling is None else float(ceiling[t]), seed)
        for t in range(y.shape[1])
    )
    summary = Estimate(
        float(value.mean()),
        mean_interval(value, seed=seed) if len(value) > 1 else None,
        len(value),
        "Pearson r, mean over targets",
        middle_of(null.mean(1)),
        float((1 + (null.mean(1) >= value.mean()).sum()) / (1 + len(null))),
        None if ceiling is None else float(ceiling.mean()),
    )
    named = [(subject_of(one)[0] or "recording", site) for one, site in zip((features, targets), sites, strict=True)]
    names = tuple(f"{sites[1]}/neurons/{t}" for t in range(y.shape[1]))
    return Readout(weights, centre, intercept, named[0], named[1], names, scores, summary, predicted, options.pool)


Fit = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


def _solver(options: RidgeOptions) -> Fit:
    """Return the function X, Y → W, μ, b; features without variance have weight 0."""
    try:
        from himalaya.ridge import RidgeCV
    except ImportError as problem:
        raise PatchclampError(
            expected="himalaya, which solves ridge regressions with a penalty for each target",
            got="an environment without it",
            remedy="pip install 'patchclamp[science]'",
        ) from problem
    if not options.alphas:
        raise PatchclampError(expected="at least one penalty", got="none", remedy="Leave alphas out for the default.")

    def fit(
        x: Float[np.ndarray, "row feature"], y: Float[np.ndarray, "row target"]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        centre, scale = x.mean(0), x.std(0)
        scaled = np.divide(x - centre, scale, out=np.zeros_like(x), where=scale > 0)
        offset = y.mean(0)
        solved = RidgeCV(
            alphas=list(options.alphas),
            fit_intercept=False,
            cv=min(options.inner_folds, len(x)),
            solver_params={"warn": False},  # that a kernel would be faster where there are more features than rows
        )
        solved.fit(scaled, y - offset)
        inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
        return np.asarray(solved.coef_, dtype=np.float64) * inverse[:, None], centre, offset

    return fit


def _held_out(
    fit: Fit, x: Float[np.ndarray, "row feature"], y: Float[np.ndarray, "row target"], split: Split
) -> tuple[Float[np.ndarray, "row target"], Float[np.ndarray, "fold target"]]:
    """Return the prediction of every scored row by what was fitted on others, and r in each fold."""
    predicted, by_fold = np.full(y.shape, np.nan), []
    for fitted, scored in split:
        weights, centre, intercept = fit(x[fitted], y[fitted])
        predicted[scored] = (x[scored] - centre) @ weights + intercept
        by_fold.append(_correlate(predicted[scored], y[scored]))
    return predicted, np.stack(by_fold)


def _correlate(x: Float[np.ndarray, "row target"], y: Float[np.ndarray, "row target"]) -> Float[np.ndarray, " target"]:
    """Return Pearson's r of each column; 0 where a prediction is constant, nan where a target is."""
    x, y = x - x.mean(0), y - y.mean(0)
    power_x, power_y = (x**2).sum(0), (y**2).sum(0)
    scale = np.sqrt(power_x * power_y)
    r = np.divide((x * y).sum(0), scale, out=np.zeros_like(scale), where=scale > 0)
    return np.where(power_y > 0, r, np.nan)


def _mean(by_fold: Float[np.ndarray, "fold target"]) -> Float[np.ndarray, " target"]:
    """Return the mean over folds in which a target varies; nan where it varies in none."""
    known = np.isfinite(by_fold)
    n = known.sum(0)
    means: np.ndarray = np.divide(
        np.where(known, by_fold, 0.0).sum(0), n, out=np.full(by_fold.shape[1], np.nan), where=n > 0
    )
    return means


def _estimate(value: float, by_fold: np.ndarray, null: np.ndarray, ceiling: float | None, seed: int) -> Estimate:
    known = by_fold[np.isfinite(by_fold)]
    if not len(known) or not np.isfinite(null).all():
        return Estimate(float("nan"), None, len(known), "Pearson r")
    interval = mean_interval(known, seed=seed) if len(known) > 1 else None
    p = float((1 + (null >= value).sum()) / (1 + len(null)))
    return Estimate(float(value), interval, len(known), "Pearson r", middle_of(null), p, ceiling)


def _reliability(
    y: Float[np.ndarray, "row target"], ids: list[str], draw: np.random.Generator
) -> Float[np.ndarray, " target"] | None:
    """Return the largest r that the noise of single showings allows; None where a stimulus is shown only once.

    With r₁ the correlation of two showings, a prediction of the mean response reaches √r₁ with one showing.
    """
    rows: dict[str, list[int]] = {}
    for i, one in enumerate(ids):
        rows.setdefault(one, []).append(i)
    if min(map(len, rows.values())) < 2:
        return None
    halves = []
    for _ in range(20):
        pairs = np.array([draw.permutation(members)[:2] for members in rows.values()])
        halves.append(_correlate(y[pairs[:, 0]], y[pairs[:, 1]]))
    r: Float[np.ndarray, " target"] = np.clip(_mean(np.stack(halves)), 0.0, 1.0)
    return np.sqrt(np.nan_to_num(r))


def _cost(sizes: Sizes, options: RidgeOptions) -> Cost:
    return Cost(bytes=8 * (sizes.rows * (sizes.units + 3 * sizes.targets) + 2 * sizes.units * sizes.targets))


METHOD = Method(
    ridge,
    name="ridge",
    room="decode",
    title="ridge regression with a penalty for each target",
    question="How well, and where, is one recording's activity predicted by another's?",
    papers=(Paper("doi:10.1016/j.neuroimage.2022.119728", equation="2"),),
    keys=("unit",),
    cost=_cost,
    oracle="oracles.ridge:ridge",
    calibrated_on=("brain-linear",),
    must_show="voxels that read the features reach their ceiling, mute ones stay within the null",
    must_miss={
        "brain-linear:drift": "slow features that are unrelated predict slow voxels only where a split leaks",
        "brain-linear:mute": "voxels that read nothing cannot be predicted",
    },
    sources=("decode/held_out.py",),
    default_for=("encode",),
)
