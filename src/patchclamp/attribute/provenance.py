"""Build Scores over cases, with what they were computed on in their provenance."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from patchclamp.core.errors import PatchclampError
from patchclamp.core.keys import Index
from patchclamp.core.provenance import Provenance, read_versions
from patchclamp.core.scores import Scores
from patchclamp.subjects.cases import ReadTask
from patchclamp.subjects.model import Model

MOST_WRITTEN = 256
"""ReadTask that scores hold as a task, so that they can be read again; ids are held of all."""


def check_finite(values: Float[np.ndarray, " key"], metric: float) -> None:
    """Refuse scores of a run that overflowed.

    Raises:
        PatchclampError: a metric or a score that is not finite.
    """
    if not np.isfinite(metric) or not np.isfinite(values).all():
        raise PatchclampError(
            expected="a finite metric with finite scores",
            got=str(metric) if not np.isfinite(metric) else "scores that are not",
            remedy="The model overflows in this dtype; try --dtype float32.",
        )


def note_answers(cases: ReadTask) -> dict[str, list[str]]:
    """Return what provenance holds of answers of several tokens; nothing where there are none."""
    notes = cases.answer_notes()
    return {"answer_notes": notes} if notes else {}


def scores_over(
    model: Model,
    cases: ReadTask,
    index: Index,
    values: Float[np.ndarray, " key"],
    per_case: Float[np.ndarray, "case key"] | None,
    *,
    method: str,
    options: Mapping[str, Any],
    hashes: Mapping[str, str] | None = None,
    **extra: Any,
) -> Scores:
    """Build Scores over cases; their provenance holds ids, task, kind of metric, and how many cases were skipped.

    Args:
        model: the subject.
        cases: the cases.
        index: the keys.
        values: ``(key,)`` means over cases.
        per_case: ``(case, key)`` scores of each case; None if they were not stored.
        method: room and name of the method.
        options: level and the method's settings, as JSON-ready data.
        hashes: hashes of bases whose units are scored, by ``SITE/BASIS``.
        extra: further entries of the provenance.

    Returns:
        Scores: in units of m.

    Raises:
        PatchclampError: scores or a metric that are not finite.
    """
    check_finite(values, float(cases.m_clean.mean()))
    task = cases.task.portable(MOST_WRITTEN)
    facts = {
        "cases": cases.ids,
        "metric": cases.metrics[0].kind,
        "skipped": cases.count_skipped(),
        **note_answers(cases),
        **({} if task is None else {"task": task.to_json()}),
    }
    provenance = Provenance(
        model.name,
        model.hash,
        method,
        options=dict(options),
        versions=read_versions(),
        hashes={**model.origin, **(hashes or {})},
        extra={**facts, **extra},
    )
    return Scores(
        index,
        np.asarray(values, dtype=np.float64),
        "m",
        "corrupted",
        float(cases.m_clean.mean()),
        float(cases.m_counterpart.mean()),
        per_case=per_case,
        provenance=provenance,
    )
