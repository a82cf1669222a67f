"""Build Scores over cases: what they were found on stands in their provenance."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from jaxtyping import Float

from patchclamp.core.errors import PatchclampError
from patchclamp.core.keys import Index
from patchclamp.core.provenance import Provenance, read_versions
from patchclamp.core.scores import Scores
from patchclamp.subjects.model import Model
from patchclamp.subjects.pairs import PairSet

MOST_WRITTEN = 256
"""Cases whose words scores hold, so that they can be asked again; ids are held of all."""


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


def scores_over(
    model: Model,
    pairs: PairSet,
    index: Index,
    values: Float[np.ndarray, " key"],
    per_case: Float[np.ndarray, "case key"] | None,
    *,
    method: str,
    options: Mapping[str, Any],
    hashes: Mapping[str, str] | None = None,
    **extra: Any,
) -> Scores:
    """Return scores over cases with what they were found on: ids, words, metric, and how many cases were skipped.

    Args:
        model: the subject.
        pairs: the cases.
        index: the keys.
        values: ``(key,)`` means over cases.
        per_case: ``(case, key)`` scores of each; None where they were not kept.
        method: how the scores were made.
        options: the level and the method's settings, as JSON-ready data.
        hashes: hashes of bases whose units are scored, by ``SITE/BASIS``.
        extra: what this method alone has to say.
    """
    check_finite(values, float(pairs.m_clean.mean()))
    told = {
        "cases": [pair.id for pair in pairs.pairs],
        "metric": pairs.metrics[0].kind,
        "skipped": pairs.counted_aside(),
        "asked": [json.loads(json.dumps(asdict(pair))) for pair in pairs.pairs[:MOST_WRITTEN]],
    }
    provenance = Provenance(
        model.name, model.hash, method, options=dict(options), versions=read_versions(), hashes=dict(hashes or {}),
        extra={**told, **extra},
    )  # fmt: skip
    return Scores(
        index, np.asarray(values, dtype=np.float64), "m", "corrupted", float(pairs.m_clean.mean()),
        float(pairs.m_corrupted.mean()), per_case=per_case, provenance=provenance,
    )  # fmt: skip
