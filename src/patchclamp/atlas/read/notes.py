"""What people wrote, joined to the units of an atlas."""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from patchclamp.atlas.store.counter_examples import Counter, counters_of
from patchclamp.atlas.store.notes import NOTES, Note, read_notes, standing
from patchclamp.atlas.store.sqlite_files import open_database
from patchclamp.core.description import Description
from patchclamp.core.errors import PatchclampError
from patchclamp.core.unit import UnitKey

WRITTEN = "notes"
"""The run that pages name for what was written."""
SEARCHED = ("note", "tag")
"""Kinds of notes that Find searches beside descriptions."""


@dataclass(frozen=True)
class Written:
    """What stands of the notes of an atlas.

    Args:
        notes: those of its units, in the order in which they were written.
        units: number of each one's unit among all.
        digest: hash of every line, withdrawn ones included, and of what is wrong with the file; empty without one.
        warnings: what a reader should know, such as lines that could not be read.
    """

    notes: tuple[Note, ...] = ()
    units: tuple[int, ...] = ()
    digest: str = ""
    warnings: tuple[str, ...] = ()
    by_unit: dict[int, list[Note]] = field(default_factory=dict)

    def of(self, unit: int) -> list[Note]:
        """Return a unit's notes."""
        return self.by_unit.get(unit, [])

    @property
    def starred(self) -> list[int]:
        """Units with a star."""
        return sorted({unit for unit, note in zip(self.units, self.notes, strict=True) if note.kind == "star"})

    def descriptions(self) -> list[tuple[int, Note]]:
        """Return the written descriptions, each with its unit."""
        return [(unit, note) for unit, note in zip(self.units, self.notes, strict=True) if note.kind == "description"]


def join_notes(folder: Path, index_of: Callable[[str], int]) -> Written:
    """Read an atlas's notes and find their units.

    Args:
        folder: the atlas.
        index_of: key to number among all units.
    """
    rows, problem = read_notes(folder)
    warnings = [problem] if problem else []
    notes, units = [], []
    by_unit: dict[int, list[Note]] = {}
    for row in standing(rows):
        try:
            unit = index_of(row.unit)
        except PatchclampError:
            warnings.append(f"{NOTES} holds a {row.kind} of {row.unit}, which this atlas does not have.")
            continue
        notes.append(row)
        units.append(unit)
        by_unit.setdefault(unit, []).append(row)
    digest = hashlib.sha256(f"{rows}{problem}".encode()).hexdigest() if rows or problem else ""
    return Written(tuple(notes), tuple(units), digest, tuple(warnings), by_unit)


def as_description(note: Note) -> Description:
    """Return a written description as any other: its author is a person."""
    return Description(UnitKey.parse(note.unit), note.text, f"person/{note.author}")


def written_counters(files: Sequence[Path], note: Note) -> tuple[Counter, ...]:
    """Return the examples that contradict a written description; computed once for each text.

    Args:
        files: the base and the layers of features.
        note: the description.
    """
    return _counters(tuple((str(file), file.stat().st_mtime_ns) for file in files), note.unit, note.text)


@lru_cache(maxsize=4096)
def _counters(files: tuple[tuple[str, int], ...], unit: str, text: str) -> tuple[Counter, ...]:
    with ExitStack() as opened:
        parts = [opened.enter_context(closing(open_database(Path(file)))) for file, _ in files]
        return tuple(counters_of(parts, Description(UnitKey.parse(unit), text, "person")))
