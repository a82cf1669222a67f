"""How true descriptions are of labelled text with other templates and fillers, and how well each scorer ranks them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.descriptions import Descriptions
from patchclamp.core.estimate import Estimate
from patchclamp.core.stats import Interval, auroc, rank, spearman
from patchclamp.describe.evidence import Evidence
from patchclamp.describe.evidence.units import choose_units, watch_units
from patchclamp.describe.judge import Window
from patchclamp.describe.judges.rule import RuleJudge
from patchclamp.organisms.language.concepts import CONCEPTS
from patchclamp.organisms.language.labelled import Labelled

FEWEST = 10
"""Tokens on which a unit fires, or of which a concept is true, for anything to be said of it."""
KNOWN = 0.8
"""AUROC from which on a concept is said to be a unit's own."""
RESAMPLES = 500
NAMES = tuple(CONCEPTS)


@dataclass(frozen=True, eq=False)
class LabelledUnits:
    """Hold what units do on labelled text: where each fires, and the concept that is its own.

    Args:
        keys: of the units, without the subject.
        fires: ``(token, unit)``.
        concept: ``(unit,)`` place of its own concept among ``NAMES``; −1 where it has none.
        area: ``(unit,)`` AUROC of the best concept on the half of the documents that it was not chosen on.
        true: ``(token, concept)``.
        windows: the documents.
        counted: which tokens of all documents count.
    """

    keys: tuple[str, ...]
    fires: Bool[np.ndarray, "token unit"]
    concept: np.ndarray
    area: Float[np.ndarray, " unit"]
    true: Bool[np.ndarray, "token concept"]
    windows: tuple[Window, ...]
    counted: Bool[np.ndarray, " position"]


@dataclass(frozen=True, eq=False)
class Truth:
    """Hold how true descriptions are, by unit; nan where that cannot be said.

    Args:
        firing: balanced accuracy of the rule for the tokens on which the unit fires.
        concept: balanced accuracy of the rule for the tokens of the unit's own concept.
    """

    firing: Float[np.ndarray, " unit"]
    concept: Float[np.ndarray, " unit"]


@checked
def record_labelled(
    subject: Any, texts: Sequence[Labelled], evidence: Evidence, sites: Sequence[str], **bases: Any
) -> LabelledUnits:
    """Return where the units of some sites fire on labelled text, and which concept is each one's own.

    A unit fires where its evidence says that it does. Its own concept is the one that its activation tells best on even
    documents, where it does so on odd ones too (AUROC of 0.8 at least).

    Args:
        subject: a language organism.
        texts: with other templates and fillers than the text of the evidence.
        evidence: of the units.
        sites: of the evidence that are read.
        bases: ``bases``, as ``draw_evidence`` takes them.

    Returns:
        LabelledUnits: of all units of the sites that have evidence.

    Raises:
        PatchclampError: a site without evidence.

    Cost: a forward pass over the text; a sort per unit.
    """
    counted = np.concatenate([one.stimulus.counted for one in texts])
    true = np.concatenate([one.matrix for one in texts])[counted]
    document = np.repeat(np.arange(len(texts)), [len(one.concepts) for one in texts])[counted]
    names = {int(id): str(subject.answer_name(int(id))) for one in texts for id in np.unique(one.stimulus.ids)}
    windows = tuple(Window(tuple(names[int(id)] for id in one.stimulus.ids), one.concepts) for one in texts)
    sources = choose_units(subject, tuple(sites), bases.get("bases") or {})
    parts: list[list[np.ndarray]] = [[] for _ in sources]
    for first in range(0, len(texts), 64):
        batch = [one.stimulus for one in texts[first : first + 64]]
        watch_units(subject, sources, batch, lambda i, x: parts[i].append(x.cpu().numpy()))
    keys, fires, own, areas = [], [], [], []
    for source, found in zip(sources, parts, strict=True):
        levels = evidence.levels(source.name)
        values = levels.sign * np.concatenate(found)[counted]
        keys += [f"{source.site.path}/{source.basis}/{unit}" for unit in source.numbers.tolist()]
        fires.append(values >= levels.fires)
        concept, area = _own_concepts(values, true, document % 2 == 0)
        own.append(concept)
        areas.append(area)
    columns = np.concatenate(fires, axis=1), np.concatenate(own), np.concatenate(areas)
    return LabelledUnits(tuple(keys), *columns, true, windows, counted)


def _own_concepts(values: np.ndarray, true: np.ndarray, choosing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the concept that each unit tells best on one half, −1 where it does not on the other, and AUROC there."""
    sides = true[choosing], true[~choosing]
    counts = [(side.sum(0), len(side)) for side in sides]
    enough = np.flatnonzero(np.all([(n >= FEWEST) & (n <= total - FEWEST) for n, total in counts], axis=0))
    positives = sides[0][:, enough].sum(0)
    concepts, areas = np.full(values.shape[1], -1), np.full(values.shape[1], np.nan)
    for unit, column in enumerate(values.T.astype(np.float64)):
        sums = rank(column[choosing]) @ sides[0][:, enough] - positives * (positives + 1) / 2
        best = int(enough[(sums / (positives * (len(sides[0]) - positives))).argmax()])
        areas[unit] = auroc(column[~choosing], sides[1][:, best])
        concepts[unit] = best if areas[unit] >= KNOWN else -1
    return concepts, areas


@checked
def measure_truth(units: LabelledUnits, descriptions: Descriptions) -> Truth:
    """Return how true the description of each unit is: whether its rule holds where the unit fires, and its concept.

    Args:
        units: on text that no description was made from.
        descriptions: rules, of some of the units.

    Returns:
        Truth: in the order of the units. Balanced accuracy over tokens, 0.5 for a rule that never or always fires; nan
        of a unit without a rule, or where it fires, or its concept is true, on fewer than ten tokens.

    Raises:
        PatchclampError: descriptions of other units.

    Cost: each different rule is matched once against every token.
    """
    places = {_bare(descriptions, place): place for place in range(len(descriptions))}
    texts = [descriptions.text(places[key]) if key in places else "" for key in units.keys]
    judge, known = RuleJudge(), {}
    for text in set(texts) - {""}:
        answers = judge.simulate(text, units.windows)
        if all(answer is not None for answer in answers):
            known[text] = np.concatenate([np.asarray(answer) > 0 for answer in answers])[units.counted]
    firing, concept = np.full(len(texts), np.nan), np.full(len(texts), np.nan)
    for unit, text in enumerate(texts):
        if text in known:
            firing[unit] = _balanced_accuracy(known[text], units.fires[:, unit])
            if units.concept[unit] >= 0:
                concept[unit] = _balanced_accuracy(known[text], units.true[:, units.concept[unit]])
    return Truth(firing, concept)


def _bare(descriptions: Descriptions, place: int) -> str:
    return str(descriptions.index.unit(place).without_place()).removeprefix(f"{descriptions.index.subject}/")


def _balanced_accuracy(said: np.ndarray, true: np.ndarray) -> float:
    n = int(true.sum())
    if not FEWEST <= n <= len(true) - FEWEST:
        return float("nan")
    return float((said[true].mean() + 1 - said[~true].mean()) / 2)


@checked
def correlate(
    scores: Mapping[str, Float[np.ndarray, " unit"]], truth: Float[np.ndarray, " unit"], *, seed: Natural = 0
) -> dict[str, Estimate]:
    """Return the rank correlation of each scorer with the truth, over the units of which both are known.

    Args:
        scores: name of a scorer → the score of every description.
        truth: how true each is.
        seed: of the resamples.

    Returns:
        dict: Spearman's ρ with a 95 % interval that resamples descriptions; nan without ten of them.

    Raises:
        PatchclampError: scores of another number of descriptions.

    Cost: 500 sorts of the scores.

    Example:
        >>> truth = np.linspace(0, 1, 20)
        >>> found = correlate({"true": truth**2, "false": -truth}, truth)
        >>> found["true"].value, found["false"].value
        (1.0, -1.0)
    """
    found = {}
    for name, values in scores.items():
        both = np.stack([values, truth], axis=1)
        both = both[np.isfinite(both).all(axis=1)]
        rho, interval, n = float("nan"), None, len(both)
        if n >= FEWEST:
            draw = np.random.default_rng(seed)
            rho = spearman(both[:, 0], both[:, 1])
            draws = [spearman(*both[draw.integers(n, size=n)].T) for _ in range(RESAMPLES)]
            low, high = np.nanquantile(draws, [0.025, 0.975]) if np.isfinite(draws).any() else (np.nan, np.nan)
            interval = Interval(float(low), float(high), 0.95, "percentile bootstrap over descriptions")
        found[name] = Estimate(rho, interval if np.isfinite(rho) else None, n, "Spearman's ρ")
    return found
