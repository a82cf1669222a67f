"""Planted units are described by the answer that they give, and few others are."""

from patchclamp.calibrate.figures import Figure, exact_figure, share_of
from patchclamp.calibrate.trials import Trial
from patchclamp.calibrate.truth import PlantedWords
from patchclamp.core.descriptions import Descriptions
from patchclamp.core.unit import UnitKey


def measure(trial: Trial, noun: Descriptions) -> list[Figure]:
    """Return how many planted units are described first by the answer that they give, beside all others."""
    words = trial.truth.words if isinstance(trial.truth, PlantedWords) else {}
    described = {(block.site, block.basis) for block in noun.index.blocks}
    keys = {key: UnitKey.parse(key) for key in words}
    places = {noun.index.place(k): words[k] for k, one in keys.items() if (one.site, one.basis) in described}
    right = sum(noun.text(place, 1) == word for place, word in places.items())
    own = share_of(right, len(places), "share of units")
    others = [place for place in range(len(noun)) if place not in places]
    same = sum(noun.text(place, 1) in places.values() for place in others)
    return [Figure("described by the answer", own, share_of(same, len(others), own.unit), exact_figure(1.0, own), 1.0)]
