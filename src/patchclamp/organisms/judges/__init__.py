"""Judges of two answers whose bias and noise are known, made in code."""

import hashlib
import random
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patchclamp.core.arguments import Natural, Positive, checked
from patchclamp.core.checks import one_of
from patchclamp.core.task import Case, Task

QUALITY = re.compile(r"quality (-?\d+\.\d+)")


@checked
@dataclass(frozen=True)
class SimulatedJudge:
    """Score two texts by the quality that they state, with a planted bias and planted noise.

    A score is the text's quality, ``bias`` more if it is shown first, and errors that depend on the seed, the question
    and the text: ``shared`` by all perspectives, and ``private`` to each. A perspective may also slip, by an error of
    ``slip``. Where reviews are shown the judge gives the median of their scores: what others saw outweighs a slip of
    its own. The order decides no error.

    Args:
        bias: added to what is shown first.
        private: standard deviation of the error of one perspective about one text.
        shared: standard deviation of the error that all perspectives make together.
        slips: share of scores with a gross error.
        slip: standard deviation of that error.
        copied: all perspectives slip together.
        seed: of all errors.

    Example:
        >>> fair = SimulatedJudge(bias=1.0)
        >>> fair.compare("?", "of quality 2.00", "of quality 2.00", "accuracy", ())
        (3.0, 2.0)
    """

    bias: float = 0.0
    private: float = 0.0
    shared: float = 0.0
    slips: float = 0.0
    slip: float = 0.0
    copied: bool = False
    seed: Natural = 0

    @property
    def name(self) -> str:
        """Who judges."""
        return "simulated"

    @property
    def tokens(self) -> int:
        """Tokens read and written: it reads none."""
        return 0

    def propose(self, question: str, first: str, second: str) -> None:
        """Return no perspective: it has no opinion of them."""

    def compare(
        self, question: str, first: str, second: str, perspective: str, reviews: Sequence[Any]
    ) -> tuple[float, float]:
        """Return a score for each text.

        Returns:
            tuple[float, float]: of the text shown first, and of the other.
        """
        if reviews:
            one, other = (statistics.median(review.scores[i] for review in reviews) for i in (0, 1))
            return one, other
        return self._score(question, first, perspective) + self.bias, self._score(question, second, perspective)

    def _score(self, question: str, text: str, perspective: str) -> float:
        found = QUALITY.search(text)
        together = self._draw(question, text)
        alone = self._draw(question, text, perspective)
        score = float(found[1]) if found else 0.0
        score += together.gauss(0, 1) * self.shared + alone.gauss(0, 1) * self.private
        draw = together if self.copied else alone
        return score + (draw.gauss(0, self.slip) if draw.random() < self.slips else 0.0)

    def _draw(self, *parts: str) -> random.Random:
        content = "\x1f".join((str(self.seed), *parts)).encode()
        return random.Random(int.from_bytes(hashlib.sha256(content).digest()[:8]))


@dataclass(frozen=True)
class Planted:
    """Hold a judge and questions of which it is known which answer is better.

    Args:
        judge: who scores.
        task: questions; each target is of higher quality than its contrast.
    """

    judge: SimulatedJudge
    task: Task


_JUDGES: Mapping[str, SimulatedJudge] = {
    "judges-independent": SimulatedJudge(bias=3.0, private=0.4),
    "judges-copied": SimulatedJudge(bias=3.0, private=0.4, shared=5.0),
}


def names() -> tuple[str, ...]:
    """List the simulated judges."""
    return tuple(_JUDGES)


def find_file(name: str) -> Path:
    """Return the file that makes the judges."""
    one_of("simulated judge", name, names())
    return Path(__file__)


@checked
def make(name: str, *, n_cases: Positive = 60, seed: Natural = 0) -> Planted:
    """Make a simulated judge, and questions for it.

    Args:
        name: ``judges-independent``, who prefer what is shown first by more than any two answers differ, and err each
            on their own; or ``judges-copied``, whose perspectives share an error far larger than these differences.
        n_cases: questions.
        seed: of the qualities.

    Returns:
        Planted: the judge and the questions; qualities differ by 0.5 to 1.5.

    Raises:
        PatchclampError: no such judge.

    Example:
        >>> make("judges-copied", n_cases=2).task.cases[0].targets[0][:20]
        'An answer of quality'
    """
    one_of("simulated judge", name, names())
    draw, cases = random.Random(seed), []
    for i in range(n_cases):
        low = draw.uniform(3, 7)
        better, worse = (f"An answer of quality {q:.2f} to {i}." for q in (low + draw.uniform(0.5, 1.5), low))
        cases.append(Case(f"Question {i}?", None, (better,), (worse,)))
    return Planted(_JUDGES[name], Task(tuple(cases), name=name))
