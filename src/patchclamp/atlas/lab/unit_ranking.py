"""The units of an atlas that do most at one token of a text."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from patchclamp.atlas.lab import messages
from patchclamp.atlas.lab.clamps import encode_site, unit_values
from patchclamp.atlas.lab.next_token import read_at
from patchclamp.atlas.read.reader import NotFound, Reading, number_or_none
from patchclamp.atlas.read.responses import Source, TokenView
from patchclamp.attribute import attribute_nodes
from patchclamp.attribute.nodes import BYTES_PER_NODE, count_nodes
from patchclamp.core.errors import CannotIntervene, PatchclampError
from patchclamp.core.method_index import find_title
from patchclamp.core.metric import Metric
from patchclamp.core.plain_names import name_unit
from patchclamp.core.scores import Scores
from patchclamp.core.stimulus import Stimulus
from patchclamp.subjects.apply import upcast
from patchclamp.subjects.bases import unit_activations
from patchclamp.subjects.language import LanguageModel

MOST_BYTES = 2**30
Spell = Callable[[int], TokenView]
PLAIN = ("neurons", "heads")
"""Bases that every model has."""
Place = tuple[str, str]
"""A site and a basis."""


def rank(
    model: LanguageModel,
    atlas: Reading,
    stimulus: Stimulus,
    position: int,
    *,
    by: messages.RankedBy,
    target: int | None,
    contrast: int | None,
    site: str,
    limit: int,
    spell: Spell,
    source: Source,
) -> messages.Ranking:
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

    Returns:
        messages.Ranking: the units, the largest first, and how many were compared.

    Raises:
        NotFound: the atlas has no such site.
        PatchclampError: a place or token that is none, or a text too long for gradients of all units.

    Cost: one forward pass; by effect a forward and a backward pass more.
    """
    if position >= len(stimulus):
        raise PatchclampError(
            expected=f"a position from 0 to {len(stimulus) - 1}", got=str(position), remedy="Count the text's tokens."
        )
    sites = {
        (row[1], row[4]): (int(row[5]), int(row[6]))
        for row in atlas.sites
        if site in ("", row[1], f"{row[1]}/{row[4]}")
    }
    if not sites:
        raise NotFound(expected="a site of this atlas", got=repr(site[:120]), remedy="The first page lists them.")
    # A dictionary that is too large for its layer is there only where it was attached by hand.
    sites = {place: where for place, where in sites.items() if place[1] in PLAIN or "/".join(place) in model.bases}
    effects: dict[Place, np.ndarray] = {}
    metric: Metric | None = None
    metric_clean, method = 0.0, ""
    if by == "effect":
        # `final` and `embed` are no levels of nodes.
        sites = {place: where for place, where in sites.items() if "." in place[0]}
        metric = answer_metric(model, stimulus, target, contrast)
        plain, features = ([p for p in sites if (p[1] in PLAIN) == own] for own in (True, False))
        values: dict[Place, np.ndarray] = {}
        for basis in PLAIN:
            own = [place for place in plain if place[1] == basis]
            if own:
                attributed = attribute_units(model, stimulus, metric, ["/".join(place) for place in own])
                metric_clean, method = attributed.metric_clean, attributed.method
                effects |= {place: attributed.matrix(*place)[position] for place in own}
                values |= {place: attributed.matrix(*place, "activation")[position] for place in own}
        if features:
            slopes, metric_clean, method = _slopes(model, stimulus, metric, [path for path, _ in features])
            values |= _values(model, stimulus, features, position)
            for place in features:
                # f · (ρ D): ρ is the gradient at the site that the feature writes.
                decoder = np.asarray(model.bases["/".join(place)].decoder, dtype=np.float64)
                effects[place] = values[place] * (decoder @ slopes[place[0]][position])
    else:
        values = _values(model, stimulus, list(sites), position)
    if not sites:
        raise NotFound(
            expected="units whose basis is attached", got=repr(site[:120]), remedy="Serve the atlas with --basis DIR."
        )
    firsts = np.concatenate([np.arange(first, first + n) for first, n in sites.values()])
    flat = {
        what: np.concatenate([parts[place] for place in sites])
        for what, parts in (("values", values), ("effects", effects))
        if parts
    }
    worth = np.abs(flat["effects"]) if metric else flat["values"]
    best = np.argsort(-np.nan_to_num(worth, nan=-np.inf), kind="stable")[:limit]
    known = _describe_units(atlas, firsts[best].tolist())
    units = [
        _row(atlas, int(firsts[i]), flat["values"][i], flat["effects"][i] if metric else None, known) for i in best
    ]
    return messages.Ranking(
        position=position,
        by=by,
        target=spell(metric.target[0]) if metric else None,
        contrast=spell(metric.contrast[0]) if metric and metric.contrast else None,
        metric=number_or_none(metric_clean) if metric else None,
        method=find_title(method, "attribute") if metric else "",
        units=units,
        total=len(firsts),
        source=source,
    )


def _values(
    model: LanguageModel, stimulus: Stimulus, places: Sequence[Place], position: int
) -> dict[Place, Float[np.ndarray, " unit"]]:
    """Return what every unit does at one place, from one forward pass that keeps nothing else."""
    values: dict[Place, np.ndarray] = {}
    reading: dict[str, list[Place]] = {}
    for place in places:
        reading.setdefault(encode_site(model, *place), []).append(place)

    def see(path: str, x: Tensor) -> None:
        for place in reading[path]:
            values[place] = unit_activations(unit_values(model, *place, x[position : position + 1].float()))[0]

    model.watch(stimulus, list(reading), see)
    return values


def _slopes(
    model: LanguageModel, stimulus: Stimulus, metric: Metric, paths: Sequence[str]
) -> tuple[dict[str, Float[np.ndarray, "position width"]], float, str]:
    """Return the gradient at every site by the rules of RelP or the plain one, the metric, and which it is."""
    _refuse_if_too_large(model, stimulus, paths)
    sites = list(dict.fromkeys(paths))
    method = "relp"
    try:
        differentiated = model.differentiate(stimulus, metric, sites, rules=("ln", "identity", "half"))
    except CannotIntervene:
        method, differentiated = "attribution_patching", model.differentiate(stimulus, metric, sites)
    slopes = {path: upcast(differentiated.gradients[path]).cpu().double().numpy() for path in sites}
    return slopes, float(differentiated.metric[0]), method


def answer_metric(model: LanguageModel, stimulus: Stimulus, target: int | None, contrast: int | None) -> Metric:
    """Return what is explained of a text: the logit of a token, the likeliest where None, less that of a contrast.

    Returns:
        Metric: read where the next token is.
    """
    place = read_at(model, stimulus)
    if target is None:
        logits = upcast(model.run(stimulus, logits=(place,)).logits[0, 0])
        order = logits.argsort(descending=True, stable=True)[:2].tolist()
        target = order[1] if order[0] == contrast else order[0]
    if contrast is None:
        return Metric("logit", (target,), positions=(place,))
    return Metric("logit_difference", (target,), (contrast,), positions=(place,))


def attribute_units(model: LanguageModel, stimulus: Stimulus, metric: Metric, sites: list[str]) -> Scores:
    """Return the effect of every unit of sites by RelP, by attribution patching where RelP's rules are not derived.

    Returns:
        Scores: of every unit at every token.

    Raises:
        PatchclampError: gradients that need more memory than the lab takes.
    """
    _refuse_if_too_large(model, stimulus, sites)
    try:
        return attribute_nodes(model, stimulus, metric, method="relp", levels=sites)
    except CannotIntervene:
        # RelP's rules are not derived for this family: mixtures of experts, for one.
        return attribute_nodes(model, stimulus, metric, method="attribution_patching", levels=sites)


def _refuse_if_too_large(model: LanguageModel, stimulus: Stimulus, sites: Sequence[str]) -> None:
    needed = BYTES_PER_NODE * count_nodes(model, len(stimulus), sites) if sites else 0
    if not sites or needed > MOST_BYTES:
        raise PatchclampError(
            expected=f"gradients of at most {MOST_BYTES / 2**30:g} GiB",
            got=f"{needed / 2**30:.1f} GiB for {len(stimulus)} tokens and {len(sites)} sites",
            remedy="Shorten the text, or choose one site.",
        )


def _describe_units(atlas: Reading, units: Sequence[int]) -> dict[int, tuple[Any, ...]]:
    return {unit: atlas.row(unit, "mean", "minimum", "maximum") for unit in units}


def _row(
    atlas: Reading,
    unit: int,
    value: float,
    effect: float | None,
    known: dict[int, tuple[Any, ...]],
) -> messages.RankedUnit:
    mean, low, high = known[unit]
    return messages.RankedUnit(
        key=str(atlas.key(unit)),
        name=name_unit(atlas.key(unit)),
        value=number_or_none(value),
        effect=number_or_none(effect),
        mean=number_or_none(mean),
        minimum=number_or_none(low),
        maximum=number_or_none(high),
        label=atlas.label(unit, value),
    )
