"""Explain: which neurons and heads gave an answer, and the receipts that prove it."""

from patchclamp.explain.answer import Explanation, explain_answer
from patchclamp.subjects.reading import Question, ask

__all__ = ["Explanation", "Question", "ask", "explain_answer"]
