"""Mean scores of descriptions, each beside shuffled and random ones, and what scoring took."""

from patchclamp.describe.score import ScoredDescriptions
from patchclamp.report.bars import Row, draw_bars
from patchclamp.report.html import inline, percent, span

NOUN = "ScoredDescriptions"
ROWS = {
    "described": "the descriptions",
    "shuffled": "each given to another unit",
    "random": "names of random tokens",
}
"""What each row is, in words."""


def draw(scored: ScoredDescriptions, *, command: str | None = None) -> str:
    """Return the page of scored descriptions. Bars are means over units, chance stands beside them."""
    rows = [
        Row(
            inline(f"{one.score}, {ROWS[one.row]}"),
            one.estimate.value,
            one.estimate.low,
            one.estimate.high,
            [
                span(one.estimate.low, one.estimate.high),
                "" if one.estimate.null is None else f"{one.estimate.null.low:.2g}",
                f"{one.estimate.n:,}",
                percent(one.missing / one.answers) if one.answers else "",
            ],
            inline(one.estimate.unit),
        )
        for one in scored.rows
    ]
    judges = dict.fromkeys(column.judge for column in scored.descriptions.scores.values() if column.judge)
    notes = [
        "Scores are means over units, on windows that the author of the descriptions was not shown; intervals resample "
        "units. An answer that could not be read is missing: it counts neither for nor against.",
        *(
            f"{one.scorer}: {one.calls:,} calls, {one.windows:,} windows, {one.tokens:,} tokens, {one.seconds:.1f} s."
            for one in scored.costs
        ),
    ]
    described = scored.descriptions
    return draw_bars(
        f"How well descriptions by {described.author or 'hand'} hold",
        {"units": f"{len(described):,}", **({"judged by": ", ".join(judges)} if judges else {})},
        rows,
        ["score", "mean", "95\u00a0% interval", "chance", "units", "missing"],
        words="unit of measure",
        notes=notes,
        provenance=scored.provenance,
        command=command,
    )
