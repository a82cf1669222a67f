"""The page on which a first visit begins: an answer that the atlas keeps, asked again."""

from urllib.parse import urlencode, urlsplit, urlunsplit

from patchclamp.atlas.read.reader import Reading
from patchclamp.core.graph import Graph

_SURE = ("holds", "weak")
"""Grades that are worth showing first, the better first."""


def start_address(address: str, atlas: Reading) -> str:
    """Return the address of Ask with the best answer that an atlas keeps; empty where it keeps none of one prompt.

    Ask writes prompts, so an atlas of images has none.

    Args:
        address: the server's, with its token if it has one.
        atlas: the atlas.

    Returns:
        str: the address of a page that explains the answer again.
    """
    if atlas.about["modality"] == "image":
        return ""
    rank = {grade: i for i, grade in enumerate(_SURE)}
    kept = [layer.graph for layer in atlas.layers if layer.graph and _can_ask(layer.graph)]
    best = min(kept, key=lambda graph: rank.get(str(graph.about.get("grade")), len(rank)), default=None)
    if best is None:
        return ""
    named = {"prompt": "prompt", "target": "target", "contrast": "contrast", "counterpart": "corrupt"}
    question = urlencode({name: best.about[own] for name, own in named.items() if best.about.get(own)})
    base = urlsplit(address)
    query = f"{question}&{base.query}" if base.query else question
    return urlunsplit((base.scheme, base.netloc, "/ask", query, base.fragment))


def _can_ask(graph: Graph) -> bool:
    """Say whether a graph is of one prompt, and against a baseline that Ask has."""
    about = graph.about
    words = isinstance(about.get("prompt"), str) and isinstance(about.get("target"), str)
    return words and bool(about["target"]) and not about.get("task") and about.get("baseline") in ("zero", "corrupted")
