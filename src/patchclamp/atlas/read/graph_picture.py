"""The picture that an explained answer is about, as its graph holds it: read with care, for a file may say anything."""

import base64
import binascii
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from patchclamp.atlas.read.pictures import LARGEST_FILE, LARGEST_SIDE, PNG
from patchclamp.atlas.read.reader import NotFound, Reading
from patchclamp.core.errors import Damaged
from patchclamp.core.graph import Graph
from patchclamp.core.picture_heat import MOST_CELLS

UPLOADED = "upload"
"""What ``about`` of an answer calls the id of a picture that came with the question."""


@dataclass(frozen=True)
class NodePlaceView:
    """Where a node lies on the picture.

    Args:
        position: number of the place at its site; of a channel the one that carries most of it.
        name: where that is, in words.
        box: left, top, right and bottom of what the place reads, as shares of the picture.
        cell: the same of its own cell.
    """

    position: int
    name: str
    box: list[float]
    cell: list[float]


@dataclass(frozen=True)
class GraphPicture:
    """The picture that an answer is about, with where on it the answer comes from.

    Args:
        src: address of its file.
        picture: what names it in the lab: a kept picture's number, or an uploaded one's id; empty where neither is.
        size: height and width as the network is shown it.
        rows: rows of the map; 0 without one.
        columns: its columns.
        heat: what the units at each place are predicted to carry, row after row.
        apart: what lies nowhere on the picture, as at a class token.
    """

    src: str
    picture: str
    size: list[int]
    rows: int
    columns: int
    heat: list[float | None]
    apart: float | None


def graph_picture(atlas: Reading, id: str, graph: Graph) -> GraphPicture | None:
    """Return the picture of an answer; None of an answer to a text, or to several pictures.

    A graph that holds no picture shows the one of the same name that its atlas keeps.

    Returns:
        GraphPicture | None: its address and map.
    """
    if atlas.about["modality"] != "image" or graph.about.get("task"):
        return None
    named = str(graph.about.get("prompt") or "")
    kept = atlas.rows("SELECT id, height, width FROM pictures WHERE name = ? ORDER BY id LIMIT 1", [named])
    uploaded = str(graph.about.get(UPLOADED) or "")
    picture = uploaded or (str(kept[0][0]) if kept else "")
    held = graph.about.get("picture")
    if isinstance(held, Mapping):
        size, sides = (_counts(held.get(name)) for name in ("size", "map"))
        heat = _numbers(held.get("values"))
        if len(size) == 2 and len(sides) == 2 and max(sides) <= MOST_CELLS and len(heat) == sides[0] * sides[1]:
            [apart] = _numbers([held.get("apart")])
            return GraphPicture(f"/api/graphs/{quote(id)}/picture.png", picture, size, sides[0], sides[1], heat, apart)
    if not kept:
        return None
    [(number, height, width)] = kept
    return GraphPicture(f"/api/pictures/{number}.png", picture, [height, width], 0, 0, [], None)


def node_places(graph: Graph) -> dict[str, NodePlaceView]:
    """Return where the nodes of an answer lie on its picture, by key; those that lie nowhere are not there."""
    held = graph.about.get("picture")
    places = held.get("places") if isinstance(held, Mapping) else None
    found = {}
    for key, place in places.items() if isinstance(places, Mapping) else ():
        if not isinstance(place, Mapping) or type(place.get("position")) is not int:
            continue
        boxes = [[x for x in _numbers(place.get(name)) if x is not None and 0 <= x <= 1] for name in ("box", "cell")]
        if all(len(box) == 4 for box in boxes):
            found[str(key)] = NodePlaceView(place["position"], str(place.get("name", ""))[:80], *boxes)
    return found


def graph_png(id: str, graph: Graph) -> bytes:
    """Return the picture that a graph holds, as a PNG file.

    Raises:
        NotFound: it holds none.
        Damaged: what it holds is no PNG file, or too large.
    """
    held = graph.about.get("picture")
    text = held.get("png") if isinstance(held, Mapping) else None
    if not isinstance(text, str):
        raise NotFound(expected="an answer about a picture", got=repr(id[:80]), remedy="/api/graphs lists them all.")
    try:
        data = base64.b64decode(text, validate=True) if len(text) <= 2 * LARGEST_FILE else b""
    except (binascii.Error, ValueError):
        data = b""
    if not data.startswith(PNG) or len(data) > LARGEST_FILE:
        raise Damaged(expected="a PNG file", got=f"the picture of {id[:80]!r}", remedy="Explain the answer again.")
    return data


def _numbers(found: Any) -> list[float | None]:
    if not isinstance(found, list | tuple):
        return []
    plain = (type(x) in (int, float) and math.isfinite(x) for x in found)
    return [float(x) if is_number else None for x, is_number in zip(found, plain, strict=True)]


def _counts(found: Any) -> list[int]:
    return [int(x) for x in _numbers(found) if x is not None and 0 < x <= LARGEST_SIDE]
