"""Recipes that compose rooms: an answer explained with its receipts, and a circuit's parts ablated together."""

from patchclamp.recipes.answer import explain
from patchclamp.recipes.explanation import Explanation
from patchclamp.recipes.together import Together, replace_together

__all__ = ["Explanation", "Together", "explain", "replace_together"]
