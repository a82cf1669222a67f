"""Units to begin with: those of explained answers, the best described, and sparse ones that detect something."""

from collections.abc import Iterator
from dataclasses import dataclass

from patchclamp.atlas.read.reader import NotFound, Reading
from patchclamp.atlas.read.recorded import RECORDING, suggest_recorded
from patchclamp.atlas.read.unit_line import CHANCE
from patchclamp.atlas.read.unit_row import UnitRow, unit_row

MOST, FROM_ANSWERS, LOOKED_AT = 6, 4, 400
CLEAR, RARE, COMMON = 0.9, 0.002, 0.2
"""AUROC from which a detector is clear here, and the shares of tokens between which it is called sparse."""


@dataclass(frozen=True)
class Suggestion:
    """A unit to begin with, and why: ``a cause of ' Mary'``, ``described``, ``sparse``, ``clear``, ``rare``; of
    recorded units also ``tuned``, ``goes with another`` and ``most active``."""

    row: UnitRow
    why: str


def suggest_units(atlas: Reading) -> list[Suggestion]:
    """Return a few units to begin with.

    Cost: some queries of indexed columns.
    """
    chosen: dict[int, str] = {}
    recorded = atlas.about["modality"] == RECORDING
    for unit, why in suggest_recorded(atlas) if recorded else _candidates(atlas):
        if len(chosen) == MOST:
            break
        chosen.setdefault(unit, why)
    return [Suggestion(unit_row(atlas, unit), why) for unit, why in chosen.items()]


def _candidates(atlas: Reading) -> Iterator[tuple[int, str]]:
    """Yield units with the reason, the most telling first."""
    yield from _causes(atlas)
    best = f"SELECT unit FROM temp.described WHERE score IS NOT NULL ORDER BY score DESC LIMIT {MOST}"
    for (unit,) in atlas.rows(best):
        yield unit, "described"
    seen: set[str | None] = set()
    # Half of its top examples share a token: one can see in them what it detects.
    coherent = "(SELECT max(n) * 2 >= sum(n) FROM fires WHERE unit = u.id)"
    sparse = f"u.auroc >= {CLEAR} AND u.frequency BETWEEN {RARE} AND {COMMON}"
    ranges = (
        (f"{sparse} AND {coherent} ORDER BY u.frequency", "sparse"),
        (f"u.auroc > {CHANCE} AND u.maximum > 0 ORDER BY u.auroc DESC", "clear"),
        ("u.maximum > 0 ORDER BY u.frequency", "rare"),
    )
    for where, why in ranges:
        for unit, concept, token in atlas.rows(
            f"SELECT u.id, u.concept, u.fires_on FROM units u WHERE {where}, u.id LIMIT {LOOKED_AT}"
        ):
            # Six detectors of one concept would be one suggestion.
            if concept in seen or (why == "sparse" and not _agrees(atlas, concept, token)):
                continue
            seen.add(concept)
            yield unit, why


def _agrees(atlas: Reading, concept: str | None, token: int | None) -> bool:
    """Say whether the token at a unit's peaks is among those that it detects; what a label means is not known here."""
    named = concept is not None and token is not None and atlas.token(token).text.strip() in concept.split(" ")
    return named or atlas.corpus.labelled > 0


def _causes(atlas: Reading) -> Iterator[tuple[int, str]]:
    """Yield the units of explained answers, by the size of what was measured of them, else of their score."""
    nodes = [
        (abs(float(node.measures.get("measured") or node.score)), node.key, layer.graph.about.get("target"))
        for layer in atlas.layers
        if layer.graph
        for node in layer.graph.nodes
    ]
    taken: set[int] = set()
    for _, key, target in sorted(nodes, key=lambda one: -one[0]):
        try:
            unit = atlas.index_of(key)
        except NotFound:
            continue
        if unit not in taken and len(taken) < FROM_ANSWERS:
            taken.add(unit)
            yield unit, f'a cause of "{str(target).strip()}"'
