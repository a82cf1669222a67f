"""What a unit of a model of images does on pictures: where, how much, and the pictures themselves."""

import io
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import FastAPI, Path, Query
from fastapi.responses import Response

from patchclamp.atlas.lab.pictures import PictureAsked, PictureRun, picture_lab
from patchclamp.atlas.lab.uploaded_pictures import UPLOAD_ID, UploadAsked, Uploaded
from patchclamp.atlas.read.pictures import LARGEST_SIDE, label_of, places_at, read_picture, require_pictures
from patchclamp.atlas.read.reader import NotFound, Reading, number_or_none, page_of
from patchclamp.atlas.read.responses import Source
from patchclamp.atlas.serve.png_response import PngResponse
from patchclamp.atlas.serve.served import LONGEST, Number, Served
from patchclamp.atlas.store.sqlite_files import DAMAGED
from patchclamp.core.errors import Damaged, PatchclampError, report_damage
from patchclamp.core.picture_places import PicturePlaces

PictureKind = Literal["top", "lowest", "range", "random", "interval"]
"""Why an example was chosen: see ``PictureExamples``."""
MOST_EXAMPLES, MOST_LISTED = 50, 200
THUMBNAIL = 96
_STORED = {"top": 0, "random": 2, "range": 3, "interval": 3, "lowest": 4}
_NOTES: dict[str, str] = {
    "top": "The pictures with the highest value, each with the place of it.",
    "lowest": "The pictures with the lowest value, where the unit acts below zero.",
    "range": "One place, drawn at random, out of each tenth between its lowest and its highest value.",
    "random": "Places drawn at random, whatever the value.",
    "interval": "Places whose value lies in the interval, drawn at random, at most two for every bar.",
}


@dataclass(frozen=True)
class PictureExample:
    """One place on a picture, with the unit's values all over it.

    Args:
        kind: why it was chosen.
        value: the unit's value at the place.
        picture: number of the picture; its file is ``/api/pictures/NUMBER.png``.
        name: what the picture is called.
        label: its class; None where the inputs carry no labels.
        position: number of the place at the site.
        place: where that is, in words: ``y3 x4``, ``class token``; empty where it is the whole picture.
        box: left, top, right and bottom of what the place reads, as shares of the picture; None of a class token.
        cell: the same of its own cell of the map, or its patch.
        heat: the unit's values, row after row, as many as the map has cells (float16).
    """

    kind: PictureKind
    value: float
    picture: int
    name: str
    label: str | None
    position: int
    place: str
    box: list[float] | None
    cell: list[float] | None
    heat: list[float | None]


@dataclass(frozen=True)
class PictureExamples:
    """Examples of one unit on pictures.

    ``top``: the pictures with the highest values. ``lowest``: those with the lowest, where they are below zero.
    ``range``: one place in each of ten equal intervals from the lowest to the highest value. ``random``: places drawn
    at random. ``interval``: places whose value lies in an interval.

    Args:
        key: the unit.
        kind: which kind.
        rows: rows of the map; 0 where places lie nowhere.
        columns: its columns.
        pooled: whether a cell of the map stands for several places, of which it shows the largest value.
        size: height and width of the pictures as the network is shown them, in pixels.
        most: the unit's largest size anywhere, which gets the darkest fill.
        examples: the examples.
        total: how many there are; of an interval, how many places qualify.
        note: a sentence about how they were chosen.
        source: where this comes from.
    """

    key: str
    kind: PictureKind
    rows: int
    columns: int
    pooled: bool
    size: list[int]
    most: float
    examples: list[PictureExample]
    total: int
    note: str
    source: Source


@dataclass(frozen=True)
class PictureRow:
    """One picture of the atlas: its number, its name and its class."""

    picture: int
    name: str
    label: str | None


@dataclass(frozen=True)
class PictureList:
    """The pictures in which examples stand.

    Args:
        rows: this page of them.
        total: how many there are.
        source: where this comes from.
    """

    rows: list[PictureRow]
    total: int
    source: Source


def add_routes(app: FastAPI, served: Served) -> None:
    """Add the addresses of pictures."""

    @app.get("/api/pictures", operation_id="listPictures")
    def list_pictures(
        first: Annotated[int, Query(ge=0, le=2**53)] = 0,
        limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 60,
        name: Annotated[str, Query(max_length=LONGEST)] = "",
    ) -> PictureList:
        """List the pictures of an atlas of images in their order; only those of a name where one is given."""
        return picture_list(served.atlas(), first, limit, name)

    @app.get("/api/pictures/{number}.png", operation_id="readPicture", response_class=PngResponse)
    def read_file(number: Annotated[int, Path(ge=0, le=2**53)]) -> Response:
        """Read a picture, as the network is shown it, as a PNG file."""
        return PngResponse(read_picture(served.atlas(), number).png)

    @app.get("/api/units/{key:path}/pictures", operation_id="readPictureExamples")
    def read_examples(
        key: str,
        kind: PictureKind = "top",
        low: Number = None,
        high: Number = None,
        limit: Annotated[int, Query(ge=1, le=MOST_EXAMPLES)] = 8,
    ) -> PictureExamples:
        """Read examples on pictures; ``low`` and ``high`` belong to ``kind=interval``, both ends included."""
        return picture_examples(served.atlas(), key, kind, low, high, limit)

    @app.post("/api/lab/picture", operation_id="runPicture")
    def run_picture(asked: PictureAsked) -> PictureRun:
        """Show a picture of the atlas to its model, with units clamped and without; only where one is attached."""
        atlas, lab = served.atlas(), picture_lab(served.model())
        with report_damage(atlas.folder, DAMAGED):
            lab.check(atlas)
        return lab.run_picture(atlas, asked)

    @app.post("/api/lab/pictures", operation_id="uploadPicture")
    def upload_picture(asked: UploadAsked) -> Uploaded:
        """Give the model a picture of one's own: a file of one picture, kept in memory until the server ends."""
        return picture_lab(served.model()).upload(asked.name, asked.data)

    @app.get("/api/lab/pictures/{id}.png", operation_id="readUploaded", response_class=PngResponse)
    def read_uploaded(id: Annotated[str, Path(pattern=UPLOAD_ID)]) -> Response:
        """Read an uploaded picture, as the network is shown it, as a PNG file."""
        return PngResponse(picture_lab(served.model()).uploaded_png(id))

    @app.get("/api/units/{key:path}/top.png", operation_id="readThumbnail", response_class=PngResponse)
    def read_thumbnail(key: str) -> Response:
        """Read a unit's highest example as a small PNG file, dimmed outside of what the place reads."""
        return PngResponse(thumbnail(served.atlas(), key))


@page_of
def picture_list(atlas: Reading, first: int, limit: int, name: str = "") -> PictureList:
    """Return pictures of an atlas in the order of their numbers.

    Args:
        atlas: the atlas.
        first: how many to leave out before them.
        limit: how many at most.
        name: what they are called; empty for all of them.

    Returns:
        PictureList: these, and how many there are.
    """
    require_pictures(atlas)
    own = "FROM pictures WHERE ? IN (name, '')"
    [(total,)] = atlas.rows(f"SELECT count(*) {own}", [name])
    rows = atlas.rows(f"SELECT id, name, label {own} ORDER BY id LIMIT ? OFFSET ?", [name, limit, first])
    return PictureList(
        [PictureRow(id, name, label_of(atlas, k)) for id, name, k in rows], total, atlas.source(".page()")
    )


@page_of
def picture_examples(
    atlas: Reading, key: str, kind: PictureKind, low: float | None, high: float | None, limit: int
) -> PictureExamples:
    """Return a unit's examples of one kind on pictures.

    An interval holds its lower end, and its upper end where that is the unit's maximum or above.

    Returns:
        PictureExamples: at most ``limit`` places, and how many there are.

    Raises:
        NotFound: the atlas has no such unit, or is one of text.
        PatchclampError: an interval without two ends, or ends with another kind.
    """
    require_pictures(atlas)
    unit = atlas.index_of(key)
    if (kind == "interval") != (low is not None and high is not None) or (low is None) != (high is None):
        raise PatchclampError(
            expected="low and high together, and only with kind=interval",
            got=f"kind={kind}, low={low}, high={high}",
            remedy="Give both ends, or leave both out.",
        )
    named = atlas.key(unit)
    places, (rows, columns) = places_at(atlas, named.site)
    minimum, maximum, edges, counts = atlas.row(unit, "minimum", "maximum", "edges", "tokens")
    found = _read_stored(atlas, unit, kind)
    total = len(found)
    if kind == "range":
        found = [bin[0] for bin in _tenths(found)][::-1]
        total = len(found)
    elif kind == "interval" and low is not None and high is not None:
        last = maximum is not None and high >= maximum
        found = [row for row in found if low <= row[1] and (row[1] <= high if last else row[1] < high)]
        # Both places of a bar before the next bar's would show one corner of a wide interval only.
        found.sort(key=lambda row: row[0] % 2)
        total = _count(edges, counts, low, high, last)
    examples = [_example(atlas, kind, places, *row[1:]) for row in found[:limit]]
    shown = f", low={low!r}, high={high!r}" if low is not None else ""
    return PictureExamples(
        key=str(named),
        kind=kind,
        rows=rows,
        columns=columns,
        pooled=(rows, columns) != places.grid,
        size=list(places.size),
        most=max(abs(minimum or 0.0), abs(maximum or 0.0)),
        examples=examples,
        total=total,
        note=_NOTES[kind],
        source=atlas.source(f".pictures({str(named)!r}, {kind!r}{shown})", atlas.part(unit)[0].id),
    )


def _read_stored(atlas: Reading, unit: int, kind: str) -> list[tuple[Any, ...]]:
    part, own = atlas.part(unit)
    return atlas.rows(
        "SELECT e.rank, e.value, e.stimulus, e.position, e.acts, p.name, p.label "
        f"FROM {part.schema}.examples e JOIN {part.schema}.pictures p ON p.id = e.stimulus "
        "WHERE e.unit = ? AND e.kind = ? ORDER BY e.rank",
        [own, _STORED[kind]],
    )


def _tenths(found: list[tuple[Any, ...]]) -> list[list[tuple[Any, ...]]]:
    """Group places by tenth of the range: two places are kept per bar, and two bars are a tenth."""
    bins: dict[int, list[tuple[Any, ...]]] = {}
    for row in found:
        bins.setdefault(row[0] // 4, []).append(row)
    return [bins[k] for k in sorted(bins)]


def _count(edges: bytes | None, counts: bytes | None, low: float, high: float, last: bool) -> int:
    """Return how many places lie in the bars that an interval covers."""
    if edges is None or counts is None:
        return 0
    cuts = np.frombuffer(edges, "<f8")
    inside = (cuts[:-1] >= low) & ((cuts[1:] <= high) | last)
    return int(np.frombuffer(counts, "<i8")[inside].sum())


def _example(
    atlas: Reading,
    kind: PictureKind,
    places: PicturePlaces,
    value: float,
    picture: int,
    position: int,
    acts: bytes,
    name: str,
    label: int | None,
) -> PictureExample:
    box, cell = places.box(position), places.cell_box(position)
    return PictureExample(
        kind=kind,
        value=float(value),
        picture=picture,
        name=name,
        label=label_of(atlas, label),
        position=position,
        place=places.name(position),
        box=None if box is None else list(box),
        cell=None if cell is None else list(cell),
        heat=[number_or_none(a, 3) for a in np.frombuffer(acts, "<f2").astype(np.float64).tolist()],
    )


@page_of
def thumbnail(atlas: Reading, key: str) -> bytes:
    """Return a unit's highest example as a PNG file of about 96 pixels, dimmed outside of what the place reads.

    Raises:
        NotFound: the atlas has no such unit, or the unit no example.
        Damaged: the picture cannot be read.
    """
    from PIL import Image

    require_pictures(atlas)
    unit = atlas.index_of(key)
    found = _read_stored(atlas, unit, "top")
    if not found:
        raise NotFound(expected="a unit with an example", got=key[:120], remedy="Its values were never finite.")
    places, _ = places_at(atlas, atlas.key(unit).site)
    try:
        with Image.open(io.BytesIO(read_picture(atlas, found[0][2]).png), formats=["PNG"]) as opened:
            if max(opened.size) > LARGEST_SIDE:
                raise ValueError(f"{opened.size[0]} x {opened.size[1]} pixels")
            whole = opened.convert("RGB")
    except (OSError, SyntaxError, ValueError) as problem:
        raise Damaged(expected="a PNG file", got=f"picture {found[0][2]}: {problem}"[:200], remedy=DAMAGED) from problem
    scale = THUMBNAIL / max(whole.size)
    size = [max(round(side * scale), 1) for side in whole.size]
    # Few pixels stay squares; many are averaged.
    small = whole.resize((size[0], size[1]), Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX)
    pixels = np.asarray(small, dtype=np.float64)
    box = places.box(found[0][3])
    if box is not None:
        ends = np.round(np.array(box) * [size[0], size[1], size[0], size[1]]).astype(int)
        outside = np.ones(pixels.shape[:2], dtype=bool)
        outside[ends[1] : ends[3], ends[0] : ends[2]] = False
        pixels[outside] = pixels[outside] * 0.35 + 128 * 0.65
    held = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(held, format="PNG")
    return held.getvalue()
