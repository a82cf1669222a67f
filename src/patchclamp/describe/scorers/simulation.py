"""Simulation: does a judge who reads a description predict how strongly the unit fires at each token?"""

import numpy as np

from patchclamp.core.corpus import Corpus
from patchclamp.core.descriptions import Descriptions
from patchclamp.core.errors import PatchclampError
from patchclamp.core.exemplars import Exemplars
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.options import NoOptions
from patchclamp.core.subject import Progress
from patchclamp.describe.judge import Judge
from patchclamp.describe.scoring import Measured, score_units
from patchclamp.describe.window_intervals import WindowScore, correlation, pearson_of
from patchclamp.describe.windows import Named, ShownWindows, UnitRows


def simulation(
    subject: Named,
    exemplars: Exemplars,
    descriptions: Descriptions,
    judge: Judge,
    options: NoOptions,
    corpus: Corpus | None = None,
    *,
    seed: int = 0,
    progress: Progress,
) -> Descriptions:
    """Score descriptions by how well a judge predicts from them what the unit does at each token.

    The judge gives each token a number from 0 to 10. Score = Pearson's r between the true activations and these numbers
    over the tokens of all windows end to end, active and silent ones, and not a mean of a window's r. Special tokens do
    not count. Numbers that are all alike explain nothing: r = 0.

    Args:
        subject: whose tokens are named.
        exemplars: windows that the author of the descriptions was not shown.
        descriptions: to be scored.
        judge: who answers.
        options: none.
        corpus: labelled text or images that the windows are of, for descriptions that speak of labels.
        seed: of intervals, which draw whole windows.
        progress: called with units done and in all.

    Returns:
        Descriptions: with the score ``simulation``; ``deciles`` holds r within each tenth of the active windows.

    Raises:
        PatchclampError: exemplars without windows of both sorts, of other units, or without activations; a judge that
            answers of others or of another number of tokens.

    Source: 2410.13928, simulation scoring.

    Cost: a judge's answer per token and unit.

    Example:
        >>> from patchclamp.describe import describe
        >>> from patchclamp.describe.judges.rule import RuleJudge
        >>> from patchclamp.calibrate.corpora import make_evidence
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> train, test = make_evidence(cat, "blocks.0.mlp.act")
        >>> words = METHOD(cat, test, describe(cat, train, method="rule"), RuleJudge())
        >>> round(float(words.scores["simulation"].value[words.index.place("blocks.0.mlp.act/neurons/7")]), 6)
        1.0
    """
    shown = ShownWindows(subject, exemplars, corpus)

    def score(text: str, rows: UnitRows) -> list[WindowScore]:
        places = [*rows.active.tolist(), *rows.silent.tolist()]
        tenths = np.concatenate([rows.deciles, np.full(len(rows.silent), -1)])
        windows = shown.of_rows(places)
        answers = judge.simulate(text, windows)
        _check(answers, [len(window) for window in windows])
        true, predicted, of = [], [], []
        for row, answer, tenth in zip(places, answers, tenths.tolist(), strict=True):
            if answer is not None:
                values = shown.activations(row)
                counted = np.isfinite(values)
                true.append(values[counted])
                predicted.append(np.asarray(answer, dtype=np.float64)[counted])
                of.append(tenth)
        parts = [[i for i, tenth in enumerate(of) if tenth == wanted] for wanted in range(10)]
        deciles = [pearson_of([true[i] for i in part], [predicted[i] for i in part]) for part in parts]
        found = correlation(true, predicted, rows.draw(seed))
        return [WindowScore(*found, len(true), len(places) - len(true), np.array(deciles))]

    return score_units(
        exemplars, descriptions, (Measured("simulation", "Pearson r", 0.0, True),), judge.name, score, progress
    )


def _check(answers: list[np.ndarray | None], lengths: list[int]) -> None:
    given = [n if one is None else len(one) for one, n in zip(answers, lengths, strict=False)]
    if len(answers) != len(lengths) or given != lengths:
        raise PatchclampError(
            expected=f"numbers for {len(lengths)} windows, one a token",
            got=f"{len(answers)} windows, {sum(given):,} tokens for {sum(lengths):,}",
            remedy="A judge returns None for a window whose answer it cannot read.",
        )


def _cost(_sizes: Sizes, _options: NoOptions) -> Cost:
    return Cost()


METHOD = Method(
    simulation,
    name="simulation",
    room="describe",
    kind="scorer",
    title="simulation: how strongly the unit fires at each token",
    question="Does the description predict the unit's activation token by token?",
    papers=(Paper("2410.13928", equation="simulation scoring"),),
    keys=("unit",),
    cost=_cost,
    oracle="oracles.scorers:simulation",
    calibrated_on=("language-gpt2:tokens", "language-gpt2:contexts"),
    must_show="true rules reach r = 0.9, the same rules given to other units and random ones chance",
    must_miss={"language-gpt2:near": "a rule that leaves out the context also fires where the unit does not"},
    sources=("describe/scoring.py", "describe/window_intervals.py", "describe/windows.py"),
)
