"""What every unit detects: labelled concepts where the text carries labels, else patterns of tokens."""

from collections.abc import Sequence
from pathlib import Path

from patchclamp.atlas.bake.concept_labels import concept_scores
from patchclamp.atlas.bake.token_patterns import Detected, PatternSample, find_patterns, pattern_scores
from patchclamp.core.site import Site
from patchclamp.evaluate.labelled import Labelled
from patchclamp.record.features import Features
from patchclamp.record.heads import WithHeads
from patchclamp.subjects.language import LanguageModel

Strongest = tuple[int, float, int] | None


def detected_by(
    model: LanguageModel | Features | WithHeads,
    sample: PatternSample,
    sites: Sequence[Site],
    labels: Labelled | None,
    aside: Path,
) -> tuple[dict[str, list[list[Detected]]], dict[str, list[Strongest]]]:
    """Measure what each unit detects, and the token at which it is strongest on average.

    Args:
        model: the subject.
        sample: tokens of the text.
        sites: what is measured.
        labels: labelled tokens, where the text has them.
        aside: a folder for files that are gone at the end.

    Returns:
        tuple[dict, dict]: by site what its units detect, and their strongest tokens.

    Cost: a forward pass over at most some 6,000 tokens, two where there are labels.
    """
    patterns = find_patterns(sample, model.tokenizer.spelling)
    detected: dict[str, list[list[Detected]]] = {site.path: [] for site in sites}
    strongest: dict[str, list[Strongest]] = {site.path: [] for site in sites}
    for path, scores in pattern_scores(model, sample, patterns, sites, aside):
        detected[path] += scores.detected
        strongest[path] += scores.strongest
    if labels is not None:
        labelled: dict[str, list[list[Detected]]] = {site.path: [] for site in sites}
        for path, scored in concept_scores(model, labels, list(sites), aside):
            labelled[path] += scored
        # Patterns stand in only where no labelled concept could be scored.
        for path, of_units in labelled.items():
            detected[path] = [concepts or found for concepts, found in zip(of_units, detected[path], strict=True)]
    return detected, strongest
