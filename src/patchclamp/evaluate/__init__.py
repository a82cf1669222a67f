"""Evaluate: how much a basis captures, what it tells, and whether another seed finds it again; beside controls."""

from patchclamp.evaluate.concepts import Told, ahead, tell_concepts
from patchclamp.evaluate.judging import Judged, Report, judge
from patchclamp.evaluate.matching import Comparison, compare_bases, match, recovery
from patchclamp.evaluate.splicing import spliced

__all__ = [
    "Comparison",
    "Judged",
    "Report",
    "Told",
    "ahead",
    "compare_bases",
    "judge",
    "match",
    "recovery",
    "spliced",
    "tell_concepts",
]
