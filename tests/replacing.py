"""Sets replaced over pairs, in the few words that tests need."""

import numpy as np

from patchclamp.ablate import Baseline, Cases, EdgeSets, UnitSets, measure_sets
from patchclamp.subjects.residual_edges import edge_map


def with_edges_kept(model, pairs, kept, means=None):
    """Return m ``(set, pair)`` with only some edges as they are; all others as under x′, or the mean of stimuli."""
    baseline = Baseline(
        "corrupted" if means is None else "mean", shown=tuple(pairs.counterpart if means is None else means)
    )
    sets = EdgeSets(edge_map(model).parts, np.atleast_2d(kept))
    found = measure_sets(model, Cases(pairs.clean, pairs.metrics), sets, baseline, keep=True).T
    return found if np.ndim(kept) > 1 else found[0]


def with_units_replaced(model, pairs, parts, replaced, *, denoise=False, batch_size=64):
    """Return m ``(set, pair)`` with units as they are under the counterpart."""
    into, other = (pairs.counterpart, pairs.clean) if denoise else (pairs.clean, pairs.counterpart)
    cases, baseline = Cases(into, pairs.metrics), Baseline("corrupted", shown=tuple(other))
    return measure_sets(model, cases, UnitSets(parts, replaced), baseline, batch_size=batch_size).T
