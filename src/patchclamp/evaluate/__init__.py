"""Evaluate bases, circuits and orders of regions: benchmarks beside random controls."""

from patchclamp.evaluate.concepts import ConceptUnit, ahead, tell_concepts
from patchclamp.evaluate.faithfulness import Faithfulness, evaluate_circuit
from patchclamp.evaluate.judging import Judged, Report, judge
from patchclamp.evaluate.matching import Comparison, compare_bases, match, recovery
from patchclamp.evaluate.splicing import substitute_reconstruction

__all__ = [
    "Comparison",
    "Faithfulness",
    "Judged",
    "Report",
    "ConceptUnit",
    "ahead",
    "compare_bases",
    "evaluate_circuit",
    "judge",
    "match",
    "recovery",
    "substitute_reconstruction",
    "tell_concepts",
]
