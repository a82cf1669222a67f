"""The estimate beside its rivals."""

from patchclamp.core.similarity import Similarity
from patchclamp.report.bars import ESTIMATE, Row, cells, draw_bars
from patchclamp.report.html import inline

NOUN = "Similarity"


def draw(similarity: Similarity, *, command: str | None = None) -> str:
    """Return the page of a similarity, with what it is compared with below it."""
    own = similarity.estimate
    measured = {f"by {similarity.provenance.label or 'hand'}": own, **similarity.rivals}
    return draw_bars(
        f"{similarity.names[0]} and {similarity.names[1]}",
        {"over": similarity.over, "n": f"{own.n:,}"},
        [Row(inline(name), one.value, one.low, one.high, cells(one)) for name, one in measured.items()],
        ["", own.unit, *ESTIMATE],
        provenance=similarity.provenance,
        command=command,
    )
