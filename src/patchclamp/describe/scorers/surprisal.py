"""Surprisal: does a description make the windows in which the unit fires likelier to a reader?"""

from dataclasses import dataclass

import numpy as np

from patchclamp.core.descriptions import Descriptions
from patchclamp.core.exemplars import Exemplars
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.options import option
from patchclamp.core.subject import Progress
from patchclamp.describe.judge import Reader
from patchclamp.describe.readers import ModelReader
from patchclamp.describe.scoring import Measured, parse_answers, score_units
from patchclamp.describe.window_intervals import WindowScore, area
from patchclamp.describe.windows import Named, ShownWindows, UnitRows


@dataclass(frozen=True)
class SurprisalOptions:
    """Options of surprisal."""

    control: str = option("Various unrelated sentences.", "the description that every other one is compared with")


def surprisal(
    subject: Named,
    exemplars: Exemplars,
    descriptions: Descriptions,
    options: SurprisalOptions,
    reader: Reader | None = None,
    *,
    seed: int = 0,
    progress: Progress,
) -> Descriptions:
    """Score descriptions by how much likelier they make the windows in which the unit fires.

    value(x) = log p(x | description) − log p(x | "Various unrelated sentences."). Score = AUROC of the value,
    of windows in which the unit fires against those in which it does not.

    Args:
        subject: whose tokens are named; it also reads, where no other reader is given.
        exemplars: windows that the author of the descriptions was not shown.
        descriptions: to be scored.
        options: the control.
        reader: another language model, or what counts words; the subject by default.
        seed: of intervals.
        progress: called with units done and in all.

    Returns:
        Descriptions: with the score ``surprisal``. What the reader cannot read, such as a text beyond its context, is
        missing.

    Raises:
        PatchclampError: exemplars without windows of both sorts or of other units; a subject that reads no text.

    Source: 2410.13928, surprisal scoring.

    Cost: a forward pass per window and unit, and one per window.
    """
    who: Reader = ModelReader(subject) if reader is None else reader
    shown = ShownWindows(subject, exemplars)
    before: dict[str, float | None] = {}

    def score(text: str, rows: UnitRows) -> list[WindowScore]:
        texts = shown.texts(exemplars.stimulus[np.concatenate([rows.active, rows.silent])])
        new = list(dict.fromkeys(one for one in texts if one not in before))
        before.update(zip(new, who.log_likelihoods([(options.control, one) for one in new]), strict=True))
        after = who.log_likelihoods([(text, one) for one in texts])
        values = [
            None if one is None or (control := before[shown_text]) is None else one - control
            for one, shown_text in zip(after, texts, strict=True)
        ]
        active, silent, missing = parse_answers(values, len(rows.active))
        return [WindowScore(*area(active, silent, rows.draw(seed)), len(active) + len(silent), missing)]

    return score_units(exemplars, descriptions, (Measured("surprisal", "AUROC"),), who.name, score, progress)


def _cost(_sizes: Sizes, _options: SurprisalOptions) -> Cost:
    return Cost()


METHOD = Method(
    surprisal,
    name="surprisal",
    room="describe",
    kind="scorer",
    title="surprisal: which windows the description makes likelier",
    question="Does the description make likelier what the unit fires on?",
    papers=(Paper("2410.13928", equation="surprisal scoring"),),
    keys=("unit",),
    cost=_cost,
    oracle="oracles.scorers:surprisal",
    calibrated_on=("language-gpt2:tokens",),
    must_show="to a reader that counts words true rules score 0.9 at least, the same rules given to other units chance",
    must_miss={"language-gpt2:near": "a rule that leaves out the context makes the hard windows likelier too"},
    sources=("describe/readers.py", "describe/scoring.py", "describe/window_intervals.py", "describe/windows.py"),
)
