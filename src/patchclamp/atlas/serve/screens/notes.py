"""What people wrote about units, and the one address that takes it."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from fastapi import FastAPI, Query
from pydantic import ConfigDict, Field

from patchclamp.atlas.read.notes import WRITTEN
from patchclamp.atlas.read.reader import Reading, page_of
from patchclamp.atlas.read.responses import Source
from patchclamp.atlas.serve.served import Served
from patchclamp.atlas.serve.writer import REMEDY
from patchclamp.atlas.store.notes import LONGEST_AUTHOR, LONGEST_NOTE, Note, NoteKind

MOST_ROWS = 200
ShownKind = Literal["note", "star", "description", "tag"]


@dataclass(frozen=True)
class NoteView:
    """What somebody wrote about a unit.

    Args:
        id: what withdraws it.
        unit: the unit's key.
        name: the unit in words.
        kind: ``note``, ``star``, ``description`` or ``tag``.
        text: the words; empty for a star.
        author: who wrote it.
        time: when, as ISO 8601 in UTC.
    """

    id: str
    unit: str
    name: str
    kind: NoteKind
    text: str
    author: str
    time: str


@dataclass(frozen=True)
class NoteList:
    """Notes: what did people write? What was withdrawn or replaced is not among them.

    Args:
        rows: the newest first, at most 200.
        total: how many there are.
        starred: units with a star, in all of the atlas.
        source: where this page comes from.
    """

    rows: list[NoteView]
    total: int
    starred: int
    source: Source


@dataclass(frozen=True)
class WriteState:
    """Whether this server writes notes for whoever has its token; where it does not, ``remedy`` says how it would."""

    enabled: bool
    remedy: str
    longest: int


@dataclass(frozen=True)
class NoteAsked:
    """What is to be written.

    Args:
        unit: the unit's key.
        kind: ``note``, ``star``, ``description``, ``tag``, or ``withdraw``, which takes ``replaces`` back.
        text: the words; empty for a star and for what withdraws.
        author: who writes; anonymous where empty.
        replaces: id of the note that this one replaces or withdraws; empty for none.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    unit: Annotated[str, Field(max_length=300)]
    kind: NoteKind
    text: Annotated[str, Field(max_length=LONGEST_NOTE)] = ""
    author: Annotated[str, Field(max_length=LONGEST_AUTHOR)] = ""
    replaces: Annotated[str, Field(max_length=40)] = ""


def add_routes(app: FastAPI, served: Served) -> None:
    """Add the addresses of notes."""

    @app.get("/api/notes", operation_id="listNotes")
    def list_notes(
        unit: Annotated[str, Query(max_length=300)] = "",
        kind: ShownKind | None = None,
        limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = MOST_ROWS,
    ) -> NoteList:
        """List what people wrote about a unit, or about all of them."""
        return note_list(served.atlas(), unit, kind, limit)

    @app.get("/api/write", operation_id="readWrite")
    def read_write() -> WriteState:
        """Say whether notes can be written here."""
        return WriteState(served.writer is not None, "" if served.writer else REMEDY, LONGEST_NOTE)

    @app.post("/api/write/notes", operation_id="writeNote")
    def write_note(asked: NoteAsked) -> NoteView:
        """Write a note, star, description or tag of a unit, or withdraw one; wants ``x-patchclamp-token``."""
        writer = served.writing()
        kept = writer.add_note(served.atlas(), asked.unit, asked.kind, asked.text, asked.author, asked.replaces)
        return _view(served.atlas(), kept)


@page_of
def note_list(atlas: Reading, unit: str, kind: NoteKind | None, limit: int) -> NoteList:
    """Return what people wrote about a unit, or about all of them where ``unit`` is empty; the newest first.

    Returns:
        NoteList: at most ``limit`` of them, and how many there are.

    Raises:
        NotFound: the atlas has no such unit.
    """
    written = atlas.written.of(atlas.index_of(unit)) if unit else list(atlas.written.notes)
    rows = [note for note in written if kind in (None, note.kind)][::-1]
    asked = ", ".join([repr(unit)] * bool(unit) + [f"kind={kind!r}"] * (kind is not None))
    source = atlas.source(f".notes({asked})", WRITTEN if atlas.written.digest else None)
    return NoteList([_view(atlas, note) for note in rows[:limit]], len(rows), len(atlas.written.starred), source)


def _view(atlas: Reading, note: Note) -> NoteView:
    name = atlas.name(atlas.index_of(note.unit))
    return NoteView(note.id, note.unit, name, note.kind, note.text, note.author, note.time)
