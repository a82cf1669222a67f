"""The units that respond most to a text, anywhere in it."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from patchclamp.atlas.lab import Lab, messages
from patchclamp.atlas.read.reader import NotFound, Reading, number_or_none
from patchclamp.atlas.read.responses import Source
from patchclamp.core.plain_names import name_unit

RespondsBy = Literal["share", "value"]


@dataclass(frozen=True)
class Response:
    """How a unit responds to a text.

    Args:
        key: the unit.
        name: the unit in words.
        position: the token at which its activation is highest; of several equal ones the first.
        value: its activation there.
        share: that as a share of its own maximum over the corpus, above 1 where the text beats the corpus; None where
            it never rose above zero there.
        acts: its activation at every token.
        maximum: its highest activation over the corpus.
        frequency: share of the corpus' counted tokens at which it is above zero.
        label: a few words for it: its best description, else what it detects or promotes; empty where neither is known.
    """

    key: str
    name: str
    position: int
    value: float | None
    share: float | None
    acts: list[float | None]
    maximum: float | None
    frequency: float | None
    label: str


@dataclass(frozen=True)
class Responses:
    """Find by text: which units respond most to this, anywhere in it?

    Args:
        cut: the text's tokens; special ones count nowhere.
        by: what the units are ranked by: ``share`` of their own maximum over the corpus, or the ``value`` itself.
        rows: the first of them; units that stay at or below zero at every token are left out.
        responding: units that rise above zero.
        total: units that were compared.
        source: where this comes from.
    """

    cut: messages.Tokens
    by: RespondsBy
    rows: list[Response]
    responding: int
    total: int
    source: Source


def search_text(lab: Lab, atlas: Reading, text: str, *, site: str, by: RespondsBy, limit: int) -> Responses:
    """Return the units of an atlas that respond most to a text, each at the token where it does most.

    Units of different sites and sizes are compared by the share of their own maximum over the corpus: 1 is as high as
    anywhere in it. Standard deviations would rank what is nearly always silent first, whatever its size.

    Args:
        lab: the model beside the atlas.
        atlas: the atlas.
        text: the text.
        site: only units of this site, or of ``site/basis``; all where empty.
        by: ``share`` or ``value``.
        limit: most units to give.

    Returns:
        Responses: the units, the highest first.

    Raises:
        NotFound: the atlas has no such site, or its basis is not attached.
        PatchclampError: no token, or more than the context holds.

    Cost: one forward pass, of which one site at a time is kept.
    """
    from patchclamp.atlas.lab.clamps import basis_at, encode_site

    model = lab.model
    stimulus, cut = lab.cut(text), lab.tokens(text)
    listed = [row for row in atlas.sites if site in ("", row[1], f"{row[1]}/{row[4]}")]
    # A dictionary that is too large for its layer is there only where it was attached by hand.
    listed = [row for row in listed if basis_at(model, row[1], row[4]) is not None]
    if not listed:
        raise NotFound(
            expected="a site of this atlas whose basis is attached",
            got=repr(site[:120]),
            remedy="The first page lists the sites; `serve --basis DIR` attaches a dictionary.",
        )
    reading: dict[str, list[tuple[Any, ...]]] = {}
    for row in listed:
        reading.setdefault(encode_site(model, row[1], row[4]), []).append(row)
    best: list[tuple[float, int, Float[np.ndarray, " position"]]] = []
    responding = 0

    def see(path: str, x: Any) -> None:
        nonlocal responding
        for row in reading[path]:
            n, found = _best_of_site(model, atlas, row, x.float(), stimulus.counted, by, limit)
            responding += n
            best.extend(found)

    with lab.turns.at_once():
        model.watch(stimulus, list(reading), see)
    best.sort(key=lambda one: (-one[0], one[1]))
    sites = list(dict.fromkeys(reading))
    shown = f"pc.load({lab.loading}).run({text!r}, record={sites!r}, logits=False)"
    return Responses(
        cut=cut,
        by=by,
        rows=[_row(atlas, unit, along, stimulus.counted) for _, unit, along in best[:limit]],
        responding=responding,
        total=sum(int(row[6]) for row in listed),
        source=Source(atlas.base_run, "", shown),
    )


def _best_of_site(
    model: Any, atlas: Reading, row: tuple[Any, ...], x: Any, counted: Any, by: RespondsBy, limit: int
) -> tuple[int, list[tuple[float, int, Float[np.ndarray, " position"]]]]:
    """Return how many units of a site rise above zero, and the highest: worth, number, activations along the text."""
    from patchclamp.atlas.lab.clamps import unit_values

    _, path, _, _, basis, first, n = row
    blocks = unit_values(model, path, basis, x)
    # A head's value is the norm of what it gives.
    along = blocks[..., 0] if blocks.shape[-1] == 1 else np.linalg.norm(blocks, axis=-1)
    highest = np.where(counted[:, None], np.nan_to_num(along, nan=-np.inf), -np.inf).max(axis=0)
    worth = highest if by == "value" else _shares(highest, _maxima(atlas, int(first), int(n)))
    order = np.argsort(-worth, kind="stable")[:limit]
    rise = highest > 0
    return int(rise.sum()), [(float(worth[i]), int(first) + int(i), along[:, i]) for i in order if rise[i]]


def _maxima(atlas: Reading, first: int, n: int) -> Float[np.ndarray, " unit"]:
    rows = atlas.rows("SELECT maximum FROM units WHERE id >= ? AND id < ? ORDER BY id", [first, first + n])
    return np.array([np.nan if maximum is None else maximum for (maximum,) in rows])


def _shares(highest: Float[np.ndarray, " unit"], maxima: Float[np.ndarray, " unit"]) -> Float[np.ndarray, " unit"]:
    """Return activations as shares of the highest over the corpus; what never rose above zero there comes last."""
    rose = maxima > 0
    shares: np.ndarray = np.where(rose, highest / np.where(rose, maxima, 1.0), -np.inf)
    return shares


def _row(atlas: Reading, unit: int, along: Float[np.ndarray, " position"], counted: Any) -> Response:
    maximum, frequency = atlas.row(unit, "maximum", "frequency")
    position = int(np.where(counted, np.nan_to_num(along, nan=-np.inf), -np.inf).argmax())
    key = str(atlas.key(unit))
    share = along[position] / maximum if maximum is not None and maximum > 0 else None
    return Response(
        key=key,
        name=name_unit(key),
        position=position,
        value=number_or_none(along[position]),
        share=number_or_none(share),
        acts=[number_or_none(a, 4) for a in along],
        maximum=number_or_none(maximum),
        frequency=number_or_none(frequency),
        label=atlas.label(unit),
    )
