"""Detection: does a judge who reads a description know in which windows the unit fires?"""

from dataclasses import dataclass

import numpy as np

from patchclamp.core.corpus import Corpus
from patchclamp.core.descriptions import Descriptions
from patchclamp.core.exemplars import Exemplars
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.options import option
from patchclamp.core.subject import Progress
from patchclamp.describe.judge import Judge
from patchclamp.describe.scoring import Measured, answer_in_order, by_decile, parse_answers, score_units
from patchclamp.describe.window_intervals import WindowScore, area, balanced_accuracy
from patchclamp.describe.windows import Named, ShownWindows, UnitRows


@dataclass(frozen=True)
class DetectionOptions:
    """Options of detection."""

    threshold: float = option(0.5, "a window is said to fit above this probability", least=0.0, most=1.0)


def detection(
    subject: Named,
    exemplars: Exemplars,
    descriptions: Descriptions,
    judge: Judge,
    options: DetectionOptions,
    corpus: Corpus | None = None,
    *,
    seed: int = 0,
    progress: Progress,
) -> Descriptions:
    """Score descriptions by whether a judge tells windows in which the unit fires from those in which it does not.

    The judge reads the description and plain windows in an order of chance, and gives each the probability p that the
    unit fires in it. Score = (TPR + TNR) / 2, a window being said to fit where p > threshold; AUROC of p beside it. An
    answer that cannot be read is missing: it counts neither for nor against.

    Args:
        subject: whose tokens are named.
        exemplars: windows that the author of the descriptions was not shown.
        descriptions: to be scored.
        judge: who answers.
        options: threshold.
        corpus: labelled text or images that the windows are of, for descriptions that speak of labels.
        seed: of orders and intervals.
        progress: called with units done and in all.

    Returns:
        Descriptions: with the scores ``detection`` and ``detection_auroc``. In ``deciles`` stands the share that is
        found of each tenth of the active windows, the weakest first.

    Raises:
        PatchclampError: exemplars without windows of both sorts or of other units, or a judge that answers of others.

    Source: 2410.13928, detection scoring. The order of windows is drawn for each unit on its own; the interval is ours.

    Cost: a judge's answer per window and unit; the rest is 0.3 ms a unit.

    Example:
        >>> from patchclamp.describe import describe
        >>> from patchclamp.describe.judges.rule import RuleJudge
        >>> from patchclamp.calibrate.corpora import make_evidence
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> train, test = make_evidence(cat, "blocks.0.mlp.act")
        >>> words = METHOD(cat, test, describe(cat, train, method="rule"), RuleJudge())
        >>> float(words.scores["detection"].value[words.index.place("blocks.0.mlp.act/neurons/7")])
        1.0
    """
    shown = ShownWindows(subject, exemplars, corpus)

    def score(text: str, rows: UnitRows) -> list[WindowScore]:
        draw = rows.draw(seed)
        places = np.concatenate([rows.active, rows.silent])
        windows = shown.of_rows(places)
        answers = answer_in_order(
            lambda order: judge.fits(text, [windows[i] for i in order]), draw.permutation(len(places)).tolist()
        )
        return score_answers(answers, rows, options.threshold, draw)

    return score_units(exemplars, descriptions, measures_of("detection"), judge.name, score, progress)


def measures_of(name: str) -> tuple[Measured, Measured]:
    """Return what answers of yes or no are scored by."""
    return Measured(name, "balanced accuracy", deciles=True), Measured(f"{name}_auroc", "AUROC")


def score_answers(
    answers: list[float | None], rows: UnitRows, threshold: float, draw: np.random.Generator
) -> list[WindowScore]:
    """Return balanced accuracy and AUROC of answers, those about active windows first.

    Returns:
        list[WindowScore]: two, with what ``measures_of`` names.
    """
    n = len(rows.active)
    active, silent, missing = parse_answers(answers, n)
    given = np.array([np.nan if one is None else one for one in answers[:n]], dtype=np.float64)
    said = np.where(np.isnan(given), np.nan, given > threshold)
    total = len(active) + len(silent)
    return [
        WindowScore(
            *balanced_accuracy(active > threshold, silent > threshold, draw),
            total,
            missing,
            by_decile(said, rows.deciles),
        ),
        WindowScore(*area(active, silent, draw), total, missing),
    ]


def _cost(_sizes: Sizes, _options: DetectionOptions) -> Cost:
    return Cost()


METHOD = Method(
    detection,
    name="detection",
    room="describe",
    kind="scorer",
    title="detection: which windows fit the description",
    question="Does the description say in which windows the unit fires?",
    papers=(Paper("2410.13928", equation="detection scoring"),),
    keys=("unit",),
    cost=_cost,
    oracle="oracles.scorers:detection",
    calibrated_on=("language-gpt2:tokens", "language-gpt2:contexts"),
    must_show="true rules score 0.9 at least, the same rules given to other units and random ones chance",
    must_miss={"language-gpt2:near": "a rule that leaves out the context is right of all windows but the hard ones"},
    sources=("describe/scoring.py", "describe/window_intervals.py", "describe/windows.py"),
)
