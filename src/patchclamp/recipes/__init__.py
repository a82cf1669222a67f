"""Recipes that compose rooms: an answer explained with receipts, a circuit found, answers with units clamped."""

from patchclamp.recipes.answer import explain
from patchclamp.recipes.circuit import find_circuit
from patchclamp.recipes.explanation import Explanation
from patchclamp.recipes.generate import ClampedClasses, ClampedText, generate
from patchclamp.recipes.together import Together, replace_together

__all__ = [
    "ClampedClasses",
    "ClampedText",
    "Explanation",
    "Together",
    "explain",
    "find_circuit",
    "generate",
    "replace_together",
]
