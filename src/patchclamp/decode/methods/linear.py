"""A linear decoder of labels: which class a stimulus is of, read from the activity that it evoked."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from patchclamp.core.checks import subject_of
from patchclamp.core.conditions import Pool, check_cases, condition_matrix, only_site
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import Estimate
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.options import option
from patchclamp.core.readout import Readout
from patchclamp.core.recording import Recording
from patchclamp.core.split import Split
from patchclamp.core.stats import mean_interval
from patchclamp.core.subject import Progress
from patchclamp.core.task import Task
from patchclamp.decode.held_out import middle_of, move, refuse_leaks

LEAST = 2
"""Rows of a class from which its covariance is estimated."""


@dataclass(frozen=True)
class LinearOptions:
    """Options of the linear decoder."""

    site: str = option("", "the site that is read; the recording's only one where empty")
    pool: Pool = option("mean", "how the rows of a stimulus become one")
    n_null: int = option(19, "refits of the whole pipeline on labels that do not fit the activity", least=19, most=9999)


def linear(
    recording: Recording, labels: Task, split: Split, options: LinearOptions, *, seed: int = 0, progress: Progress
) -> Readout:
    r"""Read labels from activity by linear discriminant analysis, and score it on rows that were not fitted on.

    Of the fitted rows: class means m_c and one covariance S = Σ_c S_c / C, each S_c shrunk towards its diagonal by the
    share of Ledoit & Wolf (in units of the class' standard deviations). A row gets the class of the largest
    (x − μ)·S⁻¹m_c − ½ m_cᵀS⁻¹m_c, m_c taken from μ, the mean of the fitted rows; all classes count alike.

    A class' score is its recall, the share of its rows that get it: its mean over folds in which it occurs. The summary
    is the balanced accuracy, their mean over classes; its interval resamples folds. The null moves the labels against
    the activity (in a circle; where the split says that rows are apart, at random) and refits everything, so that slow
    labels beside slow activity score by chance what they would. A ceiling is not known: nothing in a recording says
    what the best decoder reaches.

    Args:
        recording: activity that is read, a row per stimulus after pooling.
        labels: a labelled case for every stimulus, in the same order; where both hold text, the same text.
        split: folds over the stimuli.
        options: site, pooling, refits.
        seed: of the null.
        progress: called with fits done and in all.

    Returns:
        Readout: a discriminant for each class, fitted on all rows; ``scores`` and ``predicted`` are of held-out ones.

    Raises:
        PatchclampError: another number of labels, a stimulus without one, fewer than two classes, a class of which a
            fold leaves fewer than two rows to fit, a stimulus in two folds; scikit-learn is not installed.

    Source: Ledoit & Wolf (2004), J. Multivariate Analysis 88, 365, for the covariance; scikit-learn solves it.

    Cost: (1 + n_null) · folds covariances of ``(row, feature)`` and their solutions.
    """
    site = only_site(recording, options.site)
    x = condition_matrix(recording, site, options.pool)
    names, y = _read_labels(recording, labels, split)
    refuse_leaks([stimulus.id for stimulus in recording.stimuli], split)
    _refuse_scarce(names, y, split)
    fit, draw = _solver(len(names)), np.random.default_rng(seed)
    total = (1 + options.n_null) * len(split) + 1
    predicted, by_fold = _held_out(fit, x, y, split, len(names))
    progress(len(split), total)
    null = np.empty((options.n_null, len(names)))
    for i in range(options.n_null):
        null[i] = np.nanmean(_held_out(fit, x, move(y, split, draw), split, len(names))[1], axis=0)
        progress((i + 2) * len(split), total)
    weights, centre, intercept = fit(x, y)
    progress(total, total)
    scores = tuple(_estimate(by_fold[:, c], null[:, c], "recall", seed) for c in range(len(names)))
    value = float(np.mean([one.value for one in scores]))
    summary = Estimate(
        value,
        mean_interval(np.nanmean(by_fold, axis=1), seed=seed),
        len(by_fold),
        "balanced accuracy",
        middle_of(null.mean(1)),
        float((1 + (null.mean(1) >= value).sum()) / (1 + len(null))),
    )
    return Readout(
        weights,
        centre,
        intercept,
        (subject_of(recording)[0] or "recording", site),
        (labels.name or "labels", "label"),
        names,
        scores,
        summary,
        predicted,
        options.pool,
    )


Fit = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


def _read_labels(recording: Recording, labels: Task, split: Split) -> tuple[tuple[str, ...], Int[np.ndarray, " row"]]:
    """Return the classes, and the number of every stimulus' class."""
    n, names = len(recording.stimuli), labels.labels
    if not n == len(labels) == len(split.fold):
        raise PatchclampError(
            expected="a recording, labelled cases and a split of as many stimuli",
            got=f"{n}, {len(labels)} and {len(split.fold)}",
            remedy="Give one labelled case for every stimulus that was recorded, in the same order, and split those.",
        )
    bare = next((i for i, case in enumerate(labels.cases) if not case.label), None)
    if bare is not None or len(names) < 2:
        raise PatchclampError(
            expected="a label for every case, of two classes or more",
            got=f"case {bare} without one" if bare is not None else f"{len(names)} class",
            remedy="Case(shown, label=…) labels a case; record only stimuli that have a label.",
        )
    check_cases(recording, labels.cases)
    return names, np.array([names.index(case.label) for case in labels.cases])


def _refuse_scarce(names: tuple[str, ...], y: Int[np.ndarray, " row"], split: Split) -> None:
    for fitted, scored in split:
        count = np.bincount(y[fitted], minlength=len(names))
        scarce = [c for c in np.unique(y[scored]).tolist() if count[c] < LEAST]
        if scarce:
            raise PatchclampError(
                expected=f"beside every fold at least {LEAST} rows of each class that it scores",
                got=f"{count[scarce[0]]} of {names[scarce[0]]!r} beside rows {scored[0]} to {scored[-1]}",
                remedy="Use fewer folds, a smaller gap, or a design in which every block shows every class.",
            )


def _solver(n_classes: int) -> Fit:
    """Return the function X, y → W, μ, b; a class of fewer rows than a covariance takes is never chosen."""
    try:
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    except ImportError as problem:
        raise PatchclampError(
            expected="scikit-learn, which fits linear discriminants",
            got="an environment without it",
            remedy="pip install 'patchclamp[science]'",
        ) from problem

    def fit(
        x: Float[np.ndarray, "row feature"], y: Int[np.ndarray, " row"]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        count, centre = np.bincount(y, minlength=n_classes), x.mean(0)
        known, among = np.flatnonzero(count >= LEAST), count[y] >= LEAST
        weights, intercept = np.zeros((x.shape[1], n_classes)), np.full(n_classes, -np.inf)
        if len(known) < 2:
            intercept[known] = 0.0
            return weights, centre, intercept
        solved = LinearDiscriminantAnalysis("lsqr", shrinkage="auto", priors=np.full(len(known), 1 / len(known)))
        solved.fit(x[among] - centre, y[among])
        coefficients, offsets = solved.coef_, solved.intercept_
        if len(known) == 2:  # of two classes only their difference is given
            coefficients = np.concatenate([-coefficients, coefficients]) / 2
            offsets = np.concatenate([-offsets, offsets]) / 2
        weights[:, known], intercept[known] = coefficients.T, offsets
        return weights, centre, intercept

    return fit


def _held_out(
    fit: Fit, x: Float[np.ndarray, "row feature"], y: Int[np.ndarray, " row"], split: Split, n_classes: int
) -> tuple[Float[np.ndarray, "row class"], Float[np.ndarray, "fold class"]]:
    """Return every scored row's discriminants by what was fitted on others, and each class' recall in each fold."""
    predicted, by_fold = np.full((len(y), n_classes), np.nan), []
    for fitted, scored in split:
        weights, centre, intercept = fit(x[fitted], y[fitted])
        predicted[scored] = (x[scored] - centre) @ weights + intercept
        right = predicted[scored].argmax(1) == y[scored]
        members = y[scored][:, None] == np.arange(n_classes)  # (row, class)
        count = members.sum(0)
        hits = (members & right[:, None]).sum(0)
        by_fold.append(np.divide(hits, count, out=np.full(n_classes, np.nan), where=count > 0))
    return predicted, np.stack(by_fold)


def _estimate(by_fold: np.ndarray, null: np.ndarray, unit: str, seed: int) -> Estimate:
    known = by_fold[np.isfinite(by_fold)]
    value = float(known.mean())
    interval = mean_interval(known, seed=seed) if len(known) > 1 else None
    p = float((1 + (null >= value).sum()) / (1 + len(null)))
    return Estimate(value, interval, len(known), unit, middle_of(null), p)


def _cost(sizes: Sizes, _options: LinearOptions) -> Cost:
    return Cost(bytes=8 * (2 * sizes.rows * sizes.units + 2 * sizes.units**2))


METHOD = Method(
    linear,
    name="linear",
    room="decode",
    title="linear discriminant analysis with a shrunk covariance",
    question="Which labels can be read from activity, on stimuli that were not fitted on?",
    papers=(Paper("doi:10.1016/S0047-259X(03)00096-4", equation="14"),),
    cost=_cost,
    oracle="oracles.linear:linear",
    calibrated_on=("brain-classes",),
    must_show="labels are read nearly as well as by who knows the classes' means",
    must_miss={
        "brain-classes:drift": "slow activity and slow labels that are unrelated: they agree only where a split leaks",
        "brain-classes:mute": "channels that read nothing hold no label",
    },
    sources=("decode/held_out.py",),
    default_for=("decode",),
)
