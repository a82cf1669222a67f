"""Rank: which of an atlas's units do most at one token of a text."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float
from torch import Tensor

from patchclamp.atlas import pages
from patchclamp.atlas.lab.run import read_at
from patchclamp.atlas.reading import Absent, Reading, number_or_none
from patchclamp.attribute import METHODS, Attribution, attribute_nodes
from patchclamp.attribute.nodes import BYTES_PER_NODE, count_nodes
from patchclamp.core.errors import CannotIntervene, PatchclampError
from patchclamp.core.metric import Metric
from patchclamp.core.stimulus import Stimulus
from patchclamp.subjects.edits import widened
from patchclamp.subjects.language import LanguageModel

MOST_BYTES = 2**30
Spell = Callable[[int], pages.TokenView]


def rank(
    model: LanguageModel,
    atlas: Reading,
    stimulus: Stimulus,
    position: int,
    *,
    by: pages.RankedBy,
    target: int | None,
    contrast: int | None,
    site: str,
    limit: int,
    spell: Spell,
    source: pages.Source,
) -> pages.Ranking:
    """Return the units that do most at a token: by activation the highest, by effect the largest of either sign.

    Args:
        model: the subject.
        atlas: its atlas; only its units are ranked.
        stimulus: the text.
        position: the token's place.
        by: ``activation`` or ``effect``.
        target: by effect, the token whose logit is explained; the likeliest one where None.
        contrast: the token whose logit is taken away from it.
        site: only units of this site; all where empty.
        limit: most units to give.
        spell: token id to how it is shown.
        source: where the answer comes from.

    Raises:
        Absent: the atlas has no such site.
        PatchclampError: a place or token that is none, or a text too long for gradients of all units.

    Cost: one forward pass; by effect a forward and a backward pass more.
    """
    if position >= len(stimulus):
        raise PatchclampError(
            expected=f"a position from 0 to {len(stimulus) - 1}", got=str(position), remedy="Count the text's tokens."
        )
    sites = {row[1]: (int(row[5]), int(row[6])) for row in atlas.sites if site in ("", row[1])}
    if not sites:
        raise Absent(expected="a site of this atlas", got=repr(site[:120]), remedy="The first page lists them.")
    effects: dict[str, np.ndarray] = {}
    found: Attribution | None = None
    metric: Metric | None = None
    if by == "effect":
        # `final` and `embed` are no levels of nodes.
        sites = {path: where for path, where in sites.items() if "." in path}
        metric = _metric(model, stimulus, target, contrast)
        found = _attributed(model, stimulus, metric, list(sites))
        effects = {path: found.scores[path, "neurons"][position] for path in sites}
        values = {path: found.activations[path, "neurons"][position] for path in sites}
    else:
        values = _values(model, stimulus, list(sites), position)
    firsts = np.concatenate([np.arange(first, first + n) for first, n in sites.values()])
    flat = {what: np.concatenate([parts[path] for path in sites]) for what, parts in
            (("values", values), ("effects", effects)) if parts}  # fmt: skip
    worth = np.abs(flat["effects"]) if found else flat["values"]
    best = np.argsort(-np.nan_to_num(worth, nan=-np.inf), kind="stable")[:limit]
    known = _known(atlas, firsts[best].tolist())
    units = [_row(atlas, int(firsts[i]), flat["values"][i], flat["effects"][i] if found else None, known) for i in best]
    return pages.Ranking(
        position=position, by=by, target=spell(metric.target[0]) if metric else None,
        contrast=spell(metric.contrast[0]) if metric and metric.contrast else None,
        metric=number_or_none(found.baseline) if found else None, method=METHODS[found.method] if found else "",
        units=units, total=len(firsts), source=source,
    )  # fmt: skip


def _values(
    model: LanguageModel, stimulus: Stimulus, sites: Sequence[str], position: int
) -> dict[str, Float[np.ndarray, " unit"]]:
    """Return what every unit does at one place, from one forward pass that keeps nothing else."""
    found: dict[str, np.ndarray] = {}

    def see(path: str, x: Tensor) -> None:
        found[path] = x[position].float().cpu().double().numpy()

    model.watch(stimulus, sites, see)
    return found


def _metric(model: LanguageModel, stimulus: Stimulus, target: int | None, contrast: int | None) -> Metric:
    place = read_at(model, stimulus)
    if target is None:
        logits = widened(model.run(stimulus, logits=(place,)).logits[0, 0])
        order = logits.argsort(descending=True, stable=True)[:2].tolist()
        target = order[1] if order[0] == contrast else order[0]
    if contrast is None:
        return Metric("logit", (target,), positions=(place,))
    return Metric("logit_difference", (target,), (contrast,), positions=(place,))


def _attributed(model: LanguageModel, stimulus: Stimulus, metric: Metric, sites: list[str]) -> Attribution:
    needed = BYTES_PER_NODE * count_nodes(model, len(stimulus), sites) if sites else 0
    if not sites or needed > MOST_BYTES:
        raise PatchclampError(
            expected=f"gradients of at most {MOST_BYTES / 2**30:g} GiB",
            got=f"{needed / 2**30:.1f} GiB for {len(stimulus)} tokens and {len(sites)} sites",
            remedy="Shorten the text, or choose one site.",
        )
    try:
        return attribute_nodes(model, stimulus, metric, method="relp", levels=sites)
    except CannotIntervene:
        # RelP's rules are not derived for this family: mixtures of experts, for one.
        return attribute_nodes(model, stimulus, metric, method="atp", levels=sites)


def _known(
    atlas: Reading, units: Sequence[int]
) -> dict[int, tuple[float | None, float | None, float | None, int | None]]:
    rows = atlas.rows(
        f"SELECT id, mean, minimum, maximum, fires_on FROM units WHERE id IN ({', '.join('?' * len(units))})", units
    )
    return {row[0]: row[1:] for row in rows}


def _row(
    atlas: Reading,
    unit: int,
    value: float,
    effect: float | None,
    known: dict[int, tuple[float | None, float | None, float | None, int | None]],
) -> pages.RankedUnit:
    mean, low, high, fires_on = known[unit]
    said = atlas.said_of(unit)
    return pages.RankedUnit(
        key=str(atlas.key(unit)), value=number_or_none(value), effect=number_or_none(effect),
        mean=number_or_none(mean), minimum=number_or_none(low), maximum=number_or_none(high),
        fires_on=None if fires_on is None else atlas.token(fires_on),
        description=said[0].description.text if said else None,
    )  # fmt: skip
