"""How well each target is predicted."""

from patchclamp.core.readout import Readout
from patchclamp.report.bars import ESTIMATE, MOST_ROWS, Row, cells, draw_bars
from patchclamp.report.html import inline, is_known, number

NOUN = "Readout"


def draw(readout: Readout, *, command: str | None = None) -> str:
    """Return the page of a readout, the targets that are predicted best first."""
    (_, site), (name, _) = readout.features, readout.targets
    scores = readout.scores
    order = sorted(range(len(scores)), key=lambda t: -scores[t].value if is_known(scores[t].value) else float("inf"))
    listed = [(readout.names[t] if readout.names else f"{t}", scores[t]) for t in order[:MOST_ROWS]]
    facts = {"targets": f"{len(readout.intercept):,}", "features": f"{len(readout.centre):,}"}
    if readout.summary is not None:
        listed.insert(0, ("all targets", readout.summary))
        facts[readout.summary.unit] = number(readout.summary.value)
    rows = [Row(inline(target), one.value, one.low, one.high, cells(one)) for target, one in listed]
    return draw_bars(
        f"{name} from {site}",
        facts,
        rows,
        ["target", scores[0].unit if scores else "score", *ESTIMATE],
        notes=[f"The best {MOST_ROWS} of {len(scores):,} targets."] if len(scores) > MOST_ROWS else [],
        provenance=readout.provenance,
        command=command,
    )
