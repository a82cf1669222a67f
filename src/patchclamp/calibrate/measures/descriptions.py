"""Planted neurons are described by the answer that they give, and few others are."""

from patchclamp.calibrate.figures import Figure, exact_figure, share_of
from patchclamp.calibrate.trials import Trial
from patchclamp.calibrate.truth import PlantedWords
from patchclamp.core.descriptions import Descriptions


def measure(trial: Trial, noun: Descriptions) -> list[Figure]:
    """Return how many planted neurons are described first by the answer that they give, beside all other neurons."""
    words = trial.truth.words if isinstance(trial.truth, PlantedWords) else {}
    places = {noun.index.place(key): word for key, word in words.items()}
    right = sum(noun.text(place, 1) == word for place, word in places.items())
    own = share_of(right, len(places), "share of neurons")
    others = [place for place in range(len(noun)) if place not in places]
    same = sum(noun.text(place, 1) in places.values() for place in others)
    return [Figure("described by the answer", own, share_of(same, len(others), own.unit), exact_figure(1.0, own), 1.0)]
