"""Evaluate bases, circuits and orders of regions: benchmarks beside random controls."""

from patchclamp.core.matching import compare_bases
from patchclamp.core.rooms import make_callable
from patchclamp.evaluate.circuit_report import EvaluationCost, Faithfulness
from patchclamp.evaluate.concept_units import ConceptUnit, auroc_margin, find_concept_units
from patchclamp.evaluate.dictionary import DictionaryReport, evaluate_dictionary
from patchclamp.evaluate.dictionary_metrics import DictionaryMetrics, DictionaryRow, measure_dictionary
from patchclamp.evaluate.evaluate import evaluate, evaluate_descriptions, summarise_scores
from patchclamp.evaluate.explainer import evaluate_explainer
from patchclamp.evaluate.faithfulness import evaluate_circuit
from patchclamp.evaluate.substitution import substitute_reconstruction

__all__ = [
    "ConceptUnit",
    "DictionaryReport",
    "EvaluationCost",
    "Faithfulness",
    "DictionaryRow",
    "DictionaryMetrics",
    "auroc_margin",
    "compare_bases",
    "evaluate",
    "evaluate_circuit",
    "evaluate_descriptions",
    "evaluate_dictionary",
    "evaluate_explainer",
    "measure_dictionary",
    "substitute_reconstruction",
    "summarise_scores",
    "find_concept_units",
]

make_callable(__name__, evaluate)
