"""An atlas, or one unit of it, for people and programs that have no patchclamp.

``html`` is one unit's page as a file, ``parquet`` tables of everything, ``neuronpedia`` the layout that Neuronpedia
imports; a room each.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from patchclamp.atlas.atlas import Atlas
from patchclamp.atlas.export.output_path import Exported
from patchclamp.core.arguments import checked
from patchclamp.core.checks import one_of
from patchclamp.core.errors import PatchclampError

Format = Literal["html", "parquet", "neuronpedia"]
FORMATS: tuple[Format, ...] = get_args(Format)


@checked
def export_atlas(
    atlas: str | Path | Atlas,
    out: str | Path,
    *,
    format: Format,
    unit: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Exported:
    """Write an atlas, or one unit of it, in a format that others read.

    Args:
        atlas: the atlas, or its folder.
        out: the file (``html``, replaced where it exists) or the folder (the others; it must not exist).
        format: ``html``, ``parquet`` or ``neuronpedia``.
        unit: key of the unit that ``html`` shows; of no other format.
        progress: called with units done and units in all.

    Returns:
        Exported: what was written.

    Raises:
        PatchclampError: no such unit or format, a unit too many or missing, ``out`` in the way or not writable, a full
            disk, a damaged atlas, or pyarrow missing for ``parquet``. Nothing is left behind.

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
    source = atlas if isinstance(atlas, Atlas) else Atlas(atlas)
    if format == "html":
        from patchclamp.atlas.export.page import write_page

        assert unit is not None
        return write_page(source, unit, Path(out))
    if format == "parquet":
        from patchclamp.atlas.export.parquet import write_parquet

        return write_parquet(source, Path(out), progress)
    from patchclamp.atlas.export.neuronpedia import write_neuronpedia

    return write_neuronpedia(source, Path(out), progress)
