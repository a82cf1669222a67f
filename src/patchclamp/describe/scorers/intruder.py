"""Intruder: can the windows in which a unit fires be told from another one, with no description at all?"""

import math
from dataclasses import dataclass

import numpy as np

from patchclamp.core.corpus import Corpus
from patchclamp.core.descriptions import Descriptions
from patchclamp.core.exemplars import Exemplars
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.options import option
from patchclamp.core.subject import Progress
from patchclamp.describe.judge import Chooser
from patchclamp.describe.readers import OverlapChooser
from patchclamp.describe.scorers.fuzzing import mark_active, mark_random
from patchclamp.describe.scoring import Measured, score_units
from patchclamp.describe.window_intervals import WindowScore, mean
from patchclamp.describe.windows import Named, ShownWindows, UnitRows


@dataclass(frozen=True)
class IntruderOptions:
    """Options of the intruder."""

    rounds: int = option(20, "rounds per unit", least=1)
    windows: int = option(5, "windows of a round, the intruder among them", least=3)
    marked: float = option(0.3, "tokens are marked from this share of the window's highest activation on", least=0.0)


def intruder(
    subject: Named,
    exemplars: Exemplars,
    descriptions: Descriptions,
    options: IntruderOptions,
    chooser: Chooser | None = None,
    corpus: Corpus | None = None,
    *,
    seed: int = 0,
    progress: Progress,
) -> Descriptions:
    """Score units by whether a window in which they do not fire is told from windows in which they do.

    In each round four windows of one quantile of the unit's activation are shown with one in which it does not fire, in
    an order of chance; active tokens are marked, and as many at random in the intruder. Score = the share of rounds in
    which the intruder is found; chance is 1/5. It needs no description: it says whether there is something to describe.

    Args:
        subject: whose tokens are named.
        exemplars: windows that the author of the descriptions was not shown.
        descriptions: whose units are scored; their texts are not read.
        options: rounds, windows, share.
        chooser: who finds the odd window; by default what counts how many marked tokens windows have in common.
        corpus: labelled text or images that the windows are of.
        seed: of what is shown, and of intervals.
        progress: called with units done and in all.

    Returns:
        Descriptions: with the score ``intruder``. ``deciles`` has the share by quantile where there are ten; where a
        unit has too few windows for ten quantiles there are fewer, down to one.

    Raises:
        PatchclampError: exemplars without windows of both sorts, of other units, or without activations.

    Source: the public code of 2410.13928; how rounds are drawn is ours.

    Cost: a choice per round and unit.
    """
    who: Chooser = OverlapChooser() if chooser is None else chooser
    shown = ShownWindows(subject, exemplars, corpus)

    def score(_text: str, rows: UnitRows) -> list[WindowScore]:
        rounds = list(_draw_rounds(shown, rows, options, rows.draw(seed)))
        chosen = [who.choose_odd(shown.of_rows(places), marks) for places, marks, _, _ in rounds]
        right = np.array(
            [np.nan if one is None else one == odd for one, (_, _, odd, _) in zip(chosen, rounds, strict=True)]
        )
        known = right[~np.isnan(right)]
        tenths = np.full(10, np.nan)
        for tenth in {quantile for *_, quantile in rounds if quantile >= 0}:
            own = np.array([quantile == tenth for *_, quantile in rounds]) & ~np.isnan(right)
            tenths[tenth] = right[own].mean() if own.any() else np.nan
        return [WindowScore(*mean(known, rows.draw(seed)), len(known), len(right) - len(known), tenths)]

    measured = Measured("intruder", "share of rounds", 1 / options.windows, True)
    return score_units(exemplars, descriptions, (measured,), who.name, score, progress)


def _draw_rounds(
    shown: ShownWindows, rows: UnitRows, options: IntruderOptions, draw: np.random.Generator
) -> list[tuple[list[int], list[np.ndarray], int, int]]:
    """Return the rounds of a unit: rows, their marks, the intruder's place, and the tenth (−1 where there are fewer).

    A unit with fewer active windows than a round needs has none.
    """
    others = options.windows - 1
    n_quantiles = min(10, len(rows.active) // others)
    rounds = []
    parts = np.array_split(rows.active, n_quantiles) if n_quantiles else []
    for turn in range(options.rounds if n_quantiles else 0):
        quantile = turn % n_quantiles
        places = draw.choice(parts[quantile], others, replace=False).tolist()
        marks = [mark_active(shown, row, options.marked) for row in places]
        odd, strange = int(draw.integers(options.windows)), int(draw.choice(rows.silent))
        n_marks = math.ceil(np.mean([one.sum() for one in marks]))
        places.insert(odd, strange)
        marks.insert(odd, mark_random(shown, strange, n_marks, draw))
        rounds.append((places, marks, odd, quantile if n_quantiles == 10 else -1))
    return rounds


def _cost(_sizes: Sizes, _options: IntruderOptions) -> Cost:
    return Cost()


METHOD = Method(
    intruder,
    name="intruder",
    room="describe",
    kind="scorer",
    title="intruder: is there something to describe",
    question="Can the windows in which the unit fires be told from another one?",
    papers=(Paper("2410.13928", equation="the public code"),),
    keys=("unit",),
    cost=_cost,
    oracle="oracles.scorers:intruder",
    calibrated_on=("language-gpt2:tokens",),
    must_show="units that fire on one token score 0.9 at least, units that fire at random chance",
    must_miss={"language-gpt2:noise": "units that fire at random have nothing in common"},
    sources=("describe/readers.py", "describe/scorers/fuzzing.py", "describe/scoring.py", "describe/windows.py"),
)
