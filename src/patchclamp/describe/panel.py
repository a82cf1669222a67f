"""A network of judges, each with one perspective, that see each other's reviews: which of two texts is better?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.options import option

Winner = Literal["first", "second", "tie", ""]
PERSPECTIVES = ("accuracy", "relevance")


@dataclass(frozen=True)
class Review:
    """Hold what a judge gave two texts, in the order in which they were shown.

    Args:
        perspective: from which it judged.
        scores: of the text that was shown first, and of the other.
    """

    perspective: str
    scores: tuple[float, float]


@runtime_checkable
class PairJudge(Protocol):
    """It scores two texts side by side from one perspective. None is an answer that could not be read."""

    @property
    def name(self) -> str:
        """Who judges: ``llm/NAME``."""

    @property
    def tokens(self) -> int:
        """Tokens read and written so far."""

    def propose(self, question: str, first: str, second: str) -> tuple[str, ...] | None:
        """Return perspectives from which these texts should be judged.

        Returns:
            tuple[str, ...] | None: one word or a few each.

        Source: 2308.01862 and its code.

        Example:
            >>> from patchclamp.organisms.judges import SimulatedJudge
            >>> SimulatedJudge().propose("?", "of quality 2.00", "of quality 1.00") is None
            True
        """

    def compare(
        self, question: str, first: str, second: str, perspective: str, reviews: Sequence[Review]
    ) -> tuple[float, float] | None:
        """Return a score for each text; ``reviews`` are its own earlier one and those of others.

        Returns:
            tuple[float, float] | None: of the text shown first, and of the other.

        Source: 2308.01862 and its code.

        Example:
            >>> from patchclamp.organisms.judges import SimulatedJudge
            >>> SimulatedJudge().compare("?", "of quality 2.00", "of quality 1.00", "accuracy", ())
            (2.0, 1.0)
        """


@dataclass(frozen=True)
class PanelOptions:
    """Options of a panel."""

    perspectives: tuple[str, ...] = option(PERSPECTIVES, "what each judge looks at; one judge per perspective")
    propose: bool = option(False, "ask the judge for perspectives, for each pair anew; those named stand in for none")
    layers: int = option(2, "rounds: from the second on a judge sees reviews of the one before", least=1)
    neighbours: Literal["window", "all"] = option("window", "whose reviews: those of the two next to it, or of all")
    final: Literal["all", "last"] = option("all", "which rounds count")
    epsilon: float = option(0.25, "scores that differ by no more are a tie", least=0.0)


@checked
@dataclass(frozen=True, eq=False)
class Verdict:
    """Hold what a panel says of two texts.

    Args:
        scores: ``(round, judge, order, text)``, texts as they were given and not as they were shown; nan where an
            answer could not be read.
        counted: ``(round, judge)`` which of them count: of the rounds that do, those that were read in both orders.
        epsilon: scores that differ by no more are a tie.
        perspectives: of the judges.
        calls: of the judge.
        tokens: read and written by it.
    """

    scores: Float[np.ndarray, "round judge order text"]
    counted: Bool[np.ndarray, "round judge"]
    epsilon: float
    perspectives: tuple[str, ...]
    calls: Natural
    tokens: Natural

    @property
    def means(self) -> tuple[float, float]:
        """The mean score of each text over what counts; nan where nothing does."""
        if not self.counted.any():
            return math.nan, math.nan
        first, second = self.scores[self.counted].mean((0, 1)).tolist()
        return first, second

    @property
    def difference(self) -> float:
        """The first text's mean less the second's."""
        first, second = self.means
        return first - second

    @property
    def winner(self) -> Winner:
        """Which text is better, or that none is; empty where no answer could be read."""
        if math.isnan(self.difference):
            return ""
        return "tie" if abs(self.difference) <= self.epsilon else "first" if self.difference > 0 else "second"

    @property
    def missing(self) -> int:
        """Answers that could not be read."""
        return int(np.isnan(self.scores).any(-1).sum())


@checked
def judge_pair(
    judge: PairJudge, question: str, first: str, second: str, options: PanelOptions | None = None
) -> Verdict:
    """Return what a panel says of two texts.

    In the first round every judge scores both texts from its perspective, in both orders. In each further one it sees
    its own review of the round before and those of its neighbours, made in the same order, and scores anew. The score
    of a text is the mean over judges, rounds and orders. A position bias b, added to whatever is shown first, adds
    b / 2 to both: a review counts only if it could be read in both orders, so nothing of b is left in their difference.
    What could not be read is missing, never a score.

    Args:
        judge: who scores.
        question: what the texts answer.
        first: one text.
        second: the other.
        options: perspectives, rounds, neighbours, ties; the defaults where None.

    Returns:
        Verdict: all scores, their means, who is better.

    Raises:
        PatchclampError: no perspective, or one twice.

    Source: 2308.01862 and its code, which shows reviews of a window of ±1 (its text says: of all); ties within epsilon,
    missing answers and the pairing of orders are ours.

    Cost: 2 · rounds · judges calls, and one more where perspectives are proposed.

    Example:
        >>> from patchclamp.organisms.judges import make
        >>> planted = make("judges-independent")
        >>> case = planted.task.cases[0]
        >>> judge_pair(planted.judge, case.shown, case.targets[0], case.contrasts[0]).winner
        'first'
    """
    chosen = options or PanelOptions()
    spent = judge.tokens
    proposed = judge.propose(question, first, second) if chosen.propose else None
    named = tuple(dict.fromkeys(proposed or chosen.perspectives))
    if not named or (not proposed and len(named) < len(chosen.perspectives)):
        raise PatchclampError(
            expected="at least one perspective, each once",
            got=", ".join(chosen.perspectives) or "none",
            remedy=f"For example {', '.join(PERSPECTIVES)}.",
        )
    scores = np.full((chosen.layers, len(named), 2, 2), np.nan)
    for order in (0, 1):
        shown = (first, second) if order == 0 else (second, first)
        before: list[Review | None] = []
        for layer in range(chosen.layers):
            now: list[Review | None] = []
            for i, perspective in enumerate(named):
                answer = judge.compare(question, *shown, perspective, _reviews_seen_by(before, i, chosen.neighbours))
                read = answer is not None and all(math.isfinite(one) for one in answer)
                now.append(Review(perspective, answer) if answer is not None and read else None)
                if answer is not None and read:
                    scores[layer, i, order] = answer if order == 0 else answer[::-1]
            before = now
    counted = ~np.isnan(scores).any((2, 3))
    if chosen.final == "last":
        counted[:-1] = False
    calls = 2 * chosen.layers * len(named) + chosen.propose
    return Verdict(scores, counted, chosen.epsilon, named, calls, judge.tokens - spent)


def _reviews_seen_by(reviews: Sequence[Review | None], i: int, neighbours: str) -> list[Review]:
    """Return the reviews of the round before that judge i sees, its own first; none in the first round."""
    others = range(len(reviews)) if neighbours == "all" else range(max(0, i - 1), min(len(reviews), i + 2))
    order = [i, *(k for k in others if k != i)] if reviews else []
    return [review for k in order if (review := reviews[k]) is not None]
