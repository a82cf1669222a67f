"""Replace sets and measure: one loop for units, edges, positions and regions."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from patchclamp.ablate.baseline import Baseline
from patchclamp.ablate.cases import Cases, How, Turn
from patchclamp.ablate.edges import EdgeSets
from patchclamp.ablate.regions import RegionSets
from patchclamp.ablate.units import UnitSets
from patchclamp.core.arguments import Natural, Positive, checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.intervention import Intervention
from patchclamp.core.metric import Metric
from patchclamp.core.regions import Fill
from patchclamp.core.stimulus import Shown
from patchclamp.core.subject import Progress
from patchclamp.subjects.apply import upcast
from patchclamp.subjects.cases import ROWS
from patchclamp.subjects.model import Model

Sets = UnitSets | EdgeSets | RegionSets


@checked
def measure_sets(
    subject: Any,
    cases: Cases,
    sets: Sets,
    baseline: Baseline | Fill,
    *,
    keep: bool = False,
    only: Bool[np.ndarray, "case set"] | None = None,
    batch_size: Positive = ROWS,
    turn: Turn = nullcontext,
    progress: Progress | None = None,
) -> Float[np.ndarray, "case set"]:
    """Measure m of every case with each set replaced by the baseline, all keys of a set at once in one forward pass.

    Features f are replaced by f′ along their directions; what no feature explains stays.

    Args:
        subject: the network; a plain one laid out for its inputs (``make_plain_network``).
        cases: what is shown, and m of each.
        sets: of units, at positions or everywhere; of edges; or of regions of images.
        baseline: r of units and edges; of regions the filling, ``zero`` or ``mean``.
        keep: replace all keys but those of a set.
        only: ``(case, set)`` marks: which sets are measured of which case, the others are nan; the default is all.
        batch_size: rows of a forward pass: cases of one length, times sets.
        turn: what forward passes run in.
        progress: called with rows done and in all.

    Returns:
        ``(case, set)`` m, in units of the metric.

    Raises:
        PatchclampError: a key that the subject has not, a position that a case has not, or a baseline that does not go
            with the keys.
        CannotIntervene: edges of a subject that has none.

    Source: ablation and interchange (2403.19647, 2004.12265): the engine under activation patching and circuits.

    Cost: ``count_rows`` rows of forward passes; of units restarted at the first block that a set changes.

    Example:
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> m = Metric("logit_difference", cat.continuation("the", " sat"), cat.continuation("the", " ran"))
        >>> cases = Cases.of(cat.stimuli("the old cat"), m)
        >>> sets = UnitSets.of([[], ["blocks.0.mlp.act/neurons/7"], ["blocks.0.mlp.act/neurons/7@0"]])
        >>> measure_sets(cat, cases, sets, Baseline("zero")).round(1).tolist()
        [[4.0, -4.0, 4.0]]
    """
    if isinstance(sets, RegionSets) == isinstance(baseline, Baseline):
        raise PatchclampError(
            expected="a Baseline for units and edges, and zero or mean for regions",
            got=f"{type(baseline).__name__} for {type(sets).__name__}",
            remedy="Baseline('zero') puts nothing in a unit's place.",
        )
    if only is not None and only.shape != (len(cases), len(sets)):
        raise PatchclampError(
            expected=f"marks of {len(cases)} cases and {len(sets)} sets", got=f"{only.shape}", remedy="Leave them out."
        )
    measured = np.full((len(cases), len(sets)), np.nan)
    runs = sets.measure(subject, cases, baseline, How(keep, only, batch_size))  # type: ignore[arg-type]
    done, total = 0, measured.size if only is None else int(only.sum())
    while True:
        with turn():
            part = next(runs, None)
        if part is None:
            return measured
        own, some, values = part
        measured[own, some] = values
        done += values.size
        if progress is not None:
            progress(done, total)


@checked
def count_rows(n_cases: Natural, n_sets: Natural, *, counterparts: bool = True) -> int:
    """Count the rows of forward passes that sets of units take: one for each set, and both ends of every case.

    Args:
        n_cases: cases.
        n_sets: sets.
        counterparts: whether counterparts are run too.

    Returns:
        int: rows.

    Example:
        >>> count_rows(1, 190), count_rows(16, 100, counterparts=False)
        (192, 1616)
    """
    return n_cases * (n_sets + 1 + counterparts)


@checked
def measure_changes(
    model: Model,
    shown: Shown,
    metric: Metric,
    cells: Sequence[Sequence[Intervention]],
    *,
    batch_size: Positive = ROWS,
    turn: Turn = nullcontext,
    progress: Progress | None = None,
) -> Float[np.ndarray, " cell"]:
    """Measure a metric under each of many lists of interventions that are no replacements.

    Args:
        model: the subject.
        shown: the stimulus.
        metric: m.
        cells: the lists.
        batch_size: rows of a forward pass.
        turn: what each forward pass runs in.
        progress: called with lists done and in all.

    Returns:
        ``(cell,)`` m.

    Cost: a forward pass per list.

    Example:
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> m = Metric("logit_difference", cat.continuation("the", " sat"), cat.continuation("the", " ran"))
        >>> from patchclamp.core.intervention import change
        >>> [cat_row] = cat.stimuli("the old cat")
        >>> measure_changes(cat, cat_row, m, [[], [change("ablate", "blocks.0.mlp.act", [7])]]).round(1).tolist()
        [4.0, -4.0]
    """
    parts = []
    for start in range(0, len(cells), batch_size):
        with turn():
            part = model.sweep(shown, metric, cells[start : start + batch_size], batch_size=batch_size)
        parts.append(upcast(part).cpu().double().numpy())
        if progress is not None:
            progress(min(start + batch_size, len(cells)), len(cells))
    return np.concatenate(parts) if parts else np.zeros(0)
