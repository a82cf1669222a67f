"""Evaluate bases, circuits and orders of regions: benchmarks beside random controls."""

from patchclamp.core.matching import compare_bases
from patchclamp.core.rooms import make_callable
from patchclamp.evaluate.circuit_report import EvaluationCost, Faithfulness
from patchclamp.evaluate.concepts import ConceptUnit, ahead, tell_concepts
from patchclamp.evaluate.dictionary import DictionaryReport, evaluate_dictionary
from patchclamp.evaluate.evaluate import evaluate, evaluate_descriptions, summarise_scores
from patchclamp.evaluate.explainer import evaluate_explainer
from patchclamp.evaluate.faithfulness import evaluate_circuit
from patchclamp.evaluate.judging import Judged, Report, judge
from patchclamp.evaluate.splicing import substitute_reconstruction

__all__ = [
    "ConceptUnit",
    "DictionaryReport",
    "EvaluationCost",
    "Faithfulness",
    "Judged",
    "Report",
    "ahead",
    "compare_bases",
    "evaluate",
    "evaluate_circuit",
    "evaluate_descriptions",
    "evaluate_dictionary",
    "evaluate_explainer",
    "judge",
    "substitute_reconstruction",
    "summarise_scores",
    "tell_concepts",
]

make_callable(__name__, evaluate)
