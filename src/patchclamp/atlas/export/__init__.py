"""An atlas, or one unit of it, for people and programs that have no patchclamp.

``html`` is one unit's page as a file, ``parquet`` tables of everything, ``neuronpedia`` the layout that Neuronpedia
imports; a room each. ``notes`` is what people wrote, as lines that ``add_notes`` takes. One graph can be written for
the viewers of ``circuit-tracer`` and ``neuronpedia``.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from patchclamp.atlas.atlas import Atlas
from patchclamp.atlas.export.output_path import Exported, new_file
from patchclamp.atlas.read.recorded import RECORDING
from patchclamp.atlas.store.notes import NOTES, read_notes, spell_notes
from patchclamp.atlas.store.sqlite_files import DAMAGED, read_head
from patchclamp.core.arguments import checked
from patchclamp.core.checks import one_of
from patchclamp.core.errors import Damaged, PatchclampError

Format = Literal["html", "parquet", "neuronpedia", "notes", "circuit-tracer"]
FORMATS: tuple[Format, ...] = get_args(Format)


@checked
def export_atlas(
    atlas: str | Path | Atlas,
    out: str | Path,
    *,
    format: Format,
    unit: str | None = None,
    graph: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Exported:
    """Write an atlas, or one unit of it, in a format that others read.

    Args:
        atlas: the atlas, or its folder.
        out: the file (``html`` and ``notes``, replaced where it exists) or the folder (the others; it must not exist).
        format: ``html``, ``parquet``, ``neuronpedia``, ``notes``, or ``circuit-tracer``, which a graph alone has.
        unit: key of the unit that ``html`` shows; of no other format.
        graph: id of one explained answer, written for the viewers of ``circuit-tracer`` or ``neuronpedia``.
        progress: called with units done and units in all.

    Returns:
        Exported: what was written.

    Raises:
        PatchclampError: no such unit or format, a unit too many or missing, an atlas of images, one of a recording
            but for ``parquet``, ``out`` in the way or not writable, a full disk, a damaged atlas, or pyarrow missing
            for ``parquet``. Nothing is left behind.

    Cost: some milliseconds per unit; memory for one batch of units, not for the atlas.

    Example:
        >>> export_atlas("cat.atlas", "cat.html", format="html")
        Traceback (most recent call last):
        ...
        patchclamp.core.errors.PatchclampError: expected a unit to show, with format html; got none. Name ...
    """
    one_of("format", format, FORMATS)
    if format == "html" and unit is None:
        raise PatchclampError(
            expected="a unit to show, with format html",
            got="none",
            remedy="Name one with --unit KEY; `patchclamp atlas serve` helps to find it.",
        )
    if format != "html" and unit is not None:
        raise PatchclampError(
            expected=f"no --unit with format {format}, which holds every unit",
            got=unit[:120],
            remedy="Leave --unit out, or export --format html.",
        )
    if graph is not None or format == "circuit-tracer":
        return _write_graph(atlas if isinstance(atlas, Atlas) else Atlas(atlas), graph, format, Path(out))
    if format == "notes":
        return _write_notes(atlas.reading.folder if isinstance(atlas, Atlas) else Path(atlas), Path(out))
    source = atlas if isinstance(atlas, Atlas) else Atlas(atlas)
    if not (format == "parquet" and source.reading.about["modality"] == RECORDING):
        source.reading.require_text(f"format {format} holds tokens")
    if format == "html":
        from patchclamp.atlas.export.page import write_page

        assert unit is not None
        return write_page(source, unit, Path(out))
    if format == "parquet":
        from patchclamp.atlas.export.parquet import write_parquet

        return write_parquet(source, Path(out), progress)
    from patchclamp.atlas.export.neuronpedia import write_neuronpedia

    return write_neuronpedia(source, Path(out), progress)


def _write_graph(atlas: Atlas, id: str | None, format: str, out: Path) -> Exported:
    """Write one explained answer as a file.

    Raises:
        PatchclampError: no graph named, a format that graphs do not have, or a file that cannot be written.
        NotFound: no such graph.
    """
    from patchclamp.atlas.read.graph_json import GRAPH_FORMATS
    from patchclamp.atlas.serve.screens.graphs.file import graph_file

    if id is None or format not in GRAPH_FORMATS:
        raise PatchclampError(
            expected=f"--graph ID with format {' or '.join(GRAPH_FORMATS)}",
            got=f"format {format}" + ("" if id is None else " of a graph"),
            remedy="`patchclamp atlas info` and the page list the graphs of an atlas.",
        )
    data = graph_file(atlas.reading, id, format)
    text = json.dumps(data, indent=1, allow_nan=False).encode()
    new_file(out, text)
    return Exported(format, str(out), {out.name: len(text)}, len(data["nodes"]))


def _write_notes(folder: Path, out: Path) -> Exported:
    """Write every line of an atlas's notes to a file, withdrawn ones included.

    Raises:
        PatchclampError: no atlas there, or a file that cannot be written.
        Damaged: the journal is not what was written.
    """
    read_head(folder)
    rows, problem = read_notes(folder)
    if problem:
        raise Damaged(expected=f"a whole {NOTES}", got=problem, remedy=DAMAGED)
    data = spell_notes(rows)
    new_file(out, data)
    return Exported("notes", str(out), {out.name: len(data)}, len({row.unit for row in rows}))
