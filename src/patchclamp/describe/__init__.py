"""Describe units in words."""

from patchclamp.core.rooms import make_callable
from patchclamp.describe.describe import describe
from patchclamp.describe.score import ScoredDescriptions, score_descriptions

__all__ = ["ScoredDescriptions", "describe", "score_descriptions"]

make_callable(__name__, describe)
