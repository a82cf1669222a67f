"""Recipes that compose rooms: an answer explained with receipts, a circuit found, answers with units clamped."""

from patchclamp.recipes.answer import explain
from patchclamp.recipes.circuit import find_circuit
from patchclamp.recipes.explanation import Explanation
from patchclamp.recipes.generate import ClampedClasses, ClampedText, generate
from patchclamp.recipes.group_ablation import GroupAblation, ablate_group

__all__ = [
    "ClampedClasses",
    "ClampedText",
    "Explanation",
    "GroupAblation",
    "explain",
    "find_circuit",
    "generate",
    "ablate_group",
]
