"""The stored examples of a unit as Exemplars, for methods that describe units and see no folder."""

import numpy as np

from patchclamp.atlas.read.reader import Reading, page_of
from patchclamp.core.exemplars import KINDS, Exemplars
from patchclamp.core.provenance import Provenance
from patchclamp.core.site import Site
from patchclamp.core.stimulus import PackedStimuli

LOUD = 0.5
"""Share of an example's value from which a token belongs to its mask."""


@page_of
def exemplars_of(atlas: Reading, key: str) -> Exemplars:
    """Return a unit's stored examples, the masks those counted tokens that reach half of the example's value.

    Args:
        atlas: the atlas.
        key: ``[subject/]site/basis/index``.

    Raises:
        NotFound: the atlas has no such unit.
        PatchclampError: an atlas of images.

    Cost: reads the examples of one unit and the stimuli that they stand in.
    """
    atlas.require_text("exemplars are stimuli with tokens")
    number = atlas.index_of(key)
    part, own = atlas.part(number)
    unit = atlas.key(number)
    [(kind, layer, width)] = [
        (row[2], row[3], row[6]) for row in atlas.sites if (row[1], row[4]) == (unit.site, unit.basis)
    ]
    rows = atlas.rows(
        "SELECT e.kind, e.value, e.stimulus, e.position, e.start, e.acts, c.ids, c.counted "
        f"FROM {part.schema}.examples e JOIN {part.schema}.contexts c USING (stimulus) "
        "WHERE e.unit = ? AND e.kind < ? ORDER BY e.kind, e.rank",
        [own, KINDS.index("generated")],
    )
    shown = {number: np.frombuffer(ids, "<i4") for _, _, number, *_, ids, _ in rows}
    numbers = sorted(shown)
    marks = [_marks(value, position, start, acts, counted) for _, value, _, position, start, acts, _, counted in rows]
    stimuli = PackedStimuli(
        {
            "ids": np.concatenate([np.zeros(0, dtype=np.int32), *(shown[n] for n in numbers)]).astype(np.int32),
            "offsets": np.cumsum([0, *(len(shown[n]) for n in numbers)], dtype=np.int64),
        },
        np.array(numbers, dtype=np.int64),
    )
    kinds, values, which, positions = (np.array([row[i] for row in rows]) for i in range(4))
    subject = atlas.about["subject"]
    return Exemplars(
        Site(unit.site, kind, width, layer=layer),
        np.full(len(rows), unit.index, dtype=np.int32),
        kinds.astype(np.int8),
        values.astype(np.float64),
        positions.astype(np.int32),
        np.searchsorted(stimuli.numbers, which).astype(np.int32),
        stimuli,
        np.concatenate([np.zeros(0, dtype=np.int32), *marks]).astype(np.int32),
        np.cumsum([0, *map(len, marks)], dtype=np.int64),
        unit.basis,
        Provenance(str(subject["slug"]), str(subject["hash"]), "atlas", hashes={"atlas": atlas.hash}),
    )


def _marks(value: float, position: int, start: int, acts: bytes, counted: bytes) -> np.ndarray:
    """Return the positions that are as loud as half of the value, its own among them."""
    along = np.frombuffer(acts, "<f2").astype(np.float64)
    loud = (along >= LOUD * value) if value > 0 else np.zeros(len(along), dtype=bool)
    loud &= np.frombuffer(counted, np.uint8)[start : start + len(along)] > 0
    loud[position - start] = True
    return start + np.flatnonzero(loud)
