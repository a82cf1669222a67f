"""Examples of an atlas that contradict a description, as far as it names tokens in quotation marks."""

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from patchclamp.core.description import Description
from patchclamp.core.errors import PatchclampError
from patchclamp.core.unit import UnitKey

MOST_COUNTERS = 10
SILENT, LOUD = 0.1, 0.5
_QUOTED = re.compile(r'["“]([^"“”]+)["”]')


@dataclass(frozen=True)
class Counter:
    """Where a description is wrong: an example of the base by kind and rank, a place in its strip, and why."""

    kind: int
    example: int
    place: int
    reason: str


def local_key(key: UnitKey) -> UnitKey:
    """Return a key without subject and place: an atlas has one subject."""
    return UnitKey(key.site, key.index, key.basis)


def tokens_named(text: str) -> frozenset[str]:
    """Return the tokens that a description names in quotation marks, without spaces around and in small letters.

    Example:
        >>> sorted(tokens_named('fires on " cat" and "dog"'))
        ['cat', 'dog']
    """
    return frozenset(name for quoted in _QUOTED.findall(text) if (name := quoted.strip().casefold()))


def counters_of(
    parts: Sequence[sqlite3.Connection], description: Description, *, contradict: bool = True
) -> list[Counter]:
    """Return the examples that contradict a description the most, the worst first.

    Args:
        parts: the base and the layers of features.
        description: of a unit that one of them has.
        contradict: whether examples are sought; without, only the unit is looked up.

    Returns:
        list[Counter]: at most ten.

    Raises:
        PatchclampError: the atlas has no such unit.
    """
    key = local_key(description.unit)
    asked = (
        "SELECT u.id, u.maximum FROM units u JOIN sites s ON s.id = u.site "
        "WHERE s.path = ? AND s.basis = ? AND u.number = ?"
    )
    rows = ((db, db.execute(asked, (key.site, key.basis, key.index)).fetchone()) for db in parts)
    base, example = next(((db, row) for db, row in rows if row is not None), (None, None))
    if base is None or example is None:
        raise PatchclampError(
            expected="a unit of this atlas", got=str(key), remedy="`patchclamp atlas info` lists its sites."
        )
    unit, maximum = example
    named = tokens_named(description.text)
    if not contradict or not named or maximum is None or maximum <= 0:
        return []
    text = dict(base.execute("SELECT id, text FROM tokens"))
    wrong: list[tuple[float, int, Counter]] = []
    seen: set[int] = set()
    for kind, rank, stimulus, start, acts, ids, counted in base.execute(
        "SELECT e.kind, e.rank, e.stimulus, e.start, e.acts, c.ids, c.counted "
        "FROM examples e JOIN contexts c USING (stimulus) WHERE e.unit = ? ORDER BY e.kind, e.rank",
        [unit],
    ):
        along = np.frombuffer(acts, "<f2").astype(np.float64) / maximum
        shown = slice(start, start + len(along))
        words = [text.get(int(i), "").strip().casefold() for i in np.frombuffer(ids, "<i4")[shown]]
        counts = np.frombuffer(counted, np.uint8)[shown].astype(bool)
        says = np.array([word in named for word in words])
        missed = np.where(counts & ~says & (along >= LOUD), along, 0)
        falsely = np.where(counts & says & (along < SILENT), 1 - along, 0)
        size = np.maximum(missed, falsely)
        if stimulus in seen or not size.max() > 0:
            continue
        seen.add(stimulus)
        place = int(size.argmax())
        reason = "named, yet silent" if falsely[place] > 0 else "fires, yet not named"
        wrong.append((-float(size[place]), len(wrong), Counter(kind, rank, place, reason)))
    return [counter for *_, counter in sorted(wrong, key=lambda w: w[:2])[:MOST_COUNTERS]]
