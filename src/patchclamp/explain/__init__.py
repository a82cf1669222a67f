"""Explain: which neurons and heads gave an answer, and the receipts that prove it."""

from patchclamp.explain.answer import Explanation, explain_answer

__all__ = ["Explanation", "explain_answer"]
