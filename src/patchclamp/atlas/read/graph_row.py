"""An explained answer as one row, of a list or of a unit's page."""

from typing import Any

from patchclamp.atlas.read.reader import number_or_none
from patchclamp.atlas.read.responses import GraphRow
from patchclamp.core.graph import Graph, Node
from patchclamp.core.method_index import find_title
from patchclamp.core.unit import UnitKey

_TOGETHER = ("measured", "control_low", "control_high", "p")


def graph_row(id: str, graph: Graph, asking: Node | None = None, *, kept: bool = True) -> GraphRow:
    """Return an explained answer as a row, from the side of a unit where one asks.

    Returns:
        GraphRow: what lists and unit pages show of it.
    """
    about = graph.about
    position = UnitKey.parse(asking.key).position if asking else None
    contrast = about.get("contrast")
    read = _words(about.get("read"))
    whole = {name: number_or_none(graph.measures.get(name)) for name in _TOGETHER}
    return GraphRow(
        id=id,
        kept=kept,
        prompt=str(about.get("prompt", "")),
        target=str(about.get("target", "")),
        contrast=None if contrast is None else str(contrast),
        method=find_title(str(about.get("method", "")), "attribute"),
        n_nodes=len(graph.nodes),
        metric=number_or_none(graph.measures.get("metric_clean")),
        score=number_or_none(asking.score) if asking else None,
        measured=number_or_none(asking.measures.get("measured")) if asking else None,
        position=position,
        measured_together=whole["measured"],
        control_low=whole["control_low"],
        control_high=whole["control_high"],
        p=whole["p"],
        grade=str(about.get("grade") or ""),
        sentence=str(about.get("sentence") or ""),
        cautions=_words(about.get("cautions")),
        quantity=str(about.get("quantity") or ""),
        target_read=read[0] if len(read) == 2 else "",
        contrast_read=read[1] if len(read) == 2 else "",
    )


def _words(found: Any) -> list[str]:
    return [one for one in found if isinstance(one, str)] if isinstance(found, list | tuple) else []
