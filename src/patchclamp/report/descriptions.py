"""Units with their terms, those of the largest first measure first."""

from patchclamp.core.descriptions import Descriptions
from patchclamp.report.bars import MOST_ROWS, Row, draw_bars
from patchclamp.report.html import box_token, number, unit

NOUN = "Descriptions"
MEANINGS = {
    "peak": "the probability of the first term",
    "specialised": "peak times concept",
    "concept": "the share of the terms that are of the first one's concept",
    "share": "the share of the head's matrix that its first direction holds",
    "margin": "the first term's log probability less that of the second term",
    "gate": "the mean of φ(gate) over the prompts",
}
"""What a measure of descriptions is, in words."""
TIED = "tokens are embedded by the rows that unembed them, so that what early layers read decodes by itself"


def explain_measures(found: Descriptions) -> str:
    """Return what the measures are, and whether embeddings are tied, in one sentence; empty where none is known."""
    known = [f"{name}: {MEANINGS[name]}" for name in found.measures if name in MEANINGS]
    if found.provenance.extra.get("tied_embeddings"):
        known.append(TIED)
    return "; ".join(known)


def draw(found: Descriptions, *, command: str | None = None) -> str:
    """Return the page of descriptions. The bar is the first measure or score, else the first term's weight."""
    columns = found.columns
    measure, *more = [*columns] or [found.unit_of_measure or "weight of the first term"]
    places = found.order(measure) if columns else range(len(found))
    rows = []
    for place in map(int, places[:MOST_ROWS]):
        value = float(columns[measure][place] if columns else found.weights[place, :1].sum())
        terms = " ".join(box_token(found.vocabulary[int(i)]) for i in found.terms[place] if i >= 0)
        numbers = [number(float(columns[name][place])) for name in more]
        rows.append(
            Row(unit(str(found.index.key(place)), found.provenance.subject), value, numbers=numbers, words=terms)
        )
    notes = [f"A description is a hypothesis{'' if found.scores else ', not yet tested'}."]
    if measures := explain_measures(found):
        notes.append(f"{measures[0].upper()}{measures[1:]}.")
    if len(rows) < len(found):
        notes.insert(0, f"{len(rows):,} of {len(found):,} units.")
    made = found.provenance
    return draw_bars(
        f"Units described by {found.author or made.label or 'hand'}",
        {"units": f"{len(found):,}", **({"subject": made.subject} if made.subject else {})},
        rows,
        ["unit", measure, *more],
        words="terms",
        notes=notes,
        provenance=made,
        command=command,
    )
