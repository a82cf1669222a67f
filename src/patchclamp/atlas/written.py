"""Notes written from Python or a file, for units that the atlas has."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from patchclamp.atlas.read.reader import Reading, open_reading
from patchclamp.atlas.store.notes import Note, add_notes, read_exported
from patchclamp.core.arguments import checked


@checked
def write_notes(atlas: str | Path, notes: str | Path | Sequence[Note]) -> list[Note]:
    """Write notes, stars, descriptions and tags of units into an atlas, as its page does.

    A note that is there already is not written twice, so what several people exported can be added in any order.

    Args:
        atlas: the atlas's folder.
        notes: the notes, or a file that ``export_atlas(format="notes")`` wrote, whose ids and times are kept.

    Returns:
        list[Note]: those that were added, with their ids and times.

    Raises:
        NotFound: the atlas has no such unit; nothing is written.
        PatchclampError: no atlas there, words that are too long or missing, a file of something else, or a full disk.

    Cost: opens the atlas, and flushes the lines to disk.

    Example:
        >>> import patchclamp as pc
        >>> pc.atlas.write_notes("nowhere.atlas", [pc.atlas.Note("blocks.0.mlp.act/neurons/7", "star")])
        Traceback (most recent call last):
        ...
        patchclamp.core.errors.PatchclampError: expected a folder that `patchclamp atlas bake` wrote; got ...
    """
    reading = open_reading(atlas)
    rows = read_exported(Path(notes)) if isinstance(notes, str | Path) else notes
    return add_notes(reading.folder, [_of_this_atlas(reading, row) for row in rows])


def _of_this_atlas(atlas: Reading, note: Note) -> Note:
    return replace(note, unit=str(atlas.key(atlas.index_of(note.unit))))
