"""Count what a judge, reader, encoder or chooser is shown."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from patchclamp.describe.judge import Window


class Counted:
    """Pass every question on, and count calls, windows and tokens.

    It has the members of all four protocols of ``describe/judge.py``: whoever is within answers.
    """

    def __init__(self, inner: Any = None, counts: list[int] | None = None) -> None:
        self.inner, self.counts = inner, [0, 0, 0] if counts is None else counts

    def of(self, inner: Any) -> "Counted":
        """Return one that passes questions on to another, and adds to the same counts."""
        return Counted(inner, self.counts)

    @property
    def name(self) -> str:
        """Whoever answers."""
        return str(self.inner.name)

    def fits(self, description: str, windows: Sequence[Window]) -> list[float | None]:
        """See ``Judge``."""
        self._add(windows)
        answers: list[float | None] = self.inner.fits(description, windows)
        return answers

    def fits_marked(
        self, description: str, windows: Sequence[Window], marks: Sequence[Bool[np.ndarray, " token"]]
    ) -> list[float | None]:
        """See ``Judge``.

        Returns:
            list[float | None]: whoever is within answers.

        Source: 2410.13928, fuzzing scoring.

        Example:
            >>> from patchclamp.describe.judges.rule import RuleJudge
            >>> windows, marks = [Window((" a", " cat"))], [np.array([False, True])]
            >>> Counted(RuleJudge()).fits_marked('the token " cat"', windows, marks)
            [1.0]
        """
        self._add(windows)
        answers: list[float | None] = self.inner.fits_marked(description, windows, marks)
        return answers

    def simulate(self, description: str, windows: Sequence[Window]) -> list[Float[np.ndarray, " token"] | None]:
        """See ``Judge``."""
        self._add(windows)
        answers: list[np.ndarray | None] = self.inner.simulate(description, windows)
        return answers

    def choose_odd(self, windows: Sequence[Window], marks: Sequence[Bool[np.ndarray, " token"]]) -> int | None:
        """See ``Chooser``."""
        self._add(windows)
        place: int | None = self.inner.choose_odd(windows, marks)
        return place

    def log_likelihoods(self, pairs: Sequence[tuple[str, str]]) -> list[float | None]:
        """See ``Reader``."""
        self._add([text.split() for _, text in pairs])
        values: list[float | None] = self.inner.log_likelihoods(pairs)
        return values

    def encode(self, texts: Sequence[str], *, query: bool = False) -> Float[np.ndarray, "text width"]:
        """See ``Encoder``."""
        self._add([text.split() for text in texts])
        vectors: np.ndarray = self.inner.encode(texts, query=query)
        return vectors

    def _add(self, shown: Sequence[Any]) -> None:
        self.counts[0] += 1
        self.counts[1] += len(shown)
        self.counts[2] += sum(map(len, shown))
