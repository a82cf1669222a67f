"""The largest, with their intervals over cases where single cases were kept."""

from patchclamp.core.circuit import is_measured
from patchclamp.core.scores import Scores
from patchclamp.report.bars import MOST_ROWS, Row, draw_bars
from patchclamp.report.html import is_known, number, span, unit

NOUN = "Scores"


def draw(scores: Scores, *, command: str | None = None) -> str:
    """Return the page of scores, the largest by magnitude first."""
    made, n_cases = scores.provenance, 0 if scores.per_case is None else len(scores.per_case)
    places = scores.places(MOST_ROWS, signed=False)
    estimates = scores.estimates(places) if n_cases > 1 else []
    rows = []
    for i, place in enumerate(places.tolist()):
        low, high = (estimates[i].low, estimates[i].high) if estimates else (None, None)
        interval = [span(low, high, signed=True)] if estimates else []
        more = [number(float(column[place]), signed=True) for column in scores.measures.values()]
        name = unit(str(scores.key(place)), made.subject)
        rows.append(Row(name, float(scores.values[place]), low, high, [*interval, *more]))
    facts = {"keys": f"{len(scores):,}", "cases": f"{n_cases:,}" if n_cases else "", "in units of": scores.unit}
    if is_known(scores.metric_clean):
        facts["m, clean"] = number(scores.metric_clean, signed=True)
    if scores.baseline == "corrupted" and is_known(scores.metric_baseline):
        facts["m, counterpart"] = number(scores.metric_baseline, signed=True)
    notes = [f"The {len(rows):,} largest of {len(scores):,} by magnitude."] if len(rows) < len(scores) else []
    if not is_measured(scores):
        notes.append("Scores are predicted: replace what they name to measure it (patchclamp explain, circuit find).")
    return draw_bars(
        f"Scores by {made.label or 'hand'}" + (f" in {made.subject}" if made.subject else ""),
        {name: value for name, value in facts.items() if value},
        rows,
        ["key", "score", *(["95\u00a0% interval over cases"] if estimates else []), *scores.measures],
        notes=notes,
        provenance=made,
        command=command,
    )
