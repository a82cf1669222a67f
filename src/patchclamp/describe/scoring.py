"""What every scorer does: go through the units that are described and shown, and keep their scores in columns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from patchclamp.core.descriptions import Descriptions, ScoreColumns
from patchclamp.core.errors import PatchclampError
from patchclamp.core.exemplars import ACTIVE, NEGATIVE, Exemplars
from patchclamp.core.keys import UnitIndex, UnitList
from patchclamp.core.subject import Progress
from patchclamp.describe.window_intervals import WindowScore
from patchclamp.describe.windows import UnitRows, iterate_units


@dataclass(frozen=True)
class Measured:
    """Say what a score is.

    Args:
        name: of the score: the scorer's, or that and what else it measures.
        unit: of measure, in words.
        chance: the score of a description that knows nothing.
        deciles: whether it is measured within tenths of the active windows too.
    """

    name: str
    unit: str
    chance: float = 0.5
    deciles: bool = False


def score_units(
    exemplars: Exemplars,
    descriptions: Descriptions,
    measured: Sequence[Measured],
    judge: str,
    score: Callable[[str, UnitRows], Sequence[WindowScore]],
    progress: Progress,
) -> Descriptions:
    """Return descriptions with the scores of the units that exemplars show.

    Scores of other units stay, so that a model is scored site by site.

    Args:
        exemplars: of a site, those kept for testing.
        descriptions: of its units, and of others.
        measured: what a scorer measures.
        judge: who answers.
        score: takes a unit's text and its rows, returns as many scores.
        progress: called with units done and in all.

    Returns:
        Descriptions: the same with one more score for each that is measured. A unit without a text, or without windows
        of both sorts, has none.

    Raises:
        PatchclampError: exemplars that show no described unit, or not both sorts of windows.
    """
    shown = [
        (place, rows) for rows in iterate_units(exemplars) if (place := find_place(descriptions.index, rows.key)) >= 0
    ]
    if not shown or not any(len(rows.active) and len(rows.silent) for _, rows in shown):
        raise PatchclampError(
            expected=f"windows in which described units fire ({', '.join(ACTIVE)}) and in which they do not "
            f"({', '.join(NEGATIVE)})",
            got=f"{len(exemplars):,} exemplars of {exemplars.site.path}, {len(shown):,} described units among theirs",
            remedy="describe.draw_evidence draws both; score what was kept for testing.",
        )
    columns = {one.name: _columns(len(descriptions), one, judge) for one in measured}
    for done, (place, rows) in enumerate(shown, 1):
        text = descriptions.text(place)
        if text and len(rows.active) and len(rows.silent):
            for column, found in zip(columns.values(), score(text, rows), strict=True):
                _write(column, place, found)
        progress(done, len(shown))
    known = descriptions.scores
    new = {name: column.fill(known[name]) if name in known else column for name, column in columns.items()}
    return replace(descriptions, scores={**known, **new})


def find_place(index: UnitIndex | UnitList, key: str) -> int:
    """Return where a unit stands in an index; −1 where it does not."""
    try:
        return index.place(key)
    except PatchclampError:
        return -1


def _columns(n: int, one: Measured, judge: str) -> ScoreColumns:
    """Return columns to write to."""
    value, low, high = (np.full(n, np.nan) for _ in range(3))
    n_answered, n_missing = (np.zeros(n, dtype=np.int64) for _ in range(2))
    deciles = np.full((n, 10), np.nan) if one.deciles else None
    return ScoreColumns(value, low, high, n_answered, n_missing, one.unit, judge, one.chance, deciles)


def _write(columns: ScoreColumns, place: int, found: WindowScore) -> None:
    for name in ("value", "low", "high", "n", "missing"):
        getattr(columns, name)[place] = getattr(found, name)
    if found.deciles is not None and columns.deciles is not None:
        columns.deciles[place] = found.deciles


def answered(answers: Sequence[float | None], active: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the answers about active windows and about silent ones without the missing ones, and how many are missing.

    Args:
        answers: those about the active windows first; None is a missing one.
        active: number of active windows.
    """
    known = np.array([np.nan if one is None else float(one) for one in answers])
    parts = known[:active], known[active:]
    missing = int(np.isnan(known).sum())
    return parts[0][~np.isnan(parts[0])], parts[1][~np.isnan(parts[1])], missing


def by_decile(values: np.ndarray, deciles: np.ndarray) -> np.ndarray:
    """Return the mean of values within each tenth, nan where it has none.

    Args:
        values: ``(window,)``, nan where missing.
        deciles: ``(window,)`` from 0 to 9.
    """
    held = ~np.isnan(values)
    sums = np.bincount(deciles[held], weights=values[held], minlength=10)
    counts = np.bincount(deciles[held], minlength=10)
    return np.divide(sums, counts, out=np.full(10, np.nan), where=counts > 0)


def answer_in_order(ask: Callable[[Sequence[int]], Sequence[float | None]], order: Sequence[int]) -> list[float | None]:
    """Return answers in the order of what is asked, whatever order it is asked in.

    Args:
        ask: takes places in an order, returns an answer for each.
        order: of the places; a judge must not learn from the order which windows are active.

    Raises:
        PatchclampError: another number of answers than of places.
    """
    given = list(ask(order))
    if len(given) != len(order):
        raise PatchclampError(
            expected=f"{len(order)} answers, one a window",
            got=f"{len(given)}",
            remedy="A judge returns None for a window whose answer it cannot read.",
        )
    answers: list[float | None] = [None] * len(order)
    for place, one in zip(order, given, strict=True):
        answers[place] = one
    return answers
