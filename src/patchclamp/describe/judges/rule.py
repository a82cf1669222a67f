"""A judge that needs no model: a description that is a rule fits where the rule fires."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from patchclamp.describe.judge import Window
from patchclamp.describe.rules import Rule, TokenRule, parse_rule

STRONGEST = 10.0


class RuleJudge:
    """Answer by the rule that a description says. A description that is no rule is not answered.

    Example:
        >>> RuleJudge().fits('the token " cat"', [Window((" a", " cat")), Window((" a", " dog"))])
        [1.0, 0.0]
        >>> RuleJudge().fits("animals, mostly", [Window((" a", " cat"))])
        [None]
    """

    name = "rule"

    def fits(self, description: str, windows: Sequence[Window]) -> list[float | None]:
        """Return 1 for each window in which the rule fires, 0 where it does not; None where it cannot be known."""
        return [None if fired is None else float(fired.any()) for fired in _fire(description, windows)]

    def fits_marked(
        self, description: str, windows: Sequence[Window], marks: Sequence[Bool[np.ndarray, " token"]]
    ) -> list[float | None]:
        """Return 1 for each window in which the rule fires at every marked token, else 0.

        None as ``fits`` does, and where no token is marked: nothing is asked there.
        """
        pairs = zip(_fire(description, windows), marks, strict=True)
        return [None if fired is None or not mark.any() else float(fired[mark].all()) for fired, mark in pairs]

    def simulate(self, description: str, windows: Sequence[Window]) -> list[Float[np.ndarray, " token"] | None]:
        """Return 10 where the rule fires and 0 elsewhere; None as ``fits`` does."""
        return [None if fired is None else STRONGEST * fired for fired in _fire(description, windows)]


def _fire(description: str, windows: Sequence[Window]) -> list[np.ndarray | None]:
    """Return on which tokens of each window a rule fires; None without a rule, or without the labels that it needs."""
    rule = parse_rule(description)
    if rule is None:
        return [None] * len(windows)
    if isinstance(rule, TokenRule):
        known = {text: rule.fits(text) for text in {text for window in windows for text in window.tokens}}
        return [np.array([known[text] for text in window.tokens], dtype=bool) for window in windows]
    return [rule.fires(window) if _can_fire(rule, window) else None for window in windows]


def _can_fire(rule: Rule, window: Window) -> bool:
    return window.labels is not None or not rule.needs_labels
