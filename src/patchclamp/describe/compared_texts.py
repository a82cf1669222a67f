"""Pairs of texts for a panel of judges: two descriptions of one unit, and two continuations of one prompt."""

from collections.abc import Sequence
from typing import Any

from patchclamp.core.arguments import Natural, Positive, checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.exemplars import Exemplars
from patchclamp.core.intervention import Intervention
from patchclamp.describe.panel import PairJudge, PanelOptions, Verdict, judge_pair
from patchclamp.describe.shown_text import show_passages
from patchclamp.describe.windows import ShownWindows, UnitRows, iterate_units

SHOWN = 8
"""Windows that judges are shown, of each sort."""
DESCRIPTIONS = (
    "Which text says better where a unit of a neural network fires?\n"
    "It fires at the tokens between << and >>:\n{active}\nIt is silent in:\n{silent}"
)
CONTINUATIONS = "Which text continues this better?\n{prompt}"


@checked
def compare_descriptions(
    judge: PairJudge,
    subject: Any,
    exemplars: Exemplars,
    key: str,
    first: str,
    second: str,
    options: PanelOptions | None = None,
    *,
    seed: Natural = 0,
) -> Verdict:
    """Return which of two descriptions of one unit says better where it fires, by a panel of judges.

    Args:
        judge: who scores.
        subject: whose tokens are named.
        exemplars: windows of text that the authors of the descriptions were not shown; at random eight of those in
            which the unit fires are shown, and eight of the others.
        key: the unit, without its subject.
        first: one description.
        second: the other.
        options: of the panel.
        seed: of the windows that are shown.

    Returns:
        Verdict: scores of both, and which is better.

    Raises:
        PatchclampError: exemplars that do not show the unit, or windows that are no text.

    Source: 2308.01862, the panel; the question is ours.

    Cost: as ``judge_pair``.

    Example:
        >>> from patchclamp.calibrate.corpora import make_evidence
        >>> from patchclamp.loaders import load
        >>> from patchclamp.organisms.judges import SimulatedJudge
        >>> cat, key = load("organism:cat"), "blocks.0.mlp.act/neurons/7"
        >>> _, test = make_evidence(cat, "blocks.0.mlp.act")
        >>> compare_descriptions(SimulatedJudge(), cat, test, key, "of quality 2.00", "of quality 5.00").winner
        'second'
    """
    if "text" not in exemplars.stimuli.kind.names:
        raise PatchclampError(
            expected="windows of text", got=f"{exemplars.stimuli.kind.names[0]}s", remedy="Judges read text alone."
        )
    rows = next((rows for rows in iterate_units(exemplars) if rows.key == key), None)
    if rows is None:
        raise PatchclampError(
            expected="a unit that the exemplars show", got=key[:200], remedy=f"They are of {exemplars.site.path}."
        )
    return judge_pair(judge, _ask_descriptions(subject, exemplars, rows, seed), first, second, options)


@checked
def compare_continuations(
    judge: PairJudge,
    subject: Any,
    prompt: str,
    interventions: Sequence[Intervention],
    options: PanelOptions | None = None,
    *,
    question: str = "",
    max_new_tokens: Positive = 40,
    temperature: float | int = 0.0,
    seed: Natural = 0,
) -> Verdict:
    """Return whether a prompt is continued better under an intervention (first) or without (second).

    Args:
        judge: who scores.
        subject: a language model.
        prompt: what is continued.
        interventions: such as a clamp of one unit.
        options: of the panel.
        question: what makes a continuation better; by default which one continues the prompt better.
        max_new_tokens: most tokens of a continuation.
        temperature: 0 takes the likeliest token; more samples, both with one seed.
        seed: of the sampling.

    Returns:
        Verdict: scores of the continuation under the intervention and of that without. Equal texts get equal scores
        only from judges who give them.

    Raises:
        PatchclampError: a subject that does not continue text, or what its ``generate`` refuses.

    Source: 2308.01862, the panel; the question is ours.

    Cost: two continuations; else as ``judge_pair``.

    Example:
        >>> from patchclamp.core.intervention import change
        >>> from patchclamp.loaders import load
        >>> from patchclamp.organisms.judges import SimulatedJudge
        >>> on = [change("set", "blocks.0.mlp.act", range(16), value=20.0)]
        >>> compare_continuations(SimulatedJudge(), load("organism:cat"), "the cat", on, max_new_tokens=1).winner
        'tie'
    """
    changed, clean = (
        subject.generate(prompt, interventions=on, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed)[
            0
        ].text
        for on in (list(interventions), [])
    )
    return judge_pair(judge, question or CONTINUATIONS.format(prompt=prompt), changed, clean, options)


def _ask_descriptions(subject: Any, exemplars: Exemplars, rows: UnitRows, seed: int) -> str:
    """Return the question about two descriptions, with windows of the unit."""
    shown, draw = ShownWindows(subject, exemplars), rows.draw(seed)
    active, silent = (draw.permutation(some)[:SHOWN] for some in (rows.active, rows.silent))
    marks = [values >= 0.3 * values.max() for values in map(shown.activations, active.tolist())]
    texts = show_passages(shown.of_rows(active), marks), show_passages(shown.of_rows(silent))
    return DESCRIPTIONS.format(active=texts[0] or "none", silent=texts[1] or "none")
