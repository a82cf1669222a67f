"""Circuits by hand: scores of some parts, with what a circuit says of itself."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from patchclamp.core.keys import EdgeIndex, UnitList
from patchclamp.core.provenance import Provenance
from patchclamp.core.scores import Scores


def circuit(
    parts: Sequence[Any], values: Sequence[float], *, level: str = "neuron", method: str = "by hand", subject: str = "",
    subject_hash: str = "", bases: dict[str, str] | None = None, per_case: Any = None, ends: Any = (4.0, -1.0),
    **extra: Any,
) -> Scores:  # fmt: skip
    """Return scores of units, or of edges where parts are pairs of keys."""
    if parts and not isinstance(parts[0], str):
        units = list(dict.fromkeys(key for part in parts for key in part))
        index: Any = EdgeIndex(units, np.array([[units.index(a), units.index(b)] for a, b in parts]), subject)
    else:
        index = UnitList(parts, subject)
    made = Provenance(subject, subject_hash, method, options={"level": level}, hashes=bases or {}, extra=extra)
    values = np.asarray(values, dtype=np.float64)
    return Scores(index, values, "m", "corrupted", *ends, per_case=per_case, provenance=made)
