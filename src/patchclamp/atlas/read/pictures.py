"""The pictures that an atlas of images keeps, and where the places of its sites lie on them."""

from dataclasses import dataclass
from typing import Any

from patchclamp.atlas.read.reader import NotFound, Reading, page_of
from patchclamp.atlas.store.sqlite_files import DAMAGED
from patchclamp.core.errors import Damaged
from patchclamp.core.picture_places import PicturePlaces

LARGEST_FILE, LARGEST_SIDE = 4_000_000, 1024
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class KeptPicture:
    """A picture as the network is shown it.

    Args:
        name: what it is called.
        label: its class; None where the inputs carry no labels.
        height: pixels of what the network is shown,
        width: likewise.
        png: the file, perhaps smaller than that.
    """

    name: str
    label: str | None
    height: int
    width: int
    png: bytes


def require_pictures(atlas: Reading) -> None:
    """Refuse an atlas of text, which has no pictures.

    Raises:
        NotFound: it is one.
    """
    if atlas.about["modality"] != "image":
        raise NotFound(expected="an atlas of images", got="one of text", remedy="Read its examples instead.")


@page_of
def read_picture(atlas: Reading, number: int) -> KeptPicture:
    """Return a picture by its number.

    Raises:
        NotFound: an atlas of text, or one that keeps no picture of that number.
        Damaged: what it keeps is no PNG file, or too large.
    """
    require_pictures(atlas)
    found = atlas.rows("SELECT name, label, height, width, png FROM pictures WHERE id = ?", [number])
    if not found:
        raise NotFound(
            expected="a picture in which an example stands", got=f"number {number}", remedy="See /api/pictures."
        )
    [(name, label, height, width, data)] = found
    if not data.startswith(PNG) or len(data) > LARGEST_FILE:
        raise Damaged(expected="a PNG file", got=f"picture {number}: {len(data):,} other bytes", remedy=DAMAGED)
    return KeptPicture(name, label_of(atlas, label), height, width, data)


def label_of(atlas: Reading, label: int | None) -> str | None:
    """Return a class's name; None for none."""
    return None if label is None else atlas.token(label).text


def places_at(atlas: Reading, site: str) -> tuple[PicturePlaces, tuple[int, int]]:
    """Return where the places of a baked site lie, and rows and columns of the maps that are kept of it."""
    kept = atlas.about["places"][site]
    rows, columns = (int(n) for n in kept["map"])
    if not 0 <= rows * columns <= LARGEST_SIDE**2:
        raise ValueError("a map of no size")
    pairs: dict[str, Any] = {name: tuple(kept[name]) for name in ("grid", "low", "high", "size")}
    return PicturePlaces(int(kept["before"]), **pairs), (rows, columns)
