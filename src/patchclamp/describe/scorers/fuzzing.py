"""Fuzzing: does a judge who reads a description know at which tokens the unit fires?"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from patchclamp.core.corpus import Corpus
from patchclamp.core.descriptions import Descriptions
from patchclamp.core.exemplars import Exemplars
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.options import option
from patchclamp.core.subject import Progress
from patchclamp.describe.judge import Judge
from patchclamp.describe.scorers.detection import measures_of, score_answers
from patchclamp.describe.scoring import answer_in_order, score_units
from patchclamp.describe.window_intervals import WindowScore
from patchclamp.describe.windows import NEIGHBOUR, Named, ShownWindows, UnitRows


@dataclass(frozen=True)
class FuzzingOptions:
    """Options of fuzzing."""

    threshold: float = option(0.5, "a window is said to fit above this probability", least=0.0, most=1.0)
    marked: float = option(0.3, "tokens are marked from this share of the window's highest activation on", least=0.0)


def fuzzing(
    subject: Named,
    exemplars: Exemplars,
    descriptions: Descriptions,
    judge: Judge,
    options: FuzzingOptions,
    corpus: Corpus | None = None,
    *,
    seed: int = 0,
    progress: Progress,
) -> Descriptions:
    """Score descriptions by whether a judge tells tokens at which the unit fires from others.

    Each window is shown with marked tokens, and fits only where every marked token does. In a window in which the unit
    fires those of at least 0.3 · max are marked. In one in which it does not, as many tokens at random as there are on
    average, ⌈mean⌉, in the active ones; in a neighbour's, the neighbour's own. Score and AUROC are those of detection.

    Marks are drawn anew for each unit and window: the public code of the paper draws the same positions in every call.
    It also forces one mark at three quarters of the window, where its own windows are centred; ours are not.

    Args:
        subject: whose tokens are named.
        exemplars: windows that the author of the descriptions was not shown.
        descriptions: to be scored.
        judge: who answers.
        options: threshold and share.
        corpus: labelled text or images that the windows are of, for descriptions that speak of labels.
        seed: of marks, orders and intervals.
        progress: called with units done and in all.

    Returns:
        Descriptions: with the scores ``fuzzing`` and ``fuzzing_auroc``; ``deciles`` as detection has them.

    Raises:
        PatchclampError: exemplars without windows of both sorts, of other units, or without activations; a judge that
            answers of others.

    Source: 2410.13928, fuzzing scoring.

    Cost: a judge's answer per window and unit.

    Example:
        >>> from patchclamp.describe import describe
        >>> from patchclamp.describe.judges.rule import RuleJudge
        >>> from patchclamp.calibrate.corpora import make_evidence
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> train, test = make_evidence(cat, "blocks.0.mlp.act")
        >>> words = METHOD(cat, test, describe(cat, train, method="rule"), RuleJudge())
        >>> float(words.scores["fuzzing"].value[words.index.place("blocks.0.mlp.act/neurons/7")])
        1.0
    """
    shown = ShownWindows(subject, exemplars, corpus)

    def score(text: str, rows: UnitRows) -> list[WindowScore]:
        draw = rows.draw(seed)
        windows = shown.of_rows(np.concatenate([rows.active, rows.silent]))
        marks = mark_tokens(shown, rows, options.marked, draw)
        answers = answer_in_order(
            lambda order: judge.fits_marked(text, [windows[i] for i in order], [marks[i] for i in order]),
            draw.permutation(len(windows)).tolist(),
        )
        return score_answers(answers, rows, options.threshold, draw)

    return score_units(exemplars, descriptions, measures_of("fuzzing"), judge.name, score, progress)


def mark_active(shown: ShownWindows, row: int, share: float) -> Bool[np.ndarray, " token"]:
    """Return which tokens of an active window are marked: those of at least a share of its highest activation.

    Returns:
        Bool[np.ndarray, " token"]: one at least.
    """
    values = shown.activations(row)
    highest = values.max()  # below 0 where a unit fires above its mean: its share would then lie above it
    marks: np.ndarray = (values >= min(share * highest, highest)) & np.isfinite(values)
    return marks


def mark_random(shown: ShownWindows, row: int, n: int, draw: np.random.Generator) -> Bool[np.ndarray, " token"]:
    """Return marks of ``n`` tokens at random among those that count; of all where there are fewer.

    Returns:
        Bool[np.ndarray, " token"]: with ``n`` marks at most.
    """
    counted = np.flatnonzero(shown.countable(row))
    marks = np.zeros(len(shown.countable(row)), dtype=bool)
    marks[draw.choice(counted, min(n, len(counted)), replace=False)] = True
    return marks


def mark_tokens(
    shown: ShownWindows, rows: UnitRows, share: float, draw: np.random.Generator
) -> list[Bool[np.ndarray, " token"]]:
    """Return the marks of a unit's windows, the active ones first.

    Returns:
        list[Bool[np.ndarray, " token"]]: one a window.

    Source: 2410.13928, fuzzing scoring.
    """
    active = [mark_active(shown, row, share) for row in rows.active.tolist()]
    n_incorrect = math.ceil(np.mean([marks.sum() for marks in active]))
    silent = [
        # Evidence marks nothing in silent windows; no marks at all would fit every description.
        marks if shown.exemplars.kind[row] == NEIGHBOUR and marks.any() else mark_random(shown, row, n_incorrect, draw)
        for row in rows.silent.tolist()
        for marks in [shown.marks(row)]
    ]
    return active + silent


def _cost(_sizes: Sizes, _options: FuzzingOptions) -> Cost:
    return Cost()


METHOD = Method(
    fuzzing,
    name="fuzzing",
    room="describe",
    kind="scorer",
    title="fuzzing: which tokens fit the description",
    question="Does the description say at which tokens the unit fires?",
    papers=(Paper("2410.13928", equation="fuzzing scoring"),),
    keys=("unit",),
    cost=_cost,
    oracle="oracles.scorers:fuzzing",
    calibrated_on=("language-gpt2:tokens", "language-gpt2:contexts"),
    must_show="true rules score 0.9 at least, the same rules given to other units and random ones chance",
    must_miss={
        "language-gpt2:neighbour": "a rule that leaves out the context is right of all tokens but the neighbour's"
    },
    sources=(
        "describe/scorers/detection.py",
        "describe/scoring.py",
        "describe/window_intervals.py",
        "describe/windows.py",
    ),
)
